"""Rooms in a play: who enters, what they say, and what they hear."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jabberd.testing.client import condition

if TYPE_CHECKING:
    from lxml.etree import _Element

    from jabberd.testing.client import Client, Hearer

ROOMS = "rooms.montague.lit"
ROOM = f"orchard@{ROOMS}"
MUC = "http://jabber.org/protocol/muc"
NAMES = {
    "c": "jabber:client",
    "u": f"{MUC}#user",
    "a": f"{MUC}#admin",
    "o": f"{MUC}#owner",
    "x": "jabber:x:data",
    "s": "urn:ietf:params:xml:ns:xmpp-stanzas",
    "id": "urn:xmpp:occupant-id:0",
    "sid": "urn:xmpp:sid:0",
    "d": "urn:xmpp:delay",
}


def join(who: Hearer, nick: str, inside: str = "", room: str = ROOM, more: str = "") -> None:
    """Ask to enter."""
    asked = f"<x xmlns='{MUC}'>{inside}</x>{more}"
    send(who, f"<presence xmlns='jabber:client' to='{room}/{nick}' id='in'>{asked}</presence>")


def send(who: Hearer, xml: str) -> None:
    """What a client or a stranger says."""
    who.send(xml)  # type: ignore[attr-defined]  # both can


def enter(who: Hearer, nick: str, inside: str = "", room: str = ROOM) -> list[_Element]:
    """Enter; what was heard until the subject came."""
    join(who, nick, inside, room)
    heard = heard_by(who)
    assert heard, f"{nick} heard nothing"
    assert find(heard[-1], "c:subject"), f"{nick} is not in: {condition(heard[-1])}"
    return heard


def heard_by(who: Hearer) -> list[_Element]:
    """Take everything that was heard."""
    who.flush()
    heard, who.heard = who.heard, []
    return heard


def find(element: _Element, path: str) -> list[_Element]:
    """What is found by a path with the prefixes of `NAMES`."""
    found: list[_Element] = element.xpath(path, namespaces=NAMES)
    return found


def texts(element: _Element, path: str) -> list[str]:
    """The same for attributes and texts."""
    return [str(each) for each in find(element, path)]


def codes(element: _Element) -> list[str]:
    """The status codes."""
    return texts(element, "u:x/u:status/@code")


def standing(element: _Element) -> tuple[str, str]:
    """Affiliation and role."""
    [found] = find(element, "u:x/u:item")
    return found.get("affiliation", ""), found.get("role", "")


def nick(element: _Element) -> str:
    """Whom it comes from."""
    return element.get("from", "").partition("/")[2]


def ask(who: Client, inside: str, kind: str = "set", part: str = "admin", room: str = ROOM) -> _Element:
    """Ask a room in ``muc#admin`` or ``muc#owner``."""
    return who.ask(f"<iq type='{kind}' to='{room}'><query xmlns='{MUC}#{part}'>{inside}</query></iq>")


def configure(who: Client, room: str = ROOM, **fields: str | list[str]) -> _Element:
    """Fill in fields of the configuration form, by the last part of their names."""
    values = {
        ("muc#maxhistoryfetch" if name == "history" else f"muc#roomconfig_{name}"): value
        for name, value in fields.items()
    }
    kind = "<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>"
    filled = "".join(f"<field var='{var}'>{_values(given)}</field>" for var, given in values.items())
    form = f"<x xmlns='jabber:x:data' type='submit'>{kind if fields else ''}{filled}</x>"
    return ask(who, form, part="owner", room=room)


def _values(given: str | list[str]) -> str:
    return "".join(f"<value>{each}</value>" for each in ([given] if isinstance(given, str) else given))


def create(who: Client, nick: str, room: str = ROOM, **fields: str | list[str]) -> None:
    """Make a room with these options."""
    enter(who, nick, room=room)
    answer = configure(who, room, **fields)
    assert answer.get("type") == "result", condition(answer)
    who.forget()


def say(who: Hearer, text: str, room: str = ROOM, inside: str = "") -> None:
    """Say something to all."""
    content = f"<body>{text}</body>{inside}"
    send(who, f"<message xmlns='jabber:client' to='{room}' type='groupchat' id='m'>{content}</message>")


def affiliate(who: Client, jid: str, affiliation: str, more: str = "") -> _Element:
    """Give somebody an affiliation."""
    return ask(who, f"<item jid='{jid}' affiliation='{affiliation}' {more}/>")


def give_role(who: Client, nick: str, role: str, inside: str = "") -> _Element:
    """Give somebody a role."""
    return ask(who, f"<item nick='{nick}' role='{role}'>{inside}</item>")
