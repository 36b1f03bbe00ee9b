from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from jabberd.testing import Client, Network

    Witnesses = Callable[[], None]

#: What nobody archives comes as it was said.
_PASSING = "<no-permanent-store xmlns='urn:xmpp:hints'/>"


@pytest.fixture
def unharmed(network: Network, log_lines: list[str]) -> Callable[..., None]:
    """The after-checks of an abuse case: call it when the abuser is gone.

    Others, who were there before, still talk; there are as many streams, connections and sessions as
    before; there were so many lines in the log, and no password in any of them.
    """
    benvolio = network.client("benvolio@montague.lit/street", password="pass me no words")
    mercutio = network.client("mercutio@montague.lit/street", password="pass me no words")
    log_lines.clear()
    server = network.server("montague.lit")

    def check(*, lines: int = 1) -> None:
        assert talk(benvolio, mercutio)
        assert talk(mercutio, benvolio)
        assert len(server.door.streams) == 2
        assert server.door.addresses.open == 2
        sessions = [s for account in server.hosts["montague.lit"].manager.accounts for s in account.sessions]
        assert sessions == ["street"] * 2
        assert len(log_lines) == lines, log_lines
        assert "secret" not in str(log_lines)
        log_lines.clear()

    return check


def talk(one: Client, other: Client) -> bool:
    one.send(f"<message to='{other.jid}' type='chat'><body>still here?</body>{_PASSING}</message>")
    return other.receives(
        f"<message from='{one.jid}' to='{other.jid}' type='chat'><body>still here?</body>{_PASSING}</message>"
    )
