"""Starts the processes that train one model together: torchrun, in each Pod of an Indexed Job. Called by the CLI for `train`.

The Pods find each other by the name of the first one (MASTER_ADDR). Processes that fail end all: the stage is tried again as a whole,
from its last checkpoint. What torchrun would make of their exit codes is lost to nobody: this gives the code of the cause.
"""

import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import stamina

from attune.contract import ExitCode, Stage
from attune.contract.distributed import (
    MASTER_ADDR,
    MASTER_PORT,
    NODES,
    PROCESSES_PER_NODE,
)
from attune_retrieval.graph import available_cpus
from attune_trainer.indexing.shards import SHARD_VARIABLE

log = logging.getLogger(__name__)
WORKER = "TORCHELASTIC_RUN_ID"
"""torchrun sets it: this process was started by it."""
FIND_SECONDS = 600.0
STOP_SECONDS = 50
"""Below the Pod's terminationGracePeriodSeconds: a checkpoint is written meanwhile."""


@dataclass(frozen=True, slots=True)
class Group:
    """The processes of all Pods, and which Pod this is."""

    nodes: int
    processes: int
    node: int
    address: str
    port: int

    @staticmethod
    def told(env: Mapping[str, str]) -> "Group | None":
        """What the environment says; None for one process alone, and in a process that torchrun has started."""
        nodes, processes = int(env.get(NODES, "1")), int(env.get(PROCESSES_PER_NODE, "1"))
        if nodes * processes == 1 or WORKER in env:
            return None
        address, port = env.get(MASTER_ADDR, "127.0.0.1"), int(env.get(MASTER_PORT, "0"))
        return Group(nodes, processes, int(env.get(SHARD_VARIABLE, "0")), address, port)


def run_together(group: Group, stage: Stage, spec: Path) -> ExitCode | int:
    """Run the stage in `group.processes` processes here, together with those of the other Pods; the exit code of the cause."""
    # Until torchrun listens: the first process of a container ignores a SIGTERM that nobody answers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(int(ExitCode.INTERRUPTED)))
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, available_cpus() // group.processes)))
    if group.nodes > 1:
        _wait_for_name(group.address)
    config = LaunchConfig(
        min_nodes=group.nodes,
        max_nodes=group.nodes,
        nproc_per_node=group.processes,
        run_id=str(group.port),
        rdzv_backend="static" if group.nodes > 1 else "c10d",
        rdzv_endpoint=f"{group.address}:{group.port}" if group.nodes > 1 else "localhost:0",
        rdzv_configs={"rank": group.node, "timeout": FIND_SECONDS} if group.nodes > 1 else {},
        max_restarts=0,
        virtual_local_rank=True,
        shutdown_timeout=STOP_SECONDS,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "attune_trainer", stage.value, "--spec", str(spec))
    except ChildFailedError as error:
        return _cause([failure.exitcode for failure in error.failures.values()])
    except SignalException:
        return ExitCode.INTERRUPTED
    return ExitCode.OK


def _cause(codes: list[int]) -> int:
    """Of processes that failed together: the one that no retry cures, else the first; killed by signal n is 128 + n."""
    told = [128 - code if code < 0 else code for code in codes if code != 0]
    return next((code for code in told if ExitCode.is_final(code)), told[0] if told else int(ExitCode.UNEXPECTED))


def _wait_for_name(address: str) -> None:
    """The first Pod's name is known once it has an address; a Pod that starts sooner waits."""
    for attempt in stamina.retry_context(on=socket.gaierror, attempts=None, timeout=FIND_SECONDS, wait_max=5.0):
        with attempt:
            socket.getaddrinfo(address, None)
