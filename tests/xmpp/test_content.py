"""What becomes of a message: the rules of the XEPs, row by row."""

from __future__ import annotations

import pytest

from jabberd.xmpp.content import treatment
from jabberd.xmpp.stanza import Stanza

BODY = "<body>hi!</body>"
HINT = "<{} xmlns='urn:xmpp:hints'/>"
PRIVATE = "<private xmlns='urn:xmpp:carbons:2'/>"
TYPING = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
RECEIPT = "<received xmlns='urn:xmpp:receipts' id='1'/>"
MARKER = "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>"
REACTION = "<reactions xmlns='urn:xmpp:reactions:0' id='1'/>"
RETRACTION = "<retract xmlns='urn:xmpp:message-retract:1' id='1'/>"
FALLBACK = "<fallback xmlns='urn:xmpp:fallback:0'/>"
OMEMO = "<encrypted xmlns='eu.siacs.conversations.axolotl'/>"
CALL = "<propose xmlns='urn:xmpp:jingle-message:0' id='1'/>"
EVENT = "<event xmlns='http://jabber.org/protocol/pubsub#event'/>"
INVITATION = "<x xmlns='http://jabber.org/protocol/muc#user'><invite from='a@b.c'/></x>"
IN_ROOM = "<x xmlns='http://jabber.org/protocol/muc#user'/>"
ODD = "<odd xmlns='urn:example:odd'/>"


@pytest.mark.parametrize(
    ("type", "inside", "expected"),
    [
        # RFC 6121 §5.2.3, XEP-0313 §5.1.1
        ("chat", BODY, "archived waits copied urgent speaks"),
        ("normal", BODY, "archived waits copied urgent speaks"),
        ("", BODY, "archived waits copied urgent speaks"),
        ("strange", BODY, "archived waits copied urgent speaks"),
        ("headline", BODY, "urgent speaks"),
        ("groupchat", BODY, "urgent speaks"),
        ("error", BODY, "urgent"),
        ("chat", OMEMO, "archived waits copied urgent speaks"),
        ("chat", BODY + FALLBACK, "archived waits copied urgent speaks"),
        # XEP-0085
        ("chat", TYPING, "copied"),
        ("chat", TYPING + "<thread>1</thread>", "copied"),
        ("chat", TYPING + BODY, "archived waits copied urgent speaks"),
        ("groupchat", TYPING, ""),
        ("chat", "", "copied"),
        # XEP-0184, XEP-0333, XEP-0424, XEP-0444, XEP-0353
        ("chat", RECEIPT, "archived waits copied"),
        ("chat", MARKER, "archived waits copied"),
        ("normal", MARKER, "archived waits copied"),
        ("groupchat", MARKER, ""),
        ("chat", REACTION, "archived waits copied urgent"),
        ("chat", RETRACTION, "archived waits copied urgent"),
        ("groupchat", RETRACTION, "urgent"),
        ("chat", RETRACTION + FALLBACK + BODY, "archived waits copied urgent speaks"),
        ("chat", CALL, "archived waits copied urgent speaks"),
        # XEP-0163, and what nobody knows
        ("headline", EVENT, ""),
        ("normal", EVENT, ""),
        ("normal", ODD, "waits urgent"),
        ("chat", ODD, "waits copied urgent"),
        # XEP-0334
        ("chat", TYPING + HINT.format("store"), "archived waits copied"),
        ("headline", ODD + HINT.format("store"), "archived urgent"),
        ("groupchat", BODY + HINT.format("store"), "urgent speaks"),
        ("error", BODY + HINT.format("store"), "urgent"),
        ("chat", BODY + HINT.format("no-store"), "copied urgent speaks"),
        ("chat", BODY + HINT.format("no-permanent-store"), "waits copied urgent speaks"),
        ("chat", BODY + HINT.format("no-store") + HINT.format("store"), "copied urgent speaks"),
        ("chat", BODY + HINT.format("no-copy"), "archived waits urgent speaks"),
        ("chat", BODY + PRIVATE, "archived waits urgent speaks"),
        # XEP-0045
        ("normal", INVITATION, "archived waits copied urgent speaks"),
        ("chat", BODY + IN_ROOM, "archived waits copied urgent speaks"),
        ("normal", IN_ROOM, "waits urgent"),
    ],
)
def test_what_a_message_carries_decides_what_becomes_of_it(type: str, inside: str, expected: str) -> None:
    typed = f" type='{type}'" if type else ""
    message = Stanza.from_standalone(f"<message xmlns='jabber:client'{typed}>{inside}</message>".encode())
    found = treatment(message)._asdict()
    assert " ".join(name for name, holds in found.items() if holds) == expected


def test_no_payload_is_opened_for_a_common_message() -> None:
    message = Stanza("message", {"type": "chat"}, ("{jabber:client}body",), b"<not well-formed")
    assert treatment(message).archived
