"""The watch streams: which must exist, and how silence is noticed."""

from types import SimpleNamespace

from yarl import URL

from attune.api import kinds
from attune.handlers import Pulse, stream_paths


def test_there_is_one_stream_for_each_kind_and_child_in_each_namespace():
    everywhere = stream_paths([])
    assert "/apis/attune.dev/v1alpha1/trainingjobs" in everywhere
    assert "/apis/batch/v1/jobs" in everywhere
    assert "/api/v1/pods" in everywhere
    assert len(everywhere) == len(kinds.KINDS) + 3
    some = stream_paths(["a", "b"])
    assert "/api/v1/namespaces/b/configmaps" in some
    assert len(some) == 2 * len(everywhere)


def test_a_stream_that_is_silent_for_too_long_is_named_and_others_are_not():
    now = [0.0]
    pulse = Pulse(["/api/v1/pods", "/apis/batch/v1/jobs"], clock=lambda: now[0])
    now[0] = 100.0
    pulse.observe(SimpleNamespace(url=URL("https://host/api/v1/pods?watch=true&resourceVersion=7")))
    assert pulse.stale(100.0) == []
    now[0] = 150.0
    assert pulse.stale(100.0) == ["/apis/batch/v1/jobs"]


def test_requests_that_are_no_watch_of_ours_are_not_counted_as_life():
    pulse = Pulse(["/api/v1/pods"], clock=lambda: 0.0)
    pulse.observe(SimpleNamespace(url=URL("https://host/api/v1")))
    assert list(pulse.last) == ["/api/v1/pods"]
