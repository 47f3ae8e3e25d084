"""Names of the counters by which serving hands an A/B test's sufficient statistics to the operator, through Prometheus.

Counters of one process: its label `process` is new after each start, so no series ever goes back to zero, and the total is the sum
over processes of the last value of each. A sum that may fall is two counters (`sign`). Units of one `ledger` are distinct queries; a
ledger that began later, because every replica had been replaced at once, may count some of them again, so ledgers are never added up.
"""

UNITS = "attune_serving_test_units_total"
"""Distinct queries that were counted, in the split and arm of their first request. Labels: BY."""
VALUES = "attune_serving_test_values_total"
"""Values of a metric; at most one of each distinct query. Labels: BY and METRIC."""
SUM = "attune_serving_test_value_sum_total"
"""Sum of the values. Labels: BY, METRIC and SIGN."""
SQUARES = "attune_serving_test_value_squares_total"
"""Sum of their squares. Labels: BY and METRIC."""
FULL = "attune_serving_test_full"
"""1 while a replica's set of queries is full: it counts no further ones. Labels: PROCESS_BY."""
UNCONFIRMED = "attune_serving_test_unconfirmed_total"
"""Units that were counted although a replica could not be asked whether it had counted them before. Labels: PROCESS_BY."""
IGNORED = "attune_serving_test_ignored_total"
"""Values that do not count, by reason: unexposed (no request of that query was seen), moved (of the other arm). PROCESS_BY, reason."""
WAITING = "attune_serving_test_waiting"
"""Units and values that other replicas are asked about. Labels: PROCESS_BY."""

BY = ("test", "run", "ledger", "split", "arm", "process")
"""Name and uid of the ABTest; the ledger; B's share as text; A or B; the process."""
PROCESS_BY = ("test", "run", "process")
METRIC, SIGN = "metric", "sign"
PLUS, MINUS = "plus", "minus"

LATENCY, ERROR, FAITHFULNESS = "latency", "error", "faithfulness"
"""Metrics that serving measures by itself: ln of milliseconds of an answer; 1 for an answer of 5xx, or of 429 because a queue was full,
and 0 otherwise; 0 to 1 by the judge."""
