"""XEP-0386: a resource is bound within the login, with what is done inline: XEP-0198, other modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from lxml import etree
from twisted.internet.defer import Deferred

from jabberd.api import E, Element, Module, Session, Stanza, bound, inline
from jabberd.jsm.limits import Limits
from jabberd.testing.client import condition, read, written
from jabberd.xmpp import ns
from jabberd.xmpp.errors import StreamError
from tests.streams.said import AGENT, PLAIN, at_once, authenticate, encrypted, secured

if TYPE_CHECKING:
    from lxml.etree import _Element

    from jabberd.testing import Client, Network
    from tests.conftest import LoggedErrors

BIND = "<bind xmlns='urn:xmpp:bind:0'>{}</bind>"
SM = "urn:xmpp:sm:3"
ENABLE = f"<enable xmlns='{SM}' resume='true'/>"
OTHER_AGENT = AGENT.replace("d4565fa7", "00000000")


def bound_at_once(
    network: Network, inside: str = "", agent: str = AGENT, jid: str = "romeo@montague.lit"
) -> Client:
    """A client that has bound a resource while it logged in, with this inside of ``<bind/>``."""
    client = secured(network, jid)
    success = at_once(client, f"{agent}{BIND.format(inside)}", f"\0{client.jid.localpart}\0secret")
    assert success.find("{urn:xmpp:bind:0}bound") is not None
    client.next()
    return client


def resuming(network: Network, previd: str, h: int | str, inside: str = "") -> Client:
    client = secured(network, "romeo@montague.lit")
    client.send(authenticate("PLAIN", PLAIN, f"<resume xmlns='{SM}' previd='{previd}' h='{h}'/>{inside}"))
    return client


def advertised(network: Network) -> _Element:
    found = encrypted(network).open().find(f"{{{ns.SASL2}}}authentication")
    assert found is not None
    return found


# --- binding ---------------------------------------------------------------------------------------


def test_what_can_be_done_inline_is_advertised(network: Network) -> None:
    network.serve("montague.lit", tls=True, modules={"sm": {}, "bind2": {}})
    assert written(advertised(network)[-1]) == written(
        read(
            f"<inline xmlns='{ns.SASL2}'><sm xmlns='{SM}'/><bind xmlns='urn:xmpp:bind:0'><inline>"
            f"<feature var='{SM}'/></inline></bind></inline>"
        )
    )


def test_a_resource_is_bound_with_the_login(network: Network) -> None:
    client = secured(network)
    client.send(authenticate("PLAIN", PLAIN, BIND.format("")))
    assert client.receives(
        f"<success xmlns='{ns.SASL2}'><authorization-identifier>*</authorization-identifier>"
        "<bound xmlns='urn:xmpp:bind:0'/></success>"
    )
    features = client.next()
    assert features.find(f"{{{ns.BIND}}}bind") is None
    assert features.find(f"{{{ns.ROSTER_VER}}}ver") is not None
    assert features.find(f"{{{SM}}}sm") is not None
    client.send("<presence/>")
    client.forget()
    juliet = bound_at_once(network, jid="juliet@montague.lit")
    juliet.send("<message to='romeo@montague.lit'><body>hi!</body></message>")
    assert client.next().findtext("{*}body") == "hi!"


def test_the_resource_starts_with_the_tag_and_stays_the_same_for_the_same_installation(
    network: Network,
) -> None:
    one = bound_at_once(network, "<tag>Tassel</tag>").jid.resourcepart
    again = bound_at_once(network, "<tag>Tassel</tag>").jid.resourcepart
    other = bound_at_once(network, "<tag>Tassel</tag>", OTHER_AGENT).jid.resourcepart
    nurse = bound_at_once(network, "<tag>Tassel</tag>", jid="nurse@montague.lit").jid.resourcepart
    assert one == again
    assert one.startswith("Tassel/")
    assert len({one, other, nurse}) == 3
    assert "d4565fa7" not in one


def test_without_an_agent_the_resource_is_a_new_one_each_time(network: Network) -> None:
    resources = {bound_at_once(network, agent="").jid.resourcepart for _ in range(3)}
    assert len(resources) == 3
    assert all(len(each) >= 12 for each in resources)


@pytest.mark.parametrize("tag", ["", "   ", "x" * 101, "&#x202e;evil", "&#x9;"])
def test_a_tag_that_will_not_do_is_left_out(network: Network, tag: str) -> None:
    assert "/" not in bound_at_once(network, f"<tag>{tag}</tag>").jid.resourcepart


def test_what_the_same_installation_left_behind_ends(network: Network) -> None:
    first = bound_at_once(network, "<tag>Tassel</tag>")
    other = bound_at_once(network, "<tag>Tassel</tag>", OTHER_AGENT)
    bound_at_once(network, "<tag>Tassel 2</tag>")
    assert first.is_dismissed_with("conflict")
    assert other.hears_nothing()


def test_who_has_too_many_resources_is_told_and_may_bind_when_one_is_free(network: Network) -> None:
    network.serve("montague.lit", tls=True, limits=Limits(sessions=1))
    first = bound_at_once(network, agent="")
    second = secured(network)
    success = at_once(second, BIND.format(""))
    assert written(success[-1]) == written(
        read(f"<failed xmlns='urn:xmpp:bind:0'><resource-constraint xmlns='{ns.STANZA_ERRORS}'/></failed>")
    )
    assert second.jid == "romeo@montague.lit"
    assert second.next().find(f"{{{ns.BIND}}}bind") is not None
    first.close()
    assert second.bind().get("type") == "result"


def test_a_bind_that_nothing_was_authenticated_for_is_not_done(network: Network) -> None:
    client = secured(network)
    client.send(authenticate("PLAIN", "\0romeo\0wrong", BIND.format(ENABLE)))
    assert condition(client.next()) == "not-authorized"
    client.send(BIND.format(""))
    assert client.is_dismissed_with("unsupported-stanza-type")


def test_without_the_module_nothing_is_bound(network: Network) -> None:
    network.serve("montague.lit", tls=True, modules={})
    assert advertised(network).find("{*}inline") is None
    client = secured(network)
    success = at_once(client, BIND.format(""))
    assert [etree.QName(each).localname for each in success] == ["authorization-identifier"]
    assert success[0].text == "romeo@montague.lit"


# --- stream management (XEP-0198 §9) -----------------------------------------------------------------


def test_stream_management_is_enabled_with_the_resource(network: Network) -> None:
    client = secured(network)
    success = at_once(client, BIND.format(ENABLE))
    enabled = success.find(f"{{urn:xmpp:bind:0}}bound/{{{SM}}}enabled")
    assert enabled is not None
    assert enabled.get("resume") == "true"
    assert client.next().find(f"{{{SM}}}sm") is None
    client.send("<iq type='get' id='1' to='montague.lit'><ping xmlns='urn:xmpp:ping'/></iq>")
    client.forget()
    client.send(f"<r xmlns='{SM}'/>")
    assert client.receives(f"<a xmlns='{SM}' h='1'/>")
    client.send(ENABLE)
    assert client.next().tag == f"{{{SM}}}failed"


def test_what_is_asked_for_twice_is_done_once(network: Network) -> None:
    client = secured(network)
    success = at_once(client, BIND.format(ENABLE * 2))
    assert len(list(success.iter(f"{{{SM}}}enabled"))) == 1
    client.next()
    client.send("<presence/>")
    client.forget()
    client.send(f"<r xmlns='{SM}'/>")
    assert client.receives(f"<a xmlns='{SM}' h='1'/>")
    client.send(f"<a xmlns='{SM}' h='1'/>")
    assert client.hears_nothing()


ODD = [
    f"<resume xmlns='{SM}'/>",
    f"<resume xmlns='{SM}' previd='' h=''/>",
    f"<enable xmlns='{SM}'/>",
    BIND.format(f"<resume xmlns='{SM}' previd='x' h='0'/>"),
    BIND.format("") * 3,
    BIND.format(BIND.format(BIND.format(ENABLE))),
    BIND.format("<tag/>" * 5),
    BIND.format("<tag><tag>x</tag></tag>"),
    AGENT * 2,
    "<user-agent/>",
    "<initial-response/>",
    "<initial-response>!</initial-response>",
    "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>",
    "<request-token xmlns='urn:xmpp:fast:0'/><fast xmlns='urn:xmpp:fast:0' invalidate='true' count='x'/>",
    "text",
    "<success/><continue/>",
]


@pytest.mark.parametrize("odd", ODD)
def test_odd_requests_neither_fail_nor_bind_twice(network: Network, odd: str) -> None:
    client = secured(network)
    at_once(client, odd)
    client.forget()
    client.send("<iq type='get' id='1' to='montague.lit'><ping xmlns='urn:xmpp:ping'/></iq>")
    assert len(client.heard) == 1  # the answer, or that it is to bind first
    manager = network.server("montague.lit").hosts["montague.lit"].manager
    account = manager.accounts.get("romeo@montague.lit")
    assert account is None or len(account.sessions) <= 1


def test_a_session_is_resumed_with_the_login_and_what_was_missed_follows(network: Network) -> None:
    client = secured(network)
    enabled = at_once(client, BIND.format(ENABLE)).find(f".//{{{SM}}}enabled")
    assert enabled is not None
    client.send("<presence/>")
    jid = client.jid
    client.drop()
    juliet = bound_at_once(network, jid="juliet@montague.lit")
    juliet.send("<message to='romeo@montague.lit'><body>hi!</body></message>")
    back = resuming(network, enabled.get("id", ""), 0, BIND.format(ENABLE))
    assert back.receives(
        f"<success xmlns='{ns.SASL2}'><authorization-identifier>{jid}</authorization-identifier>"
        f"<resumed xmlns='{SM}' previd='*' h='1'/></success>"
    )
    assert back.next().get("from") == jid  # its own presence: no features come before it (XEP-0198 §9.2)
    assert back.next().findtext("{*}body") == "hi!"
    assert back.receives(f"<r xmlns='{SM}'/>")
    back.send("<message to='juliet@montague.lit'><body>hi yourself!</body></message>")
    assert len(network.server("montague.lit").door.streams) == 2


def test_what_cannot_be_resumed_is_bound_anew(network: Network) -> None:
    back = resuming(network, "long gone", 7, BIND.format(ENABLE))
    success = back.next()
    assert [etree.QName(each).localname for each in success] == [
        "authorization-identifier",
        "failed",
        "bound",
    ]
    assert condition(success[1]) == "item-not-found"
    assert success.find(f".//{{{SM}}}enabled") is not None


def test_what_cannot_be_resumed_may_be_bound_later(network: Network) -> None:
    back = resuming(network, "long gone", 7)
    assert back.next().find(f"{{{SM}}}failed") is not None
    assert back.next().find(f"{{{SM}}}sm") is not None
    assert back.bind().get("type") == "result"


def test_nobody_elses_session_is_resumed(network: Network) -> None:
    juliet = secured(network, "juliet@montague.lit")
    enabled = at_once(juliet, BIND.format(ENABLE), "\0juliet\0secret").find(f".//{{{SM}}}enabled")
    assert enabled is not None
    thief = resuming(network, enabled.get("id", ""), 0)
    assert condition(thief.next()[-1]) == "item-not-found"
    juliet.next()
    assert juliet.hears_nothing()


def test_a_count_that_cannot_be_ends_the_stream_and_not_the_session(network: Network) -> None:
    client = secured(network)
    enabled = at_once(client, BIND.format(ENABLE)).find(f".//{{{SM}}}enabled")
    assert enabled is not None
    client.drop()
    wrong = secured(network)
    id = enabled.get("id", "")
    wrong.send(authenticate("PLAIN", PLAIN, f"<resume xmlns='{SM}' previd='{id}' h='9'/>"))
    assert wrong.is_dismissed_with("undefined-condition")
    none = resuming(network, id, "x").next()
    assert condition(none[-1]) == "bad-request"
    assert resuming(network, id, 0).next().find(f"{{{SM}}}resumed") is not None


# --- what modules declare -----------------------------------------------------------------------------


class Doorkeeper(Module):
    """Does things while a resource is bound, and takes its time."""

    async def start(self) -> None:
        self.opens: Deferred[None] = Deferred()

    @inline("urn:example:door", "knock")
    async def knock(self, session: Session, request: Element) -> Element:
        session.send(Stanza.of("message", sender=self.domain.jid, to=session.jid, id="early"))
        await self.opens
        return E("urn:example:door", "open", {"to": session.jid, "times": request.get("times")})

    @inline("urn:example:door", "fall")
    def fall(self, _session: Session, _request: Element) -> None:
        raise OSError("the door fell in")

    @inline("urn:example:door", "slam")
    def slam(self, _session: Session, _request: Element) -> None:
        raise StreamError("policy-violation", "no slamming")

    @bound
    def tell(self, session: Session) -> Element:
        return E("urn:example:door", "house", {"of": session.jid.bare})


def with_doorkeeper(network: Network) -> Doorkeeper:
    modules: dict[str, dict[str, object]] = {"bind2": {}, "doorkeeper": {}}
    server = network.serve("montague.lit", tls=True, modules=modules, classes={"doorkeeper": Doorkeeper})
    keeper = server.hosts["montague.lit"].manager.module("doorkeeper")
    assert isinstance(keeper, Doorkeeper)
    return keeper


KNOCK = "<knock xmlns='urn:example:door' times='3'/>"


def test_what_is_sent_meanwhile_comes_behind_the_answer(network: Network) -> None:
    keeper = with_doorkeeper(network)
    assert advertised(network).xpath(".//@var") == ["urn:example:door"]
    client = secured(network)
    client.send(authenticate("PLAIN", PLAIN, BIND.format(KNOCK)))
    assert client.hears_nothing()
    keeper.opens.callback(None)
    success = client.next()
    client.jid = client.jid.parse(success.findtext("{*}authorization-identifier", ""))
    assert written(success[-1]) == written(
        read(
            f"<bound xmlns='urn:xmpp:bind:0'><open xmlns='urn:example:door' to='{client.jid}' times='3'/>"
            "<house xmlns='urn:example:door' of='romeo@montague.lit'/></bound>"
        )
    )
    assert client.next().tag == f"{{{ns.STREAM}}}features"
    assert client.next().get("id") == "early"


def test_who_leaves_meanwhile_leaves_nothing(network: Network) -> None:
    keeper = with_doorkeeper(network)
    client = secured(network)
    client.send(authenticate("PLAIN", PLAIN, BIND.format(KNOCK)))
    client.drop()
    keeper.opens.callback(None)
    network.flush()
    account = network.server("montague.lit").hosts["montague.lit"].manager.accounts.get("romeo@montague.lit")
    assert account is not None
    assert not account.sessions


def test_a_module_that_fails_costs_its_answer_and_not_the_login(
    network: Network, logged_errors: LoggedErrors
) -> None:
    with_doorkeeper(network)
    client = bound_at_once(network, "<fall xmlns='urn:example:door'/><unknown xmlns='urn:example:door'/>")
    assert client.jid.resourcepart
    assert len(logged_errors.take(OSError)) == 1


def test_a_module_may_end_the_stream_and_nothing_is_left(network: Network) -> None:
    with_doorkeeper(network)
    client = secured(network)
    client.send(authenticate("PLAIN", PLAIN, BIND.format("<slam xmlns='urn:example:door'/>")))
    assert client.is_dismissed_with("policy-violation")
    account = network.server("montague.lit").hosts["montague.lit"].manager.accounts.get("romeo@montague.lit")
    assert account is not None
    assert not account.sessions
