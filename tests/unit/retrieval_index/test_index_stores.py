"""What every store must do, on each of the three."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from attune.contract import IndexSpec
from attune_retrieval.errors import BadData
from attune_retrieval.index import Collection, Document, Identity, Store, bucket_of, open_store, parse_filter, search
from index_samples import SPACE, documents, vectors


@pytest.fixture
def filled(store: Store) -> Collection:
    collection = store.create("news_1", SPACE)
    collection.write(documents(), vectors(), new=True)
    collection.finish()
    return collection


def test_a_collection_remembers_what_it_is_for(store: Store, filled: Collection) -> None:
    told = store.open("news_1", SPACE).describe()
    assert (told.name, told.identity, told.documents, told.hybrid) == ("news_1", SPACE, 40, True)
    assert store.names() == ["news_1"]


def test_making_it_again_changes_nothing(store: Store, filled: Collection) -> None:
    assert store.create("news_1", SPACE).describe().documents == 40


@pytest.mark.parametrize(
    ("identity", "reason"),
    [
        (Identity("sha256:other", 8), "SpaceMismatch"),
        (Identity("sha256:space", 16), "DimensionMismatch"),
        (Identity("sha256:space", 8, "l2"), "SpaceMismatch"),
    ],
)
def test_it_cannot_be_opened_or_made_for_another_space(
    store: Store, filled: Collection, identity: Identity, reason: str
) -> None:
    for attempt in (store.open, store.create):
        with pytest.raises(BadData) as refused:
            attempt("news_1", identity)
        assert refused.value.reason == reason
        assert "a collection of its own" in str(refused.value)


def test_a_collection_that_is_not_there_is_missed_by_name(store: Store) -> None:
    with pytest.raises(BadData, match="no collection news_9") as refused:
        store.open("news_9", SPACE)
    assert refused.value.reason == "CollectionMissing"


def test_the_nearest_comes_first_and_scores_are_cosines(filled: Collection) -> None:
    wanted = vectors()[7]
    hits = filled.dense(wanted, 5)
    assert hits[0].id == "d007"
    assert hits[0].score == pytest.approx(1.0, abs=1e-3)
    exact = np.sort(vectors() @ wanted)[::-1][:5]
    assert [h.score for h in hits] == pytest.approx(exact.tolist(), abs=1e-3)
    assert (hits[0].title, hits[0].content) == ("Title 7", "text about number7 and things")


@pytest.mark.parametrize("distance", ["dot", "l2"])
def test_other_distances_rank_as_they_should(store: Store, distance: str) -> None:
    collection = store.create("other", Identity("s", 8, distance))  # type: ignore[arg-type]
    stored = vectors() * np.linspace(0.5, 2, 40, dtype=np.float32)[:, None]
    collection.write(documents(), stored, new=True)
    wanted = vectors(1, seed=3)[0]
    exact = stored @ wanted if distance == "dot" else -np.linalg.norm(stored - wanted, axis=1)
    best = np.argsort(-exact)[:5]
    hits = collection.dense(wanted, 5)
    assert [h.id for h in hits] == [f"d{n:03}" for n in best]
    assert [h.score for h in hits] == pytest.approx(exact[best].tolist(), abs=2e-3)


def test_words_are_found_by_bm25_in_title_and_content(filled: Collection) -> None:
    assert [h.id for h in filled.by_words("what of number13?", 3)] == ["d013"]
    assert filled.by_words("the of and", 3) == []
    assert filled.by_words("", 3) == []
    assert filled.by_words("zebra", 3) == []


def test_a_rare_word_weighs_more_than_a_common_one(filled: Collection) -> None:
    hits = filled.by_words("things number21", 10)
    assert hits[0].id == "d021"
    assert hits[0].score > hits[1].score if len(hits) > 1 else True


def test_hybrid_finds_what_the_vector_alone_does_not(filled: Collection) -> None:
    wanted = -vectors()[30]
    assert "d030" not in [h.id for h in filled.dense(wanted, 5)]
    assert "d030" in [h.id for h in search(filled, wanted, "number30", 5)]


def test_a_changed_document_replaces_and_a_deleted_one_is_gone(filled: Collection) -> None:
    changed = Document("d005", "New", "quite another matter", None)
    filled.write([changed], vectors(1, seed=9), new=False)
    filled.delete(["d006", "never-there"])
    filled.finish()
    digests = dict(filled.digests())
    assert len(digests) == 39
    assert digests["d005"] == changed.digest
    assert "d006" not in digests
    assert [h.id for h in filled.by_words("matter", 3)] == ["d005"]
    assert filled.by_words("number5", 3) == []
    assert np.allclose(filled.vectors(["d005"])["d005"], vectors(1, seed=9)[0], atol=1e-5)


def test_shards_are_disjoint_and_complete(filled: Collection) -> None:
    shards = [dict(filled.digests(n, 4)) for n in range(4)]
    assert sum(map(len, shards)) == 40
    assert set().union(*shards) == {d.id for d in documents()}
    assert [filled.count(n, 4) for n in range(4)] == [len(s) for s in shards]
    assert all(bucket_of(i) % 4 == n for n, s in enumerate(shards) for i in s)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"id": "d003"}, {"d003"}),
        ({"id": {"in": ["d003", "d004"]}}, {"d003", "d004"}),
        ({"title": "Title 9"}, {"d009"}),
        ({"publishedAt": {"gte": "2026-01-28"}}, {"d027"}),
        ({"publishedAt": {"gte": "2026-01-02", "lt": "2026-01-03"}}, {"d001", "d029"}),
        ({"publishedAt": {"lte": "2026-01-01T00:00:00Z"}, "id": {"in": ["d000", "d003"]}}, {"d000"}),
        ({"id": "x' OR '1'='1"}, set()),
    ],
)
def test_filters_narrow_both_kinds_of_search(filled: Collection, given: object, expected: set[str]) -> None:
    conditions = parse_filter(given)
    assert {h.id for h in filled.dense(vectors()[0], 40, conditions)} == expected
    assert {h.id for h in filled.by_words("text", 40, conditions)} == expected


def test_strange_ids_and_texts_stay_what_they_are(store: Store) -> None:
    strange = [
        Document("a'; DROP TABLE news_1; --", "It's", "quotes ' and \" and \\ here", None),
        Document("日本/記事?x=%s", "東京", "東京の記事です", None),
        Document("%d {0} $1", "💡", "braces {} percent %s dollar $1", None),
    ]
    collection = store.create("news_1", SPACE)
    collection.write(strange, vectors(3), new=True)
    collection.finish()
    assert {i for i, _ in collection.digests()} == {d.id for d in strange}
    assert [h.id for h in collection.by_words("東京", 3)] == [strange[1].id]
    assert collection.by_words("'; DROP TABLE news_1; --", 3) == []
    assert set(collection.vectors([d.id for d in strange])) == {d.id for d in strange}
    collection.delete([strange[0].id])
    assert collection.describe().documents == 2


def test_more_than_there_is_and_an_empty_collection_are_fine(store: Store, filled: Collection) -> None:
    assert len(filled.dense(vectors()[0], 1000)) == 40
    empty = store.create("empty", SPACE)
    empty.finish()
    assert empty.dense(vectors()[0], 3) == []
    assert empty.by_words("anything", 3) == []


def test_dropping_is_final_and_absent_ones_are_fine(store: Store, filled: Collection) -> None:
    assert store.drop("news_1") is True
    assert store.drop("news_1") is False
    assert store.names() == []
    with pytest.raises(BadData):
        store.open("news_1")


def test_many_threads_may_search_at_once(filled: Collection) -> None:
    problems: list[BaseException] = []

    def look(number: int) -> None:
        try:
            for _ in range(5):
                assert search(filled, vectors()[number], f"number{number}", 3)[0].id == f"d{number:03}"
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=look, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_two_shards_write_and_finish_at_once(spec: IndexSpec) -> None:
    if spec.store == "qdrant":
        pytest.skip("the local mode of Qdrant takes one client at a time")
    problems: list[BaseException] = []

    def fill(shard: int) -> None:
        try:
            opened = open_store(spec)
            collection = opened.create("both", SPACE)
            mine = [n for n, d in enumerate(documents()) if bucket_of(d.id) % 2 == shard]
            for n in mine:
                collection.write([documents()[n]], vectors()[n : n + 1], new=True)
            collection.finish()
            opened.close()
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=fill, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    store = open_store(spec)
    assert store.open("both", SPACE).describe().documents == 40
    assert [h.id for h in store.open("both", SPACE).by_words("number39", 2)] == ["d039"]
    store.close()
