"""Which versions are kept, loaded, and may be deleted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attune.api import ModelVersion, Retriever, StageRun
from attune.contract import ModelType
from attune.decide import retention, upkeep
from versions import NOW, a_retriever, a_version

KIND = ModelType.EMBEDDING


def serving(active: str, previous: str | None = None, **spec: Any) -> Retriever:
    return a_retriever(
        {"embedding": {"active": active, "previous": previous} if previous else {"active": active}}, **spec
    )


def names(versions: tuple[ModelVersion, ...]) -> set[str]:
    return {v.metadata.name for v in versions}


def test_the_newest_three_and_what_is_pointed_to_are_kept() -> None:
    versions = [a_version(n, "active" if n == 1 else "staged") for n in range(1, 7)]
    assert retention.kept(serving("emb-v1"), versions, KIND) == {"emb-v1", "emb-v4", "emb-v5", "emb-v6"}


def test_kept_versions_that_served_stay_loaded_and_mere_candidates_do_not() -> None:
    served = {"promotedAt": "2026-03-15T12:00:00Z"}
    versions = (a_version(1, "deprecated", **served), a_version(2, "active", **served), a_version(3))
    assert names(retention.loaded(serving("emb-v2", "emb-v1"), versions, KIND)) == {"emb-v1", "emb-v2"}


def test_a_quarantined_version_is_not_loaded() -> None:
    quarantined = [{"version": "emb-v1", "cause": "errors", "at": "2026-03-15T12:00:00Z"}]
    retriever = a_retriever({"embedding": {"active": "emb-v2"}, "quarantined": quarantined})
    versions = (a_version(1, "deprecated", promotedAt="2026-03-15T12:00:00Z"), a_version(2, "active"))
    assert names(retention.loaded(retriever, versions, KIND)) == {"emb-v2"}


@pytest.mark.parametrize(
    ("version", "why"),
    [
        (a_version(1, "active"), "it serves"),
        (a_version(1, "deprecated", "r9"), "somebody asks for it"),
        (a_version(1, "training"), "it is being made"),
        (a_version(1, "deprecated", artifact=None), "there is nothing to delete"),
    ],
)
def test_it_is_not_deleted_when(version: ModelVersion, why: str) -> None:
    others = [a_version(n) for n in range(2, 7)]
    assert retention.expendable(version, serving("emb-v1" if why == "it serves" else "emb-v2"), others) is None


def test_what_is_older_than_the_kept_ones_goes_and_says_why() -> None:
    others = [a_version(n, "active" if n == 5 else "deprecated") for n in range(2, 6)]
    assert "older than the 3 kept versions" in str(
        retention.expendable(a_version(1, "deprecated"), serving("emb-v5"), others)
    )


def test_a_failed_version_stays_while_an_older_one_is_kept() -> None:
    others = [a_version(1, "active"), a_version(3)]
    assert retention.expendable(a_version(2, "failed"), serving("emb-v1"), others) is None
    newer = [a_version(n) for n in (3, 4, 5)] + [a_version(1, "active")]
    assert retention.expendable(a_version(2, "failed"), serving("emb-v1"), newer) is not None


def test_files_that_another_version_names_stay() -> None:
    twin = a_version(9)
    twin = twin.model_copy(update={"spec": twin.spec.model_copy(update={"artifact": a_version(1).spec.artifact})})
    others = [*(a_version(n) for n in range(3, 7)), twin]
    assert retention.expendable(a_version(1, "deprecated"), serving("emb-v6"), others) is None


@given(
    st.lists(st.sampled_from(["staged", "active", "deprecated", "failed", "training"]), min_size=1, max_size=9),
    st.integers(1, 4),
    st.data(),
)
def test_nothing_that_is_pointed_to_is_ever_expendable(stages: list[str], keep: int, data: st.DataObject) -> None:
    versions = [a_version(n, stage) for n, stage in enumerate(stages, 1)]
    active = data.draw(st.sampled_from(versions)).metadata.name
    previous = data.draw(st.sampled_from(versions)).metadata.name
    retriever = serving(active, previous, history={"keepVersions": keep})
    gone = {
        v.metadata.name for v in versions if retention.expendable(v, retriever, [o for o in versions if o is not v])
    }
    assert not gone & {active, previous}
    able = {v.metadata.name for v in versions if retention.could_serve(v)}
    assert len(able - gone) >= min(keep, len(able))


def run(**fields: Any) -> StageRun:
    return StageRun(run=1, **fields)


def test_the_next_run_follows_the_interval_after_success_and_ten_minutes_after_failure() -> None:
    hour = timedelta(hours=1)
    assert upkeep.due_again(None, None, hour, NOW) == timedelta()
    done = run(finished_at=NOW)
    assert upkeep.due_again(done, NOW, hour, NOW + timedelta(minutes=20)) == timedelta(minutes=40)
    assert upkeep.due_again(done, NOW, hour, NOW + timedelta(hours=2)) == timedelta()
    failed = run(finished_at=NOW, reason="DiskFull")
    assert upkeep.due_again(failed, NOW - hour, hour, NOW + timedelta(minutes=4)) == timedelta(minutes=6)
    assert upkeep.due_again(failed, None, timedelta(minutes=1), NOW) == timedelta(minutes=1)


def test_an_open_run_goes_on_and_a_finished_one_is_followed_by_the_next() -> None:
    assert upkeep.open_run(None).run == 1
    assert upkeep.open_run(run(failures=2)).failures == 2
    following = upkeep.open_run(run(finished_at=NOW, failures=2, reason="DiskFull"))
    assert (following.run, following.failures, following.reason) == (2, 0, None)
