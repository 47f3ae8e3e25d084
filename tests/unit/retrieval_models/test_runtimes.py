"""What computes a model: bf16 where the processor has it and the golden answers stay right, else fp32."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from artifacts import Made
from attune_retrieval import artifact as artifacts_module
from attune_retrieval import graph, manifest, runtimes
from attune_retrieval.artifact import GOLDEN, open_verified
from attune_retrieval.encoding import OnnxEncoder
from attune_retrieval.errors import BadData
from attune_retrieval.graph import Graph, Tokens
from tiny_bert import sentences

needs_openvino = pytest.mark.skipif(not find_spec("openvino"), reason="openvino is installed on x86 Linux alone")
TEXTS = [*(text for _, text in sentences()[:40]), "", "gold", "stone " * 60]
Array = NDArray[np.float32]


@pytest.fixture
def bf16_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts_module, "fastest_precision", lambda: "bf16")


@pytest.fixture
def asked_anew() -> Iterator[None]:
    runtimes.fastest_precision.cache_clear()
    yield
    runtimes.fastest_precision.cache_clear()


@pytest.mark.usefixtures("asked_anew")
@pytest.mark.parametrize(
    ("flags", "gpu", "installed", "expected"),
    [
        ({"avx2", "avx512_bf16"}, False, True, "bf16"),
        ({"avx2", "amx_bf16"}, False, True, "bf16"),
        ({"avx2", "avx512f", "avx512_vnni"}, False, True, "fp32"),
        (set(), False, True, "fp32"),
        ({"avx512_bf16"}, True, True, "fp32"),
        ({"avx512_bf16"}, False, False, "fp32"),
    ],
)
def test_bf16_needs_instructions_a_library_and_no_gpu(
    flags: set[str], gpu: bool, installed: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtimes, "_cpu_flags", lambda: frozenset(flags))
    monkeypatch.setattr(runtimes, "_has_gpu", lambda: gpu)
    monkeypatch.setattr(runtimes, "find_spec", lambda name: name if installed else None)
    assert runtimes.fastest_precision() == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            b"processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16\nprocessor : 1\nflags : fpu\n",
            {"fpu", "avx2", "avx512_bf16"},
        ),
        (b"processor\t: 0\nFeatures\t: fp asimd bf16\n", set()),
        (b"", set()),
        (b"flags\xff: \xfe avx2\nflags: fpu\n", {"\N{REPLACEMENT CHARACTER}", "avx2"}),
    ],
)
def test_the_flags_of_a_processor_are_read(text: bytes, expected: set[str], tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_bytes(text)
    assert runtimes._cpu_flags(tmp_path / "cpuinfo") == expected
    assert runtimes._cpu_flags(tmp_path / "missing") == set()


@needs_openvino
@pytest.mark.usefixtures("bf16_here")
def test_vectors_are_those_of_float32_to_three_digits(artifact: Made) -> None:
    exact, fast = (open_verified(artifact.folder, artifact.digest, precision=p).encoder for p in ("fp32", "auto"))
    assert isinstance(exact, OnnxEncoder)
    assert isinstance(fast, OnnxEncoder)
    assert (exact.graph.precision, fast.graph.precision) == ("fp32", "bf16")
    expected, found = exact.encode(TEXTS, "document"), fast.encode(TEXTS, "document")
    assert found.dtype == np.float32
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-2)
    assert ((found * expected).sum(axis=1) / np.linalg.norm(found, axis=1)).min() > 0.999


def test_who_does_not_ask_for_it_gets_float32(artifact: Made) -> None:
    encoder = open_verified(artifact.folder, artifact.digest).encoder
    assert isinstance(encoder, OnnxEncoder)
    assert encoder.graph.precision == "fp32"


@needs_openvino
@pytest.mark.usefixtures("bf16_here")
def test_threads_do_not_disturb_each_other(artifact: Made) -> None:
    encoder = open_verified(artifact.folder, artifact.digest, precision="auto").encoder
    alone = [encoder.encode([text], "query")[0] for text in TEXTS]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            together = list(pool.map(lambda text: encoder.encode([text], "query")[0], TEXTS))
            assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


FIRST_RUNS = """
import faulthandler, sys, threading
from pathlib import Path
import numpy as np
from attune_retrieval.runtimes import open_runtime

