"""What training and serving share: the artifact store, verified artifacts, text to vectors, vector stores. No torch.

`attune_trainer` and `attune_serving` import it, and of the operator only `attune.contract`.
"""
