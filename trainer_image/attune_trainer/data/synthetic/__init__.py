"""Questions that a language model asks about articles: the third source of pairs.

    prompt → chat ┐
    cache ────────┴→ asking → questions (judgements)

`asking.py` is the one to read first. An answer that was paid for lies in the store before the next one is asked for, by the digest
of its article, the prompt and the model; no run asks again for what lies there.
"""
