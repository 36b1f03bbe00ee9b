"""The errors that XMPP names, as exceptions.

A feature raises one of these; the place that catches it (`docs/tour.md`, "Errors are caught in
four places") turns it into XML.  None of them carries what the peer sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from xml.etree.ElementTree import Element

#: RFC 6120 §8.3.3: each defined condition with the error type that the section recommends.
STANZA_CONDITIONS: Final[dict[str, str]] = {
    "bad-request": "modify",
    "conflict": "cancel",
    "feature-not-implemented": "cancel",
    "forbidden": "auth",
    "gone": "cancel",
    "internal-server-error": "cancel",
    "item-not-found": "cancel",
    "jid-malformed": "modify",
    "not-acceptable": "modify",
    "not-allowed": "cancel",
    "not-authorized": "auth",
    "policy-violation": "modify",
    "recipient-unavailable": "wait",
    "redirect": "modify",
    "registration-required": "auth",
    "remote-server-not-found": "cancel",
    "remote-server-timeout": "wait",
    "resource-constraint": "wait",
    "service-unavailable": "cancel",
    "subscription-required": "auth",
    "undefined-condition": "modify",
    "unexpected-request": "wait",
}

#: RFC 6120 §4.9.3.
STREAM_CONDITIONS: Final[frozenset[str]] = frozenset(
    {
        "bad-format",
        "bad-namespace-prefix",
        "conflict",
        "connection-timeout",
        "host-gone",
        "host-unknown",
        "improper-addressing",
        "internal-server-error",
        "invalid-from",
        "invalid-namespace",
        "invalid-xml",
        "not-authorized",
        "not-well-formed",
        "policy-violation",
        "remote-connection-failed",
        "reset",
        "resource-constraint",
        "restricted-xml",
        "see-other-host",
        "system-shutdown",
        "undefined-condition",
        "unsupported-encoding",
        "unsupported-feature",
        "unsupported-stanza-type",
        "unsupported-version",
    }
)


class XMPPError(Exception):
    """Common ground of all errors that are told to a peer in XML."""


class StanzaError(XMPPError):
    """A stanza cannot be handled (RFC 6120 §8.3): its sender gets an error stanza, the stream lives on.

    :param condition: a defined condition of §8.3.3, such as ``item-not-found``.
    :param text: a human-readable explanation, or empty for none.
    :param type: ``auth``, ``cancel``, ``continue``, ``modify`` or ``wait``; the recommended one unless given.
    :param application: an application-specific condition as ``(namespace, name)`` (§8.3.4).
    :param details: that condition's attributes; ``inside``: its child elements.
    :param uri: of ``gone`` and ``redirect``: where to turn to (§8.3.3.5, §8.3.3.14).
    :param beside: an element that the error stanza has before its ``<error/>``: what stands unchanged.
    """

    def __init__(
        self,
        condition: str,
        text: str = "",
        *,
        type: str | None = None,
        application: tuple[str, str] | None = None,
        details: Mapping[str, str] | None = None,
        inside: Iterable[Element] = (),
        uri: str = "",
        beside: Element | None = None,
    ) -> None:
        super().__init__(condition, text)
        self.condition = condition
        self.type = type or STANZA_CONDITIONS[condition]
        self.text = text
        self.application = application
        self.details = details or {}
        self.inside = tuple(inside)
        self.uri = uri
        self.beside = beside


class StreamError(XMPPError):
    """The stream cannot go on (RFC 6120 §4.9): the peer gets ``<stream:error/>`` and the stream is closed.

    :param condition: a defined condition of §4.9.3, such as ``not-well-formed``.
    :param application: an application-specific condition as ``(namespace, name)`` (§4.9.4).
    """

    def __init__(self, condition: str, text: str = "", *, application: tuple[str, str] | None = None) -> None:
        if condition not in STREAM_CONDITIONS:
            raise ValueError(f"RFC 6120 §4.9.3 defines no stream error {condition!r}")
        super().__init__(condition, text)
        self.condition = condition
        self.text = text
        self.application = application


class SASLFailure(XMPPError):  # noqa: N818  # RFC 6120 calls it a failure
    """Authentication failed (RFC 6120 §6.5): the peer gets ``<failure/>`` and may try again.

    :param condition: one of §6.5, such as ``not-authorized``.
    :param text: for the peer; says nothing that helps to guess.
    """

    def __init__(self, condition: str, text: str = "") -> None:
        super().__init__(condition, text)
        self.condition = condition
        self.text = text
