"""Questions to an archive (XEP-0313 §4, §5) and the pages that answer them (XEP-0059).

Whose archive it is does not matter here: an account's and a room's are read in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from jabberd.api import JID, E, Element, Span, StanzaError
from jabberd.xmpp.element import escape_attribute
from jabberd.xmpp.forms import NS as FORMS
from jabberd.xmpp.forms import Field, Form, X
from jabberd.xmpp.forward import forwarded, wrapped
from jabberd.xmpp.jid import InvalidJID
from jabberd.xmpp.timestamp import EPOCH, from_stamp, to_microseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jabberd.api import Stanza
    from jabberd.archive.uids import Uids
    from jabberd.interfaces import Archive, ArchiveRow

__all__ = ["NS", "Page", "Query", "fields", "metadata", "moment", "page", "result"]

NS: Final = "urn:xmpp:mam:2"
_RSM: Final = "http://jabber.org/protocol/rsm"
_VALIDATE: Final = "http://jabber.org/protocol/xdata-validate"
_RESULT: Final = f"{{{NS}}}result"
_MOST_IDS: Final = 500  # that one question may name
_LAST: Final = Span().before

_FORM: Final = Form(
    NS,
    (
        Field("with", "jid-single"),
        Field("start"),
        Field("end"),
        Field("before-id"),
        Field("after-id"),
        Field("ids", "list-multi"),
        Field("include-groupchat", "boolean"),
    ),
)
_FIELDS: Final = frozenset(field.var for field in _FORM.fields)


def fields() -> Element:
    """The form that a question may fill in (§4.1.5)."""
    form = _FORM.element()
    for field in form:
        if field.get("var") == "ids":
            field.append(E(_VALIDATE, "validate", {"datatype": "xs:string"}, E(_VALIDATE, "open")))
    return form


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of an archive.

    :ivar id: the ``queryid``, None if there is none.
    :ivar span: which rows fit.
    :ivar named: ids that must be in the archive.
    :ivar most: at most so many rows; 0: how many fit, and none of them.
    :ivar last: the newest of them, not the oldest.
    :ivar flipped: sent in the opposite order (§4.3.4).
    """

    id: str | None
    span: Span
    named: tuple[int, ...]
    most: int
    last: bool
    flipped: bool

    @classmethod
    def read(cls, query: Element, owner: str, uids: Uids, most: int) -> Query:
        """From a ``<query/>``.

        :param owner: of the archive that is asked.
        :param most: rows that a page has at most.
        :raises StanzaError: ``bad-request``; ``feature-not-implemented``: a field that nobody knows, a node,
            or a page by number (XEP-0059 §2.6); ``item-not-found``: something that cannot be an id here.
        """
        if query.get("node"):
            raise StanzaError("feature-not-implemented")
        form = query.find(X)
        given = {} if form is None else _given(form)
        paging = query.find(f"{{{_RSM}}}set")
        asked = {} if paging is None else {_local(each): (each.text or "").strip() for each in paging}
        opened = partial(_opened, owner, uids)
        bounds, named = _bounds(given, asked, opened)
        if "index" in asked:
            raise StanzaError("feature-not-implemented", "pages are asked for by their neighbours")
        ids = tuple(dict.fromkeys(map(opened, given["ids"]))) if "ids" in given else None
        peer = _address(given["with"][0]) if given.get("with") else ""
        return cls(
            query.get("queryid"),
            Span(*bounds, peer=peer, ids=ids),
            tuple({*named, *(ids or ())}),
            _most(asked.get("max"), most),
            last="before" in asked,
            flipped=query.find(f"{{{NS}}}flip-page") is not None,
        )


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of an archive, in the order in which they are to be sent, and what is said in the end.

    :ivar fin: the ``<fin/>`` (§4.3).
    """

    rows: list[ArchiveRow]
    fin: Element


async def page(archive: Archive, owner: str, uids: Uids, query: Query) -> Page:
    """What answers the question.

    :raises StanzaError: ``item-not-found``: an id that it names is not in the archive (§4.1.3, §4.3.2).
    """
    if query.named:
        found = await archive.ids(owner, Span(ids=query.named), limit=len(query.named))
        if len(found) < len(query.named):
            raise StanzaError("item-not-found")
    if query.most == 0:
        count = await archive.count(owner, query.span)
        return Page([], _fin((), complete=count == 0, count=count))
    if query.last:
        rows = await archive.newest(owner, query.span, query.most + 1)
        shown = rows[-query.most :]
    else:
        rows = await archive.rows(owner, span=query.span, limit=query.most + 1)
        shown = rows[: query.most]
    ends = [uids.text(owner, row.id) for row in (shown[0], shown[-1])] if shown else ()
    fin = _fin(ends, complete=len(rows) <= query.most)
    return Page(shown[::-1] if query.flipped else shown, fin)


async def metadata(archive: Archive, owner: str, uids: Uids) -> Element:
    """Where the archive begins and ends (§5)."""
    ends = [
        (name, found[0])
        for name, newest in (("start", False), ("end", True))
        if (found := await archive.ids(owner, Span(), limit=1, newest=newest))
    ]
    stamps = (
        E(NS, name, {"id": uids.text(owner, id), "timestamp": to_microseconds(moment(id))})
        for name, id in ends
    )
    return E(NS, "metadata", None, *stamps)


def result(row: ArchiveRow, query: Query, uids: Uids, *, sender: JID, to: JID) -> Stanza:
    """A row as its owner sends it (§4.2); what was archived stays sealed."""
    asked = "" if query.id is None else f" queryid='{escape_attribute(query.id)}'"
    start = f"<result xmlns='{NS}'{asked} id='{uids.text(sender, row.id)}'>".encode()
    inside = start + forwarded(row.stanza, moment(row.id)) + b"</result>"
    return wrapped(_RESULT, inside, sender=sender, to=to)


def moment(id: int) -> datetime:
    """When a row was archived: its id says so, and so a span of time is one of ids."""
    return EPOCH + timedelta(microseconds=id)


def _fin(ends: Sequence[str], *, complete: bool, count: int | None = None) -> Element:
    counted = [] if count is None else [E(_RSM, "count", None, str(count))]
    named = zip(("first", "last"), ends, strict=False)
    paging = E(_RSM, "set", None, *(E(_RSM, name, None, text) for name, text in named), *counted)
    return E(NS, "fin", {"complete": "true" if complete else None}, paging)


# -- what a question says -------------------------------------------------------------------------------


def _given(form: Element) -> dict[str, list[str]]:
    """The values of the form's fields."""
    given: dict[str, list[str]] = {}
    for field in form.iterfind(f"{{{FORMS}}}field"):
        var = field.get("var", "")
        values = [(value.text or "").strip() for value in field.iterfind(f"{{{FORMS}}}value")]
        if var == "FORM_TYPE":
            if values != [NS]:
                raise StanzaError("bad-request", "that is another form")
        elif var not in _FIELDS:
            raise StanzaError("feature-not-implemented", "a field that is not known here")
        elif var in given or len(values) > (_MOST_IDS if var == "ids" else 1):
            raise StanzaError("bad-request", f"too many values for {var}")
        elif values or var == "ids":
            given[var] = values
    return given


