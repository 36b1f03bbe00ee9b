"""SASL: each mechanism with clients that nobody here wrote, and rows B5 to B12 of the abuse cases."""

from __future__ import annotations

import hashlib
import hmac
import re
import sys
from base64 import b64decode, b64encode
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scramp import ScramClient, ScramException  # type: ignore[import-untyped]  # has no types
from twisted.internet.defer import Deferred, execute

from jabberd.interfaces import Security
from jabberd.jsm.credentials import Accounts
from jabberd.storage.memory import MemoryStorage
from jabberd.xmpp.errors import SASLFailure
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl import (
    Challenge,
    External,
    Mechanism,
    Success,
    decode_base64,
    mechanism,
    offered,
)
from jabberd.xmpp.scram import ScramExchange, derive

if TYPE_CHECKING:
    from collections.abc import Callable

DOMAIN = JID.parse("montague.lit")
PASSWORD = "wherefore art thou"
BINDINGS = {"tls-exporter": bytes(range(32)), "tls-server-end-point": b"e" * 32}
CLEAR = Security()
TLS12 = Security("TLSv1.2", bindings={"tls-server-end-point": b"e" * 32})
TLS13 = Security("TLSv1.3", bindings=BINDINGS)
SCRAM = ("SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1")
PLUS = tuple(f"{name}-PLUS" for name in SCRAM)


@pytest.fixture(scope="module")
def accounts() -> Accounts:
    """Romeo's account, and the odd one of a=b."""
    made = Accounts(DOMAIN, MemoryStorage(), execute, b"secret of montague.lit", iterations=4096)
    for localpart in ("romeo", "a=b,c"):
        Deferred.fromCoroutine(made.create(localpart, PASSWORD))
    return made


def start(
    accounts: Accounts,
    name: str,
    security: Security = TLS13,
    *,
    anonymous: bool = False,
    external: bool = False,
) -> Mechanism:
    names = offered(security, anonymous=anonymous, external=external)
    return mechanism(name, names, security=security, domain=DOMAIN, credentials=accounts)


def refused(condition: str) -> Any:
    return pytest.raises(SASLFailure, match=f"'{condition}'")


@dataclass
class HandMade:
    """A SCRAM client written from RFC 5802 §3 and §5 alone; each part can be made wrong."""

    hash_name: str
    gs2: str = "n,,"
    binding: bytes = b""
    username: str = "romeo"
    password: str = PASSWORD
    nonce: str = "fyko+d2lbbFgONRv9qkxdawL"
    change: Callable[[str], str] = field(default=lambda final: final)

    @property
    def digest(self) -> str:
        return self.hash_name.replace("-", "").lower()

    def mac(self, key: bytes, text: bytes) -> bytes:
        return hmac.new(key, text, self.digest).digest()

    def first(self) -> bytes:
        return f"{self.gs2}n={self.username},r={self.nonce}".encode()

    def final(self, challenge: Challenge | Success) -> bytes:
        assert isinstance(challenge, Challenge)
        server_first = challenge.data.decode()
        parts = re.fullmatch(r"r=(.+),s=(.+),i=(\d+)(?:,h=(.+))?", server_first)
        assert parts is not None
        self.protected = parts[4]
        channel = b64encode(self.gs2.encode() + self.binding).decode()
        bare = f"c={channel},r={parts[1]}"
        message = f"n={self.username},r={self.nonce},{server_first},{bare}".encode()
        salted = hashlib.pbkdf2_hmac(self.digest, self.password.encode(), b64decode(parts[2]), int(parts[3]))
        client_key = self.mac(salted, b"Client Key")
        signature = self.mac(hashlib.new(self.digest, client_key).digest(), message)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self.expected = b"v=" + b64encode(self.mac(self.mac(salted, b"Server Key"), message))
        return self.change(f"{bare},p={b64encode(proof).decode()}").encode()


# --- each mechanism as it should go ---------------------------------------------------------------


@pytest.mark.rfc6120("6.4.3-1")
@pytest.mark.parametrize("name", SCRAM)
async def test_scramp_logs_in(accounts: Accounts, name: str) -> None:
    client = ScramClient([name], "romeo", PASSWORD)
    server = start(accounts, name, CLEAR)
    challenge = await server.begin(client.get_client_first().encode())
    assert isinstance(challenge, Challenge)
    client.set_server_first(challenge.data.decode())
    success = await server.respond(client.get_client_final().encode())
    assert isinstance(success, Success)
    assert (success.username, success.mechanism) == ("romeo", name)
    client.set_server_final((success.data or b"").decode())


