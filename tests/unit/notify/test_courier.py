"""One request to a real receiver: what is sent and signed, which answers are final, and that nothing secret is ever said."""

from __future__ import annotations

import asyncio
import base64
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from standardwebhooks import Webhook

from attune.api import NotificationTarget
from attune.cluster.client import no_fence
from attune.cluster.transport import Fence
from attune.context import utc_now
from attune.errors import NotLeader
from attune.notify import courier as module
from attune.notify.addresses import Hosts
from attune.notify.courier import Courier, Refused, TryAgain
from fake_cluster import Clock, FakeCluster
from notified import HERE, a_notification, a_secret, a_target
from receiver import CLOSES, HANGS, Answer, Receiver
from worlds import scripted


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver().start()
    yield made
    made.stop()


@asynccontextmanager
async def courier(*secrets: dict[str, object], hosts: Hosts = HERE, fence: Fence = no_fence) -> AsyncIterator[Courier]:
    cluster = FakeCluster(clock=Clock(), trainer=scripted)
    for secret in secrets:
        cluster.put(secret)
    made = Courier(cluster, hosts, fence, utc_now)
    yield made
    await made.close()


def by_secret(kind: str = "webhook") -> NotificationTarget:
    return a_target(type=kind, secretRef={"name": "chat"})


def secret(receiver: Receiver, **more: str) -> dict[str, object]:
    return a_secret(namespace="team", url=receiver.url, **more)


async def refused(receiver: Receiver, answer: Answer) -> str:
    receiver.answers.append(answer)
    async with courier(secret(receiver, token="b34rer-t0ken")) as made:
        with pytest.raises(Refused) as problem:
            await made.carry(a_notification(target=by_secret()))
    return str(problem.value)


async def tried_again(receiver: Receiver, answer: Answer) -> TryAgain:
    receiver.answers.append(answer)
    async with courier(secret(receiver)) as made:
        with pytest.raises(TryAgain) as problem:
            await made.carry(a_notification(target=by_secret()))
    return problem.value


async def test_a_delivery_carries_json_its_id_and_the_time(receiver: Receiver) -> None:
    told = a_notification(target=a_target(url=receiver.url))
    async with courier() as made:
        await made.carry(told)
    (got,) = receiver.got
    assert got.headers["content-type"] == "application/json"
    assert got.headers["webhook-id"] == told.id == got.json["id"]
    assert abs(int(got.headers["webhook-timestamp"]) - utc_now().timestamp()) < 60
    assert got.headers["user-agent"].startswith("attune/")
    assert "authorization" not in got.headers
    assert "webhook-signature" not in got.headers


async def test_the_address_of_a_chat_comes_from_its_secret_and_nothing_else_of_it_is_sent(receiver: Receiver) -> None:
    async with courier(secret(receiver, token="not-for-chats", signingKey="nor-this")) as made:
        await made.carry(a_notification(target=by_secret("slack")))
    (got,) = receiver.got
    assert got.path == "/services/T0000/B0000/s3cr3tpart"
    assert set(got.json) == {"text", "blocks"}
    assert "authorization" not in got.headers
    assert "webhook-signature" not in got.headers


async def test_a_token_is_sent_as_bearer(receiver: Receiver) -> None:
    async with courier(secret(receiver, token="t0ken\n")) as made:
        await made.carry(a_notification(target=by_secret()))
    assert receiver.got[0].headers["authorization"] == "Bearer t0ken"


WHSEC = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()


@pytest.mark.parametrize(("key", "library"), [(WHSEC, WHSEC), ("any text at all", b"any text at all")])
async def test_a_signature_is_verified_by_the_library_of_standard_webhooks(
    receiver: Receiver, key: str, library: str | bytes
) -> None:
    async with courier(secret(receiver, signingKey=key)) as made:
        await made.carry(a_notification(target=by_secret()))
    (got,) = receiver.got
    assert Webhook(library).verify(got.body, got.headers) == got.json
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(b"another key").verify(got.body, got.headers)
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(library).verify(got.body.replace(b"emb-v1", b"emb-v9"), got.headers)


