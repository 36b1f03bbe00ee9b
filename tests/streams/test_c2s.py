"""Client streams from the first byte to the bound resource."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import hashes
from twisted.internet.defer import Deferred, fail

from jabberd.interfaces import LoginPolicy, StorageError
from jabberd.jsm.limits import Limits as AccountLimits
from jabberd.testing.client import condition, read, written
from jabberd.testing.outcome import done
from jabberd.xmpp import ns
from jabberd.xmpp.jid import JID
from tests.streams.said import (
    BIND,
    PLUS,
    ROMEO,
    SCRAM,
    auth,
    bind,
    connected,
    encrypted,
    failure,
    mechanisms,
    ready,
    response,
    scram,
)
from tests.xmpp.test_sasl import HandMade

if TYPE_CHECKING:
    from jabberd.testing import Network
    from jabberd.xmpp.scram import ScramKeys
    from tests.conftest import LoggedErrors


# --- opening a stream -----------------------------------------------------------------------------


@pytest.mark.rfc6120("4.1-1", "4.3.3-3", "4.7.1-2", "4.7.2-2", "4.7.2-3", "4.7.3-4", "4.7.4-2", "6.4.6-2")
def test_our_header_answers_theirs(network: Network) -> None:
    client = network.connected(ROMEO)
    client.send(
        f"<stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAM}' "
        "from='Romeo@montague.lit/orchard' to='montague.lit' version='1.0'>"
    )
    id = client.header.pop("id")
    assert len(id) >= 16
    assert client.header == {
        "from": "montague.lit",
        "to": "romeo@montague.lit",
        "version": "1.0",
        "{http://www.w3.org/XML/1998/namespace}lang": "en",
    }
    client.forget()
    client.login()
    client.open()
    assert client.header.pop("id") != id
    assert "to" not in client.header  # the client did not say who it is


@pytest.mark.rfc6120("5.2-1", "5.4.1-2", "5.4.1-3", "6.3.4-1")
def test_before_tls_nothing_is_offered_but_tls(network: Network) -> None:
    network.serve("montague.lit", tls=True)
    client = network.connected(ROMEO)
    assert written(client.open()) == written(
        read(f"<stream:features><starttls xmlns='{ns.TLS}'><required/></starttls></stream:features>")
    )


@pytest.mark.rfc6120("5.4.1-2", "13.8.3-1")
def test_where_tls_is_not_required_scram_is_offered_beside_it_but_no_password_in_the_clear(
    network: Network,
) -> None:
    network.serve("montague.lit", tls=True, policy=LoginPolicy(require_tls=False))
    features = network.connected(ROMEO).open()
    assert features.find(f"{{{ns.TLS}}}starttls") is not None
    assert features.find(f".//{{{ns.TLS}}}required") is None
    assert mechanisms(features) == SCRAM


@pytest.mark.rfc6120("5.4.3.3-3", "6.3.3-1", "6.4.1-1")
def test_under_tls_all_mechanisms_and_channel_bindings_are_offered_and_tls_no_more(network: Network) -> None:
    network.serve("montague.lit", tls=True)
    features = encrypted(network).open()
    assert features.find(f"{{{ns.TLS}}}starttls") is None
    assert mechanisms(features) == [*PLUS, *SCRAM, "PLAIN"]
    assert written(features[1]) == written(
        read(
            f"<sasl-channel-binding xmlns='{ns.SASL_CB}'><channel-binding type='tls-exporter'/>"
            "<channel-binding type='tls-server-end-point'/></sasl-channel-binding>"
        )
    )


def test_a_policy_takes_mechanisms_away(network: Network) -> None:
    network.serve("montague.lit", tls=True, policy=LoginPolicy(plain=False, hashes=("SHA-256",)))
    assert mechanisms(encrypted(network).open()) == ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]


def test_streams_of_a_kind_are_offered_the_same_until_the_policy_changes(network: Network) -> None:
    server = network.serve("montague.lit", tls=True, modules={"bind2": {}, "fast": {}})
    offers = [written(encrypted(network).open()) for _ in range(2)]
    assert offers[0] == offers[1]
    server.hosts["montague.lit"].manager.policy = LoginPolicy(plain=False)
    assert mechanisms(encrypted(network).open()) == [*PLUS, *SCRAM]


def test_what_an_encrypted_stream_is_offered_no_other_is(network: Network) -> None:
    network.serve("montague.lit", tls=True, policy=LoginPolicy(require_tls=False))
    under_tls = mechanisms(encrypted(network).open())
    in_the_clear = mechanisms(network.connected(ROMEO).open())
    assert (under_tls, in_the_clear) == ([*PLUS, *SCRAM, "PLAIN"], [*SCRAM])
    assert mechanisms(encrypted(network).open()) == under_tls


@pytest.mark.rfc6120("4.3.4-1", "6.4.6-2", "7.4-1")
@pytest.mark.rfc6121("2.6.1-1", "3.4-1")
def test_after_login_binding_is_offered_with_what_the_domain_can(network: Network) -> None:
    network.serve("montague.lit", modules={"session": {}})
    client = connected(network)
    client.login()
    assert written(client.open()) == written(
        read(
            f"<stream:features><bind xmlns='{ns.BIND}'/>"
            f"<ver xmlns='{ns.ROSTER_VER}'/><sub xmlns='{ns.PRE_APPROVAL}'/>"
            f"<session xmlns='{ns.SESSION}'><optional/></session>"
            f"<limits xmlns='{ns.LIMITS}'><max-bytes>262144</max-bytes><idle-seconds>600</idle-seconds>"
            "</limits></stream:features>"
        )
    )


def test_after_login_the_stream_stays_with_its_domain(network: Network) -> None:
    network.serve("montague.lit", "capulet.lit")
    client = connected(network)
    client.login()
    assert condition(client.open("capulet.lit")) == "not-authorized"
    assert client.said_goodbye


# --- SASL -----------------------------------------------------------------------------------------


@pytest.mark.rfc6120("6.2-1", "7.2-1")
@pytest.mark.parametrize("name", SCRAM)
@pytest.mark.parametrize("gs2", ["n,,", "n,a=romeo@montague.lit,", "y,,"])
def test_scram_logs_in_without_tls(network: Network, name: str, gs2: str) -> None:
    client = connected(network)
    made = HandMade(name.removeprefix("SCRAM-"), gs2=gs2, password="secret")
    assert scram(client, name, made) == "success"
    client.open()
    assert client.bind().get("type") == "result"


@pytest.mark.rfc6120("5.3.2-1", "5.3.4-1", "6.3.2-1", "13.3-1", "13.8.1-1")
@pytest.mark.parametrize("name", [*SCRAM, *PLUS])
@pytest.mark.parametrize("binding", ["tls-exporter", "tls-server-end-point"])
def test_scram_logs_in_under_real_tls_bound_to_the_channel(network: Network, name: str, binding: str) -> None:
    network.serve("montague.lit", tls=True)
    client = encrypted(network)
    client.open()
    made = HandMade(name.removeprefix("SCRAM-").removesuffix("-PLUS"), password="secret")
    if name.endswith("-PLUS"):
        made.gs2 = f"p={binding},,"
        tls = client.transport.getHandle()
        shown = tls.get_peer_certificate().to_cryptography()
        made.binding = (
            tls.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
            if binding == "tls-exporter"
            else shown.fingerprint(hashes.SHA256())
        )
    assert scram(client, name, made) == "success"
    client.open()
    assert client.bind().get("type") == "result"


@pytest.mark.rfc6120("4.3.6-2", "4.3.6-3", "6.3.10-1")
def test_plain_logs_in_under_tls(network: Network) -> None:
    network.serve("montague.lit", tls=True)
    client = encrypted(network)
    client.open()
    client.send(auth("PLAIN", "\0romeo\0wrong"))
    assert client.receives(failure("not-authorized"))
    client.send(auth("PLAIN", "\0romeo\0secret"))
    assert client.receives(f"<success xmlns='{ns.SASL}'/>")
    client.open()
    assert client.bind().get("type") == "result"
    assert client.jid == ROMEO


@pytest.mark.rfc6120("6.3.10-1")
def test_the_first_response_may_come_behind_an_empty_challenge(network: Network) -> None:
    network.serve("montague.lit", tls=True)
    client = encrypted(network)
    client.open()
    client.send(f"<auth xmlns='{ns.SASL}' mechanism='PLAIN'/>")
    assert client.receives(f"<challenge xmlns='{ns.SASL}'>=</challenge>")
    client.send(response("\0romeo\0secret"))
    assert client.receives(f"<success xmlns='{ns.SASL}'/>")


@pytest.mark.rfc6120("6.4.4-1")
def test_an_exchange_can_be_given_up_and_begun_anew(network: Network) -> None:
    client = connected(network)
    client.send(auth("SCRAM-SHA-1", HandMade("SHA-1").first()))
    assert client.receives(f"<challenge xmlns='{ns.SASL}'>*</challenge>")
    client.send(f"<abort xmlns='{ns.SASL}'/>")
    assert client.receives(failure("aborted"))
    client.login()


class Away:
    """Credentials in a storage that is away, or slow."""

    def __init__(self, answer: Deferred[ScramKeys]) -> None:
        self.answer = answer

    async def keys(self, username: str, hash_name: str) -> ScramKeys:
        return await self.answer

    async def check(self, username: str, password: str) -> bool:
        raise AssertionError


def test_a_storage_that_is_away_is_a_temporary_failure(network: Network, logged_errors: LoggedErrors) -> None:
    manager = network.server("montague.lit").hosts["montague.lit"].manager
    true, manager.credentials = manager.credentials, Away(fail(StorageError("the disk is full")))
    client = connected(network)
    client.send(auth("SCRAM-SHA-1", HandMade("SHA-1").first()))
    assert client.receives(failure("temporary-auth-failure"))
    assert len(logged_errors.take(StorageError)) == 1
    manager.credentials = true
    client.login()


def test_who_leaves_while_the_password_is_looked_up_is_not_logged_in(
    network: Network, log_lines: list[str]
) -> None:
    manager = network.server("montague.lit").hosts["montague.lit"].manager
    true = done(manager.credentials.keys("romeo", "SHA-1"))
    manager.credentials = away = Away(Deferred())
    client = connected(network)
    client.send(auth("SCRAM-SHA-1", HandMade("SHA-1").first()))
    assert client.hears_nothing()
    client.drop()
    away.answer.callback(true)
    assert log_lines == []


# --- binding --------------------------------------------------------------------------------------


@pytest.mark.rfc6120("4.3.6-4", "7.6.1-1")
def test_a_client_gets_the_resource_that_it_asks_for_prepared(network: Network) -> None:
    answer = bind(ready(network), "balcony\u00a0two")  # RFC 7622 §3.4: OpaqueString
    assert written(answer) == written(
        read(
            f"<iq type='result' id='b1'><bind xmlns='{ns.BIND}'>"
            "<jid>romeo@montague.lit/balcony two</jid></bind></iq>"
        )
    )


@pytest.mark.rfc6120("7.6-1")
def test_a_client_that_asks_for_nothing_gets_a_resource_nobody_guesses(network: Network) -> None:
    jids = {bind(ready(network)).findtext(".//{*}jid") for _ in range(3)}
    assert len(jids) == 3
    assert all(jid and len(jid) >= len("romeo@montague.lit/") + 12 for jid in jids)


def test_the_limit_of_resources_is_a_setting_and_replacing_one_is_always_possible(network: Network) -> None:
    network.serve("montague.lit", limits=AccountLimits(sessions=1))
    first = network.client(ROMEO)
    assert condition(bind(ready(network), "street")) == "resource-constraint"
    assert bind(ready(network), "orchard").get("type") == "result"
    assert not first.connected


@pytest.mark.rfc6120("7.7.2.2-1")
def test_who_binds_a_resource_that_is_there_takes_its_place(network: Network) -> None:
    old = network.client(ROMEO)
    new = ready(network)
    assert bind(new, "orchard").get("type") == "result"
    assert old.is_dismissed_with("conflict")
    new.send("<message to='romeo@montague.lit/orchard'/>")
    assert new.receives("<message from='romeo@montague.lit/orchard' to='romeo@montague.lit/orchard'/>")


@pytest.mark.parametrize(
    "iq",
    [BIND.format("").replace(" id='b1'", ""), BIND.format("").replace("</iq>", "<x xmlns='urn:x'/></iq>")],
)
def test_a_request_to_bind_is_an_iq_like_any_other(network: Network, iq: str) -> None:
    client = ready(network)
    client.send(iq)
    assert condition(client.next()) == "bad-request"


@pytest.mark.rfc6120("7.6.2.2-1")
def test_a_disabled_account_cannot_bind(network: Network) -> None:
    client = ready(network)
    host = network.server("montague.lit").hosts["montague.lit"]
    done(host.accounts.disable("romeo"))
    host.manager.accounts.drop("romeo@montague.lit")
    assert condition(bind(client)) == "not-allowed"
    done(host.accounts.enable("romeo"))
    host.manager.accounts.drop("romeo@montague.lit")
    assert bind(client).get("type") == "result"


def test_a_deleted_account_cannot_bind(network: Network) -> None:
    client = ready(network)
    server = network.server("montague.lit")
    done(server.hosts["montague.lit"].accounts.delete("romeo"))
    assert condition(bind(client)) == "not-allowed"


def test_a_second_binding_on_a_stream_is_refused(network: Network) -> None:
    client = network.client(ROMEO)
    assert condition(bind(client, "street")) == "service-unavailable"


def test_an_anonymous_client_gets_an_account_that_ends_with_it(network: Network) -> None:
    network.serve("montague.lit", policy=LoginPolicy(require_tls=False, anonymous=True))
    client = connected(network, "montague.lit")
    client.send(f"<auth xmlns='{ns.SASL}' mechanism='ANONYMOUS'/>")
    client.send(response("sir oracle"))
    client.forget()
    client.open()
    jid = bind(client, "orchard").findtext(".//{*}jid") or ""
    assert jid.endswith("@montague.lit/" + JID.parse(jid).resourcepart)
    accounts = network.server("montague.lit").hosts["montague.lit"].manager.accounts
    assert len(accounts) == 1
    client.drop()
    assert len(accounts) == 0


def test_a_client_that_leaves_while_it_is_bound_leaves_nothing(network: Network) -> None:
    client = ready(network)
    host = network.server("montague.lit").hosts["montague.lit"]
    loaded = done(host.manager.account(JID.parse("romeo@montague.lit")))
    waiting: Deferred[Any] = Deferred()
    host.manager.accounts.load = lambda jid: waiting  # type: ignore[method-assign]  # a slow storage
    client.send(BIND.format(""))
    client.drop()
    waiting.callback(loaded)
    assert loaded.sessions == {}
