"""The files in crds/ and examples/: up to date, structural, bounded, described."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from attune import api
from attune.api import crd, kinds, reference

ROOT = Path(__file__).resolve().parents[3]
CRDS = {of.kind.kind: crd.definition(of) for of in crd.DEFINITIONS}
KINDS = sorted(CRDS)
Schema = dict[str, Any]


def schema(kind: str, part: str = "spec") -> Schema:
    found: Schema = CRDS[kind]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][part]
    return found


def walk(node: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from walk(child, f"{path}.{name}")
    if "items" in node:
        yield from walk(node["items"], f"{path}[]")
    if isinstance(node.get("additionalProperties"), dict):
        yield from walk(node["additionalProperties"], f"{path}.*")


def test_the_files_are_what_the_generator_makes() -> None:
    assert crd.stale(ROOT / "crds") == []
    on_disk = {f.name for f in (ROOT / "crds").iterdir()}
    assert on_disk == set(crd.files())


def test_the_field_reference_is_what_the_generator_makes() -> None:
    assert (ROOT / "docs" / "reference.md").read_text() == reference.document()


def test_check_says_which_file_is_stale_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crd.main(["--out", str(tmp_path)]) == 0
    assert crd.main(["--check", "--out", str(tmp_path)]) == 0
    (tmp_path / "attune.dev_abtests.yaml").write_text("{}")
    capsys.readouterr()
    assert crd.main(["--check", "--out", str(tmp_path)]) == 1
    assert "attune.dev_abtests.yaml" in capsys.readouterr().err
    assert (tmp_path / "attune.dev_abtests.yaml").read_text() == "{}"


@pytest.mark.parametrize("kind", KINDS)
def test_no_word_that_a_structural_schema_does_not_know(kind: str) -> None:
    text = json.dumps(CRDS[kind])
    for word in ("$ref", "$defs", '"null"', "preserveUnknownFields"):
        assert word not in text
    for path, node in walk(schema(kind), "spec"):
        if "anyOf" in node:
            assert node["x-kubernetes-int-or-string"], path
        else:
            assert "type" in node, path
        assert isinstance(node.get("exclusiveMinimum", True), bool), path
        assert not {"title", "const", "allOf", "oneOf", "prefixItems"} & node.keys(), path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", ["spec", "status"])
def test_every_field_is_described_in_sentences(kind: str, part: str) -> None:
    for path, node in walk(schema(kind, part), part):
        if path.endswith(("[]", ".*")):
            continue
        assert node.get("description", "").strip().endswith((".", "…")), path


@pytest.mark.parametrize("kind", KINDS)
def test_every_list_map_and_text_of_a_spec_is_bounded(kind: str) -> None:
    for path, node in walk(schema(kind), "spec"):
        if node.get("type") == "array":
            assert "maxItems" in node, path
            assert node["x-kubernetes-list-type"] in {"atomic", "map"}, path
        if isinstance(node.get("additionalProperties"), dict):
            assert "maxProperties" in node, path
        if node.get("type") == "string":
            assert {"maxLength", "enum"} & node.keys(), path


@pytest.mark.parametrize("kind", KINDS)
def test_every_rule_says_what_to_do(kind: str) -> None:
    rules = [(p, r) for p, n in walk(schema(kind), "spec") for r in n.get("x-kubernetes-validations", [])]
    assert rules
    for path, rule in rules:
        assert len(rule["message"]) <= 2048
        said = re.search(r"; |: |, or |\buse\b|\bmust\b", rule["message"])
        assert said, f"{path}: {rule['message']}"
        assert "\n" not in rule["message"] + rule["rule"]


@pytest.mark.parametrize("kind", KINDS)
def test_conditions_are_a_map_by_type(kind: str) -> None:
    conditions = schema(kind, "status")["properties"]["conditions"]
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ("type",)
    assert conditions["items"]["required"] == ["type", "status", "reason", "message", "lastTransitionTime"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_status_has_no_defaults(kind: str) -> None:
    assert [path for path, node in walk(schema(kind, "status"), "status") if "default" in node] == []


def test_every_kind_has_its_names_status_and_category() -> None:
    for row in kinds.KINDS:
        spec = CRDS[row.kind]["spec"]
        assert spec["names"]["shortNames"] == list(row.short_names)
        assert spec["names"]["categories"] == ["attune"]
        assert spec["scope"] == "Namespaced"
        assert spec["versions"][0]["subresources"] == {"status": {}}
        assert spec["versions"][0]["additionalPrinterColumns"][-1]["name"] == "Age"


def test_fields_that_the_environment_decides_have_no_default_and_say_which_variable() -> None:
    fields = schema("TrainingJob")["properties"]
    for name, variable in {"provider": "FINETUNE_PROVIDER", "autoPromote": "FINETUNE_AUTO_PROMOTE"}.items():
        assert "default" not in fields[name]
        assert variable in fields[name]["description"]
    source = fields["dataSource"]["properties"]
    assert "FINETUNE_MIN_EXAMPLES" in source["minExamples"]["description"]
    assert all("default" not in source[name] for name in ("archive", "feedback", "minExamples"))


def test_a_bound_and_a_default_are_said_in_the_description() -> None:
    fields = schema("TrainingJob")["properties"]["hyperparameters"]["properties"]
    assert fields["epochs"]["description"].endswith("Default 3; 1 to 100.")
    assert fields["learningRate"]["description"].endswith("Default 2e-05; above 0, at most 1.")


def test_only_the_pod_template_is_free_form() -> None:
    free = [p for kind in KINDS for p, n in walk(schema(kind), kind) if n.get("x-kubernetes-preserve-unknown-fields")]
    assert free == ["TrainingJob.compute.podTemplate", "TrainingSchedule.template.compute.podTemplate"]


def test_the_kustomization_of_the_examples_names_every_file_and_the_models_read_them() -> None:
    folder = ROOT / "examples"
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == sorted(f.name for f in folder.glob("*.yaml") if f.name != "kustomization.yaml")
    for name in listed:
        thing = yaml.safe_load((folder / name).read_text())
        model: type[api.Resource] = getattr(api, thing["kind"])
        assert model.model_validate(thing).metadata.name == thing["metadata"]["name"]
