"""Commands that edit lists: who is an admin (XEP-0133 §4.29), whom the domain talks to (§4.11, §4.12)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jabberd.api import Refused
from jabberd.modules.commands import Command, Result
from jabberd.xmpp.forms import Field, FieldType, Submission

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jabberd.modules.administration.desk import Desk

__all__ = ["ListCommands"]


@dataclass(frozen=True, slots=True)
class _List:
    """A list that operators' verbs keep.

    :ivar field: where it stands in the form, with its ``label`` and ``type``.
    :ivar noun: of the verbs: ``list`` has a row for each entry, ``add`` and ``remove`` name two more.
    :ivar entry: what the verbs call an entry, in a row and as an argument.
    :ivar rule: only rows of that rule are meant; empty: all.
    """

    node: str
    name: str
    field: str
    label: str
    type: FieldType
    noun: str
    entry: str
    add: str
    remove: str
    rule: str = ""


_LISTS = (
    _List(
        "edit-admin",
        "Edit the list of admins",
        "adminjids",
        "Admins",
        "jid-multi",
        "admins",
        "jid",
        add="add",
        remove="remove",
    ),
    _List(
        "edit-blacklist",
        "Edit the blacklist",
        "blacklistjids",
        "Domains not to talk to: a domain, *.DOMAIN for all below it, or * for all",
        "text-multi",
        "federation",
        "peer",
        add="deny",
        remove="forget",
        rule="deny",
    ),
    _List(
        "edit-whitelist",
        "Edit the whitelist",
        "whitelistjids",
        "Domains to talk to although the blacklist has * or *.DOMAIN for them",
        "text-multi",
        "federation",
        "peer",
        add="allow",
        remove="forget",
        rule="allow",
    ),
)


class ListCommands:
    """Each shows a list as it is, and takes it back as it shall be."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def __iter__(self) -> Iterator[Command]:
        for each in _LISTS:
            yield self._command(each)

    def _command(self, which: _List) -> Command:
        async def shown() -> tuple[Field, ...]:
            return (Field(which.field, which.type, which.label, (*await self._entries(which),)),)

        async def run(filled: Submission) -> Result:
            wanted = [each.strip() for each in filled.texts(which.field) if each.strip()]
            return await self._become(which, wanted)

        return self._desk.command(which.node, which.name, run, opening=shown)

    async def _entries(self, which: _List) -> list[str]:
        rows = await self._desk.domain.operators.call(which.noun, "list", {"domain": self._desk.domain.jid})
        return [row[which.entry] for row in rows if not which.rule or row["rule"] == which.rule]

    async def _become(self, which: _List, wanted: list[str]) -> Result:
        """Take away and add what differs; a note for each tells how that went."""
        known = await self._entries(which)
        steps = [(which.remove, each) for each in known if each not in wanted]
        steps += [(which.add, each) for each in wanted if each not in known]
        notes = [await self._step(which, verb, entry) for verb, entry in steps]
        return Result(notes=(*notes,) or (("info", "nothing was changed"),))

    async def _step(self, which: _List, verb: str, entry: str) -> tuple[str, str]:
        domain = self._desk.domain
        try:
            return "info", str(
                await domain.operators.call(which.noun, verb, {"domain": domain.jid, which.entry: entry})
            )
        except Refused as why:
            return "error", str(why)
