"""Requests a second and p99 of embedding, beside infinity-emb, a minimal FastAPI server, and the runtimes alone.

Run by hand on an idle machine: `python benchmarks/serving/throughput.py MODEL ARTIFACT PEERS`. MODEL is the sentence-transformers
folder, ARTIFACT its export (`attune-trainer`'s import stage), PEERS a virtual environment with the peers:

    uv venv PEERS
    uv pip install --python PEERS/bin/python "infinity-emb[torch,server]" "transformers<4.49" "sentence-transformers<5" \\
        "optimum<2" "click<8.2" "typer<0.16"
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import typer

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from attune.contract import ModelType, ServedModel, ServedVersion, ServingConfig
from attune_retrieval import manifest
from attune_retrieval.artifact import open_verified
from attune_retrieval.encoding import OnnxEncoder
from benchmarks.machine import machine
from benchmarks.serving.closed_loop import measure

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results" / "serving.json"
CLIENTS = (1, 8, 64)
DOCUMENT_TOKENS = 256


def queries() -> list[str]:
    """Short ones: first lines of docstrings of the standard library."""
    import builtins
    import inspect
    import statistics
    import tempfile
    import urllib.parse

    found = []
    for module in (builtins, os, statistics, tempfile, urllib.parse, json, inspect, socket, subprocess):
        for name in dir(module):
            line = (inspect.getdoc(getattr(module, name)) or "").split("\n")[0][:80]
            if len(line) > 20:
                found.append(line)
    return found[:256]


def documents(encoder: OnnxEncoder) -> list[str]:
    """Of 256 tokens each: docstrings put together and cut by the model's own tokenizer."""
    text = " ".join(queries())
    encoder.tokenizer.no_truncation()
    offsets = encoder.tokenizer.encode(text).offsets
    encoder.tokenizer.enable_truncation(max_length=encoder.max_length)
    starts = [offsets[n * 23 % (len(offsets) - DOCUMENT_TOKENS)][0] for n in range(1, 65)]
    cut = [text[start:] for start in starts]
    encoder.tokenizer.enable_truncation(max_length=DOCUMENT_TOKENS)
    ends = [max(end for _, end in encoder.tokenizer.encode(one).offsets) for one in cut]
    encoder.tokenizer.enable_truncation(max_length=encoder.max_length)
    return [one[:end] for one, end in zip(cut, ends, strict=True)]


@contextmanager
def running(command: list[str], port: int, path: str, environment: dict[str, str]) -> Iterator[None]:
    """A server as a process, from the first good answer until the end."""
    process = subprocess.Popen(
        command,
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until = time.monotonic() + 180
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2)
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"{command[0]} did not start") from None
                time.sleep(0.2)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def config_of(artifact: Path, folder: Path) -> Path:
    told = manifest.read(artifact)
    version = ServedVersion(
        name="model",
        type=ModelType.EMBEDDING,
        uri=str(artifact),
        digest=manifest.sha256(artifact / manifest.NAME),
        dimensions=told.dimensions,
    )
    config = ServingConfig(
        namespace="bench", retriever="bench", generation=1, embedding=ServedModel(active="model"), versions=(version,)
    )
    (folder / "serving.json").write_text(config.to_json())
    return folder / "serving.json"


def encoder_of(artifact: Path, precision: Literal["auto", "fp32"]) -> OnnxEncoder:
    encoder = open_verified(artifact, None, precision=precision).encoder
    assert isinstance(encoder, OnnxEncoder)
    return encoder


def raw(encoder: OnnxEncoder, texts: list[str], batch: int, seconds: float) -> float:
    """Texts a second of a runtime alone, tokens included, in batches as large as there are clients, sorted by length."""
    began, done = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        start = done % len(texts)
        encoder.encode([texts[(start + n) % len(texts)] for n in range(batch)], "query")
        done += batch
    return done / (time.monotonic() - began)


def peers_of(model: Path, artifact: Path, peers: Path, folder: Path) -> dict[str, tuple[list[str], str, int]]:
    """Command, path of the first good answer, and port of each server."""
    ports = [free_port() for _ in range(3)]
    python, config = str(peers / "bin" / "python"), str(config_of(artifact, folder))
    attune = [sys.executable, "-m", "attune_serving", "--config", config, "--port", str(ports[0])]
    infinity = [str(peers / "bin" / "infinity_emb"), "v2", "--model-id", str(model), "--engine", "torch"]
    infinity += ["--device", "cpu", "--no-bettertransformer", "--host", "127.0.0.1", "--port", str(ports[1])]
    infinity += ["--served-model-name", "model", "--url-prefix", "/v1", "--no-model-warmup"]
    minimal = [python, str(HERE / "peers" / "minimal_server.py"), str(model), str(ports[2])]
    return {
        "attune": (attune, "/readyz", ports[0]),
        "infinity": (infinity, "/health", ports[1]),
        "minimal": (minimal, "/readyz", ports[2]),
    }


def measured(peer: tuple[list[str], str, int], texts: dict[str, list[str]], seconds: float) -> dict[str, Any]:
    """Every kind of text at every number of clients."""
    command, path, port = peer
    own = {"ATTUNE_HTTP_HOST": "127.0.0.1", "DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}
    found: dict[str, Any] = {}
    with running(command, port, path, own):
        measure(port, 4, texts["queries"], seconds=3, model="model")
        for kind, some in texts.items():
            for clients in CLIENTS:
                one = measure(port, clients, some, seconds=seconds, model="model")
                found.setdefault(kind, {})[clients] = {**asdict(one), "perSecond": round(one.per_second, 1)}
                print(Path(command[0]).name, kind, clients, found[kind][clients], flush=True)
    return found


def main(model: Path, artifact: Path, peers: Path, seconds: float = 15.0) -> None:
    """Write benchmarks/results/serving.json."""
    started: dict[str, Any] = machine()
    encoders = {"onnxruntime": encoder_of(artifact, "fp32"), "asServed": encoder_of(artifact, "auto")}
    texts = {"queries": queries(), "documents": documents(encoders["onnxruntime"])}
    found: dict[str, Any] = {"precision": encoders["asServed"].graph.precision}
    for runtime, encoder in encoders.items():
        found[runtime] = {k: {c: round(raw(encoder, t, c, seconds / 2), 1) for c in CLIENTS} for k, t in texts.items()}
        print(runtime, found[runtime], flush=True)
    encoders.clear()
    with TemporaryDirectory() as name:
        for peer, how in peers_of(model, artifact, peers, Path(name)).items():
            found[peer] = measured(how, texts, seconds)

    def over(peer: str) -> dict[str, float]:
        return {
            f"{k} {c}": round(
                found["attune"][k][c]["perSecond"]
                / (found[peer][k][c] if peer in ("onnxruntime", "asServed") else found[peer][k][c]["perSecond"]),
                2,
            )
            for k in texts
            for c in CLIENTS
        }

    result = {
        "what": "embedding requests a second, one text each, by number of clients",
        "machine": started,
        "seconds": seconds,
        **found,
        "attuneOverInfinity": over("infinity"),
        "attuneOverMinimal": over("minimal"),
        "attuneOverOnnxruntime": over("onnxruntime"),
        "attuneOverItsRuntime": over("asServed"),
    }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({k: v for k, v in result.items() if "Over" in k}, indent=1))


if __name__ == "__main__":
    typer.run(main)
