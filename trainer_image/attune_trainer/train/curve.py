"""The curve of a training run: loss by step, validation nDCG@10 by look. Noted by `watch`, drawn by `attune_trainer.report`.

It travels in the checkpoints, so that a run that was stopped has one curve, and with the artifact as `training_curve.json`.
"""

from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

FILE = "training_curve.json"
MOST_POINTS = 200

Point = tuple[int, float, float]
"""Optimizer steps done, epochs done, value."""


@dataclass
class Curve:
    """Points in the order of steps."""

    losses: list[Point] = field(default_factory=list)
    looks: list[Point] = field(default_factory=list)

    def note_loss(self, step: int, epoch: float, loss: float) -> None:
        self.losses.append((step, epoch, loss))

    def note_look(self, step: int, epoch: float, ndcg: float) -> None:
        self.looks.append((step, epoch, ndcg))

    def to_json(self) -> bytes:
        """At most MOST_POINTS of each: neighbours are averaged."""
        return TypeAdapter(Curve).dump_json(Curve(thinned(self.losses), thinned(self.looks))) + b"\n"

    def save(self, folder: Path) -> None:
        (folder / FILE).write_bytes(self.to_json())

    def load(self, folder: Path) -> None:
        """Take up what a checkpoint or an artifact remembers; an older one remembers nothing."""
        if (folder / FILE).is_file():
            known = TypeAdapter(Curve).validate_json((folder / FILE).read_bytes())
            self.losses, self.looks = known.losses, known.looks


def thinned(points: list[Point]) -> list[Point]:
    """The same curve in at most MOST_POINTS points, each the mean of as many steps as its neighbours; rounded."""
    if len(points) <= MOST_POINTS:
        return [(step, round(epoch, 4), round(value, 5)) for step, epoch, value in points]
    last = points[-1][0] + 1
    bins: dict[int, list[Point]] = {}
    for point in points:
        bins.setdefault(point[0] * MOST_POINTS // last, []).append(point)
    return [
        (group[-1][0], round(group[-1][1], 4), round(sum(value for _, _, value in group) / len(group), 5))
        for _, group in sorted(bins.items())
    ]
