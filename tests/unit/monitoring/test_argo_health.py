"""The health checks for Argo CD, in a real Lua 5.1 (what Argo CD has), on every state of every kind."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from attune import api
from attune.api import kinds
from debian_packages import program
from gitops_objects import OBJECTS, object_of

ROOT = Path(__file__).parents[3]
SCRIPTS = yaml.safe_load((ROOT / "examples" / "gitops" / "argocd-cm.yaml").read_text())["data"]
# Argo CD gives a script the base library, table, and a small os; no string, math or io, not even as methods of a string.
SANDBOX = """
local print, loadstring, setfenv = print, loadstring, setfenv
local given = {
  obj = %(obj)s, ipairs = ipairs, next = next, pairs = pairs, select = select, table = table,
  tonumber = tonumber, tostring = tostring, type = type, unpack = unpack,
}
getmetatable("").__index = nil
local script = assert(loadstring(%(script)s))
local health = setfenv(script, given)()
print(health.status)
print(health.message)
"""


def lua(value: Any) -> str:
    """The value as a Lua expression."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"[{lua(k)}] = {lua(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "{" + ", ".join(map(lua, value)) + "}"
    if isinstance(value, str):
        return '"' + "".join(f"\\{byte:03d}" for byte in value.encode()) + '"'
    return json.dumps(value)


def health_of(found: Mapping[str, Any]) -> tuple[str, str]:
    script = SCRIPTS[f"resource.customizations.health.{kinds.GROUP}_{found['kind']}"]
    text = SANDBOX % {"obj": lua(found), "script": lua(script)}
    done = subprocess.run([program("lua5.1"), "-"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    status, _, message = done.stdout.partition("\n")
    return status, message.strip()


@pytest.mark.parametrize("case", OBJECTS["cases"], ids=lambda case: f"{case['kind']}: {case['case']}")
def test_health(case):
    found = object_of(case)
    real = getattr(api, case["kind"]).model_validate(found).model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert {field: real["status"].get(field) for field in found["status"]} == found[
        "status"
    ]  # all fields are real ones
    status, message = health_of(found)
    assert status == case["argo"], message
    assert case["says"] in message


def test_an_object_without_status_is_on_its_way():
    for kind, base in OBJECTS["bases"].items():
        status, _ = health_of({"kind": kind, **base})
        assert status == "Progressing", kind


def test_there_is_a_check_for_every_kind_that_is_reconciled():
    from attune.reconcile import LOOPS

    assert {key.rpartition("_")[2] for key in SCRIPTS} == set(LOOPS)


def test_every_phase_and_stage_is_in_a_case():
    seen = {(case["kind"], case["status"].get("phase") or case["status"].get("stage")) for case in OBJECTS["cases"]}
    wanted = {
        *(("ModelVersion", stage.value) for stage in api.VersionStage),
        *(("ABTest", phase.value) for phase in api.ABTestPhase),
        *(("TrainingJob", phase.value) for phase in api.Phase),
    }
    left_out = {("TrainingJob", "Preparing"), ("TrainingJob", "Evaluating")}  # as Training
    assert wanted - seen == left_out


def test_the_example_of_a_promotion_is_a_valid_version():
    text = (ROOT / "examples" / "gitops" / "model-version.yaml").read_text()
    assert api.ModelVersion.model_validate(yaml.safe_load(text)).spec.promotion.request_id