@pytest.mark.parametrize("name", PLUS)
@pytest.mark.parametrize("security", [TLS12, TLS13])
async def test_scramp_logs_in_bound_to_the_servers_certificate(
    accounts: Accounts, name: str, security: Security
) -> None:
    client = ScramClient([name], "romeo", PASSWORD, ("tls-server-end-point", b"e" * 32))
    server = start(accounts, name, security)
    challenge = await server.begin(client.get_client_first().encode())
    assert isinstance(challenge, Challenge)
    client.set_server_first(challenge.data.decode())
    success = await server.respond(client.get_client_final().encode())
    assert isinstance(success, Success)
    client.set_server_final((success.data or b"").decode())


async def test_scramp_finds_out_a_server_that_does_not_know_the_password(accounts: Accounts) -> None:
    client = ScramClient(["SCRAM-SHA-256"], "romeo", PASSWORD)
    server = start(accounts, "SCRAM-SHA-256")
    challenge = await server.begin(client.get_client_first().encode())
    assert isinstance(challenge, Challenge)
    client.set_server_first(challenge.data.decode())
    client.get_client_final()
    with pytest.raises(ScramException):
        client.set_server_final("v=" + b64encode(bytes(32)).decode())


@pytest.mark.parametrize("hash_name", ["SHA-1", "SHA-256", "SHA-512"])
async def test_a_client_logs_in_bound_to_the_tls_exporter(accounts: Accounts, hash_name: str) -> None:
    client = HandMade(hash_name, "p=tls-exporter,,", BINDINGS["tls-exporter"])
    server = start(accounts, f"SCRAM-{hash_name}-PLUS")
    success = await server.respond(client.final(await server.begin(client.first())))
    assert success == Success("romeo", client.expected, f"SCRAM-{hash_name}-PLUS")


async def test_the_name_in_the_message_is_hashed_as_sent_and_prepared_for_the_look_up(
    accounts: Accounts,
) -> None:
    for sent, prepared in (("ROMEO", "romeo"), ("a=3Db=2Cc", "a=b,c")):
        client = HandMade("SHA-256", username=sent)
        server = start(accounts, "SCRAM-SHA-256")
        success = await server.respond(client.final(await server.begin(client.first())))
        assert isinstance(success, Success)
        assert success.username == prepared


async def test_a_client_that_knows_no_binding_may_log_in_without_where_one_is_offered(
    accounts: Accounts,
) -> None:
    client = HandMade("SHA-256", gs2="n,,")
    server = start(accounts, "SCRAM-SHA-256", TLS13)
    assert isinstance(await server.respond(client.final(await server.begin(client.first()))), Success)


async def test_a_client_that_saw_no_binding_may_say_so_where_there_is_none(accounts: Accounts) -> None:
    client = HandMade("SHA-256", gs2="y,,")
    server = start(accounts, "SCRAM-SHA-256", CLEAR)
    assert isinstance(await server.respond(client.final(await server.begin(client.first()))), Success)


async def test_plain_logs_in(accounts: Accounts) -> None:
    for message in (
        b"\0romeo\0",
        b"\0Romeo\0",
        b"romeo@montague.lit\0romeo\0",
        b"Romeo@Montague.lit\0romeo\0",
    ):
        success = await start(accounts, "PLAIN").begin(message + PASSWORD.encode())
        assert success == Success("romeo", None, "PLAIN")


@pytest.mark.parametrize(
    "message",
    [b"\0romeo\0wrong", b"\0nobody\0wherefore art thou", b"\0rom eo\0x", b"\0romeo\0\x07", b"\0@\0x"],
)
async def test_plain_refuses_a_wrong_name_or_password(accounts: Accounts, message: bytes) -> None:
    with refused("not-authorized"):
        await start(accounts, "PLAIN").begin(message)


