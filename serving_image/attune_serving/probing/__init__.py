"""For a while after a promotion a replica asks itself labelled queries: what answers without an error, but wrongly, is seen by it.

    tally       two versions, the same queries: who found what. Pure
    questions   the labelled queries of a snapshot, read in a thread, again and again until that goes well
    asker       one query, one version: hit, miss, failed, or nothing to be said
    prober      the one object that `__main__` makes, and the loop: one query at a time, with a pause after each

No user's request waits for it longer than for one other query or one pair of a reranker, at most a quarter of what the replica can
compute is taken, and it is in no count of users' requests, of tests or of attempts. Its cost, measured on one core of a busy machine
where all-MiniLM-L6-v2 takes 22 ms for a query and its search in 3,000 documents, and a reranker of that size 27 ms for a pair of 110
tokens; 64 queries:

    embedding   2,900 ms a round in which both versions are asked (the first, and every fifth), 1,100 ms in the others
    reranker    27 ms x 50 candidates x 64 queries = 86,000 ms for each version; the first word after 16 queries
"""

from attune_serving.probing.asker import Asker
from attune_serving.probing.prober import Prober

__all__ = ["Asker", "Prober"]
