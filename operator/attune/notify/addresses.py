"""To which addresses the operator may send. Whoever can write a Retriever chooses them, so not to all. Used by `courier`.

Without ATTUNE_NOTIFICATION_HOSTS: to every host, but not to the operator's own Pod, its node, and what clouds tell machines about
themselves. With it: to these hosts, wherever they are.
"""

import ipaddress
import socket
from collections.abc import Sequence

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver

METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200")))
"""Metadata services that are not link-local."""


class AddressRefused(OSError):
    """The host, or what its name stands for, is not to be reached from here."""


class Hosts:
    """What ATTUNE_NOTIFICATION_HOSTS says; empty: every host."""

    def __init__(self, named: Sequence[str] = ()) -> None:
        self._named = tuple(name.lower() for name in named)

    def names(self, host: str) -> bool:
        """Whether somebody allowed this very host, or its domain as *.domain."""
        host = host.lower().rstrip(".")
        return any(host == name or (name.startswith("*.") and host.endswith(name[1:])) for name in self._named)

    def check(self, host: str) -> None:
        """Raises AddressRefused for a host that is not named where hosts are, and for an address that nobody may reach."""
        if self._named and not self.names(host):
            raise AddressRefused(f"{host} is not among ATTUNE_NOTIFICATION_HOSTS of the operator")
        if not self._named:
            refuse(host, host)


def refuse(host: str, address: str) -> None:
    """Raises AddressRefused for an address of this machine, its links, or a metadata service. A name is none."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    bad = found.is_loopback or found.is_link_local or found.is_unspecified or found.is_multicast or found in METADATA
    if bad:
        words = (
            "which is this machine, its link or its metadata; if that is meant, name it in ATTUNE_NOTIFICATION_HOSTS"
        )
        raise AddressRefused(f"{host} is {address}, {words}" if host != address else f"{host}: {words}")


class GuardedResolver(AbstractResolver):
    """Looks names up, and refuses what they must not stand for: the check is of the address that is then connected to."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self._inner = DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if not self._hosts.names(host):
            for one in found:
                refuse(host, one["host"])
        return found

    async def close(self) -> None:
        await self._inner.close()
