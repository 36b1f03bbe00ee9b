"""What tests of publish-subscribe say and hear."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from jabberd.testing.client import condition
from jabberd.xmpp import caps
from jabberd.xmpp.element import E

if TYPE_CHECKING:
    import pytest
    from lxml.etree import _Element

    from jabberd.testing.client import Client, Hearer

PUBSUB = "http://jabber.org/protocol/pubsub"
EVENT = f"{PUBSUB}#event"
ERRORS = f"{PUBSUB}#errors"
TUNE = "http://jabber.org/protocol/tune"
MOOD = "http://jabber.org/protocol/mood"
JULIET = "juliet@capulet.lit"


def info(*nodes: str) -> str:
    """What a client answers that listens to these nodes."""
    features = "".join(f"<feature var='{node}+notify'/>" for node in nodes)
    return (
        "<query xmlns='http://jabber.org/protocol/disco#info'>"
        f"<identity category='client' type='pc' name='test'/>{features}</query>"
    )


def verification(*nodes: str) -> str:
    features = (E(caps.INFO, "feature", {"var": f"{node}+notify"}) for node in nodes)
    identity = E(caps.INFO, "identity", {"category": "client", "type": "pc", "name": "test"})
    return caps.verification(E(caps.INFO, "query", None, identity, *features))


def presence(*nodes: str, ver: str = "", hash: str = "hash='sha-1'") -> str:
    """Presence of a client that listens to these nodes."""
    said = ver or verification(*nodes)
    return f"<presence><c xmlns='{caps.NS}' {hash} node='urn:test' ver='{said}'/></presence>"


def listen(client: Client, *nodes: str) -> None:
    """Announce these nodes; answer, if the server asks what that means."""
    client.send(presence(*nodes))
    answer_caps(client, *nodes)


def answer_caps(client: Client, *nodes: str) -> int:
    """Answer all questions; returns how many there were."""
    client.flush()
    asked = [each for each in client.heard if each.find(f"{{{caps.INFO}}}query") is not None]
    for each in asked:
        client.heard.remove(each)
        client.send(f"<iq type='result' to='{each.get('from')}' id='{each.get('id')}'>{info(*nodes)}</iq>")
    return len(asked)


def publish(node: str, payload: str, id: str = "current", **options: str) -> str:
    form = "".join(
        f"<field var='pubsub#{name}'><value>{value}</value></field>" for name, value in options.items()
    )
    wanted = (
        "<publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>"
        f"<value>{PUBSUB}#publish-options</value></field>{form}</x></publish-options>"
        if options
        else ""
    )
    item = f"<item id='{id}'>{payload}</item>" if payload else ""
    return order(f"<publish node='{node}'>{item}</publish>{wanted}")


def tune(title: str) -> str:
    return f"<tune xmlns='{TUNE}'><title>{title}</title></tune>"


def items(node: str, to: str = "", inside: str = "", attributes: str = "", beside: str = "") -> str:
    return ask(f"<items node='{node}'{attributes}>{inside}</items>{beside}", to)


def order(inside: str, to: str = "", owner: str = "") -> str:
    """A set; ``owner``: ``#owner`` for what is an owner's."""
    return _iq("set", inside, to, owner)


def ask(inside: str, to: str = "", owner: str = "") -> str:
    """A get."""
    return _iq("get", inside, to, owner)


def _iq(type: str, inside: str, to: str, owner: str) -> str:
    to = f" to='{to}'" if to else ""
    return f"<iq type='{type}'{to}><pubsub xmlns='{PUBSUB}{owner}'>{inside}</pubsub></iq>"


def form(**options: str) -> str:
    """A configuration form that is filled in."""
    fields = "".join(
        f"<field var='pubsub#{name}'><value>{value}</value></field>" for name, value in options.items()
    )
    return f"<x xmlns='jabber:x:data' type='submit'>{fields}</x>"


def befriend(one: Client, other: Client) -> None:
    """Let two see each other's presence."""
    for asking, asked in ((one, other), (other, one)):
        asking.send(f"<presence to='{asked.jid.bare}' type='subscribe'/>")
        asked.send(f"<presence to='{asking.jid.bare}' type='subscribed'/>")
    one.forget()
    other.forget()


def events(hearer: Hearer) -> list[_Element]:
    """The notifications that were heard, and nothing else."""
    hearer.flush()
    heard = [each for each in hearer.heard if each.find(f"{{{EVENT}}}event") is not None]
    hearer.heard.clear()
    return heard


def titles(hearer: Hearer) -> list[str]:
    return [each.findtext(f".//{{{TUNE}}}title") or "" for each in events(hearer)]


class Held:
    """A method of a store that does what it has to when it is let go, and not before."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, store: object, name: str = "change") -> None:
        self._real: Any = getattr(store, name)
        self._gates: list[Deferred[None]] | None = []
        monkeypatch.setattr(store, name, self._wait)

    async def _wait(self, *arguments: object, **named: object) -> object:
        if self._gates is not None:
            self._gates.append(Deferred())
            await self._gates[-1]
        return await self._real(*arguments, **named)

    def let_go(self) -> None:
        """All that waits, and all that will be asked."""
        gates, self._gates = self._gates or (), None
        for each in gates:
            each.callback(None)


def refusal(answer: _Element) -> tuple[str, str]:
    """The condition, and pubsub's own."""
    own = [each.tag for each in answer.iter() if str(each.tag).startswith(f"{{{ERRORS}}}")]
    return condition(answer), str(own[0]).partition("}")[2] if own else ""