async def test_the_first_message_may_come_after_an_empty_challenge(accounts: Accounts) -> None:
    server = start(accounts, "PLAIN")
    assert await server.begin(None) == Challenge(b"")
    assert isinstance(await server.respond(b"\0romeo\0" + PASSWORD.encode()), Success)


async def test_anonymous_takes_anybody_and_looks_at_no_trace(accounts: Accounts) -> None:
    for trace in (b"", b"romeo@montague.lit", b"\xff"):
        server = start(accounts, "ANONYMOUS", anonymous=True)
        success = await server.begin(trace)
        assert isinstance(success, Success)
        assert (len(success.username), success.mechanism) == (16, "ANONYMOUS")
    with refused("malformed-request"):
        await start(accounts, "ANONYMOUS", anonymous=True).begin(b"x" * 1021)


async def test_external_believes_the_certificate() -> None:
    capulet = JID.parse("capulet.lit")
    for authzid in (b"", b"capulet.lit", b"Capulet.LIT"):
        server = mechanism("EXTERNAL", ("EXTERNAL",), security=TLS13, identities=[capulet])
        assert await server.begin(authzid) == Success("capulet.lit", None, "EXTERNAL")


async def test_external_needs_a_choice_where_the_certificate_leaves_one() -> None:
    identities = [JID.parse("juliet@capulet.lit"), JID.parse("nurse@capulet.lit")]
    assert await External(identities).begin(b"nurse@capulet.lit") == Success("nurse", None, "EXTERNAL")
    with refused("invalid-authzid"):
        await External(identities).begin(b"")


@pytest.mark.parametrize("authzid", [b"montague.lit", b"romeo@capulet.lit", b"@", b"\xff", b"capulet.lit/x"])
async def test_external_vouches_for_nobody_else(authzid: bytes) -> None:
    with refused("invalid-authzid"):
        await External([JID.parse("capulet.lit")]).begin(authzid)


async def test_external_without_a_certificate_that_vouches_is_not_authorized() -> None:
    for authzid in (b"", b"capulet.lit"):
        with refused("not-authorized"):
            await External([]).begin(authzid)


@pytest.mark.rfc6120("6.3.3-1")
def test_the_strongest_is_offered_first() -> None:
    assert offered(TLS13, anonymous=True) == (*PLUS, *SCRAM, "PLAIN", "ANONYMOUS")
    assert offered(TLS13, external=True, plain=False, hashes=["SHA-1", "SHA-256"]) == (
        "EXTERNAL",
        "SCRAM-SHA-256-PLUS",
        "SCRAM-SHA-1-PLUS",
        "SCRAM-SHA-256",
        "SCRAM-SHA-1",
    )


@pytest.mark.rfc6120("13.8.3-1")
def test_plain_is_offered_only_under_encryption() -> None:
    assert offered(CLEAR) == SCRAM
    assert offered(Security("TLSv1.3")) == (*SCRAM, "PLAIN")


@pytest.mark.rfc6120("6.4.2-1")
def test_base64_is_decoded_strictly() -> None:
    assert decode_base64("") is None
    assert decode_base64("=") == b""
    assert decode_base64("AHJvbWVv") == b"\0romeo"


# --- abuse cases ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "security"),
    [
        ("EXTERNAL", TLS13),
        ("ANONYMOUS", TLS13),
        ("PLAIN", CLEAR),
        ("SCRAM-SHA-256-PLUS", CLEAR),
        ("SCRAM-SHA-256-PLUS", Security("TLSv1.3")),
        ("SCRAM-SHA3-512", TLS13),
        ("DIGEST-MD5", TLS13),
        ("plain", TLS13),
        ("", TLS13),
    ],
)
def test_b5_a_mechanism_that_was_not_offered_on_this_stream_is_invalid(
    accounts: Accounts, name: str, security: Security
) -> None:
    with refused("invalid-mechanism"):
        start(accounts, name, security)


@pytest.mark.rfc6120("6.3.5-1", "13.9.1-1")
@pytest.mark.parametrize(
    "text",
    [
        "A",
        "AA",
        "AA=",
        "AAA",
        "A===",
        "AAAA=",
        "AAAA====",
        "AA==AA==",
        "AA AA",
        "AAAA\n",
        "*",
        "\u00e9",
        "==",
        "AB==",  # RFC 6120 §13.9.1: padding bits are zero
        "AAB=",
    ],
)
def test_b6_bad_base64_is_incorrect_encoding(text: str) -> None:
    with refused("incorrect-encoding"):
        decode_base64(text)


