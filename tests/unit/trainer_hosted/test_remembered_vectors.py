"""Vectors of an API are paid for once: by text and model, in the store, whatever is killed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attune.contract import HostedModel, Layout
from attune_trainer.hosted import vectors
from attune_trainer.hosted.vectors import Remembered, remembered
from openai_server import EMBEDS, TUNABLE, Fault, OpenAIServer

TEXTS = [f"text number {n}" for n in range(40)]


class Stopped(Exception):
    """The Pod is asked to end."""


def memory(server: OpenAIServer, tmp_path: Path, model: str = EMBEDS, **more: object) -> Remembered:
    hosted = HostedModel.model_validate({"base_url": server.url, "model": model} | more)
    scratch = tmp_path / f"scratch-{len(list(tmp_path.iterdir()))}"
    scratch.mkdir()
    return remembered(hosted, Layout(str(tmp_path / "store"), "news", "news"), scratch, lambda: None)


def test_a_text_is_embedded_once_over_all_stages(server: OpenAIServer, tmp_path: Path) -> None:
    first = memory(server, tmp_path).embed([*TEXTS, *TEXTS[:5]])
    assert sorted(server.embedded) == sorted(TEXTS)
    again = memory(server, tmp_path)
    assert np.array_equal(again.embed(list(reversed(TEXTS))), first[:40][::-1])
    assert again.asked == again.tokens == 0
    assert len(server.embedded) == 40


def test_what_is_new_is_asked_for_alone(server: OpenAIServer, tmp_path: Path) -> None:
    memory(server, tmp_path).embed(TEXTS[:30])
    later = memory(server, tmp_path)
    found = later.embed(TEXTS)
    assert (later.asked, server.embedded[30:]) == (10, TEXTS[30:])
    assert np.allclose(found, server.vectors(TEXTS), atol=1e-6)


def test_what_goes_into_a_collection_is_not_kept_a_second_time(server: OpenAIServer, tmp_path: Path) -> None:
    memory(server, tmp_path).embed(TEXTS[:30])
    filling = memory(server, tmp_path)
    filling.keeps = False
    before = sorted(path.name for path in (tmp_path / "store").rglob("*.npy"))
    assert np.allclose(filling.embed(TEXTS), server.vectors(TEXTS), atol=1e-6)
    assert (filling.asked, server.embedded[30:]) == (10, TEXTS[30:])
    assert sorted(path.name for path in (tmp_path / "store").rglob("*.npy")) == before


def test_another_model_or_other_dimensions_are_other_vectors(server: OpenAIServer, tmp_path: Path) -> None:
    memory(server, tmp_path).embed(TEXTS)
    assert memory(server, tmp_path, dimensions=16).embed(TEXTS).shape == (40, 16)
    memory(server, tmp_path, TUNABLE).embed(TEXTS)
    assert len(server.embedded) == 120


def test_an_end_between_parts_loses_none_that_was_paid_for(
    server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "PART_TEXTS", 10)
    stopped = memory(server, tmp_path)

    def check() -> None:
        if stopped.asked == 20:
            raise Stopped

    stopped.check = check
    with pytest.raises(Stopped):
        stopped.embed(TEXTS)
    assert memory(server, tmp_path).embed(TEXTS).shape == (40, 64)
    assert len(server.embedded) == 40


def test_an_answer_that_never_came_is_asked_for_again_and_the_others_are_kept(
    server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "PART_TEXTS", 10)
    server.faults = [Fault("embeddings", 401, times=0), Fault("embeddings", "lost", times=1)]
    memory(server, tmp_path).embed(TEXTS)
    assert len(server.embedded) == 50  # the ten of the lost answer twice


def test_a_damaged_part_is_embedded_again(server: OpenAIServer, tmp_path: Path) -> None:
    memory(server, tmp_path).embed(TEXTS)
    (part,) = (tmp_path / "store").rglob("*.npy")
    part.write_bytes(part.read_bytes()[:100])
    assert np.allclose(memory(server, tmp_path).embed(TEXTS), server.vectors(TEXTS), atol=1e-6)
    assert len(server.embedded) == 80


def test_two_readers_of_one_stage_do_not_pull_the_file_from_under_each_other(
    server: OpenAIServer, tmp_path: Path
) -> None:
    one = memory(server, tmp_path)
    before = one.embed(TEXTS)
    two = Remembered(one.model, one.folder, one.scratch)
    two.embed([*TEXTS, "one more"])
    assert np.array_equal(one.embed(TEXTS), before)
