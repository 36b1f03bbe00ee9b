"""Invitations as people get them: an address to click on, and perhaps a web page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import quote

from jabberd.api import Mistake, checked
from jabberd.xmpp.forms import Field, Form
from jabberd.xmpp.timestamp import to_stamp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jabberd.api import JID
    from jabberd.modules.invitations.ledger import Invitation
    from jabberd.xmpp.element import Element

__all__ = ["APPS", "Apps", "LandingPage", "Link"]

_INVITATION: Final = "urn:xmpp:invite#invitation"
_NODE: Final = "!$()*+,="  # RFC 5122 §2.2: what a localpart needs no escape for, beside what no URI escapes
_FOR_TOKEN: Final = "{token}"  # noqa: S105  # the place of one
_FOR_URI: Final = "{uri}"


def _landing_page(url: str) -> str:
    if url and not (url.startswith("https://") and (_FOR_TOKEN in url or _FOR_URI in url)):
        raise Mistake(
            f"is no page for an invitation; begin with https:// and say where {_FOR_TOKEN} or {_FOR_URI} goes"
        )
    return url


def _apps(apps: Mapping[str, str]) -> Mapping[str, str]:
    for name, url in apps.items():
        if not url.startswith("https://"):
            raise Mistake(f"has {url} for {name}, which is no safe place; begin with https://")
    return apps


#: What newcomers are recommended: by name, with the systems that it is for, where it is found.
Apps = Annotated[dict[str, str], checked(_apps)]
APPS: Final = {
    "Conversations (Android)": "https://conversations.im/",
    "Monal (iOS, macOS)": "https://monal-im.org/",
    "Gajim (Windows, Linux)": "https://gajim.org/",
    "Dino (Linux)": "https://dino.im/",
}
#: The URL of a web page elsewhere, with a place for the token, or for the URI without its scheme; empty: this
#: server's own, if it serves pages.
LandingPage = Annotated[str, checked(_landing_page)]


@dataclass(frozen=True)
class Link:
    """An invitation with its token, which is known to nobody else."""

    domain: JID
    invitation: Invitation
    token: str
    landing_page: LandingPage = ""

    @property
    def uri(self) -> str:
        """As XEP-0401 §4.1 and §4.4 have it."""
        wanted = self.invitation
        if wanted.contact:
            name = wanted.inviter.rpartition("@")[0]
            query = f"roster;preauth={self.token}{';ibr=y' if wanted.account else ''}"
        else:
            name, query = wanted.username, f"register;preauth={self.token}"
        return f"xmpp:{quote(name, safe=_NODE)}{'@' if name else ''}{self.domain}?{query}"

    @property
    def landing_url(self) -> str:
        """The page that says how to go on (XEP-0379 §3.3); empty: there is none."""
        return self.landing_page.replace(_FOR_TOKEN, self.token).replace(
            _FOR_URI, self.uri.removeprefix("xmpp:")
        )

    def form(self) -> Element:
        """What a client gets (XEP-0401 §4.1)."""
        told = {"uri": self.uri, "landing-url": self.landing_url, "expire": to_stamp(self.invitation.expires)}
        fields = tuple(Field(var, values=(text,)) for var, text in told.items() if text)
        return Form(_INVITATION, fields).element("result")

    def shown(self) -> dict[str, object]:
        """The same for operators."""
        page = {"page": self.landing_url} if self.landing_page else {}
        return {"uri": self.uri, **page, "expires": to_stamp(self.invitation.expires)}
