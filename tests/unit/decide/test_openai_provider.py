"""Provider openai in decisions: configuration, refusals, keys for Pods, and the Job that cancels what the API still trains."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from attune.api import ModelVersion, Retriever, TrainingJob, kinds
from attune.contract import ModelType, Stage, key_variable
from attune.decide import hosted as decisions
from attune.decide import refusals
from attune.desired import hosted, serving, stage_spec
from attune.observation import Defaults, SeenModelVersion, SeenTrainingJob

NOW = datetime(2026, 3, 15, 12, 0, tzinfo=UTC)
URL, OTHER = "https://api.openai.com/v1", "http://gateway:8000/v1"


def retriever(**spec: Any) -> Retriever:
    base = {
        "embedding": {"baseModel": "pvc://models/minilm", "queryPrompt": "query: "},
        "storage": {"uri": "pvc://store/attune"},
        "data": {"archive": {"uri": "pvc://data/archive.jsonl"}},
    }
    meta = {"name": "news", "namespace": "news", "uid": "r-uid"}
    return Retriever.model_validate({"apiVersion": kinds.API_VERSION, "metadata": meta, "spec": base | spec})


def job(status: dict[str, Any] | None = None, **spec: Any) -> TrainingJob:
    meta = {"name": "tune", "namespace": "news", "uid": "j-uid-00"}
    return TrainingJob.model_validate(
        {
            "apiVersion": kinds.API_VERSION,
            "metadata": meta,
            "spec": {"retriever": "news", "type": "embedding", **spec},
            "status": status or {},
        }
    )


def seen(made: TrainingJob, provider: str = "local", **more: Any) -> SeenTrainingJob:
    defaults = Defaults(trainer_image="trainer", provider=provider, openai_model="text-embedding-3-large")
    return SeenTrainingJob(job=made, defaults=defaults, **({"retriever": retriever()} | more))


def version(name: str, config: dict[str, Any] | None, secret: str | None = None, **status: Any) -> ModelVersion:
    spec: dict[str, Any] = {
        "retriever": "news",
        "type": "embedding",
        "version": 2,
        "baseModel": "openai:text-embedding-3-small",
        "artifact": {"uri": f"pvc://store/{name}"},
        "source": {"trainingJob": "tune"},
        "config": {"baseModel": "openai:text-embedding-3-small"} | ({"openai": config} if config else {}),
    }
    if secret:
        spec["secretRef"] = {"name": secret}
    meta = {
        "name": name,
        "namespace": "news",
        "uid": f"{name}-uid",
        "labels": {"attune.dev/training-job-uid": "j-uid-00"},
    }
    return ModelVersion.model_validate(
        {"apiVersion": kinds.API_VERSION, "metadata": meta, "spec": spec, "status": status}
    )


def config_of(made: SeenTrainingJob) -> Any:
    assert made.retriever is not None
    return stage_spec.training_config(made, made.retriever)


class TestConfiguration:
    """What determines the vectors is recorded with every default filled in."""

    def test_the_model_is_the_operators_where_the_job_names_none(self) -> None:
        made = config_of(seen(job(provider="openai")))
        assert made.base_model == "openai:text-embedding-3-large"
        assert (made.openai.base_url, made.openai.model, made.openai.method) == (
            URL,
            "text-embedding-3-large",
            "adapter",
        )
        assert made.query_prompt == "query: "

    def test_the_operators_provider_counts_where_the_job_names_none(self) -> None:
        assert config_of(seen(job(), provider="openai")).openai is not None
        assert config_of(seen(job(), provider="local")).openai is None
        assert config_of(seen(job(provider="local"), provider="openai")).openai is None

    def test_all_of_it_is_in_the_configuration_but_the_secret(self) -> None:
        asked = {
            "baseURL": OTHER,
            "model": "m",
            "method": "fineTune",
            "dimensions": 256,
            "fileFormat": "chat",
            "secretRef": {"name": "s"},
        }
        made = config_of(seen(job(provider="openai", openai=asked))).openai
        expected = {name: value for name, value in asked.items() if name != "secretRef"} | {"side": "both"}
        assert made.model_dump(by_alias=True) == expected


class TestRefusals:
    """What the schema cannot refuse, because the provider comes from the operator's setting."""

    def test_an_openai_block_without_the_provider(self) -> None:
        problem = refusals.first(refusals.REFUSALS, seen(job(openai={})))
        assert problem is not None
        assert problem.reason == "ProviderMismatch"
        assert "set spec.provider: openai, too" in problem.message

    @pytest.mark.parametrize(
        "spec",
        [
            {"type": "reranker"},
            {"baseModel": "BAAI/bge-small-en-v1.5"},
            {"hyperparameters": {"method": "lora"}},
        ],
    )
    def test_what_only_local_training_can_do(self, spec: dict[str, Any]) -> None:
        problem = refusals.first(refusals.REFUSALS, seen(job(**spec), provider="openai"))
        assert problem is not None
        assert problem.reason == "ProviderMismatch"
        assert "FINETUNE_PROVIDER" in problem.message

    def test_more_than_one_process(self) -> None:
        problem = decisions.more_than_one_process(seen(job(provider="openai", compute={"nodes": 2})))
        assert problem is not None
        assert problem.reason == "OneProcess"

    def test_local_training_from_a_version_without_weights(self) -> None:
        base = version("emb-v2", {"model": "m"}, artifact={"uri": "u", "digest": "d"})
        problem = refusals.first(refusals.REFUSALS, seen(job(baseModel="version:emb-v2"), base_version=base))
        assert problem is not None
        assert problem.reason == "BaseVersionHasNoWeights"

    def test_a_plain_openai_job_is_taken(self) -> None:
        assert refusals.first(refusals.REFUSALS, seen(job(provider="openai"))) is None
        assert refusals.first(refusals.REFUSALS, seen(job(), provider="openai")) is None


