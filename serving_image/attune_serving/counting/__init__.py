"""What a running A/B test is decided on: each distinct query once, whichever replica it meets, however often it starts again.

    ledger    which queries were counted: pure, one for each test
    totals    sums for Prometheus
    journal   the ledger on disk, for the next start of this container
    peers     the other replicas: who they are, and how they are asked
    counter   the one object that the app talks to, and the loop that asks the others and counts

Why it takes a conversation between replicas: docs/adr/0021.
"""

from attune_serving.counting.counter import Counter, run_of, wall_clock
from attune_serving.counting.journal import Journal
from attune_serving.counting.peers import Peers
from attune_serving.counting.totals import Collected

__all__ = ["Collected", "Counter", "Journal", "Peers", "run_of", "wall_clock"]
