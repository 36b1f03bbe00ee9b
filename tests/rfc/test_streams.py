"""RFC 6120 §4 to §7 as a client meets them: what no other test needed to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from lxml import etree

from jabberd.testing.client import condition
from jabberd.testing.server import trusting
from jabberd.xmpp import ns
from jabberd.xmpp.sasl import Challenge
from tests.streams.said import (
    BIND,
    HEAD,
    ROMEO,
    STARTTLS,
    auth,
    bind,
    connected,
    decoded,
    encrypted,
    mechanisms,
    ready,
    response,
    scram,
)
from tests.xmpp.test_sasl import HandMade

if TYPE_CHECKING:
    from jabberd.testing import Client, Network


def listening(monkeypatch: pytest.MonkeyPatch, client: Client, method: str) -> list[Any]:
    """With what that method of the client is called from now on."""
    told: list[Any] = []
    true = getattr(client, method)

    def listen(what: object) -> None:
        told.append(what)
        true(what)

    monkeypatch.setattr(client, method, listen)
    return told


# --- versions -------------------------------------------------------------------------------------


@pytest.mark.rfc6120("4.7.5-1", "4.7.5-2")
@pytest.mark.parametrize("version", ["1.0", "1.1", "01.00", "1.10", "10.9", "2.0"])
def test_a_version_of_at_least_1_0_is_answered_with_1_0(network: Network, version: str) -> None:
    client = network.connected(ROMEO)
    client.send(f"{HEAD}to='montague.lit' version='{version}'>")
    assert client.header["version"] == "1.0"
    assert mechanisms(client.next())


@pytest.mark.rfc6120("4.7.5-1", "4.7.5-4")
@pytest.mark.parametrize(("version", "answer"), [("0.9", "0.9"), ("00.12", "0.12"), ("0.10", "0.10")])
def test_a_lower_version_is_answered_with_itself_and_not_spoken(
    network: Network, version: str, answer: str
) -> None:
    client = network.connected(ROMEO)
    client.send(f"{HEAD}to='montague.lit' version='{version}'>")
    assert client.header["version"] == answer
    assert client.is_dismissed_with("unsupported-version")


@pytest.mark.rfc6120("4.7.5-5")
@pytest.mark.parametrize("version", ["", "version=''", "version='1'", "version='one'", "version='1.x'"])
def test_what_is_no_version_is_answered_without_one(network: Network, version: str) -> None:
    client = network.connected(ROMEO)
    client.send(f"{HEAD}to='montague.lit' {version}>")
    assert "version" not in client.header
    assert client.is_dismissed_with("unsupported-version")


# --- headers --------------------------------------------------------------------------------------


@pytest.mark.rfc6120("4.7.3-3")
def test_an_id_in_the_clients_header_is_ignored(network: Network) -> None:
    client = network.connected(ROMEO)
    client.send(f"{HEAD}to='montague.lit' id='mine' version='1.0'>")
    assert client.header["id"] != "mine"
    assert mechanisms(client.next())


@pytest.mark.rfc6120("4.7.4-2")
@pytest.mark.parametrize("lang", ["de", "en-GB", "x y", "'"])
def test_whatever_the_client_speaks_the_server_speaks_english(network: Network, lang: str) -> None:
    client = network.connected(ROMEO)
    client.send(f'{HEAD}to="montague.lit" version="1.0" xml:lang="{lang}">')
    assert client.header[f"{{{ns.XML}}}lang"] == "en"


@pytest.mark.rfc6120("4.7.4-3", "4.7.4-4", "8.1.5-2")
def test_stanzas_have_the_language_of_their_senders_stream_or_their_own(network: Network) -> None:
    romeo = network.client(ROMEO)
    tybalt = network.connected("tybalt@montague.lit/street")
    tybalt.open()
    tybalt.login()
    tybalt._restart()
    tybalt.send(f"{HEAD}to='montague.lit' version='1.0' xml:lang='tlh'>")
    tybalt.next()
    tybalt.bind()
    for said in ("", "xml:lang='it'"):
        tybalt.send(f"<message to='romeo@montague.lit' {said}/>")
    assert [romeo.next().get(f"{{{ns.XML}}}lang") for _ in range(2)] == ["tlh", "it"]


@pytest.mark.rfc6120("5.4.1-1", "6.4.1-1", "7.4-2", "11.5-1", "11.6-3")
@pytest.mark.parametrize("tls", [False, True])
def test_a_header_is_answered_with_a_declaration_a_header_and_features(
    network: Network, monkeypatch: pytest.MonkeyPatch, tls: bool
) -> None:
    network.serve("montague.lit", tls=tls)
    client = network.connected(ROMEO)
    heard = listening(monkeypatch, client, "dataReceived")
    features = client.open()
    assert b"".join(heard).startswith(b"<?xml version='1.0'?><stream:stream ")
    assert etree.QName(features).localname == "features"
    assert features.find(f"{{{ns.BIND}}}bind") is None


@pytest.mark.rfc6120("4.3.3-1", "5.3.2-1", "5.3.3-1", "5.4.2.3-1", "6.3.2-1", "6.3.5-1")
def test_a_negotiation_is_three_streams_on_one_connection_and_no_goodbye(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    network.serve("montague.lit", tls=True)
    client = network.connected(ROMEO)
    heard = listening(monkeypatch, client, "dataReceived")
    client.enter(trusting("montague.lit"))
    said = b"".join(heard)
    assert said.count(b"<stream:stream ") == 3
    assert b"</stream:stream>" not in said
    assert not any(white in said for white in (b"> ", b">\n", b" <", b"\n<"))
    assert len(network.pipes) == 1


@pytest.mark.rfc6120("4.3.5-1", "4.5-1", "7.1-1", "7.3.2-1", "4.3.6-1")
def test_after_binding_there_are_no_features_and_no_restart(network: Network) -> None:
    client = ready(network)
    assert bind(client, "orchard").findtext(".//{*}jid") == ROMEO
    assert client.hears_nothing()
    client.send(f"<message to='{ROMEO}' id='m1'/>")
    assert client.next().get("id") == "m1"
    client.send(f"{HEAD}to='montague.lit' version='1.0'>")
    assert client.hears_nothing()


# --- domains of other scripts ---------------------------------------------------------------------

SPELLINGS = [
    "bücher.example",
    "BÜCHER.example",
    "bu\u0308cher.example",
    "xn--bcher-kva.example",
    "XN--BCHER-KVA.EXAMPLE.",
]


@pytest.mark.rfc7622("3.2.3-1")
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_domain_is_found_by_every_spelling(network: Network, spelling: str) -> None:
    """RFC 7622 §3.2: U-labels, A-labels, case and normalization are all the same."""
    network.serve("bücher.example", "montague.lit")
    client = network.connected("romeo@bücher.example/orchard")
    client.send(f"{HEAD}to='{spelling}' version='1.0'>")
    assert client.header["from"] == "bücher.example"
    client.forget()
    client.login()
    client.open("bücher.example")
    client.bind()
    client.send(f"<message to='Romeo@{spelling}/orchard' id='m1'/>")
    got = client.next()
    assert (got.get("id"), got.get("from")) == ("m1", "romeo@bücher.example/orchard")


# --- the end of a stream --------------------------------------------------------------------------

THEIR_ERROR = f"<stream:error><reset xmlns='{ns.STREAM_ERRORS}'/></stream:error></stream:stream>"


@pytest.mark.rfc6120("4.9.1.1-2", "4.9.2-2")
@pytest.mark.parametrize("error", [THEIR_ERROR, THEIR_ERROR.replace("reset", "boredom")])
def test_an_error_of_the_client_ends_the_stream_and_is_not_answered_with_one(
    network: Network, error: str
) -> None:
    for client in (connected(network), ready(network), network.client(ROMEO)):
        client.send(error)
        assert client.hears_nothing()
        assert client.said_goodbye
        assert not client.connected


@pytest.mark.rfc6120("4.9.2-1")
def test_an_error_has_its_condition_and_its_text_in_the_namespace_of_stream_errors(network: Network) -> None:
    client = network.client(ROMEO)
    client.send("<message xmlns='jabber:server'/>")
    assert client.receives(
        f"<stream:error><invalid-namespace xmlns='{ns.STREAM_ERRORS}'/>"
        f"<text xmlns='{ns.STREAM_ERRORS}' xml:lang='en'>*</text></stream:error>"
    )


# --- TLS ------------------------------------------------------------------------------------------


@pytest.mark.rfc6120("5.4.3.2-1", "5.4.3.1-4")
@pytest.mark.parametrize(
    "said", [b"<stream:stream to='montague.lit' version='1.0'>", b"\x16\x03\x01\x00\x04\x02\x00\x00\x00"]
)
def test_tls_that_fails_ends_the_connection_without_another_word_of_xml(
    network: Network, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    network.serve("montague.lit", tls=True)
    client = connected(network)
    client.send(STARTTLS)
    assert client.receives(f"<proceed xmlns='{ns.TLS}'/>")
    heard: list[bytes] = []
    monkeypatch.setattr(client, "dataReceived", heard.append)
    client.send(said)
    assert not client.connected
    assert b"<" not in b"".join(heard)


# --- SASL -----------------------------------------------------------------------------------------


@pytest.mark.rfc6120("6.4.2-2")
def test_another_auth_discards_the_exchange_and_begins_a_new_one(network: Network) -> None:
    client = connected(network)
    for other in ("juliet", "tybalt"):
        client.send(auth("SCRAM-SHA-1", HandMade("SHA-1", username=other).first()))
        assert etree.QName(client.next()).localname == "challenge"
    made = HandMade("SHA-256", password="secret")
    assert scram(client, "SCRAM-SHA-256", made) == "success"
    client.open()
    assert client.bind().get("type") == "result"
    assert client.jid == ROMEO


@pytest.mark.rfc6120("6.4.5-2")
def test_exchanges_that_are_begun_and_never_ended_are_counted_like_failures(network: Network) -> None:
    client = connected(network)
    for _ in range(3):
        client.send(auth("SCRAM-SHA-1", HandMade("SHA-1").first()))
        assert etree.QName(client.next()).localname == "challenge"
    client.send(auth("SCRAM-SHA-1", HandMade("SHA-1").first()))
    assert client.is_dismissed_with("policy-violation")


@pytest.mark.rfc6120("6.5-1", "6.4.5-1")
def test_each_failure_has_a_condition_that_the_rfc_defines(network: Network) -> None:
    defined = {"aborted", "incorrect-encoding", "invalid-authzid", "invalid-mechanism", "malformed-request"}
    for said in (
        f"<abort xmlns='{ns.SASL}'/>",
        f"<auth xmlns='{ns.SASL}' mechanism='SCRAM-SHA-1'>!</auth>",
        auth("SCRAM-SHA-1", "n,a=juliet@montague.lit,n=romeo,r=x"),
        auth("ROT13", "x"),
        response("x"),
    ):
        client = connected(network)
        client.send(said)
        refused = client.next()
        assert refused.tag == f"{{{ns.SASL}}}failure"
        assert etree.QName(refused[0]).namespace == ns.SASL
        defined.discard(condition(refused))
    assert defined == set()


@pytest.mark.parametrize("tls", [True, False])
def test_the_from_of_a_protected_stream_is_who_logs_in(network: Network, tls: bool) -> None:
    """RFC 6120 §6.4.6: in the clear anybody may have written it."""
    network.serve("montague.lit", tls=tls)
    client = encrypted(network) if tls else network.connected(ROMEO)
    client._restart()
    client.send(f"{HEAD}to='montague.lit' version='1.0' from='juliet@montague.lit'>")
    client.next()
    client.send(auth("SCRAM-SHA-1", (made := HandMade("SHA-1", password="secret")).first()))
    client.send(response(made.final(Challenge(decoded(client.next())))))
    answer = client.next()
    assert etree.QName(answer).localname == ("failure" if tls else "success")
    assert not tls or condition(answer) == "invalid-authzid"


@pytest.mark.rfc6120("6.4.6-1")
def test_success_without_data_is_empty(network: Network) -> None:
    network.serve("montague.lit", tls=True)
    client = encrypted(network)
    client.open()
    client.send(auth("PLAIN", "\0romeo\0secret"))
    assert client.receives(f"<success xmlns='{ns.SASL}'/>")


# --- binding --------------------------------------------------------------------------------------


@pytest.mark.rfc6120("7.7.3-1")
def test_who_cannot_find_a_resource_that_will_do_is_sent_away(network: Network) -> None:
    client = ready(network)
    for _ in range(9):
        assert condition(bind(client, "\u0378")) == "bad-request"
    assert client.connected
    client.send(BIND.format("<resource>\u0378</resource>"))
    assert condition(client.next()) == "bad-request"
    assert client.is_dismissed_with("policy-violation")


@pytest.mark.rfc6120("7.7.3-1")
def test_some_wrong_resources_may_come_before_the_right_one(network: Network) -> None:
    client = ready(network)
    for _ in range(6):
        assert condition(bind(client, "\u0378")) == "bad-request"
    assert bind(client, "orchard").get("type") == "result"


@pytest.mark.rfc6120("4.4-4")
def test_a_stream_under_tls_ends_with_close_notify(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    network.serve("montague.lit", tls=True)
    client = connected(network)
    client.start_tls(trusting("montague.lit"))
    client.open()
    ends = listening(monkeypatch, client, "connectionLost")
    client.close()
    assert client.said_goodbye
    assert [why.getErrorMessage() for why in ends] == ["Connection was closed cleanly."]
