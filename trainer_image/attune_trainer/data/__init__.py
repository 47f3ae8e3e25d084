"""From a team's articles to a snapshot of training data: the prepare stage.

    rows → archive → dedup → titles ┐
    rows → judgements, feedback ────┴ sources → split → synthetic → pairs → negatives → snapshot

`prepare.py` is the one to read first; every other module is one step of it.
"""
