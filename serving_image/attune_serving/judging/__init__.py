"""Faithfulness on live traffic: a language model answers a sampled share of the queries from what was found, and judges that answer.

    sampling   which queries, how many a minute, how many tokens a day: pure
    judge      two questions to the language model, and the score
    sampler    the queue between the app and the judge; without a judge it does nothing

The score is a value of the metric `faithfulness` of a running test, one of each distinct query.
"""

from attune_serving.judging.sampler import Sampler

__all__ = ["Sampler"]
