"""The training run itself, on a tiny BERT: interrupted, resumed, damaged, diverging. No export, so each takes seconds."""

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attune.contract import Progress, Stage, StageSpec
from attune_trainer.errors import Diverged, Interrupted
from attune_trainer.reporting import Reporter
from attune_trainer.signals import Termination
from attune_trainer.train.checkpoints import Checkpoints
from attune_trainer.train.curve import MOST_POINTS, Curve, thinned

MakeSpec = Callable[..., StageSpec]


@dataclass
class Pod:
    """One pod that trains: its own scratch folder, the store shared with the other pods of the test."""

    spec: StageSpec
    folder: Path
    store: Path
    kill_at: int | None = None
    steps: list[int] = field(default_factory=list)
    curve: Curve = field(default_factory=Curve)

    def train(self) -> Any:
        from attune_trainer.train.embedding import train_embedding
        from attune_trainer.train.watch import Surroundings

        assert self.spec.dataset is not None
        scratch = self.folder
        scratch.mkdir()
        with Termination().installed() as termination:
            reporter = Reporter(Stage.TRAIN, self._saw, interval=0)
            around = Surroundings(
                reporter, termination, Checkpoints(str(self.store), self.spec.digest()), curve=self.curve
            )
            base = Path(self.spec.config.base_model)
            return train_embedding(self.spec.config, Path(self.spec.dataset.uri), base, scratch, around)

    def _saw(self, progress: Progress) -> None:
        if progress.step is not None:
            self.steps.append(progress.step)
        if self.kill_at is not None and progress.step == self.kill_at:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def pods(tmp_path: Path) -> Callable[..., Pod]:
    made: list[Pod] = []

    def pod(spec: StageSpec, kill_at: int | None = None) -> Pod:
        made.append(Pod(spec, tmp_path / f"pod-{len(made)}", tmp_path / "checkpoints", kill_at))
        return made[-1]

    return pod


def weights_of(trained: Any) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in trained.model.state_dict().items()}


def assert_same_weights(one: Any, other: Any) -> None:
    mine, theirs = weights_of(one), weights_of(other)
    assert mine.keys() == theirs.keys()
    for name, values in mine.items():
        np.testing.assert_allclose(values, theirs[name], atol=1e-6, err_msg=name)


def test_a_run_stopped_mid_epoch_ends_with_the_weights_of_one_that_was_not(
    make_spec: MakeSpec, pods: Callable[..., Pod], tmp_path: Path
) -> None:
    spec = make_spec(Stage.TRAIN, epochs=2)
    first = pods(spec, kill_at=7)
    with pytest.raises(Interrupted, match="step 7 of 2"):
        first.train()
    second = pods(spec, kill_at=17)
    with pytest.raises(Interrupted, match="step 17 of 2"):
        second.train()
    assert second.steps[0] == 8
    last, whole = pods(spec), pods(spec)
    resumed = last.train()
    shutil.rmtree(tmp_path / "checkpoints")
    undisturbed = whole.train()
    assert_same_weights(resumed, undisturbed)
    assert [step for step, _, _ in last.curve.losses] == list(range(1, resumed.plan.steps + 1))
    assert [step for step, _, _ in last.curve.looks] == [step for step, _, _ in whole.curve.looks]
    mine, theirs = ([value for _, _, value in curve.losses] for curve in (last.curve, whole.curve))
    assert mine == pytest.approx(theirs, abs=1e-4)
    assert resumed.metrics.epochs == undisturbed.metrics.epochs == 2
    assert resumed.metrics.best_epoch == undisturbed.metrics.best_epoch
    assert resumed.metrics.loss == pytest.approx(undisturbed.metrics.loss, rel=1e-5)


def test_a_run_stopped_at_the_end_of_an_epoch_is_still_validated_there(
    make_spec: MakeSpec, pods: Callable[..., Pod], tmp_path: Path
) -> None:
    spec = make_spec(Stage.TRAIN, epochs=1)
    last = pods(spec).train().plan.steps
    whole_run = pods(spec).train()
    shutil.rmtree(tmp_path / "checkpoints")
    with pytest.raises(Interrupted):
        pods(spec, kill_at=last).train()
    resumed = pods(spec).train()
    assert_same_weights(resumed, whole_run)
    assert resumed.metrics.validation_ndcg_at10 == whole_run.metrics.validation_ndcg_at10


