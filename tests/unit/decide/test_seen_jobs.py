"""A Job and its Pods, read into one value: an Indexed Job's shards become one result."""

from __future__ import annotations

from typing import Any

from attune.contract import IndexSummary, Stage, StageResult, combine_digests, corpus_digest
from attune.observation import seen_job

DOCUMENTS = [("1", "one"), ("2", "two"), ("3", "three")]


def job(completions: int, *, failed: bool = False) -> dict[str, Any]:
    kind = "Failed" if failed else "Complete"
    return {
        "metadata": {
            "name": "v2-index-1-1",
            "uid": "u",
            "creationTimestamp": "2026-03-15T12:00:00Z",
            "labels": {"attune.dev/stage": "index", "attune.dev/attempt": "1", "attune.dev/run": "3"},
        },
        "spec": {"completionMode": "Indexed", "completions": completions},
        "status": {"conditions": [{"type": kind, "status": "True", "lastTransitionTime": "2026-03-15T12:05:00Z"}]},
    }


def shard(number: int, *, exit_code: int = 0, result: StageResult | None = None, name: str = "") -> dict[str, Any]:
    terminated: dict[str, Any] = {"exitCode": exit_code}
    if result is not None:
        terminated["message"] = result.termination_message()
    return {
        "metadata": {
            "name": name or f"pod-{number}",
            "creationTimestamp": f"2026-03-15T12:00:0{number}Z",
            "annotations": {"batch.kubernetes.io/job-completion-index": str(number)},
        },
        "status": {
            "phase": "Failed" if exit_code else "Succeeded",
            "containerStatuses": [{"name": "trainer", "state": {"terminated": terminated}}],
        },
    }


def done(number: int) -> StageResult:
    summary = IndexSummary(
        collection="c", documents=1, embedded=number, digest=corpus_digest([DOCUMENTS[number]]), shard=number, sampled=2
    )
    return StageResult(
        stage=Stage.INDEX, spec_digest="d", succeeded=True, reason="Completed", message="m", index=summary
    )


def test_the_shards_of_an_indexed_job_are_one_result_with_the_digest_of_the_whole_corpus() -> None:
    found = seen_job(job(3), [shard(n, result=done(n)) for n in range(3)])
    assert found.run == 3
    assert found.result is not None
    assert found.result.index == IndexSummary(
        collection="c", documents=3, embedded=3, digest=corpus_digest(DOCUMENTS), sampled=6
    )


def test_a_shard_that_ran_twice_counts_once() -> None:
    pods = [shard(0, result=done(0)), shard(0, result=done(0), name="again"), shard(1, result=done(1))]
    found = seen_job(job(2), pods)
    assert found.result is not None
    assert found.result.index is not None
    assert found.result.index.documents == 2


def test_without_the_result_of_every_shard_there_is_none() -> None:
    assert seen_job(job(3), [shard(0, result=done(0)), shard(1, result=done(1))]).result is None


def test_the_shard_that_failed_tells_why_the_job_did() -> None:
    problem = StageResult(
        stage=Stage.INDEX, spec_digest="d", succeeded=False, reason="DiskFull", message="no room left"
    )
    found = seen_job(job(2, failed=True), [shard(1, result=done(1)), shard(0, exit_code=74, result=problem)])
    assert found.exit_code == 74
    assert found.result == problem


def test_digests_add_up_whatever_the_order_and_the_cut() -> None:
    whole = corpus_digest(DOCUMENTS)
    assert whole == corpus_digest(reversed(DOCUMENTS))
    assert whole == combine_digests([corpus_digest(DOCUMENTS[:1]), corpus_digest(DOCUMENTS[1:])])
    assert whole != corpus_digest([("1", "one"), ("2", "two"), ("3", "thre")])
    assert corpus_digest([("a", "bc")]) != corpus_digest([("ab", "c")])
