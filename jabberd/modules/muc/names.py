"""Namespaces, names and features of XEP-0045, and of what belongs to rooms."""

from __future__ import annotations

from typing import Final

from jabberd.xmpp import ns

MUC: Final = "http://jabber.org/protocol/muc"
USER: Final = f"{MUC}#user"
ADMIN: Final = f"{MUC}#admin"
OWNER: Final = f"{MUC}#owner"
CONFIG: Final = f"{MUC}#roomconfig"
INFO: Final = f"{MUC}#roominfo"
REGISTER_FORM: Final = f"{MUC}#register"
REQUEST: Final = f"{MUC}#request"
STABLE_ID: Final = f"{MUC}#stable_id"
TRAFFIC: Final = f"{MUC}#traffic"
SELF_PING: Final = f"{MUC}#self-ping-optimization"  # XEP-0410 §3.3
DIRECT: Final = "jabber:x:conference"  # XEP-0249
REGISTER: Final = "jabber:iq:register"
OCCUPANT: Final = "urn:xmpp:occupant-id:0"  # XEP-0421
SID: Final = "urn:xmpp:sid:0"  # XEP-0359
PING: Final = "urn:xmpp:ping"
VCARD: Final = "vcard-temp"
PUBSUB: Final = "http://jabber.org/protocol/pubsub"

# Clark names
JOIN: Final = f"{{{MUC}}}x"
X_USER: Final = f"{{{USER}}}x"
OCCUPANT_ID: Final = f"{{{OCCUPANT}}}occupant-id"
STANZA_ID: Final = f"{{{SID}}}stanza-id"
SUBJECT: Final = f"{{{ns.CLIENT}}}subject"
BODY: Final = f"{{{ns.CLIENT}}}body"
THREAD: Final = f"{{{ns.CLIENT}}}thread"
DELAY: Final = f"{{{ns.DELAY}}}delay"

#: The node of a room that tells somebody's reserved nickname (§7.12).
RESERVED: Final = "x-roomuser-item"

#: What the service and each of its rooms can do.
FEATURES: Final = (
    MUC,
    STABLE_ID,
    SELF_PING,
    OCCUPANT,
    SID,
    DIRECT,
    REGISTER,
    REGISTER_FORM,
    CONFIG,
    INFO,
    REQUEST,
)
