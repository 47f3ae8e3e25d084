"""When and how a promoted version is taken back by itself: the rule, the triggers, the watch, the way back. Pure.

`retriever` asks `watch.step` at every look; `cluster.observe` asks `watching` what is to be read for it.
"""
