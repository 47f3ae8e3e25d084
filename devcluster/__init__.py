"""A real Kubernetes control plane on this machine, without containers, with a node that runs Pods as processes.

For development, tests and the demo. `python -m devcluster --help`; from Python: `Cluster.start(folder)`.
"""

from devcluster.cluster import Cluster, ClusterError

__all__ = ["Cluster", "ClusterError"]
