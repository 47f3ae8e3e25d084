"""The process node: a small kubelet that runs each container as a local process.

It is for development and tests only: no isolation of network, users or memory; limits are not enforced; images are
entries of a table. What it does keep is the behaviour that controllers and Pods see of a kubelet.
"""
