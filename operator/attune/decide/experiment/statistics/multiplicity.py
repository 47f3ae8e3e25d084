"""Several metrics in one test: p-values and levels corrected so that alpha is that of the whole test. Called by `decide.look`.

The family is the primary and the success metrics. Guardrails are not of it: B wins only if each of them passes, and a test of which
all parts must pass needs no correction (Berger 1982, intersection-union tests; Schultzberg et al. 2024, Risk-aware product decisions
in A/B tests with multiple metrics, arXiv 2402.11609).
"""

from collections.abc import Mapping


def bonferroni(p_values: Mapping[str, float], family: int) -> dict[str, float]:
    """Each p-value times the number of metrics, at most 1. Metrics of the family without a p-value count as well."""
    return {name: min(1.0, family * p) for name, p in p_values.items()}


def holm(p_values: Mapping[str, float], family: int) -> dict[str, float]:
    """Holm (1979), Scandinavian Journal of Statistics 6: the smallest times m, the next times m - 1, …, never falling.

    `family` is m, the number of all metrics; one that has no p-value yet counts as 1, the largest.
    """
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (family - rank) * p))
        adjusted[name] = largest
    return adjusted


def corrected(p_values: Mapping[str, float], family: int, correction: str) -> dict[str, float]:
    """By `analysis.correction`: holm or bonferroni."""
    return holm(p_values, family) if correction == "holm" else bonferroni(p_values, family)


def interval_alpha(alpha: float, family: int) -> float:
    """alpha of each interval of the family, so that all of them hold together with probability 1 - `alpha` (Bonferroni).

    Holm's procedure has no such intervals of its own that would be worth showing (Strassburger & Bretz 2008), so it may call a
    difference whose interval still touches 0; the reverse cannot be.
    """
    return alpha / family
