"""RFC 6121 §8.5 over whole streams: every stanza, type, address and state of an account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from jabberd.testing.client import condition
from jabberd.xmpp.jid import JID

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jabberd.testing import Client, Network

#: The priorities of romeo's resources; None is one that has sent no presence.
STATES: Final[dict[str, tuple[int | None, ...]]] = {
    "nobody": (),
    "connected": (None,),
    "negative": (-1,),
    "two negative": (-1, -128),
    "negative and connected": (-1, None),
    "zero": (0,),
    "positive": (5,),
    "two alike": (1, 1),
    "two different": (3, 0),
    "positive and negative": (1, -1),
    "zero and negative": (0, -1),
    "positive and connected": (1, None),
    "of every kind": (127, 1, 0, -1, -128, None),
}
TYPES: Final = {
    "message": ("", "normal", "x-unknown", "chat", "groupchat", "headline", "error"),
    "presence": ("", "unavailable", "error", "subscribed", "unsubscribe", "unsubscribed"),
    "iq": ("get", "set", "result", "error"),
}
PAYLOADS: Final = {
    "message": "<body>hi</body>",
    "presence": "<status>hi</status>",
    "iq": "<x xmlns='urn:x'/>",
}
REFUSED: Final = "service-unavailable"

#: Who gets it, as indexes of resources, and the error that its sender gets.
Outcome = tuple[set[int], str]


def expected(name: str, type: str, resource: int | None, state: tuple[int | None, ...]) -> Outcome:
    """What the text of §8.5 says, with the choices that this server makes where it leaves one.

    :param resource: index of the resource addressed, -1 for one that is not there, None for the bare JID.
    """
    if resource is not None and resource >= 0:  # §8.5.3.1
        asks = name == "iq" and type in ("get", "set")  # a stranger, to whom nobody shows presence
        manages = name == "presence" and type in ("subscribed", "unsubscribe", "unsubscribed")
        return (set(), REFUSED) if asks else (set(), "") if manages else ({resource}, "")
    if name == "message":
        return _message(type, resource, state)
    if name == "presence":  # §8.5.2.1.2, §8.5.2.2.2, §8.5.3.2.2
        reaches = resource is None and type in ("", "unavailable", "error")
        return ({n for n, p in enumerate(state) if p is not None} if reaches else set()), ""
    return set(), REFUSED if type in ("get", "set") else ""  # §8.5.2.1.3, §8.5.2.2.3, §8.5.3.2.3


def _message(type: str, resource: int | None, state: tuple[int | None, ...]) -> Outcome:
    present = {n for n, p in enumerate(state) if p is not None and p >= 0}
    if type == "error":
        return set(), ""
    if type == "groupchat":
        return set(), REFUSED
    if resource is None:  # §8.5.2.1.1, §8.5.2.2.1: what finds nobody is stored, a headline dropped
        return present, ""
    if type == "chat":  # §8.5.3.2.1
        return present, ""
    return set(), "" if type == "headline" else REFUSED


def stanzas(to: str) -> Iterator[tuple[str, str, str, str]]:
    """Each kind and type of stanza: name, type, id and XML."""
    for name, types in TYPES.items():
        for type in types:
            attribute = type and f"type='{type}'"
            id = f"{name}-{type}"
            yield name, type, id, f"<{name} {attribute} to='{to}' id='{id}'>{PAYLOADS[name]}</{name}>"


@pytest.fixture
def juliet(network: Network) -> Client:
    network.serve("montague.lit", "capulet.lit", modules={"offline": {}})
    return network.client("juliet@capulet.lit/balcony")


def resources(network: Network, state: tuple[int | None, ...]) -> list[Client]:
    """Log romeo in with these priorities."""
    network.server("montague.lit").create(JID.parse("romeo@montague.lit"), "secret")
    clients = []
    for number, priority in enumerate(state):
        presence = "" if priority is None else f"<presence><priority>{priority}</priority></presence>"
        clients.append(network.client(f"romeo@montague.lit/r{number}", presence=presence))
    for client in clients:
        client.forget()
    return clients


def heard(sender: Client, receivers: list[Client], id: str, to: str) -> Outcome:
    """What became of the stanza of that id; nothing else was heard."""
    got = set()
    for number, client in enumerate(receivers):
        client.flush()
        for element in client.heard:
            assert (element.get("id"), element.get("to"), element.get("from")) == (id, to, sender.jid)
            got.add(number)
        client.heard.clear()
    sender.flush()
    errors = [condition(element) for element in sender.heard]
    assert [element.get("id") for element in sender.heard] == [id] * len(errors)
    sender.heard.clear()
    return got, "".join(errors)


@pytest.mark.rfc6120("8.1.1.1-1", "10.5.4-1")
@pytest.mark.rfc6121(
    "5.2.2-1",
    "5.2.2-2",
    "5.2.2-3",
    "8.5.2.1.1-1",
    "8.5.2.1.1-2",
    "8.5.2.1.1-3",
    "8.5.2.1.1-4",
    "8.5.2.1.1-5",
    "8.5.2.1.1-6",
    "8.5.2.1.1-7",
    "8.5.2.1.1-8",
    "8.5.2.1.2-1",
    "8.5.2.1.2-4",
    "8.5.2.1.3-1",
    "8.5.2.1.3-2",
    "8.5.2.2.1-1",
    "8.5.2.2.1-2",
    "8.5.2.2.3-1",
    "8.5.2.2.3-2",
    "8.5.3.1-1",
    "8.5.3.1-2",
    "8.5.3.1-3",
    "8.5.3.2.1-1",
    "8.5.3.2.1-2",
    "8.5.3.2.1-3",
    "8.5.3.2.1-4",
    "8.5.3.2.1-5",
    "8.5.3.2.2-1",
    "8.5.3.2.2-3",
    "8.5.3.2.3-1",
)
@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_every_stanza_goes_where_section_8_5_says(
    juliet: Client, network: Network, state: tuple[int | None, ...]
) -> None:
    receivers = resources(network, state)
    addresses: dict[str, int | None] = {"romeo@montague.lit": None, "romeo@montague.lit/gone": -1}
    addresses |= {client.jid: number for number, client in enumerate(receivers)}
    for to, resource in addresses.items():
        for name, type, id, xml in stanzas(to):
            juliet.send(xml)
            assert heard(juliet, receivers, id, to) == expected(name, type, resource, state), (to, id)


@pytest.mark.rfc6120("10.5.3.1-1", "10.5.3.1-2")
@pytest.mark.rfc6121("8.5.1-1", "8.5.1-2", "8.5.1-3", "8.5.1-4")
@pytest.mark.parametrize("to", ["nobody@montague.lit", "nobody@montague.lit/gone"])
def test_to_who_does_not_exist_questions_and_messages_are_refused_and_the_rest_is_forgotten(
    juliet: Client, to: str
) -> None:
    refused = {"message-", "message-normal", "message-x-unknown", "message-chat", "message-groupchat"}
    refused |= {"iq-get", "iq-set"}
    for _, _, id, xml in stanzas(to):
        juliet.send(xml)
        assert heard(juliet, [], id, to) == (set(), REFUSED if id in refused else ""), id
    juliet.send(f"<presence type='subscribe' to='{to}' id='s1'/>")
    assert juliet.hears_nothing()


@pytest.mark.rfc6121("8.5.3.2.2-2", "8.5.3.1-4", "8.5.2.1.2-2")
@pytest.mark.parametrize("resource", ["", "/r0", "/gone"])
def test_a_request_to_any_resource_is_one_to_the_bare_jid(
    juliet: Client, network: Network, resource: str
) -> None:
    available, connected = resources(network, (-1, None))
    juliet.send(f"<presence type='subscribe' to='romeo@montague.lit{resource}'/>")
    assert available.receives(
        "<presence type='subscribe' from='juliet@capulet.lit' to='romeo@montague.lit'/>"
    )
    assert connected.hears_nothing()


@pytest.mark.rfc6121("8.5.1-5", "8.5.2.1.2-3", "8.5.2.2.2-2", "8.5.3.1-5", "8.5.3.2.2-4", "11-1")
@pytest.mark.parametrize("state", [(), (1,), (None,)], ids=["nobody", "available", "connected"])
@pytest.mark.parametrize("resource", ["", "/r0", "/gone"])
def test_a_probe_by_a_stranger_finds_out_nothing_wherever_it_goes(
    juliet: Client, network: Network, resource: str, state: tuple[int | None, ...]
) -> None:
    clients = resources(network, state)
    tybalt = network.stranger("tybalt@evil.example")
    for name in ("romeo", "nobody"):
        tybalt.send(f"<presence type='probe' id='p1' to='{name}@montague.lit{resource}'/>")
        assert tybalt.receives(
            f"<presence type='unsubscribed' id='p1' from='{name}@montague.lit' to='tybalt@evil.example'/>"
        )
    juliet.send(f"<presence type='probe' id='p1' to='romeo@montague.lit{resource}'/>")
    assert juliet.hears_nothing()  # unsubscribed from what she was not subscribed to
    assert all(client.hears_nothing() for client in clients)
