"""Whether the arms got the shares of queries that they should. If not, something counts wrongly. Called by `decide.look`."""

from collections.abc import Iterable
from dataclasses import dataclass

from attune.decide.experiment.statistics.distributions import chi_square_tail
from attune.observation import Stratum

MISMATCH = 0.001
"""A p-value below this is a mismatch (Kohavi, Tang & Xu 2020, Trustworthy Online Controlled Experiments, chapter 21)."""


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """Distinct queries of B, found and expected, of `total` of both arms."""

    p_value: float
    found: int
    expected: float
    total: int

    @property
    def is_mismatch(self) -> bool:
        return self.p_value < MISMATCH


def sample_ratio(strata: Iterable[Stratum]) -> SampleRatio | None:
    """Pearson's chi-square test of the counts of distinct queries, stratified by split; None before the first query.

    Each stratum with n units, of which B should have the share f, adds (n_B - f·n)² / (n·f·(1 - f)) and one degree of freedom.
    A stratum whose share is 0 or 1 leaves nothing to chance and is left out.
    """
    used = [s for s in strata if s.a.units + s.b.units > 0 and 0 < s.fraction < 1]
    if not used:
        return None
    statistic = expected = 0.0
    for stratum in used:
        units = stratum.a.units + stratum.b.units
        mean = stratum.fraction * units
        statistic += (stratum.b.units - mean) ** 2 / (mean * (1 - stratum.fraction))
        expected += mean
    total = sum(s.a.units + s.b.units for s in used)
    return SampleRatio(chi_square_tail(statistic, len(used)), sum(s.b.units for s in used), expected, total)
