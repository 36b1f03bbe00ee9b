"""Tells twistd that there is a ``jabberd``."""

from twisted.application.service import ServiceMaker

jabberd = ServiceMaker("jabberd", "jabberd.tap", "An XMPP server", "jabberd")
