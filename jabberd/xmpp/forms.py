"""Data forms (XEP-0004): written for somebody to fill in, and read when they come back.

.. code-block:: python

    form = Form("urn:example:gate", (Field("who", "jid-single", "Who comes in", required=True),), "The gate")
    form.element()                       # <x xmlns='jabber:x:data' type='form'>...
    form.read(submitted).jid("who")      # what was filled in, checked
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from jabberd.xmpp.element import E, Element
from jabberd.xmpp.errors import StanzaError
from jabberd.xmpp.jid import JID, InvalidJID

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["NS", "Field", "FieldType", "Form", "Submission", "X", "table"]

NS: Final = "jabber:x:data"
X: Final = f"{{{NS}}}x"  #: the Clark name of a form
_VALIDATE: Final = "http://jabber.org/protocol/xdata-validate"
_FORM_TYPE: Final = "FORM_TYPE"  # XEP-0068 §3
_MULTI: Final = frozenset({"jid-multi", "list-multi", "text-multi", "hidden"})  # §3.2
_TRUE: Final = frozenset({"1", "true"})
_BOOLEANS: Final = _TRUE | {"0", "false"}

FieldType = Literal[
    "boolean",
    "fixed",
    "hidden",
    "jid-multi",
    "jid-single",
    "list-multi",
    "list-single",
    "text-multi",
    "text-private",
    "text-single",
]


@dataclass(frozen=True, slots=True)
class Field:
    """One field (§3.2).

    :ivar values: what holds when nothing is filled in; in a result, the data.
    :ivar options: of a list: by value, what it is called.
    :ivar within: of a number: the least and the most that it may be (XEP-0122 §3).
    :ivar open: whether a list takes what is none of its options (XEP-0122 §3.2.2).
    """

    var: str
    type: FieldType = "text-single"
    label: str = ""
    values: tuple[str, ...] = ()
    required: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    within: tuple[int, int] | None = None
    open: bool = False

    def element(self) -> Element:
        """As it stands in a form or a result."""
        attrs = {"type": self.type, "var": self.var, "label": self.label or None}
        return E(
            NS,
            "field",
            attrs,
            *([E(NS, "required")] if self.required else []),
            *([] if self.within is None else [_range(*self.within)]),
            *(
                [E(_VALIDATE, "validate", {"datatype": "xs:string"}, E(_VALIDATE, "open"))]
                if self.open
                else []
            ),
            *_values(self.values),
            *(E(NS, "option", {"label": name}, *_values([value])) for value, name in self.options.items()),
        )

    def read(self, values: tuple[str, ...]) -> tuple[str, ...]:
        """What was filled in, as it counts: JIDs in their normal form, each once.

        :raises StanzaError: ``bad-request``: several values where one may be; ``not-acceptable``: a
            value that is missing, none of the options, or not of this type.
        """
        if len(values) > 1 and self.type not in _MULTI:
            raise StanzaError("bad-request", f"{self.var} takes one value")
        if self.required and not any(values):
            raise StanzaError("not-acceptable", f"{self.var} is missing")
        if self.type.startswith("jid-"):
            return tuple(dict.fromkeys(self._jid(value) for value in values if value))
        if self.within is not None and not all(_is_within(value, *self.within) for value in values):
            raise StanzaError(
                "not-acceptable", f"{self.var} is a number from {self.within[0]} to {self.within[1]}"
            )
        if self.type.startswith("list-"):
            values = tuple(value for value in values if value)
        known = _BOOLEANS if self.type == "boolean" else self.options.keys()
        if self.type.startswith(("boolean", "list-")) and not (self.open or known >= set(values)):
            raise StanzaError("not-acceptable", f"{self.var} is none of {', '.join(sorted(known))}")
        return values

    def _jid(self, text: str) -> JID:
        try:
            return JID.parse(text.strip())
        except InvalidJID as why:
            raise StanzaError("not-acceptable", f"{self.var}: not an address: {why}") from None


@dataclass(frozen=True, slots=True)
class Submission:
    """What was filled in, by field; it has been checked."""

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def text(self, var: str) -> str:
        """The text; the lines of several values are joined (§3.3). Empty if there is none."""
        return "\n".join(self.values.get(var, ()))

    def texts(self, var: str) -> tuple[str, ...]:
        """All values."""
        return self.values.get(var, ())

    def flag(self, var: str) -> bool:
        """A boolean, false if there is none."""
        return self.text(var) in _TRUE

    def jid(self, var: str) -> JID:
        """The address in a required field."""
        return self.jids(var)[0]

    def jids(self, var: str) -> tuple[JID, ...]:
        """The addresses, each once."""
        return tuple(map(JID.parse, self.texts(var)))


@dataclass(frozen=True, slots=True)
class Form:
    """A form (§3.1).

    :ivar kind: its FORM_TYPE, which says what the fields' names mean (XEP-0068).
    """

    kind: str
    fields: tuple[Field, ...]
    title: str = ""
    instructions: str = ""

    def element(self, type: Literal["form", "result"] = "form") -> Element:
        """To be filled in, or as the data that somebody asked for."""
        told = [("title", self.title), ("instructions", self.instructions)]
        return E(
            NS,
            "x",
            {"type": type},
            *(E(NS, name, None, text) for name, text in told if text),
            *(each.element() for each in (Field(_FORM_TYPE, "hidden", values=(self.kind,)), *self.fields)),
        )

    def read(self, submitted: Element) -> Submission:
        """Check what comes back; a field that was left out keeps its value (§3.5), a strange one is ignored.

        :raises StanzaError: ``bad-request``: it is no submission of this form; see also `Field.read`.
        """
        if submitted.tag != X or submitted.get("type") != "submit":
            raise StanzaError("bad-request", "expected a submitted form")
        given = _given(submitted)
        if given.pop(_FORM_TYPE, (self.kind,)) != (self.kind,):
            raise StanzaError("bad-request", "that is another form")
        return Submission({each.var: each.read(given.get(each.var, each.values)) for each in self.fields})


def table(title: str, names: Iterable[str], rows: Iterable[Mapping[str, str]]) -> Element:
    """Data of many items (§3.4).

    :param names: of the fields of each; those that are empty are left out of it.
    """

    def cells(row: Mapping[str, str]) -> Iterable[Element]:
        for var, text in row.items():
            if text:
                yield E(NS, "field", {"var": var}, E(NS, "value", None, text))

    return E(
        NS,
        "x",
        {"type": "result"},
        E(NS, "title", None, title),
        E(NS, "reported", None, *(E(NS, "field", {"var": var}) for var in names)),
        *(E(NS, "item", None, *cells(row)) for row in rows),
    )


def _given(submitted: Element) -> dict[str, tuple[str, ...]]:
    given: dict[str, tuple[str, ...]] = {}
    for each in submitted.iterfind(f"{{{NS}}}field"):
        var = each.get("var", "")
        if var in given:
            raise StanzaError("bad-request", f"{var} is there twice")
        given[var] = tuple(value.text or "" for value in each.iterfind(f"{{{NS}}}value"))
    return given


def _range(least: int, most: int) -> Element:
    """XEP-0122 §3.2.4."""
    bounds = E(_VALIDATE, "range", {"min": str(least), "max": str(most)})
    return E(_VALIDATE, "validate", {"datatype": "xs:integer"}, bounds)


def _is_within(value: str, least: int, most: int) -> bool:
    digits = value.removeprefix("-")
    return digits.isascii() and digits.isdecimal() and len(digits) < 20 and least <= int(value) <= most


def _values(values: Iterable[str]) -> Iterable[Element]:
    return (E(NS, "value", None, value) for value in values)
