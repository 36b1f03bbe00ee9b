"""What an uploaded file may be called, and as what it is shown."""

from __future__ import annotations

import re
import unicodedata
from typing import Final
from urllib.parse import quote

__all__ = ["cleaned", "disposition", "media_type"]

_LONGEST: Final = 255  # bytes, as file systems have it
_LONGEST_SUFFIX: Final = 16  # characters
_NEVER: Final = re.compile(r'[/\\:*?"<>|]')
_TYPE: Final = re.compile(r"[\w!#$&^.+-]{1,64}/[\w!#$&^.+-]{1,64}", re.ASCII)  # RFC 6838 §4.2
_UNKNOWN: Final = "application/octet-stream"
#: What a browser may show where it is; it runs no script of these.
_SAFE: Final = frozenset(
    {
        "application/ogg",
        *(f"audio/{each}" for each in ("aac", "flac", "mp4", "mpeg", "ogg", "opus", "wav", "webm")),
        *(f"image/{each}" for each in ("apng", "avif", "gif", "heic", "jpeg", "png", "webp")),
        "text/plain",
        *(f"video/{each}" for each in ("mp4", "mpeg", "ogg", "quicktime", "webm")),
    }
)


def cleaned(name: str) -> str:
    """A file name that is one wherever it gets: no path, no control characters, at most 255 bytes of UTF-8.

    Its ending stays (XEP-0363 §4).  Empty: there is nothing left of it.
    """
    name = unicodedata.normalize("NFC", name)
    name = "".join(each for each in name if unicodedata.category(each) not in {"Cc", "Cf", "Cs", "Zl", "Zp"})
    name = _NEVER.sub("_", re.split(r"[/\\]", name)[-1]).strip(" .")
    stem, dot, suffix = name.rpartition(".")
    if not dot or len(suffix) > _LONGEST_SUFFIX:
        stem, dot, suffix = name, "", ""
    room = _LONGEST - len(f"{dot}{suffix}".encode())
    return f"{stem.encode()[:room].decode(errors='ignore')}{dot}{suffix}"


def media_type(announced: str) -> str:
    """The media type that was announced, without parameters and in lower case.

    :raises ValueError: it is none.
    """
    type = announced.partition(";")[0].strip().lower()
    if not type:
        return _UNKNOWN
    if not _TYPE.fullmatch(type):
        raise ValueError("not a media type")
    return type


def disposition(name: str, type: str) -> str:
    """The header Content-Disposition (RFC 6266): only what runs no script is shown in a browser."""
    how = "inline" if type in _SAFE else "attachment"
    return f"{how}; filename*=UTF-8''{quote(name, safe='')}"
