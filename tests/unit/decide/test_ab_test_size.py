"""An ABTest stays under 10 kB with ten metrics and all its lists full."""

from __future__ import annotations

from datetime import timedelta

from attune.api import ABTest
from attune.decide import decide_ab_test
from attune.observation import ArmSamples, Samples, SeenABTest, Stratum, Sums
from versions import NOW, a_retriever, a_version

NAMES = [f"metric_number_{n}" for n in range(10)]


def test_a_test_with_ten_metrics_that_was_looked_at_for_long_stays_under_ten_kilobytes() -> None:
    roles = [
        {"role": "primary"},
        *({"role": "success"} for _ in range(8)),
        {"role": "guardrail", "nonInferiorityMargin": 0.05},
    ]
    test = ABTest.model_validate(
        {
            "metadata": {
                "name": "a-test-with-a-name",
                "namespace": "team",
                "uid": "0a1b2c3d-0000-4000-8000-000000000000",
            },
            "spec": {
                "retriever": "news",
                "modelB": "emb-v2",
                "trafficSplit": 0.5,
                "minSamples": 100,
                "maxDuration": "100h",
                "metrics": [{"name": name, **role} for name, role in zip(NAMES, roles, strict=True)],
                "analysis": {"method": "groupSequential", "interval": "1h"},
            },
            "status": {"phase": "Running", "modelA": "emb-v1", "startedAt": NOW.isoformat()},
        }
    )
    split = {"test": "a-test-with-a-name", "challenger": "emb-v2", "fraction": 0.5, "uid": test.metadata.uid}
    retriever = a_retriever({"embedding": {"active": "emb-v1", "split": split}})
    for hour in range(1, 100):
        a, b = 1234 * hour, 1234 * hour + hour % 7
        metrics = {name: Sums(a, a / 3 + 0.123456789 * n, a / 2 + n / 7) for n, name in enumerate(NAMES)}
        samples = Samples(
            (Stratum(0.5, ArmSamples(a, metrics), ArmSamples(b, metrics)),), NOW + hour * timedelta(hours=1), NOW
        )
        seen = SeenABTest(test, retriever, (a_version(1, "active"), a_version(2)), samples=samples)
        decision = decide_ab_test(seen, NOW + hour * timedelta(hours=1))
        test = test.model_copy(update={"status": decision.status})
    assert test.status.looks is not None
    assert test.status.planned_looks is not None
    assert len(test.status.looks) == 20
    assert len(test.status.planned_looks) >= 19
    assert len(test.model_dump_json(by_alias=True, exclude_none=True)) < 10_000
