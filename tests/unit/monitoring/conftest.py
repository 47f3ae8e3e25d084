"""Programs of Debian packages, and the names of the series that the code exports."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from attune.contract import counting, health
from attune.telemetry.metrics import Metrics as OperatorMetrics
from attune_serving.metrics import Metrics as ServingMetrics
from debian_packages import program

MONITORING = Path(__file__).parents[3] / "manifests" / "monitoring"
LABELS = {health.NAMESPACE, health.RETRIEVER, health.VERSION, health.TYPE, "attune_rollback"}
NAME = re.compile(r"\battune[_:][a-zA-Z0-9_:]+")
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count"), "info": ("_info",)}

Promtool = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def promtool() -> Promtool:
    """Runs promtool; what it printed is one text."""
    path = program("prometheus").with_name("promtool")

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [str(path), *map(str, arguments)]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)

    return run


@pytest.fixture(scope="session")
def rules() -> list[dict[str, object]]:
    """All rules of rules.yml."""
    groups = yaml.safe_load((MONITORING / "rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture(scope="session")
def exported() -> set[str]:
    """Every series that operator and serving export."""
    serving = ServingMetrics()
    serving.watch(lambda: (), dict)
    names = {*_of(OperatorMetrics().registry), *_of(serving.registry)}
    for contract in (counting, health):  # collectors of these are made with the first configuration
        for name in (v for v in vars(contract).values() if isinstance(v, str) and v.startswith("attune_serving_")):
            names |= {name, *(name + suffix for suffix in SUFFIXES["histogram"])}
    return names


@pytest.fixture(scope="session")
def unknown(exported: set[str], rules: list[dict[str, object]]) -> Callable[[str], set[str]]:
    """Names in a PromQL expression that are neither exported nor recorded by our rules."""
    known = {*exported, *(str(rule["record"]) for rule in rules if "record" in rule), *LABELS}
    return lambda expression: set(NAME.findall(expression)) - known


def _of(registry: CollectorRegistry) -> Iterable[str]:
    for family in registry.collect():
        yield from (family.name + suffix for suffix in SUFFIXES[family.type])
