"""Which mean of base and tuned weights is kept."""

from collections.abc import Callable

import pytest
import torch

from attune.contract import Stage, StageSpec
from attune_retrieval.encoding import Encoder, Vectors
from attune_trainer import finishing
from attune_trainer.errors import BadConfig
from attune_trainer.evaluate.heldout import HeldOut
from attune_trainer.running import run
from attune_trainer.signals import Termination
from attune_trainer.train import validation
from attune_trainer.train.merge import SHARES, Looks, Tried, chosen, keep_best_mean, mixed
from attune_trainer.train.proof import refuse_another_model

look_at = validation.look


def test_a_mean_lies_between_both_models_and_new_parts_are_the_tuned_ones():
    tuned = {"w": torch.tensor([2.0, 4.0]), "head": torch.ones(3), "ids": torch.tensor([1, 2])}
    base = {"w": torch.tensor([0.0, 0.0]), "head": torch.zeros(2), "ids": torch.tensor([7, 7])}
    found = mixed(tuned, base, 0.75)
    assert found["w"].tolist() == [1.5, 3.0]
    assert found["head"].tolist() == [1.0, 1.0, 1.0]
    assert found["ids"].tolist() == [1, 2]


def test_the_best_on_the_validation_set_is_kept_and_of_equal_ones_the_nearest_to_the_base():
    assert chosen([Tried(1.0, 0.70), Tried(0.9, 0.73), Tried(0.8, 0.71)], None).share == 0.9
    assert chosen([Tried(1.0, 0.7301), Tried(0.9, 0.7305), Tried(0.8, 0.7299)], None).share == 0.8


def test_one_that_forgot_too_much_is_not_kept_however_good_it_is():
    tried = [Tried(1.0, 0.80, 0.50), Tried(0.9, 0.78, 0.61), Tried(0.8, 0.75, 0.65)]
    assert chosen(tried, 0.60).share == 0.9
    assert chosen(tried, 0.90).share == 0.8, "where all forgot, the one that forgot least"


def test_the_model_is_left_with_the_weights_that_were_chosen():
    model = torch.nn.Linear(1, 1, bias=False)
    base = {"weight": torch.tensor([[0.0]])}
    with torch.no_grad():
        model.weight.fill_(1.0)
    # best at a share of 0.8
    best = keep_best_mean(model, base, Looks(lambda: 1 - abs(float(model.weight.detach()) - 0.8)))
    assert best.share == 0.8
    assert abs(float(model.weight.detach()) - 0.8) < 1e-6


@pytest.mark.parametrize(
    ("lowest", "kept", "asked"), [(0.5, 0.9, [0.9]), (0.85, 0.8, [0.9, 0.8]), (2.0, 0.8, [0.9, 0.8, 1.0])]
)
def test_the_general_set_is_asked_of_the_best_and_of_others_only_where_it_forgot(
    lowest: float, kept: float, asked: list[float]
) -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)
    told: list[float] = []

    def share() -> float:
        return round(float(model.weight.detach()), 3)

    def general() -> float:
        told.append(share())
        return {1.0: 0.7, 0.9: 0.8, 0.8: 0.9}[share()]

    looks = Looks(lambda: {1.0: 0.70, 0.9: 0.75, 0.8: 0.72}[share()], general, lowest)
    best = keep_best_mean(model, {"weight": torch.tensor([[0.0]])}, looks)
    assert (best.share, share(), told) == (kept, kept, asked)
    assert best.general == {0.9: 0.8, 0.8: 0.9}[kept]


def test_tuned_weights_that_score_otherwise_than_they_did_are_another_model():
    model = torch.nn.Linear(1, 1, bias=False)
    kept = keep_best_mean(model, {"weight": torch.tensor([[0.0]])}, Looks(lambda: 0.41))
    refuse_another_model(0.42, kept.of_tuned, "the model in memory has")
    refuse_another_model(None, kept.of_tuned, "the model in memory has")
    with pytest.raises(
        BadConfig, match=r"the model in memory has nDCG@10 0\.4100 .* had 0\.5000 .* precision fp32"
    ) as refused:
        refuse_another_model(0.5, kept.of_tuned, "the model in memory has")
    assert refused.value.reason == "ExportDiffers"


def test_each_mean_is_told_when_it_was_tried():
    told = []
    keep_best_mean(torch.nn.Linear(1, 1), {}, Looks(lambda: 0.5), lambda: told.append(1))
    assert len(told) == len(SHARES)


def test_looks_have_fewer_documents_than_what_tells_the_share_in_a_hybrid_search(
    make_spec: Callable[..., StageSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside fewer documents vectors look better than they are: words tell those apart as well."""
    monkeypatch.setattr(validation, "FEW_DOCUMENTS", 0)
    asked: list[HeldOut] = []
    looks: list[HeldOut] = []

    def weight(queries: Vectors, documents: Vectors, held_out: HeldOut) -> float:
        assert (len(queries), len(documents)) == (len(held_out.queries), len(held_out.documents))
        asked.append(held_out)
        return 0.6

    def look(encoder: Encoder, held_out: HeldOut) -> validation.Score:
        looks.append(held_out)
        return look_at(encoder, held_out)

    monkeypatch.setattr(finishing, "dense_weight", weight)
    monkeypatch.setattr(finishing, "look", look)
    monkeypatch.setattr(validation, "look", look)
    ended = run(make_spec(Stage.TRAIN, epochs=1), Termination(), lambda _: None).result
    assert ended.model is not None, ended.message
    assert ended.model.training is not None
    assert ended.model.training.dense_weight == 0.6
    # Before and after the epoch, three means of weights, and the exported files.
    assert [len(one.documents) for one in (*asked, *looks)] == [32, *[16] * 6]
