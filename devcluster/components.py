"""The processes of a control plane: which flags each one gets, and where their files are. Called by `supervisor`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

TOKEN_ADMIN, TOKEN_CONTROLLERS, TOKEN_SCHEDULER, TOKEN_NODE = "admin", "controllers", "scheduler", "node"
SERVICE_RANGE = "10.96.0.0/16"
HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Ports:
    """Free ports, all on 127.0.0.1."""

    etcd: int
    etcd_peer: int
    api: int
    controllers: int
    scheduler: int
    kubelet: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Files of one control plane."""

    home: Path

    @property
    def kubeconfig(self) -> Path:
        return self.home / "kubeconfig"

    @property
    def state(self) -> Path:
        return self.home / "state.json"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def certificate(self) -> Path:
        """The API server's serving certificate with the CA that signed it; made by the API server itself."""
        return self.home / "certs" / "apiserver.crt"

    @property
    def service_account_key(self) -> Path:
        return self.home / "service-account.key"

    @property
    def tokens(self) -> Path:
        return self.home / "tokens.csv"

    @property
    def pods(self) -> Path:
        return self.home / "pods"

    @property
    def claims(self) -> Path:
        return self.home / "claims"

    def user_kubeconfig(self, user: str) -> Path:
        return self.home / f"kubeconfig-{user}"


def born(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; None when it has ended. Tells it from a later one of that number."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state[0] == "Z" else state[19]


def etcd(layout: Layout, ports: Ports) -> list[str]:
    """fsync is off: this data lives as long as a test."""
    client, peer = f"http://{HOST}:{ports.etcd}", f"http://{HOST}:{ports.etcd_peer}"
    return [
        "etcd",
        f"--data-dir={layout.home / 'etcd'}",
        "--unsafe-no-fsync",
        "--log-level=warn",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
    ]


def api_server(layout: Layout, ports: Ports) -> list[str]:
    """RBAC is on; the admin token belongs to system:masters."""
    key = layout.service_account_key
    return [
        "kube-apiserver",
        f"--etcd-servers=http://{HOST}:{ports.etcd}",
        f"--bind-address={HOST}",
        f"--secure-port={ports.api}",
        f"--cert-dir={layout.certificate.parent}",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        "--authorization-mode=Node,RBAC",
        f"--token-auth-file={layout.tokens}",
        "--endpoint-reconciler-type=none",
        "--kubelet-preferred-address-types=InternalIP",
        "--kubelet-timeout=5s",
    ]


def controller_manager(layout: Layout, ports: Ports) -> list[str]:
    """All controllers; the root CA is published to every namespace, so that Pods can verify the API server."""
    return [
        "kube-controller-manager",
        f"--kubeconfig={layout.user_kubeconfig(TOKEN_CONTROLLERS)}",
        f"--service-account-private-key-file={layout.service_account_key}",
        f"--root-ca-file={layout.certificate}",
        "--use-service-account-credentials",
        "--leader-elect=false",
        f"--bind-address={HOST}",
        f"--secure-port={ports.controllers}",
    ]


def scheduler(layout: Layout, ports: Ports) -> list[str]:
    return [
        "kube-scheduler",
        f"--kubeconfig={layout.user_kubeconfig(TOKEN_SCHEDULER)}",
        "--leader-elect=false",
        f"--bind-address={HOST}",
        f"--secure-port={ports.scheduler}",
    ]


def kubeconfig(server: str, certificate: Path, token: str, namespace: str = "default") -> str:
    """A kubeconfig (YAML) that trusts this API server and carries one token."""
    return (
        "apiVersion: v1\nkind: Config\ncurrent-context: devcluster\n"
        f"clusters:\n- name: devcluster\n  cluster:\n    server: {server}\n    certificate-authority: {certificate}\n"
        f"users:\n- name: user\n  user:\n    token: {token}\n"
        f"contexts:\n- name: devcluster\n  context:\n    cluster: devcluster\n    user: user\n    namespace: {namespace}\n"
    )
