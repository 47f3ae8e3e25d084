"""What is in the images, and what is not."""

import json
import tomllib
from pathlib import Path

import pytest

from container_images import UID, Image

pytestmark = pytest.mark.images

ROOT = Path(__file__).parents[2]
LARGEST_MB = {"attune-operator": 650, "attune-trainer": 8500, "attune-serving": 1500}
COMPILERS = "cc gcc g++ c++ clang ld as make cargo rustc go nvcc uv"

LIST_PACKAGES = """
import importlib.metadata, json, re, sys
ours = importlib.metadata.distributions(path=[p for p in sys.path if p.startswith("/opt/attune")])
print(json.dumps({re.sub("[-_.]+", "-", d.name).lower(): d.version for d in ours}))
"""


def test_the_image_is_no_larger_than_it_was_planned(image: Image) -> None:
    megabytes = int(image.sh("du -smx / 2>/dev/null | cut -f1"))
    assert megabytes < LARGEST_MB[image.name.partition(":")[0]], f"{image.name} has {megabytes} MB"


def test_the_image_runs_as_a_user_without_rights(image: Image) -> None:
    assert image.config["User"] == f"{UID}:{UID}"
    assert image.sh("id -u; id -g").split() == [str(UID), str(UID)]


def test_nothing_in_the_image_belongs_to_that_user_or_to_everyone(image: Image) -> None:
    assert image.sh(f"find / -xdev -type f \\( -user {UID} -o -perm -o+w \\) 2>/dev/null || true") == ""


def test_the_image_has_no_compiler_and_no_installer(image: Image) -> None:
    found = image.sh(
        f"for c in {COMPILERS}; do command -v $c || true; done; ls /opt/attune/bin | grep -E '^(pip[0-9.]*|uvx?)$' || true"
    )
    assert found == ""


def test_the_image_has_no_cache_no_package_lists_and_no_sources(image: Image) -> None:
    places = (
        "/root/.cache /src /tmp/* /var/tmp/* /var/lib/apt/lists/*_* /var/cache/apt/archives/*.deb /opt/uv /run/ca.crt"
    )
    assert image.sh(f"for p in {places}; do [ ! -e $p ] || echo $p; done") == ""


def test_the_environment_tells_nothing_about_the_machine_that_built_it(image: Image) -> None:
    names = {entry.partition("=")[0] for entry in image.config["Env"]}
    ours = {"PATH", "HOME", "HF_HOME", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}
    assert names - ours <= {"LANG", "GPG_KEY", "PYTHON_VERSION", "PYTHON_SHA256"}


def test_every_package_has_the_version_of_the_lock_file(image: Image) -> None:
    installed = json.loads(image.execute(["python", "-c", LIST_PACKAGES]).stdout)
    locked: dict[str, set[str]] = {}
    for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]:
        locked.setdefault(package["name"], set()).add(package["version"])
    assert "attune" in installed
    assert {name: version for name, version in installed.items() if version not in locked.get(name, set())} == {}


def test_serving_has_neither_torch_nor_a_kubernetes_client(serving_image: Image) -> None:
    packages = serving_image.sh("ls /opt/attune/lib/python3*/site-packages")
    for name in ("torch", "transformers", "sentence_transformers", "onnx", "nvidia", "kubernetes", "kopf"):
        assert f"\n{name}\n" not in packages


def test_torch_is_in_the_trainer_only(operator_image: Image) -> None:
    packages = operator_image.sh("ls /opt/attune/lib/python3*/site-packages")
    for name in ("torch", "transformers", "sentence_transformers", "onnxruntime", "nvidia", "lancedb", "pandas"):
        assert f"\n{name}\n" not in packages


def test_every_compiled_library_of_the_operator_can_be_loaded(operator_image: Image) -> None:
    """A slim image may lack a shared library that a wheel expects. scipy computes the statistics of tests and of rollbacks."""
    wanted = "attune.rest.app, attune.handlers, orjson, pydantic_core, scipy.special, uvloop"
    done = operator_image.execute(["python", "-c", f"import {wanted}"])
    assert done.returncode == 0, done.stderr


def test_every_compiled_library_of_serving_can_be_loaded(serving_image: Image) -> None:
    wanted = "attune_serving.app, lancedb, onnxruntime, openvino, psycopg, pyarrow, qdrant_client, s3fs, gcsfs, tokenizers, uvloop"
    done = serving_image.execute(["python", "-c", f"import {wanted}"])
    assert done.returncode == 0, done.stderr
