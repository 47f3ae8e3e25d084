"""An evaluation that is retried pays for no judgement twice, and takes none that is not of the same question."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from attune.contract import ArtifactRef, JudgeSource, OwnerRef, Stage, StageSpec
from attune_retrieval import store
from attune_trainer import stages
from attune_trainer.errors import Interrupted
from attune_trainer.evaluate.comparison import Beyond
from attune_trainer.evaluate.judged_before import Judged, JudgedBefore
from attune_trainer.evaluate.judging import AT_ONCE, REPEATS, Sitting, judged
from attune_trainer.stage_work import judgements_uri
from compared import EqualVectors, compared, ranked
from judge_server import TOKENS, JudgeServer

A_CASE = 1 + 3 * REPEATS
"""Requests: an answer, and for each repeat two for faithfulness and one for relevance."""
ALL = 12 * A_CASE
ONE = Judged(scores={"faithfulness": [1.0]}, calls=7, tokens=70)


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    made = JudgeServer()
    yield made
    made.stop()


@pytest.fixture
def before(tmp_path: Path) -> JudgedBefore:
    return JudgedBefore(str(tmp_path / "judgements"), "sha256:one")


def evaluated(
    server: JudgeServer, before: JudgedBefore, encoder: EqualVectors | None = None, stop_at: int = 0
) -> Beyond:
    """Twelve queries; with `stop_at` SIGTERM comes once so many requests were made."""

    def check() -> None:
        if stop_at and len(server.asked) >= stop_at:
            raise Interrupted("SIGTERM")

    source = JudgeSource(url=server.url, model="judge-1")
    asked_of = encoder or EqualVectors()
    return judged(compared(ranked(1), None), Sitting(source, asked_of, 12, 1, 200, check=check, before=before))


def test_a_second_try_asks_nothing_and_says_the_same(server: JudgeServer, before: JudgedBefore) -> None:
    first = evaluated(server, before)
    assert len(server.asked) == ALL
    second = evaluated(server, before)
    assert len(server.asked) == ALL
    assert second.candidate == first.candidate == {"faithfulness": 1.0, "relevance": 1.0}
    assert first.judge is not None
    assert second.judge is not None
    assert second.judge == first.judge
    assert (second.judge.calls, second.judge.tokens) == (ALL, ALL * TOKENS)


def test_after_a_kill_only_what_was_being_asked_is_asked_again(server: JudgeServer, before: JudgedBefore) -> None:
    with pytest.raises(Interrupted):
        evaluated(server, before, stop_at=ALL // 2)
    assert len(server.asked) < ALL
    found = evaluated(server, before)
    assert found.candidate == {"faithfulness": 1.0, "relevance": 1.0}
    assert found.judge is not None
    assert found.judge.calls == ALL
    assert ALL <= len(server.asked) <= ALL + AT_ONCE * A_CASE


def test_what_no_one_could_read_is_asked_again(server: JudgeServer, before: JudgedBefore) -> None:
    server.rubbish = {"question": "What?"}
    assert evaluated(server, before).candidate == {"faithfulness": 1.0}
    server.rubbish = {}
    assert evaluated(server, before).candidate == {"faithfulness": 1.0, "relevance": 1.0}


def test_passages_that_do_not_answer_are_remembered_too(server: JudgeServer, before: JudgedBefore) -> None:
    server.unanswered = True
    assert evaluated(server, before).candidate == {"faithfulness": 0.0, "relevance": 0.0}
    asked = len(server.asked)
    assert evaluated(server, before).candidate == {"faithfulness": 0.0, "relevance": 0.0}
    assert len(server.asked) == asked


def test_another_judge_is_asked_itself(server: JudgeServer, before: JudgedBefore) -> None:
    evaluated(server, before)
    evaluated(server, JudgedBefore(before.folder, "sha256:other"))
    assert len(server.asked) == 2 * ALL


def test_another_text_is_another_question(before: JudgedBefore) -> None:
    before.keep("who?", ["a text"], ONE)
    assert before.find("who?", ["a text"]) == ONE
    assert before.find("who?", ["another text"]) is None
    assert before.find("what?", ["a text"]) is None


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "[1]",
        '{"scores": {"faithfulness": "high"}, "calls": 1, "tokens": 1}',
        '{"scores": {"faithfulness": [NaN]}, "calls": 1, "tokens": 1}',
        '{"scores": {"faithfulness": [1.0]}, "calls": -1, "tokens": 1}',
    ],
)
def test_a_damaged_file_is_no_judgement(server: JudgeServer, before: JudgedBefore, damage: str) -> None:
    evaluated(server, before)
    (name, *_) = store.list_names(before.folder)
    store.write_text(f"{before.folder}/{name}", damage)
    assert evaluated(server, before).candidate == {"faithfulness": 1.0, "relevance": 1.0}
    assert len(server.asked) == ALL + A_CASE


def test_they_go_once_the_evaluation_has_its_result(tmp_path: Path) -> None:
    owner = OwnerRef(kind="TrainingJob", namespace="default", name="job", uid="1")
    spec = StageSpec(
        stage=Stage.EVALUATE,
        owner=owner,
        retriever="docs",
        storage=str(tmp_path),
        config={"base_model": "a/model"},  # type: ignore[arg-type]
        model=ArtifactRef(name="v1", uri=str(tmp_path / "v1")),
    )
    kept = JudgedBefore(judgements_uri(spec), spec.digest())
    kept.keep("who?", ["a text"], ONE)
    stages.tidy(spec)
    assert kept.find("who?", ["a text"]) is None
    assert store.list_names(judgements_uri(spec)) == []
