"""The rules for Prometheus: one source, valid, about series that exist, and right in every scenario."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from attune.contract import health

MONITORING = Path(__file__).parents[3] / "manifests" / "monitoring"
DOCUMENT = Path(__file__).parents[3] / "docs" / "monitoring.md"
SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.yaml"))
ROLLBACK = {
    "AttuneVersionErrors",
    "AttuneVersionOutage",
    "AttuneScoresCollapsed",
    "AttuneRecallCollapsed",
}


@pytest.fixture(scope="session")
def alerts(rules):
    return {rule["alert"]: rule for rule in rules if "alert" in rule}


def test_the_prometheus_rule_is_the_rule_file_word_for_word():
    head, _, spec = (MONITORING / "prometheusrule.yaml").read_text().partition("\nspec:\n")
    text = (MONITORING / "rules.yml").read_text()
    assert spec == re.sub("(?m)^(?=.)", "  ", text), "the first lines of prometheusrule.yaml say how to make it anew"
    assert yaml.safe_load(f"{head}\nspec:\n{spec}")["spec"] == yaml.safe_load(text)


def test_prometheus_takes_the_rules(promtool):
    done = promtool("check", "rules", MONITORING / "rules.yml")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.stem)
def test_scenarios(promtool, scenario):
    done = promtool("test", "rules", scenario)
    assert done.returncode == 0, done.stdout


def test_every_alert_fires_in_a_scenario(alerts):
    told = "".join(path.read_text() for path in SCENARIOS)
    assert [name for name in alerts if name not in told] == []


def test_rules_are_about_series_that_are_exported(rules, unknown):
    assert {name for rule in rules for name in unknown(rule["expr"])} == set()


def test_exactly_the_alerts_that_take_a_version_back_say_so_and_name_a_version(alerts):
    assert {name for name, rule in alerts.items() if rule["labels"].get("attune_rollback") == "true"} == ROLLBACK
    others = {name: rule["expr"] for name, rule in alerts.items() if name not in ROLLBACK}
    # where the version is named at all, it is renamed: "attune_version" as the source of label_replace
    renamed = {name: expr.replace(f'"version", "$1", "{health.VERSION}"', "") for name, expr in others.items()}
    assert [name for name, expr in renamed.items() if health.VERSION in expr] == []
    assert [name for name in others if {health.VERSION, "namespace"} & alerts[name]["labels"].keys()] == []


def test_what_takes_a_version_back_is_bound_to_the_hour_after_its_promotion(alerts):
    assert [name for name in ROLLBACK if "and time() - attune:promoted_since < 3600" not in alerts[name]["expr"]] == []


def test_every_alert_has_a_severity_and_a_part_of_the_document(alerts):
    anchors = {title.lower() for title in re.findall(r"^### (\w+)$", DOCUMENT.read_text(), re.MULTILINE)}
    for name, rule in alerts.items():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}, name
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}, name
        assert rule["annotations"]["runbook"] == f"docs/monitoring.md#{name.lower()}"
        assert name.lower() in anchors


def test_the_document_names_no_alert_that_is_not_there(alerts):
    assert set(re.findall(r"^### (Attune\w+)$", DOCUMENT.read_text(), re.MULTILINE)) == set(alerts)


def test_the_patches_in_the_document_do_what_it_says(promtool, tmp_path):
    """One makes an alert tell people only, the other one makes a warning take a version back, and name it."""
    rules = yaml.safe_load((MONITORING / "rules.yml").read_text())
    operations = re.findall(r"^ +- (\{op: .*\})$", DOCUMENT.read_text(), re.MULTILINE)
    for operation in map(yaml.safe_load, operations):
        *path, last = operation["path"].removeprefix("/spec/").split("/")
        place = rules
        for step in path:
            place = place[int(step) if isinstance(place, list) else step]
        if operation["op"] == "test":
            assert place[last] == operation["value"]
        elif operation["op"] == "add":
            place[last] = operation["value"]
        else:
            del place[last]
    labels = {r["alert"]: r["labels"] for group in rules["groups"] for r in group["rules"] if "alert" in r}
    changed = ROLLBACK - {"AttuneScoresCollapsed"} | {"AttuneVersionSlow"}
    assert {name for name, given in labels.items() if given.get("attune_rollback") == "true"} == changed

    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
    slow = yaml.safe_load((Path(__file__).parent / "scenarios" / "quality.yaml").read_text())
    told = slow["tests"][0].pop("alert_rule_test")[0]["exp_alerts"][0]["exp_labels"]
    given = {**told, "attune_rollback": "true", health.VERSION: told["version"], "namespace": "attune-system"}
    wanted = ",".join(f"{name}={json.dumps(value)}" for name, value in given.items())
    firing = f'ALERTS{{alertname="AttuneVersionSlow",alertstate="firing",{wanted}}}'
    asked = {"expr": 'ALERTS{alertstate="firing"}', "eval_time": "9m", "exp_samples": [{"labels": firing, "value": 1}]}
    slow["tests"] = [{**slow["tests"][0], "promql_expr_test": [asked]}]
    slow["rule_files"] = ["rules.yml"]
    (tmp_path / "slow.yaml").write_text(yaml.safe_dump(slow))
    done = promtool("test", "rules", tmp_path / "slow.yaml")
    assert done.returncode == 0, done.stdout