@pytest.mark.parametrize(
    "message",
    [b"", b"romeo", b"\0romeo", b"\0romeo\0pass\0word", b"\0\0password", b"\0romeo\0", b"\0romeo\0\xff"],
)
async def test_b6_plain_without_two_nuls_is_malformed(accounts: Accounts, message: bytes) -> None:
    with refused("malformed-request"):
        await start(accounts, "PLAIN").begin(message)


OTHERS = [
    "juliet@capulet.lit",
    "romeo@capulet.lit",
    "a@montague.lit",
    "romeo",
    "montague.lit",
    "romeo@montague.lit/x",
    "@",
]


@pytest.mark.parametrize("authzid", OTHERS)
async def test_b7_plain_cannot_act_as_another_user(accounts: Accounts, authzid: str) -> None:
    with refused("invalid-authzid"):
        await start(accounts, "PLAIN").begin(f"{authzid}\0romeo\0{PASSWORD}".encode())


@pytest.mark.parametrize("authzid", OTHERS)
async def test_b7_scram_cannot_act_as_another_user(accounts: Accounts, authzid: str) -> None:
    client = HandMade("SHA-256", gs2=f"n,a={authzid},")
    with refused("invalid-authzid"):
        await start(accounts, "SCRAM-SHA-256").begin(client.first())


async def test_b7_scram_may_name_its_own_user(accounts: Accounts) -> None:
    client = HandMade("SHA-256", gs2="n,a=Romeo@montague.lit,")
    server = start(accounts, "SCRAM-SHA-256")
    assert isinstance(await server.respond(client.final(await server.begin(client.first()))), Success)


def without_binding(final: str) -> str:
    return re.sub("^c=[^,]+", "c=biws", final)


@pytest.mark.parametrize(
    "client",
    [
        HandMade("SHA-256", password="wrong"),
        HandMade("SHA-256", change=lambda final: final.replace("r=fyko", "r=Fyko")),
        HandMade("SHA-256", change=lambda final: re.sub("p=.*", "p=" + b64encode(bytes(32)).decode(), final)),
        HandMade("SHA-256", change=lambda final: re.sub("p=.*", "p=AAAA", final)),
        HandMade("SHA-256", change=lambda final: re.sub("c=biws", "c=eSws", final)),
        HandMade("SHA-256", change=lambda final: final.replace(",p=", ",x=1,p=")),
    ],
    ids=["wrong password", "changed nonce", "empty proof", "short proof", "changed header", "added later"],
)
async def test_b8_a_wrong_final_message_is_not_authorized(accounts: Accounts, client: HandMade) -> None:
    server = start(accounts, "SCRAM-SHA-256")
    challenge = await server.begin(client.first())
    with refused("not-authorized"):
        await server.respond(client.final(challenge))


async def test_b8_a_final_message_fits_its_own_exchange_only(accounts: Accounts) -> None:
    client = HandMade("SHA-256")
    server = start(accounts, "SCRAM-SHA-256")
    final = client.final(await server.begin(client.first()))
    assert isinstance(await server.respond(final), Success)
    again = start(accounts, "SCRAM-SHA-256")
    await again.begin(client.first())
    with refused("not-authorized"):
        await again.respond(final)


async def test_b8_there_is_one_guess_in_an_exchange(accounts: Accounts) -> None:
    client = HandMade("SHA-256")
    server = start(accounts, "SCRAM-SHA-256")
    final = client.final(await server.begin(client.first()))
    with refused("not-authorized"):
        await server.respond(final[:-5] + b"AAAA=")
    with refused("malformed-request"):
        await server.respond(final)


