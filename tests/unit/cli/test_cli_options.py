"""Where the options of kubectl may stand."""

from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from attune.cli import app as commands
from attune.cli.ab_tests import commands as test_commands

ELSEWHERE = ["-n", "team", "--context", "blue", "--kubeconfig", "/nowhere"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What each command would talk to; it ends there."""
    found: list[tuple[Any, ...]] = []

    def where(*place: Any) -> None:
        found.append(place)
        raise typer.Exit

    monkeypatch.setattr(commands, "where", where)
    monkeypatch.setattr(test_commands, "where", where)
    return found


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["history"],
        ["promote", "emb-v2"],
        ["rollback"],
        ["diff", "emb-v1", "emb-v2"],
        ["logs", "emb-v2"],
        ["search", "a query"],
        ["report", "emb-v2"],
        ["registry", "rebuild", "news"],
        ["test", "list"],
        ["test", "show", "news-v2"],
        ["test", "report", "news-v2"],
        ["test", "cancel", "news-v2"],
        ["test", "plan", "--effect", "0.02"],
    ],
    ids=" ".join,
)
def test_namespace_context_and_kubeconfig_may_stand_before_the_command_or_behind_it(
    asked: list[tuple[Any, ...]], command: list[str]
) -> None:
    runner = CliRunner()
    for line in ([*ELSEWHERE, *command], [*command, *ELSEWHERE]):
        assert runner.invoke(commands.app, line).exit_code == 0
    assert asked == [("team", "blue", Path("/nowhere"))] * 2


def test_what_stands_behind_the_command_counts(asked: list[tuple[Any, ...]]) -> None:
    assert CliRunner().invoke(commands.app, ["-n", "one", "status", "-n", "other"]).exit_code == 0
    assert asked == [("other", None, None)]
