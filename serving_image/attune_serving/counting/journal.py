"""A ledger on the disk of its container, so that a process that was killed does not count a query again. Blocking; used in threads.

counting/<run>.jsonl    {"ledger": name}, {"arm", "split", "units"}, {"metric", "units"}; a cut last line is passed over
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import structlog

from attune_serving.counting.ledger import EXPOSURE, Cell, Key

log = structlog.get_logger(__name__)
SAFE = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(slots=True)
class Journal:
    """All ledgers of a replica, in a folder that lives as long as its Pod."""

    root: Path

    def read(self, run: str) -> dict[str, Any] | None:
        """What was written of this test, in the form of `Ledger.dump`; None where nothing was."""
        try:
            lines = self._path(run).read_bytes().splitlines()
        except OSError:
            return None
        found: dict[str, Any] = {"ledger": None, "exposed": [], "valued": {}}
        for line in lines:
            try:
                entry = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue  # the process was killed while it wrote
            if "ledger" in entry:
                found["ledger"] = entry["ledger"]
            elif "metric" in entry:
                found["valued"].setdefault(entry["metric"], []).extend(entry["units"])
            else:
                found["exposed"].append(entry)
        return found if found["ledger"] else None

    def name(self, run: str, ledger: str) -> None:
        """This is the ledger from now on."""
        self._write(run, [{"ledger": ledger}])

    def append(self, run: str, news: Iterable[tuple[Key, Cell | None]]) -> None:
        """Before anything of it is counted."""
        exposed: dict[Cell, list[int]] = {}
        valued: dict[str, list[int]] = {}
        for (metric, unit), cell in news:
            if metric == EXPOSURE and cell is not None:
                exposed.setdefault(cell, []).append(unit)
            elif metric != EXPOSURE:
                valued.setdefault(metric, []).append(unit)
        self._write(
            run,
            [
                *({"arm": cell.arm, "split": cell.split, "units": units} for cell, units in exposed.items()),
                *({"metric": metric, "units": units} for metric, units in valued.items()),
            ],
        )

    def sweep(self, runs: Iterable[str]) -> None:
        """Forget all tests but these."""
        keep = {self._path(run) for run in runs}
        for path in self.root.glob("*.jsonl") if self.root.is_dir() else ():
            if path not in keep:
                path.unlink(missing_ok=True)

    def _write(self, run: str, entries: list[dict[str, Any]]) -> None:
        """A journal with a hole would be worse than none: after a failure it is removed, and the next start knows nothing."""
        if not entries:
            return
        path = self._path(run)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                file.write(b"\n" + b"\n".join(map(orjson.dumps, entries)) + b"\n")
        except OSError as error:
            log.warning("the counted queries cannot be kept on disk", path=str(path), problem=str(error))
            path.unlink(missing_ok=True)

    def _path(self, run: str) -> Path:
        return self.root / f"{SAFE.sub('_', run) or '_'}.jsonl"
