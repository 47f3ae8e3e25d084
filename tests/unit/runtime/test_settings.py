"""The environment of the operator: defaults, what is accepted, and the one line for what is not."""

import subprocess
import sys

import pytest

from attune.settings import SettingsError, load_settings, unknown_variables


def test_without_variables_the_documented_defaults_hold():
    settings = load_settings({})
    assert settings.finetune_enabled is False
    assert settings.finetune_provider == "local"
    assert settings.finetune_min_examples == 1000
    assert settings.finetune_auto_promote is False
    assert settings.openai_finetune_model == "text-embedding-3-small"
    assert settings.namespaces == ()


def test_every_variable_is_read():
    settings = load_settings(
        {
            "FINETUNE_ENABLED": "true",
            "FINETUNE_PROVIDER": "OpenAI",
            "FINETUNE_SCHEDULE": " weekly ",
            "FINETUNE_MIN_EXAMPLES": "50",
            "ATTUNE_NAMESPACES": "team-a, team-b,",
            "ATTUNE_NOTIFICATION_HOSTS": "hooks.slack.com, *.example.com, 10.0.0.7, fd00::1",
            "ATTUNE_TRAINER_IMAGE": "trainer:1",
        }
    )
    assert settings.finetune_enabled is True
    assert settings.finetune_provider == "openai"
    assert settings.finetune_schedule == "weekly"
    assert settings.finetune_min_examples == 50
    assert settings.namespaces == ("team-a", "team-b")
    assert settings.notification_hosts == ("hooks.slack.com", "*.example.com", "10.0.0.7", "fd00::1")
    assert settings.trainer_image == "trainer:1"


def test_an_empty_variable_is_an_absent_one():
    assert load_settings({"ATTUNE_WORKERS": "", "ATTUNE_NAMESPACES": " "}) is not None


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("FINETUNE_PROVIDER", "azure", 'FINETUNE_PROVIDER="azure": allowed are openai, local'),
        ("FINETUNE_SCHEDULE", "daily", 'FINETUNE_SCHEDULE="daily": allowed are weekly, monthly, manual'),
        ("FINETUNE_ENABLED", "maybe", 'FINETUNE_ENABLED="maybe": allowed are true, false'),
        ("FINETUNE_MIN_EXAMPLES", "0", 'FINETUNE_MIN_EXAMPLES="0": allowed are whole numbers ≥ 1'),
        ("FINETUNE_MIN_EXAMPLES", "many", 'FINETUNE_MIN_EXAMPLES="many": allowed are whole numbers ≥ 1'),
        ("ATTUNE_HTTP_PORT", "70000", 'ATTUNE_HTTP_PORT="70000": allowed are whole numbers ≥ 0, ≤ 65535'),
        ("ATTUNE_REQUEST_SECONDS", "-1", 'ATTUNE_REQUEST_SECONDS="-1": allowed are numbers > 0, ≤ 300'),
        ("ATTUNE_LOG_LEVEL", "loud", 'ATTUNE_LOG_LEVEL="loud": allowed are debug, info, warning, error'),
        (
            "ATTUNE_LEASE_NAME",
            "My_Lease",
            'ATTUNE_LEASE_NAME="My_Lease": allowed are lower-case letters, digits and hyphens',
        ),
        (
            "ATTUNE_NAMESPACES",
            "a,B",
            "ATTUNE_NAMESPACES=\"a,B\": 'B' is no namespace; allowed are names like team-a,team-b, or nothing for all",
        ),
        ("ATTUNE_NAMESPACES", "a,a", "ATTUNE_NAMESPACES names a namespace twice; name each once"),
        (
            "ATTUNE_NOTIFICATION_HOSTS",
            "hooks.slack.com,https://x",
            "ATTUNE_NOTIFICATION_HOSTS=\"hooks.slack.com,https://x\": 'https://x' is no host; allowed are names like "
            "hooks.slack.com,*.example.com,10.0.0.7",
        ),
        (
            "ATTUNE_KUBECONFIG",
            "/no/file",
            'ATTUNE_KUBECONFIG="/no/file": no such file; allowed is the path of a file',
        ),
    ],
)
def test_a_bad_value_is_one_line_that_names_the_variable_and_what_is_allowed(variable, value, line):
    with pytest.raises(SettingsError) as e:
        load_settings({variable: value})
    assert str(e.value) == line


def test_two_bad_values_are_both_named():
    with pytest.raises(SettingsError, match=r"FINETUNE_PROVIDER=.*; ATTUNE_WORKERS="):
        load_settings({"FINETUNE_PROVIDER": "x", "ATTUNE_WORKERS": "0"})


def test_settings_written_out_and_read_back_are_the_same():
    given = {"FINETUNE_ENABLED": "true", "ATTUNE_NAMESPACES": "a,b", "ATTUNE_RETRY_SECONDS": "0.5"}
    settings = load_settings(given)
    assert load_settings({k: v for k, v in settings.by_variable().items() if v}) == settings


def test_a_typing_error_in_a_variable_is_noticed():
    environ = {"FINETUNE_PROVIDR": "openai", "FINETUNE_ENABLED": "true", "ATTUNE_OPERATOR_PORT": "tcp://10.0.0.1:8080"}
    assert unknown_variables(environ) == ["FINETUNE_PROVIDR"]


def operator(*arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "attune", *arguments],
        env={"PATH": "/usr/bin:/bin", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_process_ends_with_2_and_one_line_for_a_bad_value():
    ended = operator(FINETUNE_PROVIDER="azure")
    assert ended.returncode == 2
    assert ended.stderr == 'attune-operator: FINETUNE_PROVIDER="azure": allowed are openai, local\n'
    assert ended.stdout == ""


def test_help_and_version_import_next_to_nothing():
    code = (
        "import sys, runpy; sys.argv = ['attune-operator', '--version']\n"
        "try: runpy.run_module('attune', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'kopf', 'kubernetes', 'pydantic', 'aiohttp', 'torch'}))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "attune 0.1.0\n[]\n"


def test_settings_can_be_printed():
    ended = operator("--settings", FINETUNE_MIN_EXAMPLES="7")
    assert ended.returncode == 0
    assert "FINETUNE_MIN_EXAMPLES=7\n" in ended.stdout
    assert "ATTUNE_NAMESPACES=\n" in ended.stdout