def _bounds(
    given: dict[str, list[str]], asked: dict[str, str], opened: Callable[[str], int]
) -> tuple[tuple[int, int], list[int]]:
    """The ids between which all rows are, and those among them that somebody named."""
    after = [opened(text) for text in (*given.get("after-id", ()), asked.get("after", "")) if text]
    before = [opened(text) for text in (*given.get("before-id", ()), asked.get("before", "")) if text]
    lowest = max([0, *after, *(_time(text) - 1 for text in given.get("start", ()))])
    highest = min([_LAST, *before, *(_time(text) + 1 for text in given.get("end", ()))])
    return (lowest, highest), [*after, *before]


def _opened(owner: str, uids: Uids, text: str) -> int:
    id = uids.id(owner, text)
    if id is None:
        raise StanzaError("item-not-found")
    return id


def _time(text: str) -> int:
    try:
        return (from_stamp(text) - EPOCH) // timedelta(microseconds=1)
    except ValueError:
        raise StanzaError("bad-request", "not a moment as XEP-0082 writes it") from None


def _address(text: str) -> str:
    try:
        return JID.parse(text)
    except InvalidJID:
        raise StanzaError("bad-request", "not an address") from None


def _most(text: str | None, most: int) -> int:
    if text is None:
        return most
    if not (text.isascii() and text.isdecimal()):
        raise StanzaError("bad-request", "max is a number")
    return min(int(text), most) if len(text) < 10 else most


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]
