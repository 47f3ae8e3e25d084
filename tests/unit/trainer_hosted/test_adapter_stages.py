"""Provider openai, method adapter: prepare, train, evaluate, the artifact, and what readers make of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attune.contract import (
    ArchiveSource,
    ArtifactRef,
    DataSpec,
    HardNegatives,
    IndexSpec,
    IndexWork,
    Stage,
    StageResult,
    StageSpec,
)
from attune_retrieval import manifest
from attune_retrieval.artifact import open_verified
from attune_retrieval.errors import BadConfig, BadData, StoreUnavailable
from attune_retrieval.hosted import Adapter, HostedEncoder
from attune_trainer.evaluate.compare import Candidate
from attune_trainer.export.artifact import Provenance
from attune_trainer.hosted.artifact import write_hosted
from attune_trainer.hosted.stages import model_of
from attune_trainer.indexing.build import SAMPLE
from openai_server import Fault, OpenAIServer
from tiny_bert import sentences, write_jsonl

MakeSpec = Callable[..., StageSpec]
Done = Callable[[StageSpec], StageResult]


def trained(make_spec: MakeSpec, done: Done, **changes: Any) -> ArtifactRef:
    spec = make_spec(**changes)
    result = done(spec)
    assert result.succeeded, result.message
    assert result.model is not None
    assert spec.model is not None
    return ArtifactRef(name=spec.model.name, uri=result.model.uri, digest=result.model.digest)


def test_the_artifact_names_the_api_and_holds_no_weights_but_the_adapters(
    make_spec: MakeSpec, done: Done, server: OpenAIServer
) -> None:
    spec = make_spec()
    result = done(spec)
    assert result.succeeded, result.message
    assert result.model is not None
    assert result.model.dimensions == 64
    training = result.model.training
    assert training is not None
    assert training.training_examples == 96
    assert training.api_tokens
    folder = Path(result.model.uri)
    files = ["README.md", "adapter.safetensors", "golden.json", "manifest.json", "training_curve.json"]
    assert sorted(path.name for path in folder.iterdir()) == files
    described = manifest.read(folder)
    assert described.openai is not None
    assert (described.openai.base_url, described.openai.model) == (server.url, "text-embedding-3-small")
    assert (described.base_model, described.adapter) == ("openai:text-embedding-3-small", "both")
    assert "validation nDCG@10" in result.message
    assert f"tokens by {server.url}" in result.message


def test_readers_get_the_apis_vectors_mapped_for_queries_and_documents(
    make_spec: MakeSpec, done: Done, server: OpenAIServer
) -> None:
    version = trained(make_spec, done, config_query_prompt="query: ")
    opened = open_verified(Path(version.uri), version.digest)
    encoder = opened.encoder
    assert isinstance(encoder, HostedEncoder)
    assert encoder.adapter is not None
    texts = ["red house", "the house stands and is red and waits"]
    raw = server.vectors([f"query: {text}" for text in texts]) @ encoder.adapter.weight.T
    expected = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    assert np.allclose(encoder.encode(texts, "query"), expected, atol=1e-5)
    assert not np.allclose(encoder.encode(texts, "document"), expected, atol=1e-3)


def test_it_is_better_than_the_api_alone_and_every_text_was_paid_for_once(
    make_spec: MakeSpec, done: Done, server: OpenAIServer
) -> None:
    version = trained(make_spec, done)
    evaluated = done(make_spec(Stage.EVALUATE, spec_model=version))
    assert evaluated.succeeded, evaluated.message
    assert evaluated.evaluation is not None
    measured = evaluated.evaluation.metrics
    assert measured.base is not None
    assert (measured.ndcg_at10 or 0) > (measured.base.ndcg_at10 or 1) + 0.02, evaluated.message
    golden = {entry["text"][:256] for entry in json.loads((Path(version.uri) / "golden.json").read_text())}
    asked = [text for text in server.embedded if text not in golden]
    assert len(asked) == len(set(asked))


def test_the_same_work_is_not_done_twice(make_spec: MakeSpec, done: Done, server: OpenAIServer) -> None:
    trained(make_spec, done)
    before = len(server.requests)
    assert done(make_spec()).succeeded
    assert len(server.requests) == before


def test_negatives_are_mined_by_the_apis_vectors_which_training_then_has(
    make_spec: MakeSpec, done: Done, server: OpenAIServer, tmp_path: Path
) -> None:
    rows = [{"id": f"d{n:03}", "title": query, "content": text} for n, (query, text) in enumerate(sentences())]
    archive = write_jsonl(tmp_path / "archive.jsonl", rows)
    data = DataSpec(archive=ArchiveSource(uri=str(archive)), min_examples=10)
    prepared = done(make_spec(Stage.PREPARE, spec_data=data, config_hard_negatives=HardNegatives(per_query=2)))
    assert prepared.succeeded, prepared.message
    assert prepared.dataset is not None
    pairs = [json.loads(line) for line in (Path(prepared.dataset.uri) / "train.jsonl").read_text().splitlines()]
    assert any(pair["neg"] for pair in pairs)
    paid = len(server.embedded)
    assert paid
    dataset = ArtifactRef(name="dataset", uri=prepared.dataset.uri, digest=prepared.dataset.digest)
    assert done(make_spec(spec_dataset=dataset)).succeeded
    again = server.embedded[paid:]
    assert not {pair["query"] for pair in pairs} & set(again)


def test_an_index_is_filled_with_what_the_evaluation_has_paid_for(
    make_spec: MakeSpec, done: Done, server: OpenAIServer, tmp_path: Path
) -> None:
    version = trained(make_spec, done)
    assert done(make_spec(Stage.EVALUATE, spec_model=version)).succeeded
    paid = set(server.embedded)
    known = [text for _, text in sentences() if text in paid]
    texts = [*known, *(f"{text} and this is new" for text in known)]
    rows = [{"id": f"d{n:03}", "title": f"title {n}", "content": text} for n, text in enumerate(texts)]
    archive = write_jsonl(tmp_path / "archive.jsonl", rows)
    before = len(server.embedded)
    filled = done(
        make_spec(
            Stage.INDEX,
            spec_model=version,
            spec_data=DataSpec(archive=ArchiveSource(uri=str(archive)), min_examples=0),
            spec_index=IndexWork(
                index=IndexSpec(store="lancedb", uri=f"file://{tmp_path}/index"), collection="news_1", shards=1
            ),
        )
    )
    assert filled.succeeded, filled.message
    assert filled.index is not None
    assert len(known) > SAMPLE
    assert filled.index.embedded == len(texts)
    golden = {entry["text"][:256] for entry in json.loads((Path(version.uri) / "golden.json").read_text())}
    asked = [text for text in server.embedded[before:] if text in paid and text not in golden]
    assert len(asked) <= SAMPLE
    assert {text for text in server.embedded[before:] if text not in paid} == set(texts) - set(known)


def test_query_side_adapters_share_the_space_of_their_documents_and_are_measured_each_for_itself(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    """The index stays valid from one to the next; an evaluation that took equal spaces for equal vectors would see no difference."""

    def written(name: str, side: Any, seed: int) -> Path:
        config = make_spec(side=side).config
        assert config.openai is not None
        weight = np.eye(64) + 0.1 * np.random.default_rng(seed).normal(size=(64, 64))
        made = Adapter(weight.astype(np.float32), side)
        provenance = Provenance(source="training", base_model=config.base_model, config=config)
        return write_hosted(model_of(config.openai), made, tmp_path / name, provenance).folder

    one, two, both = written("one", "query", 1), written("two", "query", 2), written("both", "both", 1)
    spaces = [manifest.read(folder).embedding_space for folder in (one, two, both)]
    assert spaces[0] == spaces[1] != spaces[2]
    candidates = [Candidate.open(folder, None) for folder in (one, two)]
    assert not candidates[0].same_model(candidates[1])
    assert candidates[0].same_model(Candidate.open(one, None))
    documents = [candidate.encoder.encode(["the red house"], "document") for candidate in candidates]
    assert np.allclose(documents[0], documents[1], atol=1e-6)


class TestGolden:
    """What is recorded, and how near an API must come to it."""

    def test_an_apis_usual_drift_is_put_up_with(self, make_spec: MakeSpec, done: Done, server: OpenAIServer) -> None:
        version = trained(make_spec, done)
        server.drift = 0.01
        assert open_verified(Path(version.uri), version.digest).manifest.dimensions == 64

    def test_another_model_under_the_same_name_is_found_out(
        self, make_spec: MakeSpec, done: Done, server: OpenAIServer
    ) -> None:
        version = trained(make_spec, done)
        server.rotated = True
        with pytest.raises(BadData, match="the API answers by another model now") as failed:
            open_verified(Path(version.uri), version.digest)
        assert failed.value.reason == "ApiDiffers"
        assert server.url in str(failed.value)

    def test_an_adapter_of_another_version_is_found_out_without_the_api(
        self, make_spec: MakeSpec, done: Done, server: OpenAIServer, tmp_path: Path
    ) -> None:
        version = trained(make_spec, done)
        copied = tmp_path / "copied"
        shutil.copytree(version.uri, copied)
        from safetensors.numpy import save_file

        weight = np.roll(np.eye(64, dtype=np.float32), 1, axis=0)
        save_file({"weight": weight}, copied / "adapter.safetensors")
        described = manifest.read(copied).model_copy(update={"files": manifest.file_digests(copied)})
        manifest.write(copied, described)
        before = len(server.requests)
        with pytest.raises(BadData, match="the files are damaged"):
            open_verified(copied, None)
        assert len(server.requests) == before

    def test_a_changed_byte_is_found_out_by_the_digests(self, make_spec: MakeSpec, done: Done) -> None:
        version = trained(make_spec, done)
        path = Path(version.uri) / "adapter.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        with pytest.raises(BadData, match="does not have the digest"):
            open_verified(Path(version.uri), version.digest)

    def test_an_api_that_is_away_is_no_damaged_file(
        self, make_spec: MakeSpec, done: Done, server: OpenAIServer
    ) -> None:
        version = trained(make_spec, done)
        server.faults = [Fault("embeddings", 503, times=100)]
        with pytest.raises(StoreUnavailable):
            open_verified(Path(version.uri), version.digest)
        server.faults = [Fault("embeddings", 401)]
        with pytest.raises(BadConfig, match="OPENAI_API_KEY"):
            open_verified(Path(version.uri), version.digest)


@pytest.mark.parametrize(
    ("fault", "reason", "code"),
    [
        (Fault("embeddings", 401, times=100, words="Incorrect API key"), "Unauthorized", 78),
        (Fault("embeddings", 404, times=100, words="no such model"), "ApiRefused", 78),
        (Fault("embeddings", 500, times=100, words="oops"), "ApiUnavailable", 74),
    ],
)
def test_a_stage_ends_with_the_apis_words_and_says_whether_a_retry_helps(
    make_spec: MakeSpec, server: OpenAIServer, fault: Fault, reason: str, code: int
) -> None:
    from attune_trainer.running import run
    from attune_trainer.signals import Termination

    server.faults = [fault]
    ended = run(make_spec(), Termination(), lambda _: None)
    assert (ended.result.reason, int(ended.exit_code)) == (reason, code)
    assert fault.words in ended.result.message
