"""The API's vectors, each paid for once: kept in the artifact store by model and digest of the text. Used by the stages of provider openai.

A part is written as soon as its texts are embedded, so a Pod that is killed pays for one part again at the most. Parts are
named by what is in them: two Pods that write the same part write the same bytes. The folder may be deleted at any time.
"""

import hashlib
import io
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attune.contract import HostedModel
from attune.contract.layout import Layout, join
from attune_retrieval import endpoint, store
from attune_retrieval.encoding import Advance
from attune_retrieval.graph import Floats

log = logging.getLogger(__name__)
PART_TEXTS = 1024
DIGEST_BYTES = 16
Part = NDArray[np.void]
"""Rows of a digest and a vector, read from disk when they are looked at."""


@dataclass
class Remembered:
    """`embed` as `HostedEncoder` takes it. `check` is called between parts and may raise (SIGTERM)."""

    model: HostedModel
    folder: str
    scratch: Path
    check: Callable[[], None] = lambda: None
    keeps: bool = True
    """Whether new answers are kept, too; not where they go into a collection, or a corpus would be kept twice."""
    tokens: int = 0
    """That the API counted, so far."""
    asked: int = 0
    """Texts that the API was asked for; the others were known."""
    _parts: dict[str, Part] = field(default_factory=dict)
    _places: dict[bytes, tuple[str, int]] = field(default_factory=dict)

    def embed(self, texts: Sequence[str], advance: Advance | None = None) -> Floats:
        """Unit vectors by the API, shape (len(texts), dimensions), float32. Errors as `endpoint.embed`, and the store's."""
        digests = [digest_of(text) for text in texts]
        if any(digest not in self._places for digest in digests):
            self._read_new()  # another reader of this stage may have asked meanwhile
        missing = {digest: text for digest, text in zip(digests, texts, strict=True) if digest not in self._places}
        due = list(missing.items())
        new: dict[bytes, Floats] = {}
        for start in range(0, len(due), PART_TEXTS):
            self.check()
            part = due[start : start + PART_TEXTS]
            vectors = self._ask(part)
            if self.keeps:
                self._write(part, vectors)
            else:
                new |= {digest: vector for (digest, _), vector in zip(part, vectors, strict=True)}
            if advance:
                advance(min(1.0, (start + len(part)) / len(due)))
        rows = [new[digest] if digest in new else self._row(digest) for digest in digests]
        return np.stack(rows) if rows else np.zeros((0, 0), dtype=np.float32)

    def told(self) -> str:
        """What it cost, for a sentence."""
        return f"{self.asked:,} texts, {self.tokens:,} tokens by {self.model.base_url}"

    def _ask(self, part: Sequence[tuple[bytes, str]]) -> Floats:
        answer = endpoint.embed(self.model, [text for _, text in part])
        self.tokens += answer.tokens
        self.asked += len(part)
        return answer.vectors

    def _write(self, part: Sequence[tuple[bytes, str]], vectors: Floats) -> None:
        made = np.zeros(len(part), dtype=[("digest", f"V{DIGEST_BYTES}"), ("vector", "<f4", vectors.shape[1:])])
        made["digest"] = np.array([np.void(digest) for digest, _ in part])
        made["vector"] = vectors
        buffer = io.BytesIO()
        np.save(buffer, made, allow_pickle=False)
        name = hashlib.sha256(b"".join(digest for digest, _ in part)).hexdigest()[:24] + ".npy"
        store.write_bytes(join(self.folder, name), buffer.getvalue())
        with store.local_copy(join(self.folder, name)) as copy:
            self._keep(name, copy)

    def _read_new(self) -> None:
        for name in store.list_names(self.folder):
            if not name.endswith(".npy") or name in self._parts:
                continue
            with store.local_copy(join(self.folder, name)) as copy:
                self._keep(name, copy)

    def _keep(self, name: str, copy: Path) -> None:
        """Mapped from a file of our own, so that vectors take no memory before they are looked at."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        own = self.scratch / name
        if not own.exists():  # another reader of this stage has it open already
            draft = self.scratch / f"{name}.draft"
            shutil.copyfile(copy, draft)
            draft.replace(own)
        try:
            part: Part = np.load(own, mmap_mode="r", allow_pickle=False)
            found = {bytes(digest): (name, row) for row, digest in enumerate(part["digest"])}
        except (ValueError, IndexError, KeyError, EOFError, OSError) as error:
            log.warning("%s cannot be read (%s); its texts are embedded again", join(self.folder, name), error)
            own.unlink()
            return
        self._parts[name] = part
        self._places |= found

    def _row(self, digest: bytes) -> Floats:
        name, row = self._places[digest]
        return np.asarray(self._parts[name]["vector"][row], dtype=np.float32)


def remembered(
    model: HostedModel, layout: Layout, scratch: Path, check: Callable[[], None], *, keeps: bool = True
) -> Remembered:
    """What is known of this model in the store of a Retriever."""
    name = hashlib.sha256(model.name.encode()).hexdigest()[:16]
    return Remembered(model, join(layout.home, "api-vectors", name), scratch / "api-vectors" / name, check, keeps)


def digest_of(text: str) -> bytes:
    """Of a text as it is sent."""
    return hashlib.sha256(text.encode()).digest()[:DIGEST_BYTES]
