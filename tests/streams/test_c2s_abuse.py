"""Rows A, B and H of the abuse cases, as far as client streams decide them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from lxml import etree
from twisted.internet.defer import Deferred

from jabberd import settings
from jabberd.api import ANYONE, DOMAIN, IQ, Module, answers
from jabberd.interfaces import LoginPolicy
from jabberd.rates import Rate
from jabberd.streams.protocol import StreamSettings
from jabberd.testing.client import condition, read, written
from jabberd.testing.server import trusting
from jabberd.testing.wire import HIGH_WATER
from jabberd.xmpp import ns
from jabberd.xmpp.boundaries import Limits
from jabberd.xmpp.jid import JID
from jabberd.xmpp.sasl import Challenge
from tests.streams.conftest import talk
from tests.streams.said import (
    BIND,
    HEAD,
    PLUS,
    ROMEO,
    SCRAM,
    STARTTLS,
    auth,
    base64,
    bind,
    connected,
    decoded,
    encrypted,
    failure,
    failure_with_text,
    mechanisms,
    ready,
    response,
    scram,
)
from tests.xmpp.test_sasl import HandMade

if TYPE_CHECKING:
    from collections.abc import Callable

    from jabberd.testing import Network


# --- opening a stream -----------------------------------------------------------------------------


@pytest.mark.rfc6120("4.8.1-1", "4.9.1.2-1")
@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("<strom to='montague.lit' version='1.0'>", "bad-format"),
        (HEAD.replace("etherx", "wrong") + "to='montague.lit' version='1.0'>", "invalid-namespace"),
        (f"<message xmlns='{ns.CLIENT}'/>", "bad-format"),
        ("GET / HTTP/1.1\r\n\r\n", "not-well-formed"),
    ],
    ids=["other root", "other namespace", "no header", "http"],
)
def test_a8_what_is_no_stream_is_told_so_behind_a_header(
    network: Network, unharmed: Callable[..., None], said: str, error: str
) -> None:
    client = network.connected(ROMEO)
    client.send(said)
    assert client.header["from"] == "montague.lit"
    assert client.is_dismissed_with(error)
    unharmed()


def test_a9_a_servers_stream_at_the_clients_door_is_in_the_wrong_namespace(
    network: Network, unharmed: Callable[..., None]
) -> None:
    client = network.connected(ROMEO)
    client.send(HEAD.replace("jabber:client", "jabber:server") + "to='montague.lit' version='1.0'>")
    assert client.is_dismissed_with("invalid-namespace")
    unharmed()


@pytest.mark.rfc6120("4.9.1.3-1")
@pytest.mark.parametrize(
    "to", ["to='verona.lit'", "to='@@'", "to='romeo@'", "to='evil.example/montague.lit'"]
)
def test_a10_a_host_that_is_not_hosted_is_unknown(
    network: Network, unharmed: Callable[..., None], to: str
) -> None:
    client = network.connected(ROMEO)
    client.send(f"{HEAD}{to} version='1.0'>")
    assert client.header["from"] == "montague.lit"
    assert client.is_dismissed_with("host-unknown")
    unharmed()


def test_a10_a_client_need_not_name_the_only_host_but_one_of_several(network: Network) -> None:
    client = network.connected(ROMEO)
    client.send(f"{HEAD}version='1.0'>")
    assert mechanisms(client.next()) == SCRAM
    network.serve("capulet.lit", "verona.lit")
    client = network.connected("juliet@capulet.lit")
    client.send(f"{HEAD}version='1.0'>")
    assert client.is_dismissed_with("host-unknown")


@pytest.mark.rfc6120("4.3.2-1", "4.7.5-4")
def test_a11_a_newer_version_goes_on_with_ours(network: Network) -> None:
    client = network.connected(ROMEO)
    client.send(f"{HEAD}to='montague.lit' version='2.0'>")
    assert client.header["version"] == "1.0"
    client.forget()
    client.login()


@pytest.mark.rfc6120("4.7.5-5")
def test_a11_no_version_is_not_supported(network: Network, unharmed: Callable[..., None]) -> None:
    client = network.connected(ROMEO)
    client.send(f"{HEAD}to='montague.lit'>")
    assert client.is_dismissed_with("unsupported-version")
    unharmed()


@pytest.mark.rfc6120("4.8.4-2")
def test_a12_an_element_that_is_no_stanza_is_unsupported(
    network: Network, unharmed: Callable[..., None], log_lines: list[str]
) -> None:
    client = network.client(ROMEO)
    log_lines.clear()
    client.send("<foo xmlns='urn:x'/>")
    assert client.is_dismissed_with("unsupported-stanza-type")
    unharmed()


@pytest.mark.parametrize(
    "said", ["<message " + "".join(f"a{n}='' " for n in range(100_000)), "<message a='" + "x" * 5_000_000]
)
def test_a14_a_tag_without_end_violates_the_policy_as_soon_as_it_is_too_long(
    network: Network, unharmed: Callable[..., None], log_lines: list[str], said: str
) -> None:
    client = network.client(ROMEO)
    log_lines.clear()
    for at in range(0, len(said), 4096):
        client.send(said[at : at + 4096])
        if not client.connected:
            break
    assert client.is_dismissed_with("policy-violation")
    assert at < 40_000
    unharmed()


def sized(size: int) -> str:
    """A message of exactly so many bytes."""
    message = "<message to='romeo@montague.lit/orchard' type='chat'><body>{}</body></message>"
    return message.format("x" * (size + 2 - len(message)))


@pytest.fixture
def small(network: Network) -> None:
    network.serve("montague.lit", streams=StreamSettings(after=Limits(size=10_000)))


@pytest.mark.usefixtures("small")
def test_a15_a_stanza_of_exactly_the_limit_is_delivered(
    network: Network, unharmed: Callable[..., None], log_lines: list[str]
) -> None:
    client = network.client(ROMEO)
    log_lines.clear()
    assert len(sized(10_000)) == 10_000
    client.send(sized(10_000))
    assert client.next().findtext(".//{*}body", "").count("x") > 9900
    client.drop()
    unharmed(lines=0)


@pytest.mark.rfc6120("13.12-5")
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("cut", [False, True])
def test_a15_a_stanza_one_byte_over_the_limit_violates_the_policy(
    network: Network, unharmed: Callable[..., None], log_lines: list[str], cut: bool
) -> None:
    client = network.client(ROMEO)
    log_lines.clear()
    client.send(sized(10_001) if not cut else sized(20_000)[:10_001])
    assert client.is_dismissed_with("policy-violation")
    unharmed()


@pytest.mark.parametrize("attribute", ["id", "to", "xml:lang"])
def test_a17_what_an_error_echoes_is_what_was_sent(
    network: Network, unharmed: Callable[..., None], log_lines: list[str], attribute: str
) -> None:
    odd = '\'/><message from="juliet@capulet.lit"/>\n\t&<![CDATA['
    client = network.client(ROMEO)
    log_lines.clear()
    iq = read("<iq type='get' id='q1' to='montague.lit'><unknown xmlns='urn:x'/></iq>")
    name = attribute.replace("xml:", "{http://www.w3.org/XML/1998/namespace}")
    wanted = f"romeo@montague.lit/{odd.translate({9: 32, 10: 32})}" if attribute == "to" else odd
    iq.set(name, wanted)
    client.send(etree.tostring(iq))
    answer = client.next()
    assert condition(answer) == "service-unavailable"
    if attribute != "xml:lang":
        assert answer.get("from" if attribute == "to" else name) == wanted
    assert client.hears_nothing()
    client.drop()
    unharmed(lines=0)


# --- TLS ------------------------------------------------------------------------------------------


@pytest.mark.rfc7590("3.4-1")
@pytest.mark.rfc6120("4.3.5-2", "4.9.3.12-1", "6.3.1-1", "13.12-1")
def test_b1_a_stanza_before_login_is_not_authorized(network: Network, unharmed: Callable[..., None]) -> None:
    for stanza in (
        "<message to='benvolio@montague.lit'><body>trust me</body></message>",
        "<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>",
        "<presence to='benvolio@montague.lit'/>",
        BIND.format(""),
    ):
        client = connected(network)
        client.send(stanza)
        assert client.is_dismissed_with("not-authorized")
        unharmed()


@pytest.mark.rfc6120("4.3.5-2", "7.1-2")
def test_b1_a_stanza_before_binding_is_not_authorized(
    network: Network, unharmed: Callable[..., None]
) -> None:
    client = connected(network)
    client.login()
    client.open()
    client.send("<message to='benvolio@montague.lit'><body>trust me</body></message>")
    assert client.is_dismissed_with("not-authorized")
    unharmed()


@pytest.mark.rfc9325("3.2-2")
@pytest.mark.rfc6120("5.3.1-1")
def test_b2_nobody_logs_in_without_tls_where_it_is_required(network: Network, log_lines: list[str]) -> None:
    network.serve("montague.lit", tls=True)
    client = connected(network)
    log_lines.clear()
    client.send(auth("PLAIN", "\0romeo\0secret"))
    assert client.receives(failure("encryption-required"))
    assert len(log_lines) == 1
    assert "secret" not in log_lines[0]
    client.start_tls(trusting("montague.lit"))
    client.open()
    client.login()


@pytest.mark.rfc6120("5.3.3-1", "5.4.2.3-1", "5.4.3.1-1", "5.4.3.3-1")
@pytest.mark.parametrize(
    "behind", [auth("PLAIN", "\0romeo\0secret"), BIND.format(""), HEAD + "to='montague.lit' version='1.0'>"]
)
def test_b3_what_stands_behind_starttls_in_the_clear_is_never_handled(network: Network, behind: str) -> None:
    network.serve("montague.lit", tls=True, policy=LoginPolicy(require_tls=False))
    client = connected(network)
    client.transport.write((STARTTLS + behind).encode())
    client.flush()
    assert client.receives(f"<proceed xmlns='{ns.TLS}'/>")
    assert client.hears_nothing()
    client.transport.startTLS(trusting("montague.lit"))
    client.flush()
    assert client.hears_nothing()
    assert mechanisms(client.open()) == [*PLUS, *SCRAM, "PLAIN"]  # nobody has logged in


@pytest.mark.rfc6120("5.4.2.1-1", "5.4.2.2-1")
@pytest.mark.parametrize("when", ["a second time", "not offered", "after login"])
def test_b4_starttls_a_second_time_or_where_it_is_not_offered_fails(network: Network, when: str) -> None:
    network.serve("montague.lit", tls=when != "not offered", policy=LoginPolicy(require_tls=False))
    client = encrypted(network) if when == "a second time" else network.connected(ROMEO)
    client.open()
    if when == "after login":
        client.login()
        client.open()
    client.send(STARTTLS)
    assert client.receives(f"<failure xmlns='{ns.TLS}'/>")
    assert client.said_goodbye
    assert not client.connected


# --- SASL -----------------------------------------------------------------------------------------


def test_b10_a_wrong_channel_binding_is_not_authorized(network: Network) -> None:
    network.serve("montague.lit", tls=True)
    client = encrypted(network)
    client.open()
    made = HandMade("SHA-256", gs2="p=tls-exporter,,", binding=b"m" * 32, password="secret")
    assert scram(client, "SCRAM-SHA-256-PLUS", made) == "not-authorized"
    assert (
        scram(client, "SCRAM-SHA-256", HandMade("SHA-256", gs2="y,,", password="secret")) == "not-authorized"
    )


@pytest.mark.parametrize("name", ["EXTERNAL", "SCRAM-SHA-256-PLUS", "PLAIN", "ANONYMOUS", "DIGEST-MD5", ""])
def test_b5_a_mechanism_that_is_not_offered_on_this_stream_is_invalid(
    network: Network, unharmed: Callable[..., None], name: str
) -> None:
    client = connected(network)
    client.send(auth(name, "\0romeo\0secret"))
    assert client.receives(failure("invalid-mechanism"))
    client.drop()
    unharmed()


@pytest.mark.rfc6120("6.4.5-1")
@pytest.mark.parametrize(
    ("data", "error"),
    [
        ("not base64!", "incorrect-encoding"),
        ("cm9tZW8", "incorrect-encoding"),
        ("cm9tZW8=", "malformed-request"),
    ],
)
def test_b6_what_is_encoded_wrong_is_told_so(
    network: Network, unharmed: Callable[..., None], data: str, error: str
) -> None:
    client = connected(network)
    client.send(f"<auth xmlns='{ns.SASL}' mechanism='SCRAM-SHA-1'>{data}</auth>")
    assert client.receives(failure(error))
    client.drop()
    unharmed()


@pytest.mark.rfc6120("6.3.8-2")
@pytest.mark.parametrize("authzid", ["juliet@montague.lit", "romeo@capulet.lit", "@@"])
def test_b7_nobody_acts_as_somebody_else(
    network: Network, unharmed: Callable[..., None], authzid: str
) -> None:
    network.server("montague.lit").create(JID.parse("juliet@montague.lit"), "secret")
    client = connected(network)
    made = HandMade("SHA-256", gs2=f"n,a={authzid},", password="secret")
    assert scram(client, "SCRAM-SHA-256", made) == "invalid-authzid"
    client.drop()
    unharmed()


@pytest.mark.parametrize("change", ["nonce", "proof", "channel"])
def test_b8_a_message_that_was_tampered_with_is_not_authorized(
    network: Network, unharmed: Callable[..., None], change: str
) -> None:
    def tamper(final: str) -> str:
        parts = dict(part.split("=", 1) for part in final.split(","))
        parts |= {
            "nonce": {"r": parts["r"][:-1] + "~"},
            "proof": {"p": base64(bytes(32))},
            "channel": {"c": base64("y,,")},
        }[change]
        return ",".join(f"{name}={value}" for name, value in parts.items())

    client = connected(network)
    made = HandMade("SHA-256", password="secret", change=tamper)
    assert scram(client, "SCRAM-SHA-256", made) == "not-authorized"
    client.drop()
    unharmed()


def test_b8_a_final_message_cannot_be_replayed(network: Network, unharmed: Callable[..., None]) -> None:
    client = connected(network)
    made = HandMade("SHA-256", password="secret")
    client.send(auth("SCRAM-SHA-256", made.first()))
    final = made.final(Challenge(decoded(client.next())))
    other = connected(network)
    other.send(auth("SCRAM-SHA-256", made.first()))
    other.next()
    other.send(response(final))
    assert other.receives(failure("not-authorized"))
    client.drop()
    other.drop()
    unharmed()


def test_b9_an_unknown_user_sees_what_a_wrong_password_sees(network: Network) -> None:
    seen: list[list[str]] = []
    for user in ("romeo", "nobody", "nobody"):
        client = connected(network, f"{ROMEO}")
        made = HandMade("SHA-256", username=user, password="wrong")
        client.send(auth("SCRAM-SHA-256", made.first()))
        challenge = decoded(client.next())
        client.send(response(made.final(Challenge(challenge))))
        salt, iterations = challenge.decode().split(",")[1:3]
        seen.append([salt, iterations, written(client.next())])
    known, unknown, again = seen
    assert unknown == again
    assert known[1:] == unknown[1:]
    assert len(known[0]) == len(unknown[0])


@pytest.mark.rfc6120("6.4.5-2", "13.9.4-1")
def test_b11_three_failures_end_the_stream(network: Network, unharmed: Callable[..., None]) -> None:
    client = connected(network)
    for _ in range(3):
        assert scram(client, "SCRAM-SHA-1", HandMade("SHA-1", password="wrong")) == "not-authorized"
    assert client.is_dismissed_with("policy-violation")
    unharmed(lines=4)


@pytest.mark.parametrize(
    "waste",
    [
        f"<abort xmlns='{ns.SASL}'/>",
        response("x"),
        auth("X", "x"),
        "<compress xmlns='http://jabber.org/protocol/compress'/>",
    ],
)
def test_b11_failures_of_every_kind_count(network: Network, waste: str) -> None:
    network.serve("montague.lit", door=settings.Limits(login_attempts=5))
    client = connected(network)
    for _ in range(4):
        client.send(waste)
        assert etree.QName(client.next()).localname == "failure"
        assert client.connected
    client.send(waste)
    assert etree.QName(client.next()).localname == "failure"
    assert client.is_dismissed_with("policy-violation")


def wrong(network: Network, address: str, user: str = "romeo") -> str:
    """Guess once."""
    client = connected(network, address=address)
    answer = scram(client, "SCRAM-SHA-1", HandMade("SHA-1", username=user, password="wrong"))
    client.drop()
    return answer


def right(network: Network, address: str, user: str = "romeo") -> str:
    client = connected(network, f"{user}@montague.lit", address=address)
    answer = scram(client, "SCRAM-SHA-1", HandMade("SHA-1", username=user, password="secret"))
    client.drop()
    return answer


def test_b11_who_guesses_too_often_is_locked_out_and_nobody_else(network: Network) -> None:
    network.serve("montague.lit", door=settings.Limits(login_failures=Rate(10, 300)))
    assert [wrong(network, "192.0.2.66") for _ in range(10)] == ["not-authorized"] * 10
    assert wrong(network, "192.0.2.66") == "temporary-auth-failure"
    assert right(network, "192.0.2.66") == "temporary-auth-failure"
    assert right(network, "192.0.2.1") == "success"  # the owner elsewhere
    assert right(network, "192.0.2.66", "benvolio") == "success"  # somebody else behind the same address
    network.advance(301)
    assert right(network, "192.0.2.66") == "success"


def test_b11_accounts_that_do_not_exist_are_locked_alike(network: Network) -> None:
    assert [wrong(network, "192.0.2.66", "nobody") for _ in range(11)][-2:] == [
        "not-authorized",
        "temporary-auth-failure",
    ]


def test_b11_spelling_the_name_differently_does_not_help(network: Network) -> None:
    for name in ["romeo", "Romeo", "ROMEO", "rOmeo", "roMeo"] * 2:
        assert wrong(network, "192.0.2.66", name) == "not-authorized"
    assert wrong(network, "192.0.2.66", "romeO") == "temporary-auth-failure"


def test_b12_a_second_login_violates_the_policy(network: Network, unharmed: Callable[..., None]) -> None:
    for opened in (True, False):
        client = connected(network)
        client.login()
        if opened:
            client.open()
        else:
            client._restart()
            client.transport.write(f"{HEAD}to='montague.lit' version='1.0'>".encode())
        client.forget()
        client.send(auth("SCRAM-SHA-1", HandMade("SHA-1", username="juliet").first()))
        assert client.is_dismissed_with("policy-violation")
        unharmed()


def test_b12_a_response_without_a_challenge_is_malformed(
    network: Network, unharmed: Callable[..., None]
) -> None:
    client = connected(network)
    client.send(response("\0romeo\0secret"))
    assert client.receives(failure_with_text("malformed-request"))
    client.drop()
    unharmed()


# --- binding --------------------------------------------------------------------------------------


@pytest.mark.parametrize("resource", ["x" * 1024, "\u0378", "a\u0001b".replace("\u0001", "\u200b\u0378")])
def test_b13_a_resource_that_cannot_be_is_a_bad_request(
    network: Network, unharmed: Callable[..., None], resource: str
) -> None:
    client = ready(network)
    answer = bind(client, resource)
    assert condition(answer) == "bad-request"
    assert answer.get("id") == "b1"
    client.drop()
    unharmed(lines=0)


@pytest.mark.rfc6120("7.6.2.1-1", "8.3.2-2", "13.12-3")
def test_b13_the_eleventh_resource_is_one_too_many(network: Network, unharmed: Callable[..., None]) -> None:
    clients = [network.client(f"romeo@montague.lit/{n}") for n in range(10)]
    late = ready(network)
    late.send(BIND.format(""))
    assert late.receives(
        "<iq type='error' id='b1'><error type='wait'>"
        f"<resource-constraint xmlns='{ns.STANZA_ERRORS}'/>"
        f"<text xmlns='{ns.STANZA_ERRORS}' xml:lang='en'>*</text>"
        "<resource-limit-exceeded xmlns='urn:xmpp:errors'/></error></iq>"
    )
    clients[0].close()
    assert bind(late).get("type") == "result"
    for client in [*clients[1:], late]:
        client.close()
    unharmed(lines=11)


# --- exhaustion -----------------------------------------------------------------------------------


def test_h1_who_says_nothing_is_sent_away(network: Network, unharmed: Callable[..., None]) -> None:
    silent = [network.connected(ROMEO) for _ in range(20)]
    for _ in range(59):
        network.advance(1)
        silent[0].send(" ")
    assert all(client.connected for client in silent)
    network.advance(1)
    for client in silent:
        assert client.is_dismissed_with("connection-timeout")
    unharmed(lines=20)


def test_h1_who_logs_in_and_never_binds_is_sent_away(network: Network) -> None:
    client = ready(network)
    network.advance(60)
    assert client.is_dismissed_with("connection-timeout")


@pytest.mark.parametrize(
    "said",
    [
        f"<auth xmlns='{ns.SASL}' mechanism='PLAIN'>{'x' * 9000}</auth>",
        f"<auth xmlns='{ns.SASL}'>{'<x/>' * 40}</auth>",
        f"<auth xmlns='{ns.SASL}'>{'<x>' * 16}",
    ],
    ids=["9 KB", "40 elements", "17 inside each other"],
)
def test_h2_before_login_little_is_allowed(
    network: Network, unharmed: Callable[..., None], said: str
) -> None:
    client = connected(network)
    client.send(said)
    assert client.is_dismissed_with("policy-violation")
    unharmed()


def test_h3_who_never_reads_is_dropped_and_what_he_did_not_get_waits_for_him_once(
    network: Network, unharmed: Callable[..., None], log_lines: list[str]
) -> None:
    server = network.server("montague.lit")
    server.door._stream_settings = StreamSettings(unread=100_000)
    tybalt = network.client("tybalt@montague.lit/street")
    romeo = network.client(ROMEO)
    log_lines.clear()
    romeo.transport.pauseProducing()
    message = "<message to='romeo@montague.lit' type='chat' id='{}'><body>" + "x" * 300 + "</body></message>"
    for start in range(0, 600, 100):
        tybalt.send("".join(message.format(number) for number in range(start, start + 100)))
    [wire] = [pipe.server for pipe in network.pipes if pipe.client is romeo.transport]
    assert wire.waiting == b""  # it was thrown away
    romeo.flush()
    assert not romeo.connected
    assert tybalt.hears_nothing()
    again = network.client(ROMEO, presence="")
    again.send("<presence/>")
    again.next()
    ids = [int(again.next().get("id", "")) for _ in range(len(again.heard))]
    given = 600 - len(ids)  # to the connection, before it said that it had enough
    assert given * 400 < HIGH_WATER + 1000
    assert ids == list(range(given, 600))
    again.close()
    tybalt.close()
    unharmed(lines=2)  # dropped; bound again


class Oracle(Module):
    """A module that takes its time."""

    thinking: Deferred[None]

    @answers.get("urn:example:oracle", "ask", to=DOMAIN, by=ANYONE)
    async def ask(self, request: IQ) -> None:
        """Answer when the test wants it."""
        await type(self).thinking


def test_h4_a_flood_is_not_read_and_others_do_not_feel_it(network: Network, log_lines: list[str]) -> None:
    Oracle.thinking = Deferred()
    network.serve("montague.lit", modules={"oracle": {}}, classes={"oracle": Oracle})
    benvolio, mercutio, tybalt = (
        network.client(f"{name}@montague.lit/street") for name in ("benvolio", "mercutio", "tybalt")
    )
    pipe = network.pipes[-1]
    pipe.chunk = 4096
    log_lines.clear()
    tybalt.send("<iq type='get' id='o' to='montague.lit'><ask xmlns='urn:example:oracle'/></iq>")
    tybalt.send("".join(f"<message to='benvolio@montague.lit' id='{n}'/>" for n in range(10_000)))
    assert pipe.server.paused
    [stream] = [each for each in network.server("montague.lit").door.streams if each.transport is pipe.server]
    assert len(stream._inbox) < 64 + 4096 / 40
    assert len(pipe.client.waiting) > 400_000  # with whoever wrote it
    assert talk(benvolio, mercutio)
    assert talk(mercutio, benvolio)
    Oracle.thinking.callback(None)
    benvolio.flush()
    assert [each.get("id") for each in benvolio.heard] == [str(n) for n in range(10_000)]
    assert tybalt.next().get("id") == "o"
    assert log_lines == []


def test_h5_compression_is_never_set_up(network: Network, unharmed: Callable[..., None]) -> None:
    client = connected(network)
    compress = "http://jabber.org/protocol/compress"
    client.send(f"<compress xmlns='{compress}'><method>zlib</method></compress>")
    assert client.receives(f"<failure xmlns='{compress}'><setup-failed/></failure>")
    client.login()
    client.drop()
    unharmed(lines=0)
