"""What computes a graph: onnxruntime in float32, OpenVINO in bfloat16 on CPUs that have instructions for it. Used by `graph`.

benchmarks/serving/throughput.py measures what each brings, docs/adr/0038 says why there are two.
"""

import os
import sys
import threading
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Literal, Protocol
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from attune_retrieval.priority import gently

Precision = Literal["fp32", "bf16"]
BF16_INSTRUCTIONS = frozenset({"amx_bf16", "avx512_bf16"})
"""Intel's matrix units, and the dot products of AVX-512 (AMD since Zen 4), as /proc/cpuinfo calls them."""
WIDTH_STEP = 8
"""OpenVINO makes code for each shape: widths that are rounded up are eight times fewer, and cost little padding."""
SHAPES_KEPT = 500
"""Pieces of such code that are remembered; without a limit a replica grows by a gigabyte. Fewer are hardly slower."""
FIRST_BATCH = (64, 1)
"""Texts and tokens of the first inference: enough for every thread that will compute to be started by it."""
_opening = threading.Lock()
"""OpenVINO's first inference of a process makes tables: two threads that both make them wait for each other, and all others for them."""
_alive: "WeakSet[OpenVino]" = WeakSet()
"""While there is one, its threads compute for all: what is opened beside it can step back without leaving them behind."""


class Runtime(Protocol):
    """A graph that is ready to compute; may be called by several threads at once."""

    precision: Precision
    inputs: frozenset[str]
    width_step: int

    def run(self, feed: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """The graph's first output."""


def open_runtime(path: Path, precision: Precision, threads: int) -> Runtime:
    """The graph in `path`. What the libraries raise where it is damaged is passed on."""
    return OpenVino(path, threads) if precision == "bf16" else OnnxRuntime(path, threads)


@cache
def fastest_precision() -> Precision:
    """bf16 where this processor has instructions for it, and no GPU is there to compute in its stead."""
    return "bf16" if find_spec("openvino") and _cpu_flags() & BF16_INSTRUCTIONS and not _has_gpu() else "fp32"


def _cpu_flags(path: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Of the first processor; empty where Linux does not tell."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))


def _has_gpu() -> bool:
    import onnxruntime  # type: ignore[import-untyped]

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


class OnnxRuntime:
    """float32, on a GPU where onnxruntime has one, else on the CPU."""

    precision: Precision = "fp32"
    width_step = 1

    def __init__(self, path: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Measured on a CPU: the fused layers of the higher levels are slower than the plain ones.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.log_severity_level = 3
        there = onnxruntime.get_available_providers()
        providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in there]
        self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        self.inputs = frozenset(value.name for value in self._session.get_inputs())
        self._output = self._session.get_outputs()[0].name

    def run(self, feed: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """As `Runtime.run`."""
        (found,) = self._session.run([self._output], dict(feed))
        return np.asarray(found, dtype=np.float32)


@cache
def _core() -> Any:
    """OpenVINO, once and for as long as the process lives; called with `_opening` held.

    Opened, it gives its thread a stack for signals, which its end takes back: only in that thread, and only if nothing was opened
    meanwhile. Else the next signal of that thread ends the process.
    """
    # A process of a cluster reports to nobody: without this module OpenVINO has no way to.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino  # type: ignore[import-untyped]

    return openvino.Core()


class OpenVino:
    """bfloat16 on the CPU: weights and products; sums stay float32."""

    precision: Precision = "bf16"
    width_step = WIDTH_STEP

    def __init__(self, path: Path, threads: int) -> None:
        properties: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "bf16",
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,
            "CPU_RUNTIME_CACHE_CAPACITY": SHAPES_KEPT,
        }
        self._idle: SimpleQueue[Any] = SimpleQueue()

        def opened() -> None:
            self._compiled = _core().compile_model(os.fspath(path), "CPU", properties)
            self.inputs = frozenset(value.get_any_name() for value in self._compiled.inputs)
            self.run({name: np.zeros(FIRST_BATCH, np.int64) for name in self.inputs})

        with _opening:
            others = list(_alive)  # held, so that none of them ends meanwhile
            gently(opened) if others else opened()
            _alive.add(self)

    def __del__(self) -> None:
        # Its requests go last: they give the memory back without the interpreter's lock, the model itself would hold it for 30 ms.
        self.__dict__.pop("_compiled", None)

    def run(self, feed: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """As `Runtime.run`. One request for each thread that computes at a time."""
        try:
            request = self._idle.get_nowait()
        except Empty:
            request = self._compiled.create_infer_request()
        found = np.array(request.infer(dict(feed))[0], dtype=np.float32)
        self._idle.put(request)
        return found
