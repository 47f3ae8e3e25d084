"""What the operator tells about itself, over HTTP and in its logs."""

import io
import json
import logging

import httpx
import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from attune import logs
from attune.errors import Conflict, Invalid, StartError
from attune.telemetry.metrics import Metrics
from attune.telemetry.server import TelemetryServer
from attune.workqueue import Key

KEY = Key("TrainingJob", "team", "news")


def samples(metrics: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {(s.name, tuple(s.labels.values())): s.value for family in families for s in family.samples}


def test_reconciles_are_counted_by_kind_and_result():
    metrics = Metrics()
    metrics.processed(KEY, 0.1, None)
    metrics.processed(KEY, 0.1, Conflict("changed"))
    metrics.processed(KEY, 0.1, Invalid("no"))
    metrics.processed(KEY, 0.1, ZeroDivisionError())
    found = samples(metrics)
    assert found["attune_reconciles_total", ("TrainingJob", "success")] == 1
    assert found["attune_reconciles_total", ("TrainingJob", "retry")] == 1
    assert found["attune_reconciles_total", ("TrainingJob", "error")] == 2
    assert found["attune_errors_total", ("TrainingJob", "ZeroDivisionError")] == 1
    assert found["attune_reconcile_duration_seconds_count", ("TrainingJob",)] == 4


def test_an_object_is_counted_in_the_one_phase_it_is_in():
    metrics = Metrics()
    metrics.object_phase(KEY, "Training")
    metrics.object_phase(KEY._replace(name="b"), "Training")
    metrics.object_phase(KEY, "Succeeded")
    found = samples(metrics)
    assert found["attune_objects", ("TrainingJob", "Training")] == 1
    assert found["attune_objects", ("TrainingJob", "Succeeded")] == 1
    metrics.object_gone(KEY)
    assert ("attune_objects", ("TrainingJob", "Succeeded")) not in samples(metrics)


def test_watch_ages_are_read_at_the_scrape():
    metrics, now = Metrics(), [100.0]
    metrics.watch_streams({"/apis/x/jobs": 40.0}, clock=lambda: now[0])
    assert samples(metrics)["attune_watch_age_seconds", ("/apis/x/jobs",)] == 60
    now[0] = 130.0
    assert samples(metrics)["attune_watch_age_seconds", ("/apis/x/jobs",)] == 90


def test_two_operators_in_one_process_do_not_share_counters():
    a, b = Metrics(), Metrics()
    a.request("GET", "200")
    assert ("attune_api_requests_total", ("GET", "200")) not in samples(b)


async def test_probes_answer_in_words_and_metrics_in_the_text_format():
    problems: list[str] = []
    server = TelemetryServer(Metrics(), live=list, ready=lambda: problems)
    port = await server.start("127.0.0.1", 0)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        assert (await client.get("/healthz")).text == "ok\n"
        problems.append("the CRDs of Retriever are missing: kubectl apply --server-side -k crds/")
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.text) == (503, problems[0] + "\n")
        problems.clear()
        assert (await client.get("/readyz")).status_code == 200
        scraped = await client.get("/metrics")
        assert scraped.headers["content-type"].startswith("text/plain")
        assert "attune_build_info" in scraped.text
        assert "process_resident_memory_bytes" in scraped.text
    await server.stop()


async def test_a_port_that_is_taken_is_named_with_its_variable():
    first, second = (TelemetryServer(Metrics(), live=list, ready=list) for _ in range(2))
    port = await first.start("127.0.0.1", 0)
    with pytest.raises(StartError, match=rf"127.0.0.1:{port} \(ATTUNE_HTTP_HOST, ATTUNE_HTTP_PORT\)"):
        await second.start("127.0.0.1", port)
    await first.stop()


@pytest.fixture
def logged():
    """Lines written since, as JSON; puts the logging of the test run back afterwards."""
    root = logging.getLogger()
    before, level, stream = root.handlers[:], root.level, io.StringIO()
    logs.set_up("json", "info", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:], root.level = before, level
    structlog.reset_defaults()


def test_every_line_of_a_reconcile_carries_its_object(logged):
    with structlog.contextvars.bound_contextvars(**KEY._asdict()):
        structlog.get_logger("attune.decide").info("decided", phase="Training")
        logging.getLogger("some.library").warning("slow")
    structlog.get_logger("attune.runtime").info("outside")
    ours, theirs, outside = logged()
    assert {"kind": "TrainingJob", "namespace": "team", "name": "news", "phase": "Training"}.items() <= ours.items()
    assert {"kind": "TrainingJob", "name": "news", "event": "slow", "level": "warning"}.items() <= theirs.items()
    assert "kind" not in outside
    assert outside["time"].endswith("Z")


def test_a_stack_trace_is_one_field_of_one_line(logged):
    try:
        raise ValueError("bug")
    except ValueError as e:
        structlog.get_logger("x").error("failed", exc_info=e)
    (line,) = logged()
    assert "ValueError: bug" in line["exception"]


def test_debug_lines_and_kopfs_own_chatter_are_left_out_by_default(logged):
    structlog.get_logger("x").debug("detail")
    logging.getLogger("kopf.activities").info("chatter")
    logging.getLogger("kopf._core").warning("OS signals are ignored: running not in the main thread.")
    assert logged() == []
