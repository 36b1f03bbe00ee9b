"""Clients that log in with a certificate (XEP-0178 §2), over real TLS in memory."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.internet.defer import fail

from jabberd.certificates import CLIENT_AUTH, SERVER_AUTH, Issued, issue, make_ca
from jabberd.interfaces import LoginPolicy, StorageError
from jabberd.jsm.verbs import AccountVerbs
from jabberd.streams import vouch
from jabberd.streams.vouch import Trust
from jabberd.testing.client import condition
from jabberd.testing.outcome import done
from jabberd.xmpp import ns
from jabberd.xmpp.jid import JID
from tests.streams.said import (
    ROMEO,
    at_once,
    auth,
    authenticate,
    connected,
    failure,
    failure2,
    mechanisms,
    response,
)
from tests.streams.test_tls import Client as Shower

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jabberd.testing import Client, Network
    from jabberd.testing.server import Server
    from tests.conftest import LoggedErrors

DOMAIN = JID.parse("montague.lit")
FRIAR = make_ca(name="Friar Laurence")
EVIL = make_ca(name="Friar Laurence")


def certified(*accounts: str, ca: Issued | None = FRIAR, **how: Any) -> Issued:
    """What a client shows."""
    return issue(
        ca, "a client", dns=False, srv=False, eku=how.pop("eku", (CLIENT_AUTH,)), accounts=accounts, **how
    )


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    file = tmp_path / "friar.pem"
    file.write_bytes(FRIAR.certificate_pem())
    return Trust([file])


@pytest.fixture
def verona(network: Network, trust: Trust) -> Server:
    """A server that believes Friar Laurence."""
    policy = LoginPolicy(named=partial(vouch.named, domain=DOMAIN, trust=trust))
    return network.serve("montague.lit", tls=True, policy=policy)


def showing(network: Network, issued: Issued | None, jid: str = ROMEO) -> tuple[Client, list[str | None]]:
    """A client that shows a certificate in its handshake, and what it is offered."""
    client = handshaken(network, issued, jid)
    return client, mechanisms(client.open())


def handshaken(network: Network, issued: Issued | None, jid: str = ROMEO) -> Client:
    client = connected(network, jid)
    client.start_tls(Shower(b"montague.lit", shows=issued))
    return client


# --- as it should go ------------------------------------------------------------------------------


@pytest.mark.rfc6120("13.7.1.4-1", "13.7.2.2.1-1", "13.8.4-1")
@pytest.mark.parametrize("authzid", ["", "romeo@montague.lit", "ROMEO@Montague.LIT"])
@pytest.mark.parametrize(
    "eku", [(CLIENT_AUTH,), (), (SERVER_AUTH, CLIENT_AUTH), (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)]
)
def test_a_certificate_logs_its_account_in(
    network: Network, verona: Server, authzid: str, eku: Sequence[x509.ObjectIdentifier]
) -> None:
    client, offered = showing(network, certified("romeo@montague.lit", eku=eku))
    assert offered[0] == "EXTERNAL"
    client.send(auth("EXTERNAL", authzid))
    assert client.receives(f"<success xmlns='{ns.SASL}'/>")
    client.open()
    assert client.bind().get("type") == "result"
    assert client.jid == ROMEO
    [session] = verona.hosts["montague.lit"].manager.accounts.get("romeo@montague.lit").sessions.values()  # type: ignore[union-attr]  # it is there
    assert session.client.mechanism == "EXTERNAL"


def test_it_does_so_in_one_round_trip(network: Network, verona: Server) -> None:  # it serves
    client, _ = showing(network, certified("romeo@montague.lit"))
    client.send(authenticate("EXTERNAL", "", "<bind xmlns='urn:xmpp:bind:0'/>"))
    jid = client.next().findtext("{*}authorization-identifier", "")
    assert jid.startswith("romeo@montague.lit/")


def test_the_empty_response_may_come_behind_a_challenge(network: Network, verona: Server) -> None:
    client, _ = showing(network, certified("romeo@montague.lit"))
    client.send(f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'/>")
    assert client.receives(f"<challenge xmlns='{ns.SASL}'>=</challenge>")
    client.send(response(""))
    assert client.receives(f"<success xmlns='{ns.SASL}'/>")


def test_a_certificate_with_several_accounts_asks_which(network: Network, verona: Server) -> None:
    verona.create(JID.parse("benvolio@montague.lit"), "secret")
    both = certified("romeo@montague.lit", "benvolio@montague.lit", "romeo@capulet.lit")
    client, _ = showing(network, both)
    client.send(auth("EXTERNAL", ""))
    assert client.receives(failure("invalid-authzid"))
    client.send(auth("EXTERNAL", "mercutio@montague.lit"))
    assert client.receives(failure("invalid-authzid"))
    client.send(auth("EXTERNAL", "benvolio@montague.lit"))
    assert client.receives(f"<success xmlns='{ns.SASL}'/>")
    client.open()
    client.bind()
    assert client.jid.localpart == "benvolio"


def test_of_several_accounts_only_those_that_exist_count(network: Network, verona: Server) -> None:
    client, _ = showing(network, certified("romeo@montague.lit", "paris@montague.lit"))
    client.send(auth("EXTERNAL", ""))
    assert client.receives(f"<success xmlns='{ns.SASL}'/>")


# --- as it should not ------------------------------------------------------------------------------


@pytest.mark.rfc6120("13.7.2.2.1-2", "13.7.2.2.2-1", "13.7.2.2.3-1")
@pytest.mark.parametrize(
    ("shown", "why"),
    [
        (certified("romeo@montague.lit", ca=EVIL), "unknown authority (CN=Friar Laurence)"),
        (certified("romeo@montague.lit", ca=make_ca(name="Friar John")), "unknown authority (CN=Friar John)"),
        (certified("romeo@montague.lit", ca=None), "it is signed by itself"),
        (certified("romeo@montague.lit", expired=True), "expired"),
        (certified("romeo@montague.lit", eku=(SERVER_AUTH,)), "it is not for TLS servers or clients"),
        (certified("romeo@capulet.lit"), "names no account of montague.lit"),
        (certified("montague.lit"), "names no account of montague.lit"),
        (certified("romeo@montague.lit/orchard"), "names no account of montague.lit"),
        (certified("not a jid@@"), "names no account of montague.lit"),
        (certified(), "names no account of montague.lit"),
        (certified("paris@montague.lit"), "none of the accounts that it names can log in"),
        (certified(*[f"u{n}@montague.lit" for n in range(21)]), "it names 21 accounts"),
        (certified(*[f"u{n}@montague.lit" for n in range(1001)]), "it has 1001 names"),
    ],
)
def test_a_certificate_that_will_not_do_leaves_the_other_mechanisms(
    network: Network,
    verona: Server,
    log_lines: list[str],
    shown: Issued,
    why: str,  # it serves
) -> None:
    client, offered = showing(network, shown)
    assert "EXTERNAL" not in offered
    assert "SCRAM-SHA-256-PLUS" in offered
    assert len([line for line in log_lines if why in line]) == 1, log_lines
    client.send(auth("EXTERNAL", "romeo@montague.lit"))
    assert client.receives(failure("invalid-mechanism"))
    client.send(authenticate("EXTERNAL", "romeo@montague.lit"))
    assert client.receives(failure2("invalid-mechanism"))
    assert at_once(client).tag == f"{{{ns.SASL2}}}success"


def test_a_client_that_shows_none_is_let_in_by_password(network: Network, verona: Server) -> None:
    client, offered = showing(network, None)
    assert "EXTERNAL" not in offered
    client.login()


def test_a_disabled_account_is_not_let_in(network: Network, verona: Server) -> None:
    host = verona.hosts["montague.lit"]
    verona.create(JID.parse("romeo@montague.lit"), "secret")
    done(AccountVerbs(host.manager, host.accounts).disable(JID.parse("romeo@montague.lit")))
    assert "EXTERNAL" not in showing(network, certified("romeo@montague.lit"))[1]


def test_where_no_authority_is_trusted_nobody_is_asked(network: Network) -> None:
    server = network.serve("montague.lit", tls=True)
    _, offered = showing(network, certified("romeo@montague.lit"))
    assert "EXTERNAL" not in offered
    [stream] = server.door.streams
    assert stream.security.peer_chain == ()


def test_a_domain_that_asks_nobody_asks_nobody_beside_one_that_does(network: Network, trust: Trust) -> None:
    server = network.serve("capulet.lit", "montague.lit", tls=True)
    policy = LoginPolicy(named=partial(vouch.named, domain=DOMAIN, trust=trust))
    server.hosts["montague.lit"].manager.policy = policy
    assert showing(network, certified("romeo@montague.lit"))[1][0] == "EXTERNAL"
    server.hosts["montague.lit"].manager.policy = LoginPolicy()
    server.hosts["capulet.lit"].manager.policy = policy
    assert showing(network, certified("romeo@montague.lit"))[1][0] != "EXTERNAL"


def test_a_domain_may_want_certificates_alone(network: Network, trust: Trust) -> None:
    named = partial(vouch.named, domain=DOMAIN, trust=trust)
    network.serve("montague.lit", tls=True, policy=LoginPolicy(plain=False, hashes=(), named=named))
    assert showing(network, certified("romeo@montague.lit"))[1] == ["EXTERNAL"]
    features = handshaken(network, None).open()
    assert not list(features.iter(f"{{{ns.SASL}}}mechanisms", f"{{{ns.SASL2}}}authentication"))


def test_a_second_login_with_it_ends_the_stream(network: Network, verona: Server) -> None:
    client, _ = showing(network, certified("romeo@montague.lit"))
    client.send(auth("EXTERNAL", ""))
    client.next()
    client.open()
    client.send(auth("EXTERNAL", ""))
    assert client.is_dismissed_with("policy-violation")


def test_the_stream_must_be_from_the_account(network: Network, verona: Server) -> None:
    verona.create(JID.parse("benvolio@montague.lit"), "secret")
    client = handshaken(network, certified("romeo@montague.lit", "benvolio@montague.lit"))
    client._restart()
    client.send(
        f"<stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAM}' to='montague.lit' version='1.0' "
        "from='romeo@montague.lit'>"
    )
    client.next()
    client.send(authenticate("EXTERNAL", "benvolio@montague.lit"))
    assert condition(client.next()) == "invalid-authzid"


def test_a_storage_that_is_away_leaves_the_other_mechanisms(
    network: Network, verona: Server, logged_errors: LoggedErrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = verona.hosts["montague.lit"].manager
    verona.create(JID.parse("romeo@montague.lit"), "secret")
    monkeypatch.setattr(manager.accounts, "load", lambda _: fail(StorageError("the disk is full")))
    assert "SCRAM-SHA-1" in showing(network, certified("romeo@montague.lit"))[1]
    assert len(logged_errors.take(StorageError)) == 1
    monkeypatch.undo()


@pytest.mark.parametrize(
    "der", [b"", b"\x0c", b"\x0c\x05abc", b"\x16\x03abc", b"\x0c\x02\xff\xff", b"\x0c\x80"]
)
def test_an_address_that_is_malformed_names_nobody(der: bytes) -> None:
    name = x509.OtherName(vouch.XMPP_ADDR, der)
    assert vouch._account(name) is None