async def test_a_signing_key_that_is_no_base64_is_said() -> None:
    broken = a_secret(namespace="team", url="http://127.0.0.1:9/", signingKey="whsec_not base64")
    async with courier(broken) as made:
        with pytest.raises(Refused, match="the signingKey of target chat has no base64 after whsec_"):
            await made.carry(a_notification(target=by_secret()))


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_every_2xx_is_a_delivery(receiver: Receiver, status: int) -> None:
    receiver.answers.append(Answer(status, ""))
    async with courier() as made:
        await made.carry(a_notification(target=a_target(url=receiver.url)))
    assert len(receiver.got) == 1, "and nothing is sent again"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 413, 422])
async def test_4xx_is_final_with_the_code_and_the_first_words(receiver: Receiver, status: int) -> None:
    assert (
        await refused(receiver, Answer(status, "no_service\n\n and more"))
        == f"127.0.0.1 answered {status}: no_service and more"
    )


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_what_may_pass_is_tried_again(receiver: Receiver, status: int) -> None:
    problem = await tried_again(receiver, Answer(status, "<html>sorry</html>"))
    assert str(problem) == f"127.0.0.1 answered {status}: <html>sorry</html>"
    assert problem.retry_after == 0


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ("7", 7, 7),
        ("0.5", 0.5, 0.5),
        ("-3", 0, 0),
        ("soon", 0, 0),
        ("nan", 0, 0),
        ("1e9", 3600, 3600),
        (format_datetime(datetime.now(UTC) + timedelta(minutes=50), usegmt=True), 1200, 3000),
        (format_datetime(datetime.now(UTC) - timedelta(seconds=120), usegmt=True), 0, 0),
    ],
    ids=[
        "seconds",
        "part of a second",
        "negative",
        "words",
        "no number",
        "too long",
        "a time to come",
        "a time that is over",
    ],
)
async def test_retry_after_is_read_in_both_forms_and_bounded(
    receiver: Receiver, header: str, low: float, high: float
) -> None:
    problem = await tried_again(receiver, Answer(429, "", {"Retry-After": header}))
    assert low <= problem.retry_after <= high


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed_and_final(receiver: Receiver, status: int) -> None:
    other = Receiver().start()
    try:
        words = await refused(receiver, Answer(status, "", {"Location": other.url}))
        assert words == f"127.0.0.1 answered {status}, and redirects are not followed; give the address itself"
        assert other.got == []
    finally:
        other.stop()


async def test_who_hangs_is_given_up_in_time(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.3)
    began = time.monotonic()
    assert str(await tried_again(receiver, HANGS)) == "127.0.0.1 gave no answer within 0.3 s"
    assert time.monotonic() - began < 5


async def test_who_closes_the_connection_is_asked_again(receiver: Receiver) -> None:
    assert "ServerDisconnectedError" in str(await tried_again(receiver, CLOSES))


async def test_who_is_not_there_is_asked_again() -> None:
    async with courier() as made:
        with pytest.raises(TryAgain, match=r"127\.0\.0\.1: ClientConnectorError"):
            await made.carry(a_notification(target=a_target(url="http://127.0.0.1:9/x")))


async def test_a_name_that_nobody_knows_is_asked_again() -> None:
    async with courier(hosts=Hosts()) as made:
        with pytest.raises(TryAgain, match=r"nowhere\.invalid: ClientConnectorDNSError"):
            await made.carry(a_notification(target=a_target(url="http://nowhere.invalid/x")))


async def test_an_answer_that_is_cut_off_counts_by_its_code(receiver: Receiver) -> None:
    assert await refused(receiver, Answer(404, "no_serv", how="cut")) == "127.0.0.1 answered 404: no_serv"
    receiver.answers.append(Answer(200, "o", how="cut"))
    async with courier() as made:
        await made.carry(a_notification(target=a_target(url=receiver.url)))


async def test_an_endless_answer_is_not_read_to_its_end(receiver: Receiver) -> None:
    words = await refused(receiver, Answer(400, "x" * 5_000_000))
    assert len(words) < 200