def test_a_run_without_validation_pairs_is_not_trained_again_after_its_end(
    make_spec: MakeSpec, pods: Callable[..., Pod]
) -> None:
    """What comes after the training may be cut off: the export, the upload."""
    spec = make_spec(Stage.TRAIN, epochs=1)
    assert spec.dataset is not None
    (Path(spec.dataset.uri) / "validation.jsonl").write_text("")
    first, again = pods(spec), pods(spec)
    trained = first.train()
    assert first.steps
    assert_same_weights(again.train(), trained)
    assert again.steps == []


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    make_spec: MakeSpec, pods: Callable[..., Pod], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec = make_spec(Stage.TRAIN, epochs=2)
    for step in (3, 6, 9):
        with pytest.raises(Interrupted):
            pods(spec, kill_at=step).train()
    published = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert published == ["step-6", "step-9"]
    weights = tmp_path / "checkpoints" / "step-9" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    pod = pods(spec, kill_at=10)
    with pytest.raises(Interrupted):
        pod.train()
    assert pod.steps[0] == 7
    assert "checkpoint of step 9 is passed over: model.safetensors" in caplog.text


def test_with_every_checkpoint_damaged_training_starts_from_the_beginning(
    make_spec: MakeSpec, pods: Callable[..., Pod], tmp_path: Path
) -> None:
    spec = make_spec(Stage.TRAIN, epochs=1)
    with pytest.raises(Interrupted):
        pods(spec, kill_at=3).train()
    for manifest in (tmp_path / "checkpoints").glob("*/manifest.json"):
        manifest.write_text("{")
    pod = pods(spec, kill_at=4)
    with pytest.raises(Interrupted):
        pod.train()
    assert pod.steps[0] == 1


def test_a_checkpoint_of_another_configuration_is_not_used(make_spec: MakeSpec, pods: Callable[..., Pod]) -> None:
    with pytest.raises(Interrupted):
        pods(make_spec(Stage.TRAIN, epochs=1), kill_at=3).train()
    pod = pods(make_spec(Stage.TRAIN, epochs=1, seed=7), kill_at=2)
    with pytest.raises(Interrupted):
        pod.train()
    assert pod.steps[0] == 1


def test_checkpoints_of_another_training_do_not_push_out_those_of_this_one(
    make_spec: MakeSpec, pods: Callable[..., Pod], tmp_path: Path
) -> None:
    """As after an update of the trainer that trains otherwise: the run begins again, and must not begin again each time."""
    with pytest.raises(Interrupted):
        pods(make_spec(Stage.TRAIN, epochs=2), kill_at=9).train()
    with pytest.raises(Interrupted):
        pods(make_spec(Stage.TRAIN, epochs=2), kill_at=12).train()
    spec = make_spec(Stage.TRAIN, epochs=2, seed=7)
    with pytest.raises(Interrupted):
        pods(spec, kill_at=3).train()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-3"]
    pod = pods(spec, kill_at=5)
    with pytest.raises(Interrupted):
        pod.train()
    assert pod.steps[0] == 4


