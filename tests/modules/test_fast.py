"""XEP-0484: tokens, over real TLS in memory, with a client written from the draft."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import hashes
from lxml import etree
from twisted.internet.defer import Deferred

from jabberd import settings
from jabberd.api import JID, Refused
from jabberd.interfaces import LoginPolicy, UserAgent
from jabberd.jsm.verbs import AccountVerbs
from jabberd.modules.fast import Fast, Tokens, client_of
from jabberd.rates import Rate
from jabberd.storage.memory import MemoryKeyed, MemoryStorage
from jabberd.testing.client import condition, read, written
from jabberd.testing.outcome import done
from jabberd.xmpp import ns
from jabberd.xmpp.ht import BINDINGS
from tests.streams.said import AGENT, at_once, authenticate, base64, decoded, encrypted, failure2, secured

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxml.etree import _Element

    from jabberd.testing import Client, Network

NS = "urn:xmpp:fast:0"
ROMEO = JID.parse("romeo@montague.lit")
NONE, ENDP, EXPR = "HT-SHA-256-NONE", "HT-SHA-256-ENDP", "HT-SHA-256-EXPR"
ID = "d4565fa7-4d72-4749-b3d3-740edbf87770"
OTHER_AGENT = AGENT.replace("d4565fa7", "00000000")
LIFETIME, RENEWAL = 100, 10  # seconds, not to wait for weeks


def wants(mechanism: str = NONE) -> str:
    return f"<request-token xmlns='{NS}' mechanism='{mechanism}'/>"


def token_of(success: _Element) -> str:
    token = success.find(f"{{{NS}}}token")
    return "" if token is None else token.get("token", "")


def issued(network: Network, mechanism: str = NONE, agent: str = AGENT) -> str:
    """A token, for a client that has logged in with its password and left."""
    client = secured(network)
    token = token_of(at_once(client, agent + wants(mechanism)))
    client.drop()
    return token


def message(
    client: Client, token: str, mechanism: str, who: bytes = b"Initiator", *, lie: bool = False
) -> bytes:
    tls = client.transport.getHandle()
    data = {
        NONE: b"",
        ENDP: tls.get_peer_certificate().to_cryptography().fingerprint(hashes.SHA256()),
        EXPR: tls.export_keying_material(b"EXPORTER-Channel-Binding", 32, b""),
    }[mechanism]
    return hmac.digest(token.encode(), who + (b"x" if lie else b"") + data, "sha256")


def coming(
    network: Network,
    token: str,
    mechanism: str = NONE,
    inside: str = "",
    *,
    attrs: str = "",
    agent: str = AGENT,
    username: str = "romeo",
    lie: bool = False,
) -> tuple[Client, _Element]:
    """A client that comes with a token, and the answer to it."""
    client = secured(network)
    proof = username.encode() + b"\0" + message(client, token, mechanism, lie=lie)
    fast = f"<fast xmlns='{NS}'{attrs}/>"
    client.send(authenticate(mechanism, proof, agent + fast + inside))
    return client, client.next()


def outcome(network: Network, token: str, *args: Any, **how: Any) -> str:
    """``success``, or the condition of the failure."""
    client, answer = coming(network, token, *args, **how)
    client.drop()
    return "success" if answer.tag == f"{{{ns.SASL2}}}success" else condition(answer)


def serve(network: Network) -> None:
    modules = {"bind2": {}, "fast": {"lifetime": LIFETIME, "renewal": RENEWAL}}
    network.serve("montague.lit", tls=True, modules=modules)


def module(network: Network) -> Fast:
    found = network.server("montague.lit").hosts["montague.lit"].manager.module("fast")
    assert isinstance(found, Fast)
    return found


def test_a_token_of_a_deleted_account_lets_nobody_in_also_not_to_the_next_of_that_name(
    network: Network,
) -> None:
    network.serve("montague.lit", tls=True)
    token = issued(network)
    host = network.server("montague.lit").hosts["montague.lit"]
    done(AccountVerbs(host.manager, host.accounts).delete(ROMEO))
    done(host.accounts.names.release(ROMEO))
    for account in (False, True):
        if account:
            done(host.manager.registrar.create(ROMEO, "secret"))
        client = secured(network, "montague.lit")
        proof = b"romeo\0" + message(client, token, NONE)
        client.send(authenticate(NONE, proof, f"{AGENT}<fast xmlns='{NS}'/>"))
        assert condition(client.next()) == "not-authorized"


# --- as it should go ------------------------------------------------------------------------------


def test_tokens_are_offered_for_what_the_connection_can(network: Network) -> None:
    network.serve("montague.lit", tls=True)
    offered = encrypted(network).open().find(f".//{{{NS}}}fast")
    assert offered is not None
    assert written(offered) == written(
        read(
            f"<fast xmlns='{NS}'><mechanism>{EXPR}</mechanism><mechanism>{ENDP}</mechanism>"
            f"<mechanism>{NONE}</mechanism></fast>"
        )
    )


@pytest.mark.parametrize("mechanism", BINDINGS)
def test_a_token_logs_its_client_in_at_once(network: Network, mechanism: str) -> None:
    token = issued(network, mechanism)
    assert len(token) > 64
    client, success = coming(
        network, token, mechanism, "<bind xmlns='urn:xmpp:bind:0'><tag>Tassel</tag></bind>"
    )
    responder = success.find(f"{{{ns.SASL2}}}additional-data")
    assert responder is not None
    assert decoded(responder) == message(client, token, mechanism, b"Responder")
    assert success.findtext("{*}authorization-identifier", "").startswith("romeo@montague.lit/Tassel/")
    assert token_of(success) == ""  # it is a good one still
    assert outcome(network, token, mechanism) == "success"


def test_a_token_comes_with_its_expiry(network: Network) -> None:
    success = at_once(secured(network), AGENT + wants())
    assert success[-1].get("expiry") == "1970-01-22T00:00:00Z"


def test_a_token_is_renewed_and_the_old_one_holds_until_the_new_one_is_used(network: Network) -> None:
    serve(network)
    first = issued(network)
    network.advance(RENEWAL)
    client, success = coming(network, first)
    client.drop()
    second = token_of(success)
    assert second not in ("", first)
    client, success = coming(network, first)  # the new one did not arrive
    client.drop()
    third = token_of(success)
    assert outcome(network, second) == "not-authorized"  # it was never used, and is replaced
    assert outcome(network, third) == "success"
    assert outcome(network, first) == "not-authorized"
    assert outcome(network, third) == "success"


def test_a_token_that_was_revoked_while_its_client_logged_in_is_not_renewed(network: Network) -> None:
    serve(network)
    token = issued(network)
    network.advance(RENEWAL)
    login = network.server("montague.lit").hosts["montague.lit"].manager.registry.login
    came = login[f"{{{NS}}}fast"]

    async def come(*asked: Any) -> Any:
        await module(network).withdraw(ROMEO, client_of(UserAgent(ID)))
        return await came(*asked)

    login[f"{{{NS}}}fast"] = come
    assert token_of(coming(network, token)[1]) == ""


def test_who_comes_with_a_token_costs_two_questions(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    bind = "<bind xmlns='urn:xmpp:bind:0'/>"
    token = issued(network)
    coming(network, token, inside=bind)[0].drop()  # the account is in memory, and the client is known
    client = secured(network)
    asked: list[object] = []
    for cls, name in ((MemoryKeyed, "get"), (MemoryKeyed, "all"), (MemoryStorage, "load")):
        monkeypatch.setattr(cls, name, noting(asked, getattr(cls, name)))
    proof = b"romeo\0" + message(client, token, NONE)
    client.send(authenticate(NONE, proof, f"{AGENT}<fast xmlns='{NS}'/>{bind}"))
    client.drop()
    assert asked == [ROMEO, ROMEO]  # for the keys, and for the token


def noting(asked: list[object], question: Callable[..., Any]) -> Callable[..., Any]:
    """The same question, and whose it is noted."""

    def ask(self: Any, owner: str, *rest: Any) -> Any:
        asked.append(owner)
        return question(self, owner, *rest)

    return ask


def test_a_client_may_ask_for_another_token_when_it_comes_with_one(network: Network) -> None:
    first = issued(network)
    _, success = coming(network, first, inside=wants(EXPR))
    assert outcome(network, token_of(success), EXPR) == "success"
    assert outcome(network, first) == "not-authorized"


@pytest.mark.parametrize("invalidate", ["true", "1"])
def test_a_client_gives_its_token_back(network: Network, invalidate: str) -> None:
    serve(network)
    token = issued(network)
    network.advance(RENEWAL)
    _, success = coming(network, token, attrs=f" invalidate='{invalidate}'")
    assert token_of(success) == ""
    assert outcome(network, token) == "not-authorized"


def test_a_client_gives_its_token_back_for_another_one(network: Network) -> None:
    token = issued(network)
    _, success = coming(network, token, inside=wants(), attrs=" invalidate='true'")
    assert outcome(network, token) == "not-authorized"
    assert outcome(network, token_of(success)) == "success"


def test_each_client_has_its_own(network: Network) -> None:
    one, other = issued(network), issued(network, agent=OTHER_AGENT)
    assert outcome(network, one, agent=OTHER_AGENT) == "not-authorized"
    assert outcome(network, one) == "success"
    assert outcome(network, other, agent=OTHER_AGENT) == "success"


# --- as it should not ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "data"),
    [
        (wants(), ""),
        (AGENT + wants("HT-SHA-256-UNIQ"), ""),
        (AGENT + wants("SCRAM-SHA-1"), ""),
        (f"{AGENT}<request-token xmlns='{NS}'/>", ""),
    ],
    ids=["no agent", "no binding", "no token mechanism", "no mechanism"],
)
def test_no_token_is_given(network: Network, asked: str, data: str) -> None:
    assert token_of(at_once(secured(network), asked)) == ""


def test_no_token_is_given_before_the_password_is_right(network: Network) -> None:
    client = secured(network)
    client.send(authenticate("PLAIN", "\0romeo\0wrong", AGENT + wants()))
    assert client.receives(failure2("not-authorized"))
    client.drop()
    assert done(module(network).clients(ROMEO)) == []


def test_no_token_is_given_to_the_anonymous(network: Network) -> None:
    network.serve("montague.lit", tls=True, policy=LoginPolicy(anonymous=True))
    client = secured(network, "montague.lit")
    client.send(authenticate("ANONYMOUS", "", AGENT + wants()))
    assert token_of(client.next()) == ""


@pytest.mark.parametrize("mechanism", BINDINGS)
def test_a_wrong_token_is_refused(network: Network, mechanism: str) -> None:
    token = issued(network, mechanism)
    assert outcome(network, token + "x", mechanism) == "not-authorized"
    assert outcome(network, token, mechanism, lie=True) == "not-authorized"
    assert outcome(network, token, mechanism, username="nobody") == "not-authorized"
    assert outcome(network, token, mechanism, username="") == "malformed-request"
    assert outcome(network, token, mechanism) == "success"


@pytest.mark.parametrize("mechanism", BINDINGS)
@pytest.mark.parametrize("other", BINDINGS)
def test_a_token_is_bound_to_its_mechanism(network: Network, mechanism: str, other: str) -> None:
    token = issued(network, mechanism)
    assert outcome(network, token, other) == ("success" if other == mechanism else "not-authorized")


def test_a_proof_that_was_bound_to_another_connection_is_refused(network: Network) -> None:
    token = issued(network, EXPR)
    elsewhere = secured(network)
    proof = b"romeo\0" + message(elsewhere, token, EXPR)
    client = secured(network)
    client.send(authenticate(EXPR, proof, f"{AGENT}<fast xmlns='{NS}'/>"))
    assert client.receives(failure2("not-authorized"))


@pytest.mark.parametrize(
    "data", [b"", b"romeo", b"\0", b"\xff\0x", b"romeo\0", b"a@b\0x", b"romeo\0" + b"x" * 4000]
)
def test_a_message_that_makes_no_sense_is_refused(network: Network, data: bytes) -> None:
    issued(network)
    client = secured(network)
    client.send(authenticate(NONE, data, f"{AGENT}<fast xmlns='{NS}'/>"))
    assert condition(client.next()) in ("malformed-request", "not-authorized")


def test_a_token_needs_the_element_and_the_agent(network: Network) -> None:
    token = issued(network)
    why = "a token needs &lt;fast/&gt; and the id of a user-agent"
    client = secured(network)
    proof = b"romeo\0" + message(client, token, NONE)
    for inside in (AGENT, f"<fast xmlns='{NS}'/>"):
        client.send(authenticate(NONE, proof, inside))
        assert client.receives(failure2("malformed-request", why))


@pytest.mark.parametrize(
    "auth", [f"<auth xmlns='{ns.SASL}' mechanism='{NONE}'>{base64('romeo' + chr(0))}</auth>"]
)
def test_tokens_are_not_for_the_other_profile(network: Network, auth: str) -> None:
    issued(network)
    client = secured(network)
    client.send(auth)
    assert condition(client.next()) == "invalid-mechanism"


def test_an_expired_token_is_told_so(network: Network) -> None:
    serve(network)
    token = issued(network)
    network.advance(LIFETIME - 1)
    client, success = coming(network, token)
    client.drop()
    network.advance(1)
    assert outcome(network, token) == "credentials-expired"
    assert outcome(network, "another") == "not-authorized"
    network.advance(LIFETIME - 2)
    assert outcome(network, token_of(success)) == "success"  # which was given 1 s before


def test_a_replay_is_refused(network: Network) -> None:
    token = issued(network)
    assert outcome(network, token, attrs=" count='3'") == "success"
    assert outcome(network, token, attrs=" count='3'") == "not-authorized"
    assert outcome(network, token, attrs=" count='2'") == "not-authorized"
    assert outcome(network, token, attrs=" count='4'") == "success"
    for wrong in ("", "x", "-1", "1" * 11, "٣"):
        assert outcome(network, token, attrs=f" count='{wrong}'") == "malformed-request"


def test_of_two_replays_at_the_same_time_one_is_refused(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = issued(network)
    store, slow = module(network).tokens, Deferred[None]()

    async def put(owner: str, key: str, value: Tokens) -> None:
        await slow
        await type(store).put(store, owner, key, value)

    monkeypatch.setattr(store, "put", put)
    clients = [secured(network) for _ in range(2)]
    for client in clients:
        proof = b"romeo\0" + message(client, token, NONE)
        client.send(authenticate(NONE, proof, f"{AGENT}<fast xmlns='{NS}' count='1'/>"))
        assert client.hears_nothing()
    slow.callback(None)
    network.flush()
    assert sorted(etree.QName(client.next()).localname for client in clients) == ["failure", "success"]


def test_a_new_password_ends_all_tokens(network: Network) -> None:
    token = issued(network)
    host = network.server("montague.lit").hosts["montague.lit"]
    done(host.accounts.set_password("romeo", "another"))
    assert outcome(network, token) == "credentials-expired"


def test_a_disabled_account_is_not_let_in(network: Network) -> None:
    token = issued(network)
    host = network.server("montague.lit").hosts["montague.lit"]
    done(AccountVerbs(host.manager, host.accounts).disable(ROMEO))
    assert outcome(network, token) == "not-authorized"


def test_after_many_wrong_tokens_an_address_must_wait(network: Network) -> None:
    network.serve("montague.lit", tls=True, door=settings.Limits(login_failures=Rate(2, 300)))
    token = issued(network)
    for _ in range(2):
        assert outcome(network, "wrong") == "not-authorized"
    assert outcome(network, token) == "temporary-auth-failure"


# --- what is kept ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", BINDINGS)
def test_from_what_is_kept_nobody_logs_in(network: Network, mechanism: str) -> None:
    token = issued(network, mechanism)
    [(client, tokens)] = done(module(network).tokens.all(ROMEO)).items()
    assert tokens.new is not None
    keys = tokens.new.keys
    assert ID not in f"{client} {tokens} {keys.verifier!r} {keys.other!r}"  # which unseals the rest
    assert "verifier" not in repr(tokens)
    binding = b"x" if BINDINGS[mechanism] else b""

    def gets_in(key: bytes, seal: str) -> bool:
        said = hmac.digest(key, b"Initiator" + binding, "sha256")
        return keys.answer(said, binding, seal.encode()) is not None

    assert gets_in(token.encode(), ID)
    for stolen in (keys.verifier, keys.other):
        assert keys.answer(stolen, binding, ID.encode()) is None
        for seal in (client, str(ROMEO), ""):
            assert not gets_in(stolen, seal)


def test_the_client_that_would_lose_its_tokens_first_makes_room(network: Network) -> None:
    network.serve("montague.lit", tls=True, modules={"fast": {"clients": 2}})
    agents = [AGENT.replace("d4565fa7", f"{n:08}") for n in range(3)]
    tokens = []
    for agent in agents:
        tokens.append(issued(network, agent=agent))
        network.advance(1)
    held = [outcome(network, token, agent=agent) for token, agent in zip(tokens, agents, strict=True)]
    assert held == ["not-authorized", "success", "success"]


def test_operators_see_who_has_tokens_and_take_them(network: Network) -> None:
    one, other = issued(network), issued(network, agent=OTHER_AGENT)
    fast = module(network)
    id = client_of(UserAgent(ID))
    others = client_of(UserAgent(ID.replace("d4565fa7", "00000000")))
    assert done(fast.clients(ROMEO)) == [
        {"client": each, "expires": "1970-01-22T00:00:00Z"} for each in sorted((id, others))
    ]
    assert done(fast.revoke(ROMEO, id)) == "1 clients of romeo@montague.lit have no token any more"
    assert outcome(network, one) == "not-authorized"
    assert outcome(network, other, agent=OTHER_AGENT) == "success"
    with pytest.raises(Refused, match=f"there is no token of {id} of romeo"):
        done(fast.revoke(ROMEO, id))
    done(fast.revoke(ROMEO))
    assert outcome(network, other, agent=OTHER_AGENT) == "not-authorized"
