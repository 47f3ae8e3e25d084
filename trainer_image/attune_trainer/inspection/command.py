"""`attune-trainer inspect`: reads a snapshot and shows its facts. Called by the CLI."""

import json
import sys
from pathlib import Path

from rich.console import Console

from attune.contract import ExitCode
from attune_trainer.data.snapshot import load_snapshot
from attune_trainer.errors import BadConfig, StageError
from attune_trainer.inspection.facts import Length, facts
from attune_trainer.inspection.screen import show


def inspect(dataset: str, *, shown: int, seed: int, tokenizer: Path | None, as_json: bool) -> ExitCode:
    """Print the facts of the snapshot in a folder or at a URI; one line on standard error where there is none."""
    try:
        snapshot = load_snapshot(dataset.removesuffix("/manifest.json"))
        pairs = [*snapshot.train(), *snapshot.validation()]
        seen = facts(snapshot, pairs, _length(tokenizer), shown=shown, seed=seed)
    except StageError as error:
        print(f"{error.reason}: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    if as_json:
        print(json.dumps(seen.to_json(), ensure_ascii=False))  # noqa: T201
    else:
        show(seen, Console())
    return ExitCode.OK


def _length(tokenizer: Path | None) -> tuple[str, Length]:
    """What lengths are counted in, and how."""
    if tokenizer is None:
        return "characters", len
    from tokenizers import Tokenizer

    file = tokenizer / "tokenizer.json" if tokenizer.is_dir() else tokenizer
    if not file.is_file():
        raise BadConfig(f"--tokenizer {tokenizer}: no tokenizer.json there; name the folder of a model")
    counter = Tokenizer.from_file(str(file))
    counter.no_truncation()
    counter.no_padding()
    return "tokens", lambda text: len(counter.encode(text, add_special_tokens=False).ids)
