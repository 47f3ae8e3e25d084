"""A snapshot of training data made readable: what is in it, how long texts are, which pairs look wrong. `attune-trainer inspect`.

suspicion → facts → screen
"""
