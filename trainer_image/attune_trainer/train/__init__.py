"""Training of models from a snapshot of pairs."""
