"""Names of the series by which serving says how well each version answers, whoever answers the user in the end.

An attempt is one request that one version was asked to answer. Where the inline guard has the previous version answer instead, the user
sees an answer, and the new version a failed attempt. Read by the operator's watch after a promotion, and by manifests/monitoring.
Counters of one process: its label `process` is new after each start, so no series ever goes back to zero.
"""

ATTEMPTS = "attune_serving_attempts_total"
"""Requests that a version was asked to answer. What the client did wrong (4xx) and full queues (429) are none. Labels: BY."""
FAILURES = "attune_serving_attempt_failures_total"
"""Those that it could not answer. Labels: BY and REASON; the reason SHARED says that the previous version could not either."""
SECONDS = "attune_serving_attempt_duration_seconds"
"""Histogram: how long attempts took, failed ones too. Labels: BY."""
FALLBACKS = "attune_serving_fallbacks_total"
"""Requests that the previous version answered in place of this one, by the inline guard. Labels: BY."""
GUARD_OPEN = "attune_serving_guard_open"
"""1 while this replica does not ask the version any more, after too many failures; 0 otherwise. Labels: BY."""
PROBE_QUERIES = "attune_serving_probe_queries"
"""Labelled queries of the last probe. Labels: BY."""
PROBE_RECALL = "attune_serving_probe_recall"
"""Share of them for which a relevant document was among the first ten. Labels: BY; the previous version has a series, too."""
SPREAD = "attune_serving_score_spread"
"""Histogram: the best score less the tenth of the dense part of a search. Where vectors collapse, it falls to nothing. Labels: BY."""

NAMESPACE, RETRIEVER, VERSION, TYPE, PROCESS = (
    "attune_namespace",
    "attune_retriever",
    "attune_version",
    "attune_type",
    "process",
)
BY = (NAMESPACE, RETRIEVER, VERSION, TYPE, PROCESS)
"""Namespace and name of the Retriever; name of the ModelVersion; embedding or reranker; the process."""
REASON = "reason"
SHARED = "shared"
"""The previous version could not answer the same request: the fault is of what both need, and no reason to go back."""
