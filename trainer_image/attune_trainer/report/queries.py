"""Which held-out queries the candidate won and lost, and what that looks like. Pure; called by `files`."""

from collections.abc import Sequence

from attune_trainer.evaluate.comparison import Comparison
from attune_trainer.evaluate.heldout import HeldOut
from attune_trainer.report.facts import Example, QueryChange, QueryChanges, Shown

MOST_QUERIES = 2000
"""In report.json; of more, those that changed most."""
EXAMPLES = 4
QUERY_CHARACTERS, TEXT_CHARACTERS = 400, 500
SAME = 1e-9


def changes(compared: Comparison) -> QueryChanges:
    """Every query under the candidate and under whom it is compared with."""
    held_out, candidate, other = compared.held_out, compared.candidate, compared.other
    depth = max((len(row) for row in [*candidate.rankings, *other.rankings]), default=0)
    found = [
        QueryChange(
            id=name,
            query=held_out.queries[name][:QUERY_CHARACTERS],
            before=round(float(before), 5),
            after=round(float(after), 5),
            rank_before=rank(other.rankings[at], held_out, name),
            rank_after=rank(candidate.rankings[at], held_out, name),
        )
        for at, (name, before, after) in enumerate(
            zip(held_out.queries, other.per_query["ndcg_at10"], candidate.per_query["ndcg_at10"], strict=True)
        )
    ]
    ordered = sorted(found, key=lambda one: (-one.difference, one.id))
    won = [one for one in ordered if one.difference > SAME]
    lost = [one for one in reversed(ordered) if one.difference < -SAME]
    shown = [*won[: MOST_QUERIES // 2], *reversed(lost[: MOST_QUERIES // 2])]
    places = {name: at for at, name in enumerate(held_out.queries)}
    return QueryChanges(
        won=len(won),
        lost=len(lost),
        equal=len(ordered) - len(won) - len(lost),
        depth=depth,
        by_query=tuple(shown),
        examples_won=tuple(_example(one, places[one.id], compared) for one in spread(won)),
        examples_lost=tuple(_example(one, places[one.id], compared) for one in spread(lost)),
    )


def spread(ordered: Sequence[QueryChange]) -> list[QueryChange]:
    """The two largest changes, and others evenly over the rest: the largest alone would not be typical."""
    if len(ordered) <= EXAMPLES:
        return list(ordered)
    rest = ordered[2:]
    return [*ordered[:2], *(rest[(2 * n + 1) * len(rest) // 4] for n in range(EXAMPLES - 2))]


def rank(ranked: Sequence[str], held_out: HeldOut, query: str) -> int | None:
    """Place of the best placed relevant document, from 1; None: not found."""
    grades = held_out.grades[query]
    return next((place for place, document in enumerate(ranked, 1) if grades.get(document, 0) > 0), None)


def _example(change: QueryChange, at: int, compared: Comparison) -> Example:
    held_out = compared.held_out
    grades = held_out.grades[change.id]
    places = {document: place for place, document in enumerate(held_out.documents)}

    def shown(document: str) -> Shown:
        text = " ".join(held_out.texts[places[document]].split())
        cut = text[:TEXT_CHARACTERS] + ("…" if len(text) > TEXT_CHARACTERS else "")
        return Shown(id=document, text=cut, relevant=grades.get(document, 0) > 0)

    def first(ranked: Sequence[str]) -> Shown | None:
        return shown(ranked[0]) if ranked else None

    wanted = min(grades, key=lambda document: (-grades[document], document))
    return Example(
        change=change,
        relevant=shown(wanted),
        before=first(compared.other.rankings[at]),
        after=first(compared.candidate.rankings[at]),
    )
