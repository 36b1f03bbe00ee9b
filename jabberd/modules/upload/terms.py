"""What may be uploaded: the settings, and what a client announces in their light (XEP-0363 §4, §5)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from jabberd.api import Duration, E, FilePath, Settings, Size, StanzaError
from jabberd.modules.upload.files import FOREVER, PERMANENT, File
from jabberd.modules.upload.names import cleaned, media_type
from jabberd.xmpp.timestamp import from_stamp

if TYPE_CHECKING:
    from jabberd.api import IQ, Element

__all__ = ["NS", "PURPOSE", "PURPOSES", "Terms", "announced"]

NS: Final = "urn:xmpp:http:upload:0"
PURPOSE: Final = "urn:xmpp:http:upload:purpose:0"
PURPOSES: Final = ("message", "profile", "ephemeral", PERMANENT)
_LONGEST: Final = 1000  # characters of a name that are looked at
_DIGITS: Final = 18  # of a size; what has more is too large anyway
_TOO_LARGE: Final = 10**_DIGITS


class Terms(Settings):
    """What is taken, of whom, and for how long.

    :ivar folder: where the files lie, in a folder of the domain's own.
    :ivar size: of one file; ``profile_size``: of one that is for a profile (§5.2).
    :ivar day: what one account may upload in 24 hours; ``quota``: what is kept of it.
    :ivar files: of any size, that one account may upload in 24 hours, and that are kept of it.
    :ivar profile_quota: what is kept of one account's files for its profile.
    :ivar permanent_quota: what is kept of one account's permanent files (§5.4), which stay until somebody
        deletes them; ``permanent_total``: of those of all accounts, within ``total``.  With 0 there are none.
    :ivar total: what is kept of all accounts.
    :ivar age: after which a file goes; ``profile_age``: one for a profile.
    :ivar slots: that one account may have at a time.
    :ivar timeout: how long a slot waits for its file to begin.
    """

    folder: FilePath = Path("/var/lib/jabberd/upload")
    size: Size = 50 << 20
    day: Size = 500 << 20
    quota: Size = 1 << 30
    files: Annotated[int, Meta(ge=1)] = 5000
    total: Size = 20 << 30
    age: Duration = 30 * 86400.0
    profile_size: Size = 1 << 20
    profile_quota: Size = 10 << 20
    profile_age: Duration = 365 * 86400.0
    permanent_quota: Size = 100 << 20
    permanent_total: Size = 10 << 30
    slots: Annotated[int, Meta(ge=1)] = 50
    timeout: Duration = 300.0

    @property
    def purposes(self) -> tuple[str, ...]:
        """For what files are kept (§5)."""
        permanent = self.permanent_quota > 0 and self.permanent_total > 0
        return tuple(each for each in PURPOSES if permanent or each != PERMANENT)


def announced(request: IQ, terms: Terms, now: float) -> File:
    """The file that a client asks a slot for.

    :param now: in seconds since 1970.
    :raises StanzaError: ``bad-request``; ``not-acceptable``: it is too large.
    """
    asked = request.payload
    name, size = cleaned(asked.get("filename", "")[-_LONGEST:]), _size(asked.get("size", ""))
    if not name or not size:
        raise StanzaError("bad-request", "a file has a name and a size")
    try:
        type = media_type(asked.get("content-type", ""))
    except ValueError:
        raise StanzaError("bad-request", "the content type is none") from None
    purpose, expires = _purpose(asked, terms, now)
    most = terms.profile_size if purpose == "profile" else terms.size
    if size > most:
        inside = E(NS, "max-file-size", None, str(most))
        said = f"File too large. The maximum file size is {most} bytes"
        raise StanzaError("not-acceptable", said, application=(NS, "file-too-large"), inside=[inside])
    return File(request.sender.bare, name, type, size, now, expires, purpose)


def _size(text: str) -> int:
    """A size in bytes; 0: it is none."""
    if not (text.isascii() and text.isdigit()):
        return 0
    return int(text) if len(text) <= _DIGITS else _TOO_LARGE


def _purpose(asked: Element, terms: Terms, now: float) -> tuple[str, float]:
    """What the file is for, and when it goes therefore (§5)."""
    named = [each for each in asked if each.tag.startswith(f"{{{PURPOSE}}}")]
    if len(named) > 1:
        raise StanzaError("bad-request", "a file has one purpose")
    purpose = named[0].tag.partition("}")[2] if named else "message"
    if purpose not in terms.purposes:
        raise StanzaError("feature-not-implemented", f"no files are kept for the purpose {purpose}")
    if purpose == "profile":
        return purpose, now + terms.profile_age
    if purpose == PERMANENT:
        return purpose, FOREVER
    if purpose == "message":
        return purpose, now + terms.age
    try:
        wanted = from_stamp(named[0].get("expire-before", "")).timestamp()
    except ValueError:
        raise StanzaError("bad-request", "expire-before is no moment of XEP-0082") from None
    if wanted <= now:
        raise StanzaError("bad-request", "expire-before is over")
    return purpose, min(now + terms.age, wanted)
