"""Namespace names, each beside the document that defines it."""

from typing import Final

XML: Final = "http://www.w3.org/XML/1998/namespace"
STREAM: Final = "http://etherx.jabber.org/streams"  # RFC 6120 §4.8.1
CLIENT: Final = "jabber:client"  # RFC 6120 §4.8.2
SERVER: Final = "jabber:server"  # RFC 6120 §4.8.2
COMPONENT: Final = "jabber:component:accept"  # XEP-0114
STREAM_ERRORS: Final = "urn:ietf:params:xml:ns:xmpp-streams"  # RFC 6120 §4.9
STANZA_ERRORS: Final = "urn:ietf:params:xml:ns:xmpp-stanzas"  # RFC 6120 §8.3
TLS: Final = "urn:ietf:params:xml:ns:xmpp-tls"  # RFC 6120 §5
SASL: Final = "urn:ietf:params:xml:ns:xmpp-sasl"  # RFC 6120 §6
SASL2: Final = "urn:xmpp:sasl:2"  # XEP-0388
SASL_CB: Final = "urn:xmpp:sasl-cb:0"  # XEP-0440
BIND: Final = "urn:ietf:params:xml:ns:xmpp-bind"  # RFC 6120 §7
SESSION: Final = "urn:ietf:params:xml:ns:xmpp-session"  # RFC 3921 §3, obsolete but asked for by old clients
ROSTER: Final = "jabber:iq:roster"  # RFC 6121 §2
ROSTER_VER: Final = "urn:xmpp:features:rosterver"  # RFC 6121 §2.6
PRE_APPROVAL: Final = "urn:xmpp:features:pre-approval"  # RFC 6121 §3.4
DIALBACK: Final = "jabber:server:dialback"  # XEP-0220
DIALBACK_FEATURE: Final = "urn:xmpp:features:dialback"  # XEP-0220 §2.4.2
BIDI: Final = "urn:xmpp:bidi"  # XEP-0288
BIDI_FEATURE: Final = "urn:xmpp:features:bidi"
SM: Final = "urn:xmpp:sm:3"  # XEP-0198
DELAY: Final = "urn:xmpp:delay"  # XEP-0203
LIMITS: Final = "urn:xmpp:stream-limits:0"  # XEP-0478
ERRORS: Final = "urn:xmpp:errors"  # XEP-0182: applications' own conditions