class TestKeys:
    """Each Pod gets the keys of the servers that it asks, and no other."""

    def test_one_variable_for_each_server_from_the_secret_of_its_version(self) -> None:
        active = version("emb-v1", {"model": "m", "baseURL": OTHER}, "gateway")
        made = seen(job(provider="openai", openai={"secretRef": {"name": "openai"}}), active=active)
        found = hosted.env(hosted.keys_of_run(made, Stage.EVALUATE))
        assert [entry["name"] for entry in found] == [key_variable(URL), key_variable(OTHER)]
        assert [entry["valueFrom"]["secretKeyRef"]["name"] for entry in found] == ["openai", "gateway"]
        assert {entry["valueFrom"]["secretKeyRef"]["key"] for entry in found} == {"OPENAI_API_KEY"}
        assert {entry["valueFrom"]["secretKeyRef"]["optional"] for entry in found} == {True}

    def test_training_gets_its_own_key_alone(self) -> None:
        active = version("emb-v1", {"model": "m", "baseURL": OTHER}, "gateway")
        made = seen(job(provider="openai", openai={"secretRef": {"name": "openai"}}), active=active)
        assert [key.base_url for key in hosted.keys_of_run(made, Stage.TRAIN)] == [URL]

    def test_preparation_without_mining_needs_no_key(self) -> None:
        none = {"hardNegatives": {"perQuery": 0}}
        made = seen(job(provider="openai", hyperparameters=none))
        assert hosted.keys_of_run(made, Stage.PREPARE) == ()
        assert len(hosted.keys_of_run(seen(job(provider="openai")), Stage.PREPARE)) == 1

    def test_local_training_gets_the_key_of_the_active_version_when_they_are_compared(self) -> None:
        active = version("emb-v1", {"model": "m"}, "openai")
        made = seen(job(), active=active)
        assert hosted.keys_of_run(made, Stage.TRAIN) == ()
        assert [key.secret.name for key in hosted.keys_of_run(made, Stage.EVALUATE) if key.secret] == ["openai"]

    def test_a_server_without_a_secret_gets_an_empty_key_rather_than_that_of_another(self) -> None:
        assert hosted.env((hosted.ApiKey(OTHER, None),)) == [{"name": key_variable(OTHER), "value": ""}]

    def test_the_index_stage_gets_the_key_of_its_version(self) -> None:
        made = SeenModelVersion(version("emb-v2", {"model": "m"}, "openai"), Defaults(trainer_image="t"), retriever())
        assert [key.base_url for key in hosted.keys_of_import(made, Stage.INDEX)] == [URL]
        assert hosted.keys_of_import(made, Stage.RETIRE) == ()

    def test_serving_pods_get_the_keys_and_run_without_a_secret_that_is_missing(self) -> None:
        keys = hosted.keys_of_serving([version("emb-v2", {"model": "m"}, "openai"), version("emb-v3", None)])
        deployment = next(m for m in serving.workload(retriever(), "image", keys) if m["kind"] == "Deployment")
        env = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
        (entry,) = [e for e in env if e["name"].startswith("ATTUNE_API_KEY_")]
        assert entry["valueFrom"]["secretKeyRef"] == {"name": "openai", "key": "OPENAI_API_KEY", "optional": True}

    def test_such_a_version_is_never_answered_by_the_retrievers_upstream(self) -> None:
        status: dict[str, Any] = {
            "artifact": {"uri": "u", "digest": "sha256:d"},
            "index": {"collection": "c", "documents": 3},
        }
        upstream = retriever(serving={"upstream": {"url": "http://tei", "api": "tei"}})
        for config, path in (({"model": "m"}, "local"), (None, "upstream")):
            told = serving.served(version("emb-v2", config, **status), upstream)
            assert told is not None
            assert told.path == path


