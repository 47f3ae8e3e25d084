"""Tokenizers of artifacts. Reading one holds the interpreter's lock, for 20 ms with MiniLM's, so versions of one base share it."""

import hashlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILE = "tokenizer.json"
_reading = threading.Lock()
_read: "WeakValueDictionary[tuple[bytes, int], Tokenizer]" = WeakValueDictionary()


def open_tokenizer(folder: Path, max_length: int) -> "Tokenizer":
    """Cuts at `max_length` tokens, of a pair the longer text first, and pads nothing.

    Shared by all whose file and length are the same: not to be changed. What the library raises for a damaged file is passed on.
    """
    from tokenizers import Tokenizer

    content = (folder / FILE).read_bytes()
    key = (hashlib.sha256(content).digest(), max_length)
    with _reading:
        tokenizer = _read.get(key)
        if tokenizer is None:
            tokenizer = Tokenizer.from_buffer(content)
            tokenizer.enable_truncation(max_length=max_length, strategy="longest_first")
            tokenizer.no_padding()
            _read[key] = tokenizer
        return tokenizer
