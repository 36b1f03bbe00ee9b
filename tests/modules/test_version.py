"""XEP-0092."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import jabberd
from tests.rehearsal import Rehearsal

if TYPE_CHECKING:
    from jabberd.xmpp.stanza import Stanza

ASK = "<iq type='get' to='montague.lit'><query xmlns='jabber:iq:version'/></iq>"
NAME = "{jabber:iq:version}"


def answer(**settings: object) -> Stanza:
    with Rehearsal({"version": settings}) as stage:
        return stage.login("romeo@montague.lit/orchard").ask(ASK)


def test_name_and_version_are_told_but_not_the_operating_system() -> None:
    query = answer().element()[0]
    assert {child.tag: child.text for child in query} == {
        f"{NAME}name": "jabberd",
        f"{NAME}version": jabberd.__version__,
    }


def test_the_operating_system_is_told_where_it_is_no_secret() -> None:
    told = answer(os=True).element().findtext(f".//{NAME}os", "")
    assert told.startswith(platform.system())
