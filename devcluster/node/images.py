"""The table of images: which program an image name stands for. The same entry points as in the Dockerfiles."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import yaml


@dataclass(frozen=True, slots=True)
class Image:
    """What would be in the image: its entry point. The program itself comes from this environment."""

    entrypoint: tuple[str, ...]


BUILT_IN = {
    "attune-operator": Image((sys.executable, "-m", "attune")),
    "attune-trainer": Image((sys.executable, "-m", "attune_trainer")),
    "attune-serving": Image((sys.executable, "-m", "attune_serving")),
    "python": Image((sys.executable,)),
    "busybox": Image(()),
}


def load(path: Path | None) -> dict[str, Image]:
    """The built-in table, and over it a YAML file {image: [argv…]}; `{python}` is this interpreter, `{here}` the file's folder."""
    table = dict(BUILT_IN)
    if path is not None:
        for name, argv in (yaml.safe_load(path.read_text()) or {}).items():
            known = {"{python}": sys.executable, "{here}": str(path.parent)}
            table[name] = Image(tuple(known.get(part, str(part).replace("{here}", str(path.parent))) for part in argv))
    return table


def find(table: dict[str, Image], reference: str) -> Image | None:
    """By repository name; registry, tag and digest say nothing here."""
    name = reference.partition("@")[0].rsplit("/", 1)[-1].partition(":")[0]
    return table.get(name)
