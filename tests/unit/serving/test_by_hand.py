"""`attune-serving` on a command line, and what its process is made of."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from artifacts import Made
from attune_serving.settings import SettingsError, load_settings
from serving_process import ServingProcess, served, serving_config


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "attune_serving", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_configuration_in_a_file_is_served_and_the_file_followed(
    process: Callable[..., ServingProcess], one: Made, two: Made
) -> None:
    server = process(ATTUNE_CONFIG_FILE="", ATTUNE_CONFIG_MAP="not-asked-for", ATTUNE_CACHE="")
    server.tell(serving_config(served(one)))
    server.arguments = ["--config", str(server.config_file), "--port", "0"]
    server.start()
    server.until(server.ready)
    assert server.post("/v1/embeddings", {"input": "red"}).headers["x-attune-version"] == one.name
    server.tell(serving_config(served(two), generation=2))
    server.until(lambda: server.report().active["embedding"] == two.name)
    assert server.stop() == 0


def test_a_configuration_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    done = run("--config", str(tmp_path / "absent.json"))
    assert done.returncode == 2
    assert done.stderr == f"--config {tmp_path / 'absent.json'}: there is no such file; give a ServingConfig as JSON\n"


def test_a_port_that_is_taken_ends_it_with_an_error(process: Callable[..., ServingProcess], one: Made) -> None:
    server = process()
    server.start()
    done = run("--port", server.url.rpartition(":")[2], ATTUNE_HTTP_HOST="127.0.0.1")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"ATTUNE_HTTP_PORT={server.url.rpartition(':')[2]}: Address already in use" in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ATTUNE_HTTP_PORT", "70000"),
        ("ATTUNE_MAX_TEXTS", "0"),
        ("ATTUNE_LOG_LEVEL", "loud"),
        ("ATTUNE_SEARCH_SECONDS", "soon"),
        ("ATTUNE_RETRY_SECONDS", "-1"),
        ("ATTUNE_PRECISION", "int8"),
    ],
)
def test_a_setting_that_is_wrong_is_named_with_its_value(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f'^{name}="{value}": ') as wrong:
        load_settings({name: value})
    assert "\n" not in str(wrong.value)


def test_settings_that_are_empty_are_as_if_they_were_not_there() -> None:
    assert load_settings({"ATTUNE_CACHE": " ", "ATTUNE_HTTP_PORT": ""}) == load_settings({})


def test_no_torch_and_no_client_of_kubernetes_is_in_the_process() -> None:
    code = "import attune_serving.__main__, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert "attune_serving" in loaded
    assert not loaded & {"torch", "transformers", "sentence_transformers", "kubernetes", "kopf", "attune_trainer"}
