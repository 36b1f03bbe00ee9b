"""A process to kill: an owner configures a room by one form, or sets its avatar, and it ends at a commit."""

from __future__ import annotations

import os
import signal
import sys

from sqlalchemy import event

from jabberd.storage import open_storage
from jabberd.storage.database import Direct
from jabberd.storage.stores import SqlStorage
from jabberd.testing import Network
from tests.modules.muc.play import ROOM, ROOMS, ask, configure, create

PHOTO = "<PHOTO><TYPE>image/png</TYPE><BINVAL>cm9zZQ==</BINVAL></PHOTO>"
NAMED = {"roomname": "The orchard", "roomadmins": "juliet@capulet.lit"}


def main(url: str, what: str, number: int) -> None:
    """:param number: at the commit of that number, counted from 1, the process is gone before it is made."""
    storage = open_storage(url, None)
    assert isinstance(storage, SqlStorage)
    assert isinstance(storage._database, Direct)
    network = Network()
    modules: dict[str, dict[str, object]] = {"disco": {}, "muc": {}, "muc_avatars": {}}
    network.serve("montague.lit", services={ROOMS: modules}, storage=storage)
    romeo = network.client("romeo@montague.lit/orchard")
    if what != "create":
        create(romeo, "Romeo", persistentroom="1")
    else:
        ask(romeo, "", "get", "owner")
        romeo.send(f"<presence to='{ROOM}/Romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
    commits: list[object] = []

    @event.listens_for(storage._database._writing, "commit")
    def about_to_commit(connection: object) -> None:
        commits.append(connection)
        if len(commits) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    if what == "avatar":
        romeo.ask(f"<iq type='set' to='{ROOM}'><vCard xmlns='vcard-temp'>{PHOTO}</vCard></iq>")
    else:
        configure(romeo, persistentroom="1", **NAMED)
    os.write(1, b"%d" % len(commits))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
