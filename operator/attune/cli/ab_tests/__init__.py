"""`attune test`: A/B tests listed, shown, reported, cancelled, planned.

commands      the options, and which of the rest they call
view          a test as plain values; words, screen and report draw them
cancelling    spec.cancel, and its answer
planning      how many queries and days a test needs; growth and traffic: how many come; plan_screen draws it
"""
