"""The Grafana dashboard: expressions that Prometheus can read, about series that exist, in panels that do not overlap."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

DASHBOARD = Path(__file__).parents[3] / "manifests" / "monitoring" / "dashboards" / "attune.json"
BOARD = json.loads(DASHBOARD.read_text())
VALUES = {"__rate_interval": "1m", "namespace": "rag", "retriever": "news", "test": "news-v7", "metric": "latency"}


def expressions() -> Iterator[tuple[str, str]]:
    """(where, PromQL as Grafana would send it)"""
    for panel in BOARD["panels"]:
        for target in panel.get("targets", ()):
            yield f"panel {panel['title']}, {target['refId']}", filled(target["expr"])
    for annotation in BOARD["annotations"]["list"]:
        if "expr" in annotation:
            yield f"annotation {annotation['name']}", filled(annotation["expr"])


def filled(text: str) -> str:
    return re.sub(r"\$(\w+)", lambda found: VALUES[found[1]], text)


def test_prometheus_can_read_every_expression(promtool, tmp_path):
    asked = dict(expressions())
    rules = [{"record": f"dashboard:{number}", "expr": expr} for number, expr in enumerate(asked.values())]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = promtool("check", "rules", tmp_path / "rules.yml")
    assert done.returncode == 0, done.stdout
    assert f"{len(asked)} rules found" in done.stdout


def test_expressions_and_variables_are_about_series_that_are_exported(unknown):
    asked = [
        *expressions(),
        *((v["name"], filled(v["query"]["query"])) for v in BOARD["templating"]["list"] if v["type"] == "query"),
    ]
    assert [(where, names) for where, expr in asked if (names := unknown(expr))] == []


def test_the_version_of_the_schema_is_that_of_grafana_10():
    assert BOARD["schemaVersion"] == 39
    assert BOARD["uid"] == "attune"


def test_panels_have_ids_of_their_own_and_do_not_overlap():
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(ids) == len(set(ids))
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in BOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_everything_is_asked_of_the_chosen_datasource():
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    panels = [p for p in BOARD["panels"] if p["type"] != "row"]
    assert all(panel["datasource"] == chosen for panel in panels)
    assert all(target["datasource"] == chosen for panel in panels for target in panel["targets"])
    variables = {v["name"]: v for v in BOARD["templating"]["list"]}
    assert list(variables)[:3] == ["datasource", "namespace", "retriever"]
    assert all(v["datasource"] == chosen for name, v in variables.items() if name != "datasource")


def test_every_variable_that_is_used_is_defined():
    defined = {v["name"] for v in BOARD["templating"]["list"]} | {"__rate_interval"}
    assert set(re.findall(r"\$\{?(\w+)", DASHBOARD.read_text())) <= defined