async def test_nothing_secret_is_said_whatever_the_receiver_repeats(receiver: Receiver) -> None:
    echo = f"no route {receiver.url} /services/T0000/B0000/s3cr3tpart for b34rer-t0ken"
    words = await refused(receiver, Answer(404, echo))
    assert "s3cr3tpart" not in words
    assert "B0000" not in words
    assert "b34rer-t0ken" not in words
    assert words.startswith("127.0.0.1 answered 404: no route ***")


async def test_a_token_that_no_header_can_carry_is_final_and_not_shown(receiver: Receiver) -> None:
    async with courier(secret(receiver, token="two\nlines")) as made:
        with pytest.raises(Refused) as problem:
            await made.carry(a_notification(target=by_secret()))
    assert str(problem.value) == "the token of target chat is none that can be sent"
    assert receiver.got == []


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, "it has no key url; put the address there"),
        ({"url": "  "}, "it has no key url"),
        ({"url": "hooks.slack.com/services/x"}, "no address that begins with https://"),
        ({"url": "ftp://host/x"}, "no address"),
        ({"url": "https://"}, "no address"),
        ({"url": "https://host:port/x"}, "no address"),
        ({"url": "https://host/two\nlines"}, "no address"),
    ],
)
async def test_a_secret_that_says_no_address_is_said_and_tried_again(keys: dict[str, str], words: str) -> None:
    async with courier(a_secret(namespace="team", **keys)) as made:
        with pytest.raises(TryAgain, match=words):
            await made.carry(a_notification(target=by_secret()))


async def test_a_secret_that_is_missing_is_tried_again_as_somebody_may_make_it(receiver: Receiver) -> None:
    async with courier() as made:
        with pytest.raises(
            TryAgain, match=r"Secret chat \(notifications\[chat\].secretRef\): there is none in namespace team"
        ):
            await made.carry(a_notification(target=by_secret()))


async def test_who_does_not_lead_sends_nothing(receiver: Receiver) -> None:
    def deposed() -> None:
        raise NotLeader("another one leads")

    async with courier(fence=deposed) as made:
        with pytest.raises(NotLeader):
            await made.carry(a_notification(target=a_target(url=receiver.url)))
    assert receiver.got == []


async def test_who_was_stopped_before_it_sent_and_does_not_lead_any_more_sends_nothing(receiver: Receiver) -> None:
    asked = 0

    def deposed_in_between() -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise NotLeader("another one leads")

    async with courier(fence=deposed_in_between) as made:
        with pytest.raises(NotLeader):
            await made.carry(a_notification(target=a_target(url=receiver.url)))
    await asyncio.sleep(0.05)
    assert receiver.got == []


async def test_the_proxy_of_the_environment_is_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = receiver.url.rpartition("/services")[0]
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with courier(hosts=Hosts(("chat.example.com",))) as made:
        await made.carry(a_notification(target=a_target(url="http://chat.example.com/hook")))
    assert receiver.got[0].path == "http://chat.example.com/hook"
    assert receiver.got[0].headers["host"] == "chat.example.com"


async def test_a_host_that_is_no_proxys_business_is_asked_straight(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    async with courier() as made:
        await made.carry(a_notification(target=a_target(url=receiver.url)))
    assert len(receiver.got) == 1


async def test_a_certificate_that_nobody_vouches_for_gets_neither_token_nor_words(tmp_path: Path) -> None:
    receiver = Receiver().start(tls=self_signed(tmp_path))
    try:
        async with courier(secret(receiver, token="t0ken")) as made:
            with pytest.raises(TryAgain, match="certificate verify failed"):
                await made.carry(a_notification(target=by_secret()))
        assert receiver.got == []
    finally:
        receiver.stop()


def self_signed(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(utc_now()).not_valid_after(utc_now() + timedelta(days=1))
    pem, form = folder / "receiver.pem", serialization.PrivateFormat.PKCS8
    private = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    pem.write_bytes(private + builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context
