"""What files may be called, which part of one is asked for, and how much room there is (XEP-0363)."""

from __future__ import annotations

import pytest

from jabberd.modules.upload.files import DAY, Held
from jabberd.modules.upload.names import cleaned, disposition, media_type
from jabberd.modules.upload.sending import asked_part
from jabberd.modules.upload.slots import Allowance, FullError


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("rose.jpg", "rose.jpg"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("a\r\nSet-Cookie: b.txt", "aSet-Cookie_ b.txt"),
        ("\u202egpj.exe", "gpj.exe"),
        ("..", ""),
        (" . ", ""),
        ("\x00", ""),
        (".htaccess", "htaccess"),
        ('"quoted"<b>.txt', "_quoted__b_.txt"),
        ("e\u0301.txt", "\u00e9.txt"),
        ("r" * 300 + ".jpeg", "r" * 250 + ".jpeg"),
        ("\u00e9" * 200 + ".jpg", "\u00e9" * 125 + ".jpg"),
        ("r." + "s" * 300, "r." + "s" * 253),
    ],
)
def test_f11_names_are_names_and_nothing_else(said: str, kept: str) -> None:
    assert cleaned(said) == kept


def test_types_are_types_without_parameters() -> None:
    assert media_type("Text/HTML; charset=utf-8") == "text/html"
    assert media_type("") == "application/octet-stream"
    for wrong in ("text", "text/", "/html", "text/ht ml", "a/b/c", "text/\u0445", "a/b\r\nX: y"):
        with pytest.raises(ValueError, match="not a media type"):
            media_type(wrong)


def test_only_what_runs_no_script_is_shown_where_it_is() -> None:
    assert disposition("rose.png", "image/png").startswith("inline;")
    for type in ("text/html", "image/svg+xml", "application/xhtml+xml", "text/xml", "application/pdf"):
        assert disposition("rose", type).startswith("attachment;")


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (None, None),
        (b"bytes=0-0", (0, 0)),
        (b"bytes=5-", (5, 9)),
        (b"bytes=5-99", (5, 9)),
        (b"bytes=-3", (7, 9)),
        (b"bytes=-99", (0, 9)),
        (b"bytes=-0", (10, 10)),
        (b"bytes=10-", (10, 9)),
        (b"bytes=5-4", None),
        (b"bytes=0-1,3-4", None),
        (b"bytes=0-" + b"9" * 30, None),
        (b"bytes=\xd9\xa1-", None),
    ],
)
def test_the_part_that_is_asked_for(header: bytes | None, part: tuple[int, int] | None) -> None:
    assert asked_part(header, 10) == part


def test_room_is_there_again_when_enough_is_gone() -> None:
    held = [Held(10, 100.0, 500.0), Held(20, 200.0, 400.0)]
    with pytest.raises(FullError) as full:
        Allowance(day=1000, stored=35, slots=1, files=9).check(16, "message", held, [], 300.0)
    assert (full.value.until, full.value.limit) == (400.0, "quota")
    with pytest.raises(FullError) as full:
        Allowance(day=35, stored=1000, slots=1, files=9).check(6, "message", held, [], 300.0)
    assert (full.value.until, full.value.limit) == (100.0 + DAY, "day")
    with pytest.raises(FullError) as full:
        Allowance(day=1000, stored=35, slots=1, files=9).check(36, "message", held, [], 300.0)
    assert full.value.until is None


def test_f11_small_files_are_counted_too() -> None:
    held = [Held(1, 100.0, 500.0), Held(1, 200.0, 150.0)]
    with pytest.raises(FullError, match="at most 2 files in 24 hours") as full:
        Allowance(day=1000, stored=1000, slots=1, files=2).check(1, "message", held, [], 300.0)
    assert full.value.until == 100.0 + DAY
    old = [Held(1, 100.0, 9 * DAY)]
    with pytest.raises(FullError, match="at most 1 files at a time") as full:
        Allowance(day=1000, stored=1000, slots=1, files=1).check(1, "message", old, [], 2 * DAY)
    assert (full.value.until, full.value.limit) == (9 * DAY, "files")