class Calls(Counter[str]):
    """Counts what is called while it is entered: hashes of the standard library, and the storage."""

    WATCHED = frozenset({"hmac_digest", "pbkdf2_hmac", "new", "digest", "compare_digest"})

    def __enter__(self) -> Self:
        sys.setprofile(self.called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def called(self, frame: Any, event: str, builtin: Any) -> None:
        if event == "c_call" and builtin.__module__ != "builtins":
            self[builtin.__name__] += builtin.__name__ in self.WATCHED
        elif event == "call" and frame.f_code.co_filename.endswith("storage/memory.py"):
            self[f"storage {frame.f_code.co_name}"] += 1


async def calls_of_a_scram_login(accounts: Accounts, username: str) -> tuple[Calls, list[str]]:
    """A login with a wrong password: what it cost, and the shape of what the client was told."""
    client = HandMade("SHA-256", username=username, password="wrong")
    server = start(accounts, "SCRAM-SHA-256")
    with Calls() as calls:
        challenge = await server.begin(client.first())
    final = client.final(challenge)
    assert isinstance(challenge, Challenge)
    shape = re.sub(r"r=[^,]+,s=[^,]{24}(?=,)", "r=...,s=...", challenge.data.decode())
    said = [re.sub(r"h=[^,]{44}$", "h=...", shape)]
    with calls:
        try:
            await server.respond(final)
        except SASLFailure as failure:
            said.append(f"{failure.condition} {failure.text}")
    return calls, said


async def test_b9_scram_with_an_unknown_user_costs_and_says_the_same(accounts: Accounts) -> None:
    known = await calls_of_a_scram_login(accounts, "romeo")
    unknown = await calls_of_a_scram_login(accounts, "tybalt")
    assert known[1] == unknown[1] == ["r=...,s=...,i=4096,h=...", "not-authorized "]
    assert +known[0] == +unknown[0]
    assert known[0]["hmac_digest"] > 0
    assert known[0]["storage get"] == 1


async def test_b9_the_salt_of_an_unknown_user_stays_the_same(accounts: Accounts) -> None:
    salts = set()
    for _ in range(3):
        challenge = await start(accounts, "SCRAM-SHA-256").begin(b"n,,n=tybalt,r=abc")
        assert isinstance(challenge, Challenge)
        salts.add(challenge.data.decode().split(",")[1])
    assert len(salts) == 1


async def test_b9_plain_with_an_unknown_user_costs_the_same(accounts: Accounts) -> None:
    costs = []
    for username in ("romeo", "tybalt"):
        with Calls() as calls, refused("not-authorized"):
            await start(accounts, "PLAIN").begin(f"\0{username}\0wrong".encode())
        costs.append(+calls)
    assert costs[0] == costs[1]
    assert costs[0]["pbkdf2_hmac"] == 1


@pytest.mark.parametrize(
    ("name", "client"),
    [
        ("SCRAM-SHA-256", HandMade("SHA-256", gs2="y,,")),
        ("SCRAM-SHA-256-PLUS", HandMade("SHA-256", gs2="y,,")),
        ("SCRAM-SHA-256-PLUS", HandMade("SHA-256", gs2="n,,")),
        ("SCRAM-SHA-256-PLUS", HandMade("SHA-256", gs2="p=tls-unique,,")),
        ("SCRAM-SHA-256", HandMade("SHA-256", gs2="p=tls-exporter,,")),
    ],
)
async def test_b10_a_downgrade_or_a_binding_we_do_not_have_is_not_authorized(
    accounts: Accounts, name: str, client: HandMade
) -> None:
    with refused("not-authorized"):
        await start(accounts, name, TLS13).begin(client.first())


async def test_b10_the_tls_exporter_is_not_taken_where_tls_1_2_is_spoken(accounts: Accounts) -> None:
    with refused("not-authorized"):
        await start(accounts, "SCRAM-SHA-1-PLUS", TLS12).begin(b"p=tls-exporter,,n=romeo,r=abc")


@pytest.mark.parametrize(
    "client",
    [
        HandMade("SHA-256", "p=tls-exporter,,", b"\0" * 32),
        HandMade("SHA-256", "p=tls-exporter,,", b""),
        HandMade("SHA-256", "p=tls-exporter,,", BINDINGS["tls-server-end-point"]),
        HandMade("SHA-256", "p=tls-exporter,,", BINDINGS["tls-exporter"], change=without_binding),
    ],
    ids=["another channel", "no data", "another type", "taken out on the way"],
)
async def test_b10_wrong_binding_data_is_not_authorized(accounts: Accounts, client: HandMade) -> None:
    server = start(accounts, "SCRAM-SHA-256-PLUS", TLS13)
    challenge = await server.begin(client.first())
    with refused("not-authorized"):
        await server.respond(client.final(challenge))


async def test_b12_nothing_follows_a_success(accounts: Accounts) -> None:
    server = start(accounts, "PLAIN")
    await server.begin(b"\0romeo\0" + PASSWORD.encode())
    with refused("malformed-request"):
        await server.respond(b"\0tybalt\0x")
    with refused("malformed-request"):
        await server.begin(b"\0tybalt\0x")


async def test_b12_a_response_without_a_challenge_is_malformed(accounts: Accounts) -> None:
    for name in ("PLAIN", "SCRAM-SHA-256"):
        with refused("malformed-request"):
            await start(accounts, name).respond(b"\0romeo\0" + PASSWORD.encode())


# --- whatever comes -------------------------------------------------------------------------------


def outcome(work: Any) -> Challenge | Success | SASLFailure:
    outcomes: list[Any] = []
    Deferred.fromCoroutine(work).addBoth(outcomes.append)
    return cast("Challenge | Success | SASLFailure", getattr(outcomes[0], "value", outcomes[0]))


@given(
    name=st.sampled_from([*SCRAM, *PLUS, "PLAIN", "EXTERNAL"]),
    data=st.one_of(st.binary(max_size=80), st.text("\0=,nyparcm romeo@lit2CD", max_size=60).map(str.encode)),
)
def test_any_bytes_end_in_a_challenge_or_a_failure(accounts: Accounts, name: str, data: bytes) -> None:
    server = start(accounts, name, external=True)
    first = outcome(server.begin(data))
    assert isinstance(first, Challenge | SASLFailure)
    if isinstance(first, Challenge):
        assert isinstance(outcome(server.respond(data)), SASLFailure)


# --- downgrade protection (XEP-0474) ---------------------------------------------------------------


@pytest.mark.parametrize("hash_name", ["SHA-1", "SHA-256", "SHA-512"])
@pytest.mark.parametrize(
    ("security", "advertised"),
    [
        (
            TLS13,
            "\x1e".join(["PLAIN", *sorted((*SCRAM, *PLUS))]) + "\x1ftls-exporter\x1etls-server-end-point",
        ),
        (CLEAR, "SCRAM-SHA-1\x1eSCRAM-SHA-256\x1eSCRAM-SHA-512"),
    ],
)
async def test_scram_says_what_was_offered(
    accounts: Accounts, hash_name: str, security: Security, advertised: str
) -> None:
    client = HandMade(hash_name)
    server = start(accounts, f"SCRAM-{hash_name}", security)
    final = client.final(await server.begin(client.first()))
    digest = hashlib.new(client.digest, advertised.encode()).digest()
    assert client.protected == b64encode(digest).decode()
    assert isinstance(await server.respond(final), Success)


def test_the_hash_is_that_of_the_example() -> None:
    exchange = ScramExchange(
        bindings={},
        plus=False,
        plus_offered=True,
        advertised=b"SCRAM-SHA-1\x1eSCRAM-SHA-1-PLUS\x1ftls-exporter\x1etls-server-end-point",
    )
    exchange.receive_first(b"n,,n=user,r=12C4CD5C")
    keys = derive("pencil", "SHA-1", b64decode("QSXCR+Q6sek8bf92"), 4096)
    assert exchange.challenge(keys).endswith(b",s=QSXCR+Q6sek8bf92,i=4096,h=G6k/rBLDqgOhRRaCuuatSDFkJ08=")


async def test_it_can_be_left_out(accounts: Accounts) -> None:
    names = offered(TLS13)
    server = mechanism(
        "SCRAM-SHA-1", names, security=TLS13, domain=DOMAIN, credentials=accounts, protected=False
    )
    client = HandMade("SHA-1")
    client.final(await server.begin(client.first()))
    assert client.protected is None


async def test_whoever_changes_it_on_the_way_makes_the_proof_wrong(accounts: Accounts) -> None:
    client, server = HandMade("SHA-1"), start(accounts, "SCRAM-SHA-1")
    challenge = await server.begin(client.first())
    assert isinstance(challenge, Challenge)
    forged = re.sub(rb",h=.+", b",h=" + b64encode(b"x" * 20), challenge.data)
    with refused("not-authorized"):
        await server.respond(client.final(Challenge(forged)))
