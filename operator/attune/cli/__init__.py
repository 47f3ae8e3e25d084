"""`attune` and `kubectl attune`: what serves, since when, how good; promote, go back, compare, search. For people and scripts.

It has the rights of whoever calls it, and does nothing that `kubectl` could not. Heavy imports come late: `--help` is instant.
"""
