"""Measuring a model on held-out queries, from its exported files."""
