"""A container's environment: expansion and references, as in Kubernetes."""

from __future__ import annotations

import pytest

from devcluster.node.env import ConfigProblem, environment, expand, field

POD = {
    "metadata": {"name": "one", "labels": {"app": "news"}, "annotations": {"example.com/a.b": "note"}},
    "spec": {"nodeName": "process-node"},
    "status": {"podIP": "127.1.0.1"},
}
DATA = {("Secret", "s"): {"key": "hidden"}, ("ConfigMap", "c"): {"mode": "fast", "n": "1"}}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)", "x1y$(A)"),
        ("$(UNKNOWN)", "$(UNKNOWN)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A ${A} $", "$A ${A} $"),
        ("$(A", "$(A"),
        ("$()", "$()"),
        ("$(a key with spaces)", "found"),
    ],
)
def test_references_expand_once_and_dollars_can_be_escaped(text: str, wanted: str) -> None:
    assert expand(text, {"A": "1", "B": "$(A)", "a key with spaces": "found"}) == wanted


def test_an_entry_sees_only_what_was_set_before_it() -> None:
    env = [{"name": "A", "value": "$(B)"}, {"name": "B", "value": "2"}, {"name": "C", "value": "$(A)$(B)"}]
    assert environment({"env": env}, POD, lambda kind, name: None) == {"A": "$(B)", "B": "2", "C": "$(B)2"}


def test_env_wins_over_env_from_and_later_sources_over_earlier_ones() -> None:
    made = environment(
        {
            "envFrom": [{"configMapRef": {"name": "c"}}, {"prefix": "S_", "secretRef": {"name": "s"}}],
            "env": [{"name": "n", "value": "$(n)0"}],
        },
        POD,
        lambda kind, name: DATA.get((kind, name)),
    )
    assert made == {"mode": "fast", "n": "10", "S_key": "hidden"}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"secretKeyRef": {"name": "no", "key": "key"}}, 'secret "no" not found'),
        ({"secretKeyRef": {"name": "s", "key": "no"}}, "couldn't find key no in Secret s"),
        ({"configMapKeyRef": {"name": "no", "key": "mode"}}, 'configmap "no" not found'),
    ],
)
def test_what_is_missing_is_a_problem_unless_it_is_optional(source: dict[str, dict[str, object]], words: str) -> None:
    def made() -> dict[str, str]:
        entry = {"name": "A", "valueFrom": source}
        return environment({"env": [entry]}, POD, lambda kind, name: DATA.get((kind, name)))

    with pytest.raises(ConfigProblem, match=words):
        made()
    next(iter(source.values()))["optional"] = True
    assert made() == {}


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("metadata.name", "one"),
        ("spec.nodeName", "process-node"),
        ("status.podIP", "127.1.0.1"),
        ("metadata.labels['app']", "news"),
        ("metadata.annotations['example.com/a.b']", "note"),
        ("metadata.labels['absent']", ""),
        ("spec.serviceAccountName", ""),
    ],
)
def test_fields_of_the_pod_are_read_by_path(path: str, wanted: str) -> None:
    assert field(POD, path) == wanted


def test_resource_fields_come_from_the_container() -> None:
    entry = {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}
    container = {"env": [entry], "resources": {"limits": {"cpu": "2"}}}
    assert environment(container, POD, lambda kind, name: None) == {"CPU": "2"}
