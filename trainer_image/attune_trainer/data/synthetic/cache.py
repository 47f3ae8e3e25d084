"""Answers that were paid for, in the artifact store. Called by asking.py.

One file per few answers, each written whole or not at all and named by its content; several runs may write at the same time.
At the end of a run they are joined into one file, which is there before the parts go.
"""

import hashlib
import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from attune.contract.layout import join
from attune_retrieval import store
from attune_trainer.errors import BadData

log = logging.getLogger(__name__)
_TRIES = 3
_JOINED_FROM = 200
"""So many small files become one, or a resumed run would spend its time on opening them."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The model's answer about one article, word by word, and what it took. `run`: who paid."""

    article: str
    answer: str
    input_tokens: int
    output_tokens: int
    run: str


@dataclass(slots=True)
class QuestionCache:
    """The folder of one kind of question. `entries`: article digest → answer."""

    folder: str
    entries: dict[str, Entry] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)
    _fresh: dict[str, list[Entry]] = field(default_factory=dict)
    """Small files that this process wrote."""

    def load(self) -> None:
        """Read all that is there. Another run may join the parts meanwhile: then the list is read again."""
        for left in reversed(range(_TRIES)):
            names = [name for name in store.list_names(self.folder) if name.endswith(".jsonl")]
            try:
                texts = [store.read_text(join(self.folder, name)) for name in names]
            except BadData:
                if not left:
                    raise
                continue
            found = sorted(
                (entry for text in texts for entry in _entries(text, self.folder)),
                key=lambda e: (e.article, e.run, e.answer),
            )
            self.entries = {entry.article: entry for entry in reversed(found)}
            self.parts = names
            return

    def add(self, entries: Iterable[Entry]) -> None:
        """Keep for good. Returns once they are in the store."""
        new = list(entries)
        if new:
            name = self._write("part", new)
            self.parts.append(name)
            self._fresh[name] = new
            self.entries |= {entry.article: entry for entry in new}
        if len(self._fresh) >= _JOINED_FROM:
            self._join(list(self._fresh), [entry for part in self._fresh.values() for entry in part])

    def tidy(self) -> None:
        """One file instead of many."""
        if len(self.parts) > 1:
            self._join(self.parts, list(self.entries.values()))

    def _join(self, names: list[str], entries: list[Entry]) -> None:
        whole = self._write("all", sorted(entries, key=lambda entry: entry.article))
        for name in set(names) - {whole}:
            store.delete(join(self.folder, name))
        self.parts = [*(name for name in self.parts if name not in names and name != whole), whole]
        self._fresh = {}

    def _write(self, kind: str, entries: list[Entry]) -> str:
        text = "".join(json.dumps(asdict(entry), ensure_ascii=False) + "\n" for entry in entries)
        name = f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.jsonl"
        store.write_text(join(self.folder, name), text)
        return name


def _entries(text: str, folder: str) -> list[Entry]:
    found = []
    for line in text.split("\n"):
        if not line:
            continue
        try:
            found.append(Entry(**json.loads(line)))
        except (ValueError, TypeError) as error:
            log.warning("%s: a line is no answer (%s); its article is asked about again", folder, error)
    return found
