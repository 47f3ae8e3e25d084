"""The facts of a snapshot on a terminal of 80 columns. Called by the CLI."""

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from attune_trainer.data.records import Pair
from attune_trainer.inspection.facts import Bin, Facts, by_source_and_reason
from attune_trainer.inspection.suspicion import REASONS

_BAR = 32
_TEXT_SHOWN, _NEGATIVES_SHOWN = 220, 2


def show(facts: Facts, console: Console) -> None:
    """Print everything, the numbers first."""
    for title, part in (
        ("", _heading(facts)),
        ("Pairs by source", _sources(facts)),
        ("Left out", _dropped(facts, console.width)),
        (f"Length in {facts.unit}", _lengths(facts)),
        (f"{len(facts.sample)} pairs at random", _pairs(facts.sample)),
        ("Suspicious pairs", _suspicious(facts)),
    ):
        if title:
            console.print(f"\n[bold]{title}[/]")
        console.print(part)


def _heading(facts: Facts) -> RenderableType:
    counts, split = facts.manifest.get("counts", {}), facts.manifest.get("split", {})
    since = f" since {split['heldOutSince'][:10]}" if split.get("heldOutSince") else ""
    return Group(
        Text(facts.uri, style="bold", overflow="fold"),
        Text(facts.digest, style="dim", overflow="fold"),
        Text(
            f"{counts.get('examples', 0):,} pairs to train on, {counts.get('validationExamples', 0):,} for validation, "
            f"{counts.get('heldOutQueries', 0):,} held-out queries (by {split.get('by', '?')}{since}) over "
            f"{counts.get('documents', 0):,} documents"
        ),
    )


def _sources(facts: Facts) -> RenderableType:
    counts = facts.manifest.get("counts", {})
    rows = facts.manifest.get("inputs", {})
    dropped = by_source_and_reason(facts.manifest)
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("source")
    for name in ("rows", "pairs", "left out"):
        table.add_column(name, justify="right")
    for source in sorted({*rows, *counts.get("bySource", {}), *dropped} - {""}):
        read, pairs = rows.get(source, {}).get("rows"), counts.get("bySource", {}).get(source)
        left_out = sum(dropped.get(source, {}).values())
        table.add_row(source, *(f"{n:,}" if n is not None else "" for n in (read, pairs, left_out)))
    return table


def _dropped(facts: Facts, width: int) -> RenderableType:
    first = facts.manifest.get("firstDropped", {})
    rows = [
        (count, reason, source)
        for source, some in by_source_and_reason(facts.manifest).items()
        for reason, count in some.items()
    ]
    if not rows:
        return Text("nothing", style="dim")
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("reason")
    table.add_column("source")
    table.add_column("rows", justify="right")
    table.add_column("first seen")
    taken = sum(max(len(str(row[at])) for row in rows) for at in range(3)) + 8
    for count, reason, source in sorted(rows, key=lambda row: (-row[0], row[1:])):
        seen = next(iter(first.get(reason, [])), "")
        table.add_row(reason, source, f"{count:,}", Text(_short(seen, max(16, width - taken)), no_wrap=True))
    return table


def _lengths(facts: Facts) -> RenderableType:
    parts: list[RenderableType] = []
    for name, bins in facts.lengths.items():
        most = max(one.count for one in bins)
        table = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
        table.add_column(justify="right", width=15)
        table.add_column(width=_BAR)
        table.add_column(justify="right")
        for one in bins:
            table.add_row(
                _range(one), Text("█" * round(_BAR * one.count / most) or ("▏" if one.count else "")), f"{one.count:,}"
            )
        parts += [Text(name), table]
    return Group(*parts)


def _range(one: Bin) -> str:
    return f"{one.low:,} – {one.high - 1:,}"


def _pairs(pairs: list[Pair]) -> RenderableType:
    return Group(*(Padding(_pair(pair), (0, 0, 1, 0)) for pair in pairs))


def _pair(pair: Pair) -> RenderableType:
    weight = f", weight {pair.score:g}" if pair.score != 1 else ""
    lines = [
        Text.assemble(("? ", "bold cyan"), (_short(pair.query), "bold"), (f"  ({pair.source}{weight})", "dim")),
        Text.assemble(("+ ", "bold green"), _short(pair.pos), (f"  [{pair.doc_id}]", "dim")),
    ]
    shown = list(zip(pair.neg, pair.neg_ids, strict=False))
    for text, name in shown[:_NEGATIVES_SHOWN]:
        lines.append(Text.assemble(("- ", "bold red"), _short(text, _TEXT_SHOWN // 2), (f"  [{name}]", "dim")))
    if len(shown) > _NEGATIVES_SHOWN:
        lines.append(Text(f"  and {len(shown) - _NEGATIVES_SHOWN} more negatives", style="dim"))
    return Group(*lines)


def _suspicious(facts: Facts) -> RenderableType:
    if not facts.suspicious:
        return Text("none", style="dim")
    parts: list[RenderableType] = []
    for reason, (count, some) in facts.suspicious.items():
        share = f"{count / facts.pairs:.1%}"
        parts.append(Text.assemble((f"{count:,} ", "bold yellow"), f"({share}) {REASONS[reason]}  ", (reason, "dim")))
        parts.append(Padding(_pairs(some), (0, 0, 0, 2)))
    return Group(*parts)


def _short(text: str, limit: int = _TEXT_SHOWN) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
