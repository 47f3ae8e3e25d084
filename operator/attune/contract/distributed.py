"""How the Pods of a training by several processes are told of each other: environment variables, written by the operator."""

NODES = "ATTUNE_NODES"
"""Pods that train together; absent: one."""
PROCESSES_PER_NODE = "ATTUNE_PROCESSES_PER_NODE"
"""Training processes in each of them; absent: one."""
MASTER_ADDR, MASTER_PORT = "MASTER_ADDR", "MASTER_PORT"
"""Where the first Pod listens, as torchrun names it."""
