"""To which addresses an operator sends that anybody with a Retriever may point somewhere."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from attune.cluster.client import no_fence
from attune.cluster.receivers import Receiver as Where
from attune.context import utc_now
from attune.notify.addresses import AddressRefused, GuardedResolver, Hosts, refuse
from attune.notify.courier import Courier, Refused
from attune.notify.redaction import without_secrets
from fake_cluster import Clock, FakeCluster
from notified import a_notification, a_target
from receiver import Receiver
from worlds import scripted


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.9.10",
        "::1",
        "0.0.0.0",
        "::",
        "169.254.169.254",
        "fe80::1",
        "fe80::1%eth0",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "fd00:ec2::254",
        "100.100.100.200",
        "224.0.0.1",
    ],
)
def test_this_machine_its_links_and_what_clouds_tell_it_are_refused(address: str) -> None:
    with pytest.raises(AddressRefused, match="ATTUNE_NOTIFICATION_HOSTS"):
        refuse("innocent.example.com", address)


@pytest.mark.parametrize(
    "address", ["10.1.2.3", "192.168.1.1", "172.16.0.1", "8.8.8.8", "2001:db8::1", "fd12::1", "a.name"]
)
def test_other_addresses_are_not(address: str) -> None:
    refused = []
    try:
        refuse("mattermost.chat", address)
    except AddressRefused as error:
        refused.append(str(error))
    assert refused == []


def test_where_hosts_are_named_only_those_are_reached_wherever_they_are() -> None:
    hosts = Hosts(("hooks.slack.com", "*.example.com", "127.0.0.1"))
    for good in (
        "hooks.slack.com",
        "HOOKS.slack.com",
        "hooks.slack.com.",
        "chat.example.com",
        "a.b.example.com",
        "127.0.0.1",
    ):
        hosts.check(good)
    for bad in ("example.com", "evil.com", "hooks.slack.com.evil.com", "xexample.com", "127.0.0.2"):
        with pytest.raises(AddressRefused, match="not among ATTUNE_NOTIFICATION_HOSTS"):
            hosts.check(bad)


async def test_a_name_that_stands_for_this_machine_is_refused_when_it_is_looked_up() -> None:
    resolver = GuardedResolver(Hosts())
    with pytest.raises(AddressRefused, match="localhost is"):
        await resolver.resolve("localhost", 80)
    await resolver.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "127.1"])
async def test_no_spelling_of_this_machine_is_asked(host: str) -> None:
    receiver = Receiver().start()
    port = receiver.url.split(":")[2].partition("/")[0]
    courier = Courier(FakeCluster(clock=Clock(), trainer=scripted), Hosts(), no_fence, utc_now)
    try:
        with pytest.raises(Refused, match=r"this machine|none that can be asked"):
            await courier.carry(a_notification(target=a_target(url=f"http://{host}:{port}/x")))
        assert receiver.got == []
    finally:
        await courier.close()
        receiver.stop()


async def test_what_the_guard_refuses_comes_through_a_session_as_it_is() -> None:
    """If aiohttp wrapped it otherwise, a refusal would be tried again for a day."""
    connector = aiohttp.TCPConnector(resolver=GuardedResolver(Hosts()))
    async with aiohttp.ClientSession(connector=connector) as session:
        with pytest.raises(aiohttp.ClientConnectorError) as problem:
            await session.post("http://localhost:9/x")
    assert isinstance(problem.value.os_error, AddressRefused)
    await asyncio.sleep(0)


RECEIVER = Where(
    "https://user:pa55word@hooks.slack.com/services/T0A1/B2C3/xyzzy?key=qu3ryvalue#frag", "t0ken", "whsec_c2VjcmV0a2V5"
)


@pytest.mark.parametrize(
    "echo",
    [
        "not found: https://user:pa55word@hooks.slack.com/services/T0A1/B2C3/xyzzy?key=qu3ryvalue#frag",
        "no /services/T0A1/B2C3/xyzzy here",
        "no %2Fservices%2FT0A1%2FB2C3%2Fxyzzy here",
        "segment xyzzy, value qu3ryvalue",
        "pa55word and t0ken",
        "whsec_c2VjcmV0a2V5 or c2VjcmV0a2V5",
    ],
)
def test_what_a_receiver_repeats_of_its_address_and_keys_is_masked(echo: str) -> None:
    words = without_secrets(RECEIVER, echo)
    for part in ("xyzzy", "T0A1", "pa55word", "t0ken", "qu3ryvalue", "c2VjcmV0a2V5"):
        assert part not in words
    assert "***" in words


def test_other_words_stay_in_one_short_line() -> None:
    assert without_secrets(RECEIVER, "invalid\x00\n\ttoken  ") == "invalid token"
    assert len(without_secrets(RECEIVER, "x" * 5000)) == 100


def test_a_receiver_shows_none_of_its_secrets() -> None:
    assert repr(RECEIVER) == "Receiver()"
    assert RECEIVER.host == "hooks.slack.com"
