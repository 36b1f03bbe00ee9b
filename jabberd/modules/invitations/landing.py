"""The web page of an invitation: what it is, and how to go on (XEP-0379 §3.3, XEP-0401 §4.2).

It tells no more than the link does, runs no script and loads nothing.  Whatever is no token that can be used
now has one and the same answer.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from html import escape
from typing import TYPE_CHECKING, Final

from twisted.web import http

from jabberd.web import Page, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from twisted.web.server import Request

    from jabberd.modules.invitations.links import Link
    from jabberd.web import Visits

__all__ = ["InvitationPage"]

_STYLE: Final = (
    "body{max-width:36em;margin:2em auto;padding:0 1em;font:1.1em/1.5 sans-serif}"
    "a.go{display:inline-block;padding:.6em 1.2em;border-radius:.4em;background:#00629b;color:#fff;"
    "text-decoration:none}code{overflow-wrap:anywhere}"
)
_HASH: Final = b64encode(sha256(_STYLE.encode()).digest()).decode()
_HEADERS: Final = {
    "content-security-policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",  # the token is in the URL
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-robots-tag": "noindex, nofollow",
}
#: How browsers name their systems, and how apps do; the first that is found counts.
_SYSTEMS: Final = (
    ("android", "android"),
    ("iphone", "ios"),
    ("ipad", "ios"),
    ("macintosh", "macos"),
    ("windows", "windows"),
    ("linux", "linux"),
)
_GONE: Final = (
    "This invitation cannot be used",
    (
        "<p>Perhaps it was used already, has expired or was taken back, or not all of it was copied.</p>"
        "<p>Please ask whoever sent it for another one.</p>"
    ),
)


class InvitationPage(Page):
    """The page of an invitation.

    :param link: None: there is none that can be used.
    :param apps: what to recommend: by name, which tells for which systems it is, where it is found.
    :param visits: all that there are to such pages.
    """

    def __init__(self, link: Link | None, apps: Mapping[str, str], visits: Visits) -> None:
        super().__init__()
        self._link = link
        self._apps = apps
        self._visits = visits

    def render_GET(self, request: Request) -> bytes | int:
        """The page; nothing is used up by looking at it."""
        refusal = self._visits.refusal(request)
        if refusal is not None:
            return refusal.render(request)
        for name, value in _HEADERS.items():
            request.setHeader(name, value)
        if self._link is None:
            request.setResponseCode(http.NOT_FOUND)
        said = _GONE if self._link is None else _told(self._link, self._recommended(request))
        return plain(request, b"text/html; charset=utf-8", _document(*said))

    def _recommended(self, request: Request) -> Iterable[tuple[str, str]]:
        """Names and places, for the system that the browser says it runs on, or for all."""
        agent = (request.getHeader("user-agent") or "").lower()
        system = next((system for word, system in _SYSTEMS if word in agent), "")
        fitting = [each for each in self._apps.items() if system and system in each[0].lower()]
        return fitting or self._apps.items()


def _document(title: str, content: str) -> bytes:
    return (
        "<!DOCTYPE html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>{content}</body></html>\n"
    ).encode()


def _told(link: Link, apps: Iterable[tuple[str, str]]) -> tuple[str, str]:
    """The title, and the HTML below it."""
    wanted = link.invitation
    name = f"{wanted.username}@{link.domain}" if wanted.username else f"an account at {link.domain}"
    title = f"{wanted.inviter} invites you to chat" if wanted.contact else f"You are invited to {name}"
    offer = f" If you have no account yet, you may make one at {link.domain}." if wanted.account else ""
    about = f"Open the invitation with your app, and you become contacts.{offer}"
    if not wanted.contact:
        about = "Open the invitation with your app, and choose a password."
    uri, until = escape(link.uri), f"{wanted.expires:%Y-%m-%d %H:%M} UTC"
    listed = "".join(f'<li><a href="{escape(url)}">{escape(app)}</a></li>' for app, url in apps)
    return title, (
        f'<p>{escape(about)}</p><p><a class="go" href="{uri}">Open the invitation</a></p>'
        "<p>If nothing happens you need an app for XMPP first. Install one, and come back to this page:</p>"
        f'<ul>{listed}<li><a href="https://xmpp.org/software/">all others</a></li></ul>'
        f"<p>Where an app opens no links, copy this into it: <code>{uri}</code></p>"
        f"<p>The invitation holds until {until}. Whoever has the address of this page can use it: keep it to "
        "yourself.</p>"
        "<p>XMPP is messaging that nobody owns: people with different apps, at servers of their own choice, "
        "talk with each other. If you do not know who invites you, you need not do anything.</p>"
    )