def test_another_way_of_training_is_another_training(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Checkpoints.of("store", "sha256:1")
    assert before == Checkpoints.of("store", "sha256:1") != Checkpoints.of("store", "sha256:2")
    monkeypatch.setattr("attune_trainer.train.checkpoints.WAY_OF_TRAINING", 99)
    assert before != Checkpoints.of("store", "sha256:1")


def test_no_checkpoint_holds_a_pickle_of_the_arguments(
    make_spec: MakeSpec, pods: Callable[..., Pod], tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        pods(make_spec(Stage.TRAIN), kill_at=2).train()
    names = {path.name for path in (tmp_path / "checkpoints" / "step-2").rglob("*")}
    assert {"model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "manifest.json"} <= names
    assert "training_args.bin" not in names


def test_a_loss_that_is_no_number_ends_the_run_for_good(make_spec: MakeSpec, pods: Callable[..., Pod]) -> None:
    spec = make_spec(Stage.TRAIN, learning_rate=1.0, epochs=30, min_improvement=0, early_stopping_patience=0, seed=1)
    # A rate of 1e38 overflows the weights in one step; the API allows no more than 1, so go around it here.
    wild = spec.model_copy(update={"config": spec.config.model_copy(update={"learning_rate": 1e38})})
    with pytest.raises(Diverged, match="learningRate 1e\\+38") as error:
        pods(wild).train()
    assert error.value.reason == "LossNotFinite"


def test_vectors_that_became_all_the_same_end_the_run_for_good(make_spec: MakeSpec, pods: Callable[..., Pod]) -> None:
    spec = make_spec(Stage.TRAIN, learning_rate=0.5, epochs=4, warmup_steps=0)
    with pytest.raises(Diverged) as error:
        pods(spec).train()
    assert error.value.reason in {"VectorsCollapsed", "LossNotFinite"}
    assert "learningRate" in str(error.value)


def test_training_stops_when_validation_no_longer_improves(make_spec: MakeSpec, pods: Callable[..., Pod]) -> None:
    spec = make_spec(Stage.TRAIN, epochs=20, early_stopping_patience=1, min_improvement=0.9)
    trained = pods(spec).train()
    assert trained.metrics.epochs == 1
    assert trained.metrics.best_epoch in {0, 1}


def test_the_weights_of_the_best_look_are_put_back(
    make_spec: MakeSpec, pods: Callable[..., Pod], monkeypatch: pytest.MonkeyPatch
) -> None:
    from attune_trainer.train.validation import EmbeddingSubject, Score

    seen: list[dict[str, np.ndarray]] = []
    scores = iter([0.2, 0.9, 0.3])

    def look(subject: EmbeddingSubject, check: Callable[[], None]) -> Score:
        seen.append({name: value.numpy().copy() for name, value in subject.model.state_dict().items()})
        return Score(next(scores), 0.5)

    monkeypatch.setattr(EmbeddingSubject, "look", look)
    trained = pods(make_spec(Stage.TRAIN, epochs=2)).train()
    assert (trained.metrics.best_epoch, trained.metrics.validation_ndcg_at10) == (1, 0.9)
    kept = weights_of(trained)
    for name, values in seen[1].items():
        np.testing.assert_array_equal(kept[name], values, err_msg=name)
    assert any((kept[name] != values).any() for name, values in seen[2].items())


@pytest.mark.parametrize("loss", ["cachedMultipleNegativesRanking", "guided"])
def test_the_other_losses_train_too(make_spec: MakeSpec, pods: Callable[..., Pod], loss: str) -> None:
    trained = pods(make_spec(Stage.TRAIN, epochs=1, loss=loss)).train()
    assert trained.metrics.loss > 0
    assert np.isfinite(trained.metrics.loss)


def test_prompts_change_what_is_learnt(make_spec: MakeSpec, pods: Callable[..., Pod]) -> None:
    plain = pods(make_spec(Stage.TRAIN, epochs=1)).train()
    prompted = pods(make_spec(Stage.TRAIN, epochs=1, query_prompt="the ")).train()
    assert prompted.model.prompts == {"query": "the ", "document": ""}
    assert prompted.metrics.loss != plain.metrics.loss


def test_embedding_in_pieces_gives_the_loss_and_gradients_of_the_stock_loss(tiny_model: Path) -> None:
    import torch
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    from attune_trainer.base_model import load_model
    from attune_trainer.train.contrastive import ContrastiveLoss

    model = load_model(tiny_model).eval()
    columns = [["red car", "blue house and tree"], ["the car is red", "house " * 40], ["tree", "the stone is white"]]

    def gradients(loss: Any) -> tuple[float, Any]:
        model.zero_grad()
        value = loss([dict(model.preprocess(texts)) for texts in columns], torch.zeros(2))
        value.backward()
        return float(value.detach()), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    stock = MultipleNegativesRankingLoss(model)
    expected, slopes = gradients(stock)
    for recompute in (False, True):
        found, found_slopes = gradients(ContrastiveLoss(model, stock, always_recompute=recompute))
        assert found == pytest.approx(expected, rel=1e-5)
        torch.testing.assert_close(found_slopes, slopes, atol=1e-5, rtol=1e-4)


def test_a_curve_of_many_steps_is_kept_in_few_points() -> None:
    points = thinned([(step, step / 100, float(step % 2)) for step in range(1, 5001)])
    assert len(points) == MOST_POINTS
    assert points[-1][0] == 5000
    assert all(0.4 < value < 0.6 for _, _, value in points)
    few = [(1, 0.5, 2.0), (2, 1.0, 1.0)]
    assert thinned(few) == few


def test_there_is_no_dropout_but_that_of_adapters(tiny_model: Path) -> None:
    import torch
    from sentence_transformers import SentenceTransformer

    from attune.contract import Lora, ModelType, TrainingConfig
    from attune_trainer.train.dropout import without_dropout
    from attune_trainer.train.lora import add_adapters

    model = SentenceTransformer(str(tiny_model), device="cpu")
    model.train()

    def twice() -> list[Any]:
        return [model(model.preprocess(["red river", "silver car"]))["sentence_embedding"] for _ in range(2)]

    assert not torch.equal(*twice()), "the base model has dropout"
    without_dropout(model)
    assert torch.equal(*twice())
    config = TrainingConfig(base_model="-", method="lora", lora=Lora(rank=2, dropout=0.25))
    add_adapters(model, config, ModelType.EMBEDDING)
    assert {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)} == {0.0, 0.25}


def test_attention_is_computed_as_in_training_unless_vectors_are_only_mined_with(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look after a training is held against one in it: with another kernel near ties fall otherwise, and it is "another model"."""
    import torch
    from sentence_transformers import SentenceTransformer

    from attune_trainer.encode import TorchEncoder

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    model = SentenceTransformer(str(tiny_model), device="cpu")
    seen: list[str] = []

    def kernel() -> None:
        seen.append(model[0].auto_model.config._attn_implementation)

    for as_in_training in (True, False):
        TorchEncoder(model, kernel, "bf16", as_in_training=as_in_training).encode(["red river"], "query")
    kernel()
    assert seen == ["eager", "sdpa", "sdpa"]


@pytest.mark.parametrize(("trained_on", "read"), [(16, 32), (48, 48), (512, 64)])
def test_a_version_reads_as_far_as_its_base_model_and_its_training(
    tiny_model: Path, trained_on: int, read: int
) -> None:
    """The tiny model declares 32 tokens here and has positions for 64."""
    from attune.contract import TrainingConfig
    from attune_trainer.base_model import load_model, served_length

    model = load_model(tiny_model)
    model.max_seq_length = 32
    assert served_length(model, TrainingConfig(base_model="-", max_sequence_length=trained_on)) == read


def test_looks_read_as_far_as_the_training(tiny_model: Path) -> None:
    from attune_trainer.base_model import load_model
    from attune_trainer.encode import TorchEncoder
    from attune_trainer.evaluate.heldout import HeldOut
    from attune_trainer.train.validation import EmbeddingSubject, look

    model = load_model(tiny_model)
    filler = "the red river and the car " * 2
    texts = (f"{filler} silver house", f"{filler} green ship")  # what tells them apart comes after eight tokens
    held_out = HeldOut(("a", "b"), texts, {texts[1]: texts[1]}, {texts[1]: {"b": 1}})
    model.max_seq_length = 8
    assert EmbeddingSubject(model, held_out).look(lambda: None).similarity == pytest.approx(1.0)
    model.max_seq_length = 64  # as the version that comes out; what was trained with 8 is held against looks at 8
    assert EmbeddingSubject(model, held_out).look(lambda: None).similarity < 0.9999
    assert look(TorchEncoder(model, reads=8), held_out).similarity == pytest.approx(1.0)
    assert model.max_seq_length == 64


def test_texts_are_sorted_by_their_tokens_to_be_encoded(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from attune_trainer import encode
    from attune_trainer.base_model import load_model

    model = load_model(tiny_model)
    model.max_seq_length = 12
    letters, word, long = "a b c d e f", "incomprehensibilities", "the red river " * 900
    seen: list[list[int]] = []

    def spied(lengths: list[int]) -> list[list[int]]:
        seen.append(list(lengths))
        return [list(range(len(lengths)))]

    monkeypatch.setattr(encode, "batches_by_length", spied)
    monkeypatch.setattr(encode, "COUNTED_AT_ONCE", 2)
    encode.TorchEncoder(model).encode([letters, word, long], "document")
    tokens = [len(model.tokenizer(text, truncation=True, max_length=12)["input_ids"]) for text in (letters, word, long)]
    assert seen == [tokens]
    assert tokens[0] != 2 + len(letters) // encode.CHARACTERS_PER_TOKEN
    assert tokens[2] == 12