ATTEMPT = {"stage": "train", "number": 1, "job": "tune-train-1"}
TUNES = {"method": "fineTune", "model": "m", "secretRef": {"name": "openai"}}


class TestCancelling:
    """A run that ends without its result is cancelled at the API, too."""

    def cancelled(self, exit_code: int | None, **spec: Any) -> Any:
        made = job({"attempts": [ATTEMPT | {"exitCode": exit_code}]}, provider="openai", openai=TUNES | spec)
        return decisions.cancelling(seen(made), made.status.attempts or ())

    def test_the_job_that_cancels_belongs_to_the_retriever_and_knows_the_run_and_the_key(self) -> None:
        (found,) = self.cancelled(137)
        assert found["metadata"]["ownerReferences"][0]["kind"] == "Retriever"
        container = found["spec"]["template"]["spec"]["containers"][0]
        assert container["args"] == ["cancel", "--base-url", URL, "--run", "j-uid-00"]
        assert container["env"][0]["valueFrom"]["secretKeyRef"]["name"] == "openai"
        assert found["spec"]["ttlSecondsAfterFinished"] == 86400
        assert "attune.dev/owner-uid" not in found["metadata"]["labels"], "it is no stage of the run"

    @pytest.mark.parametrize("code", [65, 78])
    def test_after_an_end_that_the_stage_called_final_there_is_nothing_to_cancel(self, code: int) -> None:
        assert self.cancelled(code) == ()

    def test_an_adapter_leaves_nothing_at_the_api(self) -> None:
        assert self.cancelled(137, method="adapter") == ()

    def test_before_training_began_there_is_nothing_to_cancel(self) -> None:
        made = job(provider="openai", openai=TUNES)
        assert decisions.cancelling(seen(made), ()) == ()

    def test_with_its_result_recorded_the_training_is_over(self) -> None:
        status = {"attempts": [ATTEMPT | {"exitCode": 137}], "artifact": {"uri": "u", "digest": "d"}}
        made = job(status, provider="openai", openai=TUNES)
        assert decisions.cancelling(seen(made), made.status.attempts or ()) == ()

    def test_a_version_whose_run_was_deleted_asks_for_the_same_job(self) -> None:
        tunes = {name: value for name, value in TUNES.items() if name != "secretRef"}
        made = SeenModelVersion(version("emb-v2", tunes, "openai"), Defaults(trainer_image="trainer"), retriever())
        assert decisions.cancelling_orphan(made) == self.cancelled(137)

    def test_a_version_with_an_artifact_is_left_alone(self) -> None:
        tunes = {"method": "fineTune", "model": "m"}
        made = version("emb-v2", tunes, artifact={"uri": "u", "digest": "d"})
        assert decisions.cancelling_orphan(SeenModelVersion(made, Defaults(trainer_image="t"), retriever())) == ()


def test_a_reranker_with_such_a_first_stage_gets_its_key() -> None:
    first = version("emb-v1", {"model": "m"}, "openai")
    made = seen(job(type="reranker"), first_stage=first)
    for stage in (Stage.PREPARE, Stage.TRAIN, Stage.EVALUATE):  # train weighs the reranker against it
        assert len(hosted.keys_of_run(made, stage)) == 1
    assert made.job.spec.type is ModelType.RERANKER
