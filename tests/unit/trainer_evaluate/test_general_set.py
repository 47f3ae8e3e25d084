"""The general set: on every machine, the same for the same seed, and what was lost on it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from attune.contract import GeneralSource
from attune_trainer.errors import BadData
from attune_trainer.evaluate import docstrings, general
from attune_trainer.evaluate.measure import measure_encoder, measure_rankings
from compared import held_out, ranked


class Words:
    """Texts as counts of hashed words: finds what shares words with the query."""

    def __init__(self, seed: int = 0, blind: float = 0.0) -> None:
        self.blind = blind
        self.seed = seed

    def encode(self, texts: Sequence[str], role: str, advance: object = None) -> np.ndarray:
        rng = np.random.default_rng(self.seed)
        found = np.zeros((len(texts), 512), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                found[row, sum(map(ord, word)) * 31 % 512] += 1
        found += self.blind * rng.random(found.shape, dtype=np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_the_built_in_set_is_drawn_by_the_seed() -> None:
    one, again, other = general.built_in(1).held_out, general.built_in(1).held_out, general.built_in(2).held_out
    assert one.texts == again.texts
    assert one.queries == again.queries
    assert set(one.queries.values()) != set(other.queries.values())
    assert (len(one.queries), len(one.documents)) == (300, 400)
    assert max(map(len, one.texts)) <= general.CHARACTERS
    assert len(docstrings.pairs()) > 1000


def test_ndcg_of_a_model_in_memory_says_how_much_it_knows() -> None:
    knows, forgot = Words(), Words(blind=5.0)
    assert general.general_ndcg(knows, 1) > general.general_ndcg(forgot, 1) + 0.1
    assert general.general_ndcg(knows, 1, queries=50) == general.general_ndcg(knows, 1, queries=50)


def test_what_was_forgotten_is_base_minus_candidate_with_its_interval() -> None:
    chosen = general.built_in(1)
    base = measure_encoder(Words(), chosen.held_out)
    forgot = measure_encoder(Words(blind=5.0), chosen.held_out)
    found = general.compared(chosen, forgot, base, base, resamples=300, seed=1)
    assert found.drop == pytest.approx(found.base - found.ndcg_at10, abs=1e-4)
    assert found.interval.low < -found.drop < found.interval.high < 0
    assert found.active == found.base
    same = general.compared(chosen, base, base, None, resamples=300, seed=1)
    assert (same.drop, same.interval.low, same.interval.high, same.active) == (0, 0, 0, None)


def test_python_without_its_sources_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"stdlib": str(tmp_path)})
    general.built_in.cache_clear()
    with pytest.raises(BadData, match=r"evaluation\.general"):
        general.built_in(1)
    general.built_in.cache_clear()


def lines(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_set_of_the_users_own_is_a_file_or_a_folder(tmp_path: Path) -> None:
    lines(tmp_path / "own.jsonl", [{"query": f"what is {n}", "text": f"it is {n // 2}"} for n in range(500)])
    own = general.opened(GeneralSource(uri=f"file://{tmp_path}/own.jsonl"), 1, tmp_path / "scratch").held_out
    assert (len(own.queries), len(own.documents)) == (300, 250)
    lines(tmp_path / "beir" / "corpus.jsonl", [{"_id": f"d{n}", "text": f"text {n}"} for n in range(1500)])
    lines(tmp_path / "beir" / "queries.jsonl", [{"_id": f"q{n}", "text": f"query {n}"} for n in range(400)])
    judged = "".join(f"q{n}\td{n}\t1\n" for n in range(400))
    (tmp_path / "beir" / "qrels").mkdir()
    (tmp_path / "beir" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    beir = general.opened(GeneralSource(uri=f"file://{tmp_path}/beir"), 1, tmp_path / "scratch").held_out
    assert (len(beir.queries), len(beir.documents)) == (300, 1000)
    assert all(set(beir.grades[name]) <= set(beir.documents) for name in beir.queries)


@pytest.mark.parametrize(
    ("uri", "words"),
    [("no-such-folder", "qrels/test.tsv"), ("no-such-file.jsonl", "no-such-file.jsonl"), ("bad.jsonl", "line 2")],
)
def test_a_set_that_cannot_be_used_is_refused_with_the_form(tmp_path: Path, uri: str, words: str) -> None:
    lines(tmp_path / "bad.jsonl", [{"query": "a", "text": "b"}, {"query": "a", "id": "1"}])
    with pytest.raises(BadData, match=words):
        general.opened(GeneralSource(uri=f"file://{tmp_path}/{uri}"), 1, tmp_path / "scratch")


async def test_our_context_metrics_are_those_of_ragas() -> None:
    """Precision is the rank-aware one that RAGAS documents; its own metric by ids has no ranks: hits / retrieved."""
    from ragas import SingleTurnSample
    from ragas.metrics import IDBasedContextRecall
    from ragas.metrics._context_precision import LLMContextPrecisionWithReference

    known, rankings = held_out(), ranked(1, 2, 3, 4, 5, 0)
    measured = measure_rankings(rankings, known).per_query
    average = LLMContextPrecisionWithReference()._calculate_average_precision
    for at, (query, row) in enumerate(zip(known.queries, rankings, strict=True)):
        verdicts = [type("V", (), {"verdict": int(known.grades[query].get(d, 0) > 0)}) for d in row]
        assert measured["context_precision"][at] == pytest.approx(average(verdicts), abs=1e-6)  # type: ignore[arg-type]
        sample = SingleTurnSample(retrieved_context_ids=list(row), reference_context_ids=list(known.grades[query]))
        assert measured["context_recall"][at] == await IDBasedContextRecall().single_turn_ascore(sample)
