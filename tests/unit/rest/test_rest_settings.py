"""The environment of the API process: defaults, and one line for what is not accepted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from attune.environment import SettingsError
from attune.rest.settings import load_settings


def test_without_variables_the_documented_defaults_hold() -> None:
    settings = load_settings({})
    assert (settings.namespace, settings.namespaces, settings.port) == ("default", (), 8090)
    assert (settings.review_seconds, settings.refusal_seconds) == (10, 2)
    assert settings.serves("anything")


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"ATTUNE_API_PORT": "x"}, 'ATTUNE_API_PORT="x": allowed are whole numbers ≥ 0, ≤ 65535'),
        ({"ATTUNE_API_REVIEW_SECONDS": "301"}, 'ATTUNE_API_REVIEW_SECONDS="301": allowed are numbers ≥ 0, ≤ 300'),
        (
            {"ATTUNE_API_NAMESPACE": "A"},
            'ATTUNE_API_NAMESPACE="A": allowed are lower-case letters, digits and hyphens',
        ),
        (
            {"ATTUNE_API_NAMESPACES": "a,b", "ATTUNE_API_NAMESPACE": "c"},
            'ATTUNE_API_NAMESPACE="c" is not among ATTUNE_API_NAMESPACES; add it, or name another one',
        ),
        (
            {"ATTUNE_API_TLS_CERT_FILE": __file__},
            "give both ATTUNE_API_TLS_CERT_FILE and ATTUNE_API_TLS_KEY_FILE, or neither",
        ),
    ],
)
def test_a_bad_value_is_one_line(given: dict[str, str], line: str) -> None:
    with pytest.raises(SettingsError) as error:
        load_settings(given)
    assert str(error.value) == line


def api(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "attune.rest", *arguments],
        env={"PATH": "/usr/bin:/bin", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_process_ends_with_2_and_one_line_for_a_bad_value_and_without_a_cluster(tmp_path: Path) -> None:
    ended = api(ATTUNE_API_PORT="x")
    assert (ended.returncode, ended.stderr) == (
        2,
        'attune-api: ATTUNE_API_PORT="x": allowed are whole numbers ≥ 0, ≤ 65535\n',
    )
    empty = tmp_path / "kubeconfig"
    empty.write_text("")
    away = api(ATTUNE_API_KUBECONFIG=str(empty))
    assert away.returncode == 2
    assert away.stderr.startswith("attune-api: no cluster to talk to")
    assert "ATTUNE_API_KUBECONFIG" in away.stderr


def test_settings_can_be_printed_and_help_imports_next_to_nothing() -> None:
    assert "ATTUNE_API_MAX_BODY_BYTES=262144\n" in api("--settings").stdout
    code = (
        "import sys, runpy; sys.argv = ['attune-api', '--version']\n"
        "try: runpy.run_module('attune.rest', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'fastapi', 'kubernetes', 'pydantic', 'kopf'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "attune 0.1.0\n[]\n"


def test_the_process_never_loads_kopf_or_models() -> None:
    code = "import sys, attune.rest.process; print(sorted({m.split('.')[0] for m in sys.modules} & {'kopf', 'torch', 'numpy', 'scipy'}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
