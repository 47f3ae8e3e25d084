"""Hard negatives: near the query, clearly below the positive, never a second right answer."""

import numpy as np
import pytest

from attune_trainer.data.bm25 import Bm25
from attune_trainer.data.dedup import distinct
from attune_trainer.data.negatives import CANDIDATES, Mining, Pool, embed, mine
from attune_trainer.data.records import Document, Pair, Tally, query_id
from attune_trainer.errors import BadConfig


def by_angle(texts):
    """Vectors on a half circle; the last word of a text is its angle in degrees: cosine = cos of the difference."""
    angles = np.radians([float(text.split()[-1]) for text in texts])
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def doc(identifier, angle, text=None):
    return Document(identifier, "", f"{text or f'body{identifier} only{identifier} here{identifier}'} {angle}")


def pair(document, angle=0, query="question"):
    text = f"{query} {angle}"
    return Pair(text, document.content, "archive", query_id(text), document.id)


def run(pairs, train, *, others=(), positives=None, rejected=None, **mining):
    pool = Pool(train, distinct([*train, *others], Tally()), positives or {}, rejected or {})
    settings = Mining(**{"per_query": 4, "relative_margin": 0.95, **mining})
    return mine(pairs, pool, by_angle, settings, lambda _: None)


def test_the_nearest_wrong_documents_below_the_line_are_taken():
    positive = doc("p", 30)
    near, far, above = doc("near", 60), doc("far", 80), doc("above", 31)
    mined = run([pair(positive)], [positive, far, above, near], per_query=2)
    assert mined.pairs[0].neg_ids == ("near", "far")
    assert mined.pairs[0].neg == (near.content, far.content)
    assert mined.above_line == 1


@pytest.mark.parametrize(("margin", "taken"), [(0.95, ("close",)), (0.5, ())])
def test_the_margin_is_relative_to_the_score_of_the_positive(margin, taken):
    """cos 20° = 0.940, cos 30° = 0.866: 92% of it."""
    positive = doc("p", 20)
    mined = run([pair(positive)], [positive, doc("close", 30)], relative_margin=margin)
    assert mined.pairs[0].neg_ids == taken


def test_a_positive_with_a_negative_score_has_its_line_below_it():
    positive = doc("p", 120)
    mined = run([pair(positive)], [positive, doc("same", 120), doc("below", 170)])
    assert mined.pairs[0].neg_ids == ("below",)


def test_another_known_answer_of_the_query_is_never_a_negative():
    positive, second, wrong = doc("p", 10), doc("second", 50), doc("wrong", 60)
    asked = pair(positive)
    mined = run([asked], [positive, second, wrong], positives={asked.query_id: {"p", "second", "elsewhere"}})
    assert mined.pairs[0].neg_ids == ("wrong",)


def test_a_text_close_to_the_positive_is_never_a_negative():
    words = [f"word{n}" for n in range(60)]
    positive = doc("p", 10, " ".join(words))
    related = doc("related", 50, " ".join([*words[:48], *(f"new{n}" for n in range(8))]))
    other = doc("other", 60, " ".join(f"else{n}" for n in range(60)))
    pool = distinct([positive, related, other], Tally())
    assert len(pool.documents) == 3, "too close for dedup: the test would prove nothing"
    assert run([pair(positive)], [positive, related, other]).pairs[0].neg_ids == ("other",)


def test_documents_outside_the_training_side_are_never_negatives_also_for_validation_pairs():
    train, validation, held_out = doc("t", 10), doc("v", 40, "a question of validation"), doc("h", 50, "a question")
    mined = run([pair(train), pair(validation, 5)], [train, doc("n", 80)], others=[validation, held_out])
    assert [p.neg_ids for p in mined.pairs] == [("n",), ("n",)]


def test_dense_and_lexical_candidates_take_turns():
    positive = doc("p", 0)
    dense = [doc(f"dense{n}", 40 + n) for n in range(3)]
    lexical = [doc(f"lexical{n}", 80 + n, f"question about thing{n} other{n}") for n in range(3)]
    mined = run([pair(positive)], [positive, *dense, *lexical])
    taken = mined.pairs[0].neg_ids
    assert taken[0] == "dense0"
    assert {name.rstrip("012") for name in taken[:2]} == {"dense", "lexical"}
    assert sum(name.startswith("lexical") for name in taken) == 2


def test_what_people_rejected_goes_first_whatever_it_scores():
    positive, rejected = doc("p", 20), doc("rejected", 1)
    asked = pair(positive)
    mined = run(
        [asked], [positive, rejected, doc("wrong", 60)], rejected={asked.query_id: ["rejected", "p", "unknown"]}
    )
    assert mined.pairs[0].neg_ids == ("rejected", "wrong")


def test_a_pair_whose_document_no_ranking_has_near_the_top_is_suspect():
    positive = doc("p", 90)
    crowd = [doc(f"c{n}", n / 4) for n in range(CANDIDATES + 20)]
    assert run([pair(positive)], [positive, *crowd]).suspect == [0]
    lexical = doc("p", 90, "question")
    assert run([pair(lexical)], [lexical, *crowd]).suspect == []
    assert run([pair(positive)], [positive, *crowd[: CANDIDATES - 1]]).suspect == []


def test_prompts_are_put_before_what_is_encoded():
    seen = []

    def spy(texts):
        seen.extend(texts)
        return by_angle(texts)

    positive = doc("p", 20)
    pool = Pool([positive], distinct([positive], Tally()), {}, {})
    mine([pair(positive)], pool, spy, Mining(1, 0.95, "query: ", "passage: "), lambda _: None)
    assert sorted(text.partition(" ")[0] for text in seen) == ["passage:", "query:"]


def test_a_model_that_gives_nan_is_refused():
    with pytest.raises(BadConfig, match="NaN"):
        embed(["a 1"], "", lambda texts: np.full((len(texts), 2), np.nan, np.float32), lambda _: None)


def test_vectors_come_back_in_the_order_of_the_texts():
    texts = [f"{'word ' * (n % 7)}{n}" for n in range(1200)]
    assert np.allclose(embed(texts, "", by_angle, lambda _: None), by_angle(texts))


def test_bm25_ranks_by_words_ties_by_position_and_bears_empty_input():
    index = Bm25(["apples and pears", "bananas", "apples", "the of and", "bananas"])
    rows, scores = index.search(["apples", "bananas", "the", ""], 3)
    assert rows[0][0] == 2
    assert rows[1][:2].tolist() == [1, 4]
    assert scores[1][0] == scores[1][1] > 0
    assert not scores[2:].any()
    assert Bm25([]).search(["x y"], 3)[0].shape == (1, 0)
    assert not Bm25(["the", "and"]).search(["the"], 2)[1].any()
    assert not index.search(["zebra"], 2)[1].any()
    assert Bm25(["機械学習の本", "別の本"]).search(["学習"], 1)[0][0][0] == 0
