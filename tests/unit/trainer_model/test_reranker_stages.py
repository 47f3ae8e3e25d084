"""Rerankers go the same way as embeddings: prepare, train, import, evaluate, with a tiny cross-encoder that really learns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from attune.contract import (
    ArtifactRef,
    ExitCode,
    HardNegatives,
    ModelType,
    OwnerRef,
    Stage,
    StageResult,
    StageSpec,
    TrainingConfig,
)
from attune_retrieval.artifact import open_verified
from attune_trainer import cross_encoder
from attune_trainer.hardware import mixed, suited
from attune_trainer.running import Ended, run
from attune_trainer.signals import Termination
from attune_trainer.train.examples import Example, examples, plan_examples, plan_lists, positive_weight
from attune_trainer.train.pairs import Pair, read_pairs
from tiny_bert import build_tiny_cross_encoder, build_tiny_model, sentences, write_snapshot


@pytest.fixture(scope="session")
def cross(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_cross_encoder(tmp_path_factory.mktemp("cross"))


def make_spec(folder: Path, base: Path, stage: Stage, **changes: Any) -> StageSpec:
    of_spec = {key.removeprefix("spec_"): changes.pop(key) for key in list(changes) if key.startswith("spec_")}
    config: dict[str, Any] = {
        "base_model": str(base),
        "epochs": 80,
        "batch_size": 32,
        "learning_rate": 2e-3,
        "max_sequence_length": 32,
    }
    # a few hundred steps of a tiny model depend on each digit, so not on whether the machine has bf16
    config["precision"] = "fp32"
    known: dict[str, Any] = {
        "stage": stage,
        "type": ModelType.RERANKER,
        "owner": OwnerRef(kind="TrainingJob", namespace="news", name="tune", uid="12345678-abcd"),
        "retriever": "news",
        "storage": str(folder / "store"),
        "config": TrainingConfig.model_validate(
            config | {"early_stopping_patience": 0, "hard_negatives": HardNegatives(per_query=1)} | changes
        ),
        "dataset": write_snapshot(folder / "snapshot"),
        "model": ArtifactRef(name="rer-v2", uri=str(folder / "store" / "versions" / "rer-v2")),
    }
    return StageSpec.model_validate(known | of_spec)


def done(spec: StageSpec) -> Ended:
    return run(spec, Termination(), lambda _: None)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, cross: Path) -> tuple[Path, StageResult]:
    """Trained once; never changed."""
    folder = tmp_path_factory.mktemp("reranker")
    result = done(make_spec(folder, cross, Stage.TRAIN)).result
    assert result.succeeded, result.message
    return folder, result


def test_training_makes_a_verified_artifact_that_has_learnt(trained: tuple[Path, StageResult]) -> None:
    _, result = trained
    assert result.model is not None
    assert result.model.training is not None
    assert (result.model.dimensions, result.model.embedding_space) == (None, None)
    opened = open_verified(Path(result.model.uri), result.model.digest)
    assert (opened.manifest.type, opened.manifest.version) == (ModelType.RERANKER, "rer-v2")
    pairs = sentences()
    right = opened.reranker.score([(query, text) for query, text in pairs[::10]])
    wrong = opened.reranker.score([(query, pairs[(10 * n + 37) % 120][1]) for n, (query, _) in enumerate(pairs[::10])])
    assert right.mean() > wrong.mean() + 0.2
    assert ((right >= 0) & (right <= 1)).all()
    assert (result.model.training.validation_ndcg_at10 or 0) > 0.5


def test_in_bf16_the_layers_compute_in_it_and_the_scoring_head_does_not(cross: Path) -> None:
    import torch

    model = cross_encoder.load(cross, max_length=32)
    bert = model[0].auto_model
    computed: dict[str, torch.dtype] = {}
    for name, layer in bert.named_modules():
        if isinstance(layer, torch.nn.Linear):
            layer.register_forward_hook(lambda _layer, _given, made, name=name: computed.update({name: made.dtype}))
    with suited(model, "bf16"), mixed("bf16", model):
        with suited(model, "bf16"):  # a look in the middle of a training
            pass
        model(model.preprocess([("a query", "a text")]))
    assert {dtype for name, dtype in computed.items() if ".layer." in name} == {torch.bfloat16}
    assert {dtype for name, dtype in computed.items() if ".layer." not in name} == {torch.float32}
    assert not any("forward" in vars(layer) for layer in bert.modules())


def test_a_reranker_learns_in_bf16_as_in_float32(
    trained: tuple[Path, StageResult], tmp_path: Path, cross: Path
) -> None:
    in_bf16 = done(make_spec(tmp_path, cross, Stage.TRAIN, precision="bf16")).result.model
    in_float32 = trained[1].model
    assert in_bf16 is not None
    assert in_float32 is not None
    # Both are next to nothing, of 0.7 at the start: what is left of them differs by a few ten thousandths.
    assert in_bf16.training.loss == pytest.approx(in_float32.training.loss, rel=0.1, abs=0.002)
    assert in_bf16.training.validation_ndcg_at10 == pytest.approx(in_float32.training.validation_ndcg_at10, abs=0.1)


def test_evaluation_orders_the_candidates_of_the_first_stage(
    trained: tuple[Path, StageResult], cross: Path, tmp_path: Path
) -> None:
    folder, result = trained
    assert result.model is not None
    target = ArtifactRef(name="rer-v2", uri=result.model.uri, digest=result.model.digest)
    by_words = done(make_spec(folder, cross, Stage.EVALUATE, spec_model=target)).result
    assert by_words.evaluation is not None
    metrics = by_words.evaluation.metrics
    assert metrics.base is not None
    assert metrics.queries == 12
    assert "Candidates by BM25." in by_words.message
    assert by_words.evaluation.not_measured["faithfulness"]
    assert "embedding" in by_words.evaluation.not_measured["general"]
    assert by_words.evaluation.report is not None
    told = Path(by_words.evaluation.report.page).read_text()
    assert "the order of the first stage (BM25)" in told
    assert "Queries won and lost" in told
    assert "Not reranked" in told
    first = _embedding(tmp_path)
    by_vectors = done(make_spec(folder, cross, Stage.EVALUATE, spec_model=target, spec_first_stage=first)).result
    assert by_vectors.evaluation is not None
    of_vectors = by_vectors.evaluation.metrics
    assert of_vectors.base is not None
    assert of_vectors.ndcg_at10 > of_vectors.base.ndcg_at10 + 0.1  # type: ignore[operator]
    assert "Candidates by emb-v1." in by_vectors.message


def test_it_is_compared_with_the_active_reranker(
    trained: tuple[Path, StageResult], cross: Path, tmp_path: Path
) -> None:
    folder, result = trained
    assert result.model is not None
    untrained = done(make_spec(tmp_path, cross, Stage.IMPORT)).result.model
    assert untrained is not None
    spec = make_spec(
        folder,
        cross,
        Stage.EVALUATE,
        spec_model=ArtifactRef(name="rer-v2", uri=result.model.uri, digest=result.model.digest),
        spec_active=ArtifactRef(name="rer-v1", uri=untrained.uri, digest=untrained.digest),
        spec_first_stage=_embedding(tmp_path / "first"),
    )
    evaluation = done(spec).result.evaluation
    assert evaluation is not None
    assert evaluation.metrics.baseline is not None
    assert evaluation.metrics.ndcg_at10 > evaluation.metrics.baseline.ndcg_at10  # type: ignore[operator]


def _embedding(folder: Path, dense_weight: float | None = None) -> ArtifactRef:
    from artifacts import tiny_artifact

    return tiny_artifact(folder, "emb-v1", dense_weight=dense_weight).reference


def test_an_import_exports_scores_that_the_reader_reproduces(tmp_path: Path, cross: Path) -> None:
    from attune_trainer import cross_encoder

    result = done(make_spec(tmp_path, cross, Stage.IMPORT)).result
    assert result.model is not None
    pairs = [(query, text) for query, text in sentences()[:20]]
    expected = cross_encoder.scores(cross_encoder.load(cross, max_length=32), pairs)
    assert np.allclose(open_verified(Path(result.model.uri), None).reranker.score(pairs), expected, atol=1e-3)


def test_a_model_without_a_scoring_head_is_no_reranker_but_can_become_one(tmp_path: Path) -> None:
    plain = build_tiny_model(tmp_path / "plain")
    refused = done(make_spec(tmp_path, plain, Stage.IMPORT))
    assert (refused.exit_code, refused.result.reason) == (ExitCode.BAD_CONFIG, "NotAReranker")
    assert "BAAI/bge-reranker-base" in refused.result.message
    result = done(make_spec(tmp_path, plain, Stage.TRAIN, epochs=1)).result
    assert result.succeeded, result.message
    assert "a new one was trained" in result.message


def test_losses_that_are_not_there_are_refused(tmp_path: Path, cross: Path) -> None:
    refused = done(make_spec(tmp_path, cross, Stage.TRAIN, loss="guided"))
    assert (refused.exit_code, refused.result.reason) == (ExitCode.BAD_CONFIG, "NotSupported")


def test_whole_lists_teach_it_too(tmp_path: Path, cross: Path) -> None:
    result = done(make_spec(tmp_path, cross, Stage.TRAIN, loss="listwise", epochs=40)).result
    assert result.model is not None, result.message
    before = done(make_spec(tmp_path / "before", cross, Stage.IMPORT)).result.model
    assert before is not None
    now, untrained = (open_verified(Path(m.uri), None).reranker.score for m in (result.model, before))
    assert list_loss(now, sentences()[:40]) < list_loss(untrained, sentences()[:40]) - 0.2


def test_adapters_and_the_whole_head_are_trained_and_merged(tmp_path: Path, cross: Path) -> None:
    from safetensors.numpy import load_file

    from attune_trainer import cross_encoder
    from attune_trainer.train.lora import add_adapters
    from attune_trainer.train.weights import trained_state

    spec = make_spec(tmp_path, cross, Stage.TRAIN, method="lora", lora={"rank": 4}, epochs=40)
    model = cross_encoder.load(cross, max_length=32)
    add_adapters(model, spec.config, ModelType.RERANKER)
    kept = trained_state(model)
    assert kept
    assert {name for name in kept if "lora_" not in name} == {name for name in kept if "classifier" in name}
    result = done(spec).result
    assert result.model is not None, result.message
    tuned, base = load_file(Path(result.model.uri) / "model.safetensors"), load_file(cross / "model.safetensors")
    assert tuned.keys() == base.keys()
    changed = {name for name in base if not np.allclose(tuned[name], base[name], atol=1e-6)}
    assert {"classifier.weight", "bert.encoder.layer.0.attention.self.query.weight"} <= changed
    assert not [name for name in changed if "embeddings" in name or "LayerNorm" in name]


def list_loss(score: Any, pairs: list[tuple[str, str]]) -> float:
    """Mean of -log softmax of each answer among itself and four other texts."""
    total = 0.0
    for n, (query, _) in enumerate(pairs):
        texts = [pairs[(n + 7 * k) % len(pairs)][1] for k in range(5)]
        scores = np.clip(score([(query, text) for text in texts]), 1e-6, 1 - 1e-6)
        logits = np.log(scores / (1 - scores))
        total += float(np.log(np.exp(logits - logits[0]).sum()))
    return total / len(pairs)


def test_a_loss_that_is_no_number_ends_it(tmp_path: Path, cross: Path) -> None:
    refused = done(make_spec(tmp_path, cross, Stage.TRAIN, learning_rate=1.0, epochs=60))
    assert refused.exit_code == ExitCode.TRAINING_DIVERGED
    assert refused.result.reason in {"LossNotFinite", "ScoresCollapsed"}


def test_a_run_that_was_interrupted_gives_the_model_of_one_that_was_not(tmp_path: Path, cross: Path) -> None:
    whole = done(make_spec(tmp_path / "whole", cross, Stage.TRAIN, epochs=6)).result
    spec = make_spec(tmp_path / "cut", cross, Stage.TRAIN, epochs=6)
    termination = Termination()

    def stop(progress: Any) -> None:
        if (progress.step or 0) >= 20:
            termination.requested = True

    interrupted = run(spec, termination, stop, interval=0.0)
    assert interrupted.exit_code == ExitCode.INTERRUPTED
    resumed = done(spec).result
    assert resumed.model is not None
    assert whole.model is not None
    pairs = [(query, text) for query, text in sentences()[:20]]
    one, other = (open_verified(Path(m.uri), None).reranker.score(pairs) for m in (whole.model, resumed.model))
    assert np.allclose(one, other, atol=1e-4)


def test_preparing_mines_by_the_embedding_version(tmp_path: Path, cross: Path) -> None:
    rows = [{"id": f"d{n}", "title": q, "content": t} for n, (q, t) in enumerate(sentences())]
    (tmp_path / "archive.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"archive": {"uri": str(tmp_path / "archive.jsonl")}, "min_examples": 10}
    spec = make_spec(
        tmp_path,
        cross,
        Stage.PREPARE,
        hard_negatives=HardNegatives(per_query=2),
        spec_data=data,
        spec_dataset=None,
        spec_first_stage=_embedding(tmp_path / "first"),
    )
    result = done(spec).result
    assert result.dataset is not None, result.message
    mined = read_pairs(Path(result.dataset.uri) / "train.jsonl")
    assert any(pair.negatives for pair in mined)
    without = done(make_spec(tmp_path / "w", cross, Stage.PREPARE, spec_data=data, spec_dataset=None)).result
    assert without.dataset is not None, without.message
    assert not any(pair.negatives for pair in read_pairs(Path(without.dataset.uri) / "train.jsonl"))


def pair(n: int, negatives: int = 2) -> Pair:
    wrong = [(n + k + 1) % 10 for k in range(negatives)]
    return Pair(f"q{n}", f"text {n}", f"d{n}", tuple(f"text {w}" for w in wrong), tuple(f"d{w}" for w in wrong))


def test_examples_are_the_answer_the_mined_and_a_random_one_and_never_an_answer_as_a_negative() -> None:
    pairs = [*(pair(n) for n in range(10)), Pair("q0", "text 3", "d3", ("text 0",), ("d0",))]
    rows = examples(pairs, seed=1)
    assert sum(row.label for row in rows) == 11
    # The answer, two mined ones, a random one; the last pair's mined one is an answer, too.
    assert [sum(row.group == n for row in rows) for n in range(11)] == [4] * 10 + [2]
    answers = {("q0", "text 0"), ("q0", "text 3"), *((f"q{n}", f"text {n}") for n in range(1, 10))}
    assert not [row for row in rows if row.label == 0 and (row.query, row.text) in answers]
    assert positive_weight(rows) == pytest.approx((len(rows) - 11) / 11)
    assert examples(pairs, seed=1) == rows


def test_the_random_text_is_none_of_the_mined_ones() -> None:
    for seed in range(20):  # two of the nine that are no answer are mined ones
        rows = examples([pair(n) for n in range(10)], seed)
        assert [len({row.text for row in rows if row.group == n}) for n in range(10)] == [4] * 10


def test_the_plan_sees_every_row_once_an_epoch_and_similar_lengths_together() -> None:
    rows = [Example("q", "x" * (n % 50), 0.0) for n in range(500)]
    plan = plan_examples(rows, batch_size=16, epochs=2, seed=3)
    for epoch in range(2):
        seen = [row for batch in plan.batches if batch.epoch == epoch for row in batch.rows]
        assert sorted(seen) == list(range(500))
    assert plan.epoch_ends == (plan.steps // 2, plan.steps)
    spread = [max(len(rows[r].text) for r in b.rows) - min(len(rows[r].text) for r in b.rows) for b in plan.batches]
    assert np.mean(spread) < 15


def test_a_list_is_never_cut_and_every_one_is_seen_once_an_epoch() -> None:
    rows = [
        row for n in range(50) for row in [Example("q", "x" * (n % 9), 1.0, n), *[Example("q", "y", 0.0, n)] * (n % 5)]
    ]
    plan = plan_lists(rows, batch_size=8, epochs=2, seed=3)
    for epoch in range(2):
        batches = [batch for batch in plan.batches if batch.epoch == epoch]
        of_lists = [{rows[n].group for n in batch.rows} for batch in batches]
        assert sum(map(len, of_lists)) == len(set().union(*of_lists)) == 40, "lists of one text teach nothing"
        assert all(len(batch.rows) <= 8 for batch in batches)
        assert sorted(n for batch in batches for n in batch.rows) == [n for n, row in enumerate(rows) if row.group % 5]


def test_the_loss_of_lists_is_the_mean_cross_entropy_of_each_answer_among_its_own_texts() -> None:
    import torch

    from attune_trainer.train.scoring import share_of_loss
    from attune_trainer.train.world import ALONE

    rows = [Example("q", "t", float(first), n) for n in range(3) for first in (True, False, False)]
    plan = plan_lists(rows, batch_size=9, epochs=1, seed=0)
    scores = torch.randn(9, generator=torch.Generator().manual_seed(1), requires_grad=True)
    labels, groups = torch.tensor([row.label for row in rows]), torch.tensor([row.group for row in rows])
    config = TrainingConfig(base_model="-", loss="listwise")
    found = share_of_loss(config, rows, plan, ALONE)(scores, labels, groups, 0)
    expected = torch.nn.functional.cross_entropy(scores.view(3, 3), torch.zeros(3, dtype=torch.int64))
    torch.testing.assert_close(found, expected)
    (slope,) = torch.autograd.grad(found, scores, retain_graph=True)
    (wanted,) = torch.autograd.grad(expected, scores)
    torch.testing.assert_close(slope, wanted)


def test_the_artifact_says_how_much_it_counts_beside_the_search_and_the_evaluation_heeds_it(
    tmp_path: Path, cross: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from attune_trainer.evaluate import reranking
    from attune_trainer.train import search_weights

    searched = Mock(wraps=reranking.hybrid_search)
    monkeypatch.setattr(reranking, "hybrid_search", searched)
    monkeypatch.setattr(search_weights, "FEWEST", 12)  # as many as the snapshot has
    monkeypatch.setattr(search_weights, "RERANK_WEIGHTS", (0.01,))
    first = _embedding(tmp_path / "first", dense_weight=0.3)
    result = done(make_spec(tmp_path, cross, Stage.TRAIN, spec_first_stage=first)).result
    (encoder, share, *_), _ = searched.call_args
    assert encoder is not None
    assert share == 0.3, "weighed beside the search that will be served"
    assert result.model is not None, result.message
    assert result.model.training is not None
    opened = open_verified(Path(result.model.uri), result.model.digest)
    assert result.model.training.rerank_weight == opened.manifest.rerank_weight == 0.01
    target = ArtifactRef(name="rer-v2", uri=result.model.uri, digest=result.model.digest)
    evaluated = done(make_spec(tmp_path, cross, Stage.EVALUATE, spec_model=target, spec_first_stage=first)).result
    assert evaluated.evaluation is not None
    metrics = evaluated.evaluation.metrics
    assert metrics.base is not None
    assert metrics.ndcg_at10 == metrics.base.ndcg_at10, "with next to no weight the order is that of the search"