def compute():
    runtime = open_runtime(Path(sys.argv[1]), "bf16", 1)
    opened.wait()
    runtime.run({name: np.zeros((1, 4), np.int64) for name in runtime.inputs})

faulthandler.dump_traceback_later(30, exit=True)
sys.setswitchinterval(1e-6)
opened = threading.Barrier(4)
threads = [threading.Thread(target=compute) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


@needs_openvino
def test_the_first_inferences_of_a_process_do_not_wait_for_each_other(artifact: Made) -> None:
    """They did, for ever and in 24 of 25 such processes, and held the interpreter's lock: a replica that answers nobody."""
    command = [sys.executable, "-c", FIRST_RUNS, str(artifact.folder / "onnx" / "model.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


IDLE_THREADS = """
import os, sys, time
from pathlib import Path
import numpy as np
from attune_retrieval.runtimes import open_runtime

def computed():
    of = {}
    for task in Path("/proc/self/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        of[task.name] = (int(fields[16]), int(fields[11]) + int(fields[12]))  # nice, ticks
    return of

runtimes = [open_runtime(Path(sys.argv[1]), "bf16", 2) for _ in range(3)]
del runtimes[0]
own, before, wanted, end = os.getpriority(os.PRIO_PROCESS, 0), computed(), min(2, len(os.sched_getaffinity(0))), time.monotonic() + 60
while True:  # a busy machine lets the second thread wait
    for number in range(400):
        runtimes[number % 2].run({name: np.ones((64, 32), np.int64) for name in runtimes[0].inputs})
    ticks = [(nice, now - before.get(task, (0, 0))[1]) for task, (nice, now) in computed().items()]
    at_work = sum(nice == own and spent > 0 for nice, spent in ticks)
    if at_work >= wanted or time.monotonic() > end:
        break
theirs, ours = (sum(spent for nice, spent in ticks if (nice > own) is gentle) for gentle in (True, False))
print(sum(nice > own for nice, _ in ticks), theirs * 10 < ours, at_work >= wanted)
"""


@needs_openvino
def test_a_second_model_is_opened_gently_and_computed_by_threads_that_do_not_step_back(artifact: Made) -> None:
    """Also when the first one, whose opening started those threads, is gone."""
    command = [sys.executable, "-c", IDLE_THREADS, str(artifact.folder / "onnx" / "model.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    # Those that step back may end what opening was, and no more.
    stepping_back, they_rest, others_work = done.stdout.split()
    assert int(stepping_back) > 0
    assert (they_rest, others_work) == ("True", "True")


SIGNALLED = """
import faulthandler, signal, sys, threading
from pathlib import Path
from attune_retrieval.runtimes import open_runtime

faulthandler.enable()
signal.signal(signal.SIGTERM, lambda *_: print("answered"))
models = [open_runtime(Path(sys.argv[1]), "bf16", 1)]
other = threading.Thread(target=models.clear)
other.start()
other.join()
signal.raise_signal(signal.SIGTERM)
"""


@needs_openvino
def test_a_process_answers_signals_when_another_thread_freed_a_model(artifact: Made) -> None:
    """It died: OpenVINO gave back the memory of a stack for signals that the thread was still told to use."""
    command = [sys.executable, "-c", SIGNALLED, str(artifact.folder / "onnx" / "model.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "answered\n", "")


@needs_openvino
def test_a_model_is_freed_by_its_last_request(artifact: Made) -> None:
    """A request does so without the interpreter's lock. The model itself would hold it for 30 ms, and nobody be answered meanwhile."""
    runtime = runtimes.open_runtime(artifact.folder / "onnx" / "model.onnx", "bf16", 1)
    assert isinstance(runtime, runtimes.OpenVino)
    freed: list[str] = []
    request = runtime._idle.get()
    weakref.finalize(request, freed.append, "request")
    weakref.finalize(runtime._compiled, freed.append, "model")
    runtime._idle.put(request)
    del request, runtime
    assert freed == ["model", "request"]


@needs_openvino
@pytest.mark.usefixtures("bf16_here")
def test_a_model_that_loses_too_much_in_bf16_is_computed_in_float32(
    artifact: Made, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = runtimes.OpenVino.run

    def coarse(self: runtimes.OpenVino, feed: Mapping[str, Any]) -> Array:
        found = whole(self, feed)
        found[:, ::2] *= 1.1
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    monkeypatch.setattr(runtimes.OpenVino, "run", coarse)
    with caplog.at_level(logging.WARNING):
        encoder = open_verified(artifact.folder, artifact.digest, precision="auto").encoder
    assert isinstance(encoder, OnnxEncoder)
    assert encoder.graph.precision == "fp32"
    assert "tried in bf16 and computed in fp32" in caplog.text
    assert "golden text 0 gives cosine 0.99" in caplog.text


@pytest.mark.usefixtures("bf16_here")
@pytest.mark.parametrize("harm", ["golden", "graph"])
def test_a_damaged_model_is_refused_whatever_it_is_computed_in(harm: str, artifact: Made, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(artifact.folder, folder)
    if harm == "golden":
        entries = json.loads((folder / GOLDEN).read_text())
        entries[0]["vector"] = entries[1]["vector"]
        (folder / GOLDEN).write_text(json.dumps(entries))
    else:
        (folder / "onnx" / "model.onnx").write_bytes((folder / "onnx" / "model.onnx").read_bytes()[:2000])
    told = manifest.read(folder)
    manifest.write(folder, told.model_copy(update={"files": manifest.file_digests(folder)}))
    with pytest.raises(BadData) as refused:
        open_verified(folder, None, precision="auto")
    assert refused.value.reason == "ArtifactCorrupt"


class Shapes:
    """A runtime that only remembers what it was given."""

    precision = "bf16"
    inputs = frozenset({"input_ids", "attention_mask"})
    width_step = 8

    def __init__(self) -> None:
        self.seen: list[tuple[tuple[int, ...], int]] = []

    def run(self, feed: Mapping[str, NDArray[np.int64]]) -> Array:
        self.seen.append((feed["input_ids"].shape, int(feed["attention_mask"].sum())))
        return np.zeros((len(feed["input_ids"]), 1), dtype=np.float32)


@pytest.fixture
def make_graph(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], tuple[Graph, Shapes]]:
    def make(window: int) -> tuple[Graph, Shapes]:
        shapes = Shapes()
        monkeypatch.setattr(graph, "open_runtime", lambda *_: shapes)
        return Graph(Path("anywhere"), window=window), shapes

    return make


@pytest.mark.parametrize(
    ("window", "lengths", "width"),
    [(512, [3], 8), (512, [8, 1], 8), (512, [9], 16), (30, [25, 4], 30), (30, [30], 30), (13, [0], 8), (5, [2], 5)],
)
def test_widths_are_rounded_up_but_not_beyond_the_window(
    window: int, lengths: list[int], width: int, make_graph: Callable[[int], tuple[Graph, Shapes]]
) -> None:
    one, shapes = make_graph(window)
    one.run([Tokens([7] * length) for length in lengths])
    assert shapes.seen == [((len(lengths), width), sum(lengths))]


@needs_openvino
def test_nothing_is_reported_to_anybody(artifact: Made, tmp_path: Path) -> None:
    """OpenVINO's own package for it, were it installed, is not even imported."""
    (tmp_path / "openvino_telemetry").mkdir()
    (tmp_path / "openvino_telemetry" / "__init__.py").write_text("raise SystemExit('imported')\n")
    code = (
        "import sys; from pathlib import Path; from attune_retrieval.runtimes import open_runtime;"
        f"print(open_runtime(Path({str(artifact.folder)!r}) / 'onnx' / 'model.onnx', 'bf16', 1).precision)"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "bf16", "")
