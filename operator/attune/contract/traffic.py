"""TrafficReport: what a serving replica saw of its queries in the last day (GET /v1/traffic), for `kubectl attune test plan`.

For each hour the number of requests, and a k-minimum-values sketch of the distinct queries: the SMALLEST smallest hashes. As the hash is
uniform and the same in every replica, the sketch of a union is the smallest of the sketches' hashes: hours and replicas merge exactly.
Sources: Bar-Yossef et al., "Counting distinct elements in a data stream", RANDOM 2002; Beyer et al., "On synopses for distinct-value
estimation under multiset operations", SIGMOD 2007, whose unbiased estimator is (k - 1) / k-th smallest.
"""

from typing import Annotated, Literal

from pydantic import Field

from attune.contract.base import Contract

SMALLEST = 256
"""Hashes that a sketch keeps: the relative standard error of a count is 1 / sqrt(SMALLEST - 2), 6.3%."""
HASH_BITS = 53
"""Bits of a hash that are kept, so that every reader of JSON has them exactly."""
HOURS = 24
HOUR_SECONDS = 3600


class HourOfTraffic(Contract):
    """One hour of one replica, or of several."""

    start: int = Field(ge=0, multiple_of=HOUR_SECONDS, description="Seconds since 1970, UTC.")
    requests: int = Field(ge=0, description="Queries, each as often as it was asked.")
    smallest: Annotated[tuple[int, ...], Field(max_length=SMALLEST)] = Field(
        (), description="The smallest hashes of distinct queries, ascending; fewer than SMALLEST: all of them."
    )


class TrafficReport(Contract):
    """GET /v1/traffic."""

    contract: Literal["attune.dev/traffic/v1alpha1"] = "attune.dev/traffic/v1alpha1"
    since: float = Field(description="Seconds since 1970: what came before was not seen.")
    at: float = Field(description="Seconds since 1970: the time of this report.")
    hours: Annotated[tuple[HourOfTraffic, ...], Field(max_length=HOURS)] = Field(
        (), description="Hours that had requests, oldest first; the first and the last one may be parts of an hour."
    )

    @property
    def seconds(self) -> float:
        """How long this replica has seen."""
        return max(0.0, self.at - self.since)

    @property
    def requests(self) -> int:
        """Queries in that time."""
        return sum(hour.requests for hour in self.hours)
