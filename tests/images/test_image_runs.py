"""The images at work, as uid 65532 on a read-only root without a network."""

import json
from pathlib import Path

import pytest

from attune.contract import ArtifactRef, Layout, OwnerRef, Stage, StageResult, StageSpec, TrainingConfig
from container_images import Image
from demo.__main__ import packaged_model
from devcluster.node.images import BUILT_IN

pytestmark = pytest.mark.images

QUERIES = {"q1": ("how do I restart a pod", "d1"), "q2": ("where are models stored", "d2")}
CORPUS = {
    "d1": "Delete the pod; its Deployment starts a new one.",
    "d2": "Model files are kept in the artifact store, one folder per version.",
    "d3": "The cafeteria opens at noon.",
}


def test_help_and_entry_point_are_those_of_the_process_node(image: Image) -> None:
    done = image.run("--help")
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()
    command = BUILT_IN[image.name.partition(":")[0]].entrypoint
    module = command[-1]
    by_name = {
        "attune": ["python", "-m", "attune"],
        "attune_trainer": ["attune-trainer"],
        "attune_serving": ["attune-serving"],
    }
    assert image.config["Entrypoint"] == by_name[module]


def test_the_root_file_system_may_be_read_only(image: Image) -> None:
    done = image.execute(["sh", "-c", "touch /opt/attune/x /etc/x; touch /tmp/x && echo tmp"])
    assert done.stderr.count("Read-only file system") == 2
    assert done.stdout == "tmp\n"


def test_the_operator_names_a_bad_setting_and_ends(operator_image: Image) -> None:
    done = operator_image.execute(["env", "FINETUNE_PROVIDER=azure", *operator_image.config["Entrypoint"]])
    assert done.returncode == 2
    assert done.stderr.strip() == 'attune-operator: FINETUNE_PROVIDER="azure": allowed are openai, local'


def test_the_api_is_the_operators_image_with_another_command(operator_image: Image) -> None:
    done = operator_image.execute(["env", "ATTUNE_API_PORT=x", "python", "-m", "attune.rest"])
    assert done.returncode == 2
    assert done.stderr.strip() == 'attune-api: ATTUNE_API_PORT="x": allowed are whole numbers ≥ 0, ≤ 65535'
    assert operator_image.sh("attune-api --version").strip() == "attune 0.1.0"


def test_an_import_stage_exports_a_model_and_the_export_can_be_measured(trainer_image: Image, tmp_path: Path) -> None:
    work, said = tmp_path / "work", tmp_path / "termination-log"
    work.mkdir(mode=0o777)
    work.chmod(0o777)
    said.touch()
    said.chmod(0o666)
    model = ArtifactRef(name="emb-v1", uri=Layout("file:///tmp/work", "team", "docs").version("emb-v1"))
    spec = StageSpec(
        stage=Stage.IMPORT,
        owner=OwnerRef(
            kind="ModelVersion", namespace="team", name="emb-v1", uid="0f0f0f0f-0000-0000-0000-000000000000"
        ),
        retriever="docs",
        storage="file:///tmp/work",
        config=TrainingConfig(base_model="file:///tmp/base", max_sequence_length=128),
        model=model,
    )
    (work / "stage.json").write_text(spec.to_json())
    write_beir(work)
    mounts = {work: "/tmp/work", packaged_model(): "/tmp/base", said: "/dev/termination-log"}

    done = trainer_image.run("import", "--spec", "/tmp/work/stage.json", mounts=mounts)
    assert done.returncode == 0, done.stderr
    result = StageResult.model_validate_json(said.read_text())
    assert result.model is not None
    assert result.model.dimensions == 384
    folder = result.model.uri.removeprefix("file://")

    beir = [
        "--corpus",
        "/tmp/work/corpus.jsonl",
        "--queries",
        "/tmp/work/queries.jsonl",
        "--qrels",
        "/tmp/work/qrels.tsv",
    ]
    measured = trainer_image.run("evaluate", "--model", folder, *beir, mounts=mounts)
    assert measured.returncode == 0, measured.stderr
    assert json.loads(measured.stdout)["ndcgAt10"] > 0.9


def write_beir(folder: Path) -> None:
    lines = [json.dumps({"_id": name, "title": "", "text": text}) for name, text in CORPUS.items()]
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    lines = [json.dumps({"_id": name, "text": text}) for name, (text, _) in QUERIES.items()]
    (folder / "queries.jsonl").write_text("\n".join(lines))
    lines = [f"{name}\t{document}\t1" for name, (_, document) in QUERIES.items()]
    (folder / "qrels.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]))
