"""The processes that train one model together, and what they tell each other. One process alone is a world, too.

Every process holds the whole model and a share of each batch. Vectors are gathered, so that each computes the loss of the
whole batch; each goes back through its own share alone, and the gradients are added up. That is the gradient of one process
with the same batch, however the rows are shared out. Not DistributedDataParallel: a batch is embedded in pieces, whose number
differs from process to process, and recomputed in the backward pass (ADR 29).
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from attune_trainer.errors import Interrupted, PeerLost

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
RANK, SIZE, LOCAL_RANK = "RANK", "WORLD_SIZE", "LOCAL_RANK"
BUCKET_BYTES = 32 * 2**20
PATIENCE = timedelta(minutes=30)
"""For the slowest of the others: process 0 exports, publishes checkpoints and validates while they wait."""
GRACE_SECONDS = 5.0
"""Whoever lost a peer ends after it: what the peer says is the cause."""


@dataclass(frozen=True, slots=True)
class World:
    """This process, and how many there are. All must call the same methods in the same order."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process reports, checkpoints and exports."""
        return self.rank == 0

    def share(self, rows: Sequence[T]) -> Sequence[T]:
        """The rows (or groups of rows) of a batch that are this process's: every size-th, which keeps the lengths alike."""
        return rows[self.rank :: self.size]

    def any(self, flag: bool) -> bool:
        """Whether it is so in any of the processes."""
        if self.size == 1:
            return flag
        import torch
        import torch.distributed as dist

        told = torch.tensor([float(flag)])
        with _peers():
            dist.all_reduce(told, op=dist.ReduceOp.MAX)
        return bool(told.item() > 0)

    def total(self, number: float) -> float:
        """The sum over all processes."""
        if self.size == 1:
            return number
        import torch
        import torch.distributed as dist

        told = torch.tensor([number], dtype=torch.float64)
        with _peers():
            dist.all_reduce(told)
        return float(told.item())

    def from_first(self, make: Callable[[], T]) -> T:
        """What process 0 makes, given to all. Where it is interrupted, all are."""
        if self.size == 1:
            return make()
        import torch.distributed as dist

        told: list[Any] = [None, False]
        problem: Interrupted | None = None
        if self.first:
            try:
                told[0] = make()
            except Interrupted as interrupted:
                problem, told[1] = interrupted, True
        with _peers():
            dist.broadcast_object_list(told, src=0)
        if told[1]:
            raise problem or Interrupted("SIGTERM: process 0 was interrupted; the next attempt goes on.")
        made: T = told[0]
        return made

    def gather(self, own: "Tensor") -> "Tensor":
        """Rows of all processes, shape (all rows x dimensions); gradients flow through this process's own rows only."""
        if self.size == 1:
            return own
        import torch
        import torch.distributed as dist

        counts = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        with _peers():
            dist.all_gather(counts, torch.tensor([len(own)]))
            sizes = [int(count.item()) for count in counts]
            padded = own.detach().new_zeros((max(sizes), own.shape[1]))
            padded[: len(own)] = own.detach()
            found = [torch.empty_like(padded) for _ in range(self.size)]
            dist.all_gather(found, padded)
        parts = [part[:size] for part, size in zip(found, sizes, strict=True)]
        parts[self.rank] = own
        return torch.cat(parts)

    def add_up(self, gradients: Iterable["Tensor"]) -> None:
        """Replace each tensor by the sum over all processes."""
        if self.size == 1:
            return
        import torch
        import torch.distributed as dist

        for bucket in _buckets(gradients):
            flat = torch.cat([gradient.flatten() for gradient in bucket])
            with _peers():
                dist.all_reduce(flat)
            totals = torch.split(flat, [gradient.numel() for gradient in bucket])
            for gradient, total in zip(bucket, totals, strict=True):
                gradient.copy_(total.view_as(gradient))

    def wait_for_all(self) -> None:
        """Returns when every process has come here."""
        self.any(False)


ALONE = World()


def _buckets(tensors: Iterable["Tensor"]) -> Iterator[list["Tensor"]]:
    """Many small tensors as few large messages, without a second copy of all of them."""
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        bucket.append(tensor)
        size += tensor.numel() * tensor.element_size()
        if size >= BUCKET_BYTES:
            yield bucket
            bucket, size = [], 0
    if bucket:
        yield bucket


def told_world() -> World:
    """What the environment says, before any process was met: which of how many this is."""
    return World(int(os.environ.get(RANK, "0")), int(os.environ.get(SIZE, "1")))


@contextmanager
def joined() -> Iterator[World]:
    """Meet the others that torchrun started (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT); without them: alone.

    nccl between GPUs, gloo between CPUs. The libraries must not see the variables: each would split the work again.
    """
    world = told_world()
    if world.size == 1:
        yield world
        return
    import torch
    import torch.distributed as dist

    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    with _peers():
        dist.init_process_group(backend, rank=world.rank, world_size=world.size, timeout=PATIENCE)
    hidden = {name: os.environ.pop(name) for name in (RANK, SIZE, LOCAL_RANK) if name in os.environ}
    try:
        yield world
        dist.destroy_process_group()  # not after a failure: it might wait for those that are gone
    finally:
        os.environ.update(hidden)


@contextmanager
def _peers() -> Iterator[None]:
    """What goes wrong between processes is the other's end, or the network's: worth another attempt."""
    try:
        yield
    except RuntimeError as error:
        time.sleep(GRACE_SECONDS)
        raise PeerLost(
            f"another training process ended or does not answer ({str(error).splitlines()[0][:200]}); all of them start again "
            "from the last checkpoint."
        ) from error
