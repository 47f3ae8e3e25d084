"""Names of what the operator makes."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attune.api import names
from attune.contract import ModelType, Stage

DNS_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
owners = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?){0,3}", fullmatch=True)
uids = st.uuids().map(str)
attempts = st.integers(1, 1000)
stages = st.sampled_from(list(Stage))
runs = st.tuples(owners, uids, attempts, stages)


def test_a_version_is_named_by_type_number_and_day() -> None:
    day = date(2026, 3, 15)
    assert names.version_name(ModelType.EMBEDDING, 2, day) == "emb-v2-20260315"
    assert names.version_name(ModelType.RERANKER, 11, day) == "rer-v11-20260315"


def test_versions_count_from_one() -> None:
    with pytest.raises(ValueError, match="count from 1"):
        names.version_name(ModelType.EMBEDDING, 0, date(2026, 3, 15))


def test_a_stage_job_is_readable() -> None:
    assert re.match(r"^news-march-train-2-[0-9a-f]{8}$", names.stage_job_name("news-march", "u1", 2, Stage.TRAIN))


@given(runs)
def test_a_stage_job_name_is_a_dns_label_and_always_the_same(run: tuple[str, str, int, Stage]) -> None:
    name = names.stage_job_name(*run)
    assert DNS_LABEL.match(name), name
    assert name == names.stage_job_name(*run)


@given(runs, runs)
def test_two_runs_never_share_a_name(one: tuple[str, str, int, Stage], other: tuple[str, str, int, Stage]) -> None:
    assert (names.stage_job_name(*one) == names.stage_job_name(*other)) == (one == other)


@given(owners, uids, uids)
def test_an_owner_made_again_under_its_name_has_other_jobs(owner: str, uid: str, other: str) -> None:
    same = names.stage_job_name(owner, uid, 1, Stage.PREPARE) == names.stage_job_name(owner, other, 1, Stage.PREPARE)
    assert same == (uid == other)


@given(owners, owners)
def test_children_of_two_owners_have_two_names(one: str, other: str) -> None:
    first, second = names.child_name(one, "serving"), names.child_name(other, "serving")
    assert DNS_LABEL.match(first)
    assert (first == second) == (one == other)


def test_a_short_owner_keeps_its_name() -> None:
    assert names.child_name("news", "serving") == "news-serving"


def test_the_name_of_a_job_of_many_pods_leaves_room_for_the_number_of_each() -> None:
    name = names.stage_job_name("x" * 200, "u1", 1, Stage.TRAIN, pods=1024)
    assert len(f"{name}-1023") == names.LABEL_LENGTH
    assert names.stage_job_name("news", "u1", 1, Stage.TRAIN, pods=2) == names.stage_job_name(
        "news", "u1", 1, Stage.TRAIN
    )


def test_what_runs_for_a_scheduled_time_is_named_by_its_minute_in_utc() -> None:
    at = datetime(2026, 3, 29, 3, 0, tzinfo=ZoneInfo("Europe/Berlin"))
    assert names.scheduled_run(at) == 202603290100
    assert names.scheduled_time(202603290100) == at
    assert [names.scheduled_time(n) for n in (1, 0, 202613010000, 10**15)] == [None] * 4


def test_a_scheduled_training_job_is_named_by_schedule_uid_and_time() -> None:
    at = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
    name = names.scheduled_job_name("monthly", "uid-1", at)
    assert name.startswith("monthly-202603010200-")
    assert name == names.scheduled_job_name("monthly", "uid-1", at)
    others = {names.scheduled_job_name("monthly", uid, at + n * timedelta(minutes=1)) for uid in "ab" for n in range(3)}
    assert len(others) == 6
    long = {names.scheduled_job_name("x" * 200 + end, "u", at) for end in "ab"}
    assert len(long) == 2
    assert all(len(n) == names.LABEL_LENGTH and DNS_LABEL.match(n) for n in long)


def test_a_label_holds_a_long_name_by_its_beginning_and_a_hash() -> None:
    assert names.label_value("news.monthly") == "news.monthly"
    values = {names.label_value("x" * 100 + end) for end in "ab"}
    assert len(values) == 2
    assert all(len(value) == names.LABEL_LENGTH for value in values)
