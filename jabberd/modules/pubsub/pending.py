"""The command with which owners ask who waits for their approval (XEP-0060 §8.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jabberd.api import StanzaError
from jabberd.modules.commands import Command, Result
from jabberd.pubsub.names import NS, SUBSCRIBE_AUTHORIZATION
from jabberd.xmpp.forms import Field, Form

if TYPE_CHECKING:
    from jabberd.api import JID
    from jabberd.pubsub.subscriptions import Subscriptions
    from jabberd.pubsub.venue import Venue
    from jabberd.xmpp.forms import Submission

GET_PENDING: Final = f"{NS}#get-pending"
_NODE: Final = "pubsub#node"
_NAME: Final = "See who waits for your approval"


def get_pending(venue: Venue, subscriptions: Subscriptions) -> Command:
    """Asks which node, and then sends a request for each who waits there, as when it came."""

    async def opened(who: JID) -> Form:
        names = await subscriptions.waiting(venue, who)
        if not names:
            raise StanzaError("forbidden", "nobody needs your approval")
        options = {each: each for each in names}
        choice = Field(_NODE, "list-single", "The node", required=True, options=options, open=True)
        return Form(SUBSCRIBE_AUTHORIZATION, (choice,), _NAME)

    async def run(who: JID, filled: Submission) -> Result:
        count = await subscriptions.ask_again(venue, filled.text(_NODE), who)
        return Result(notes=(("info", f"{count} requests are sent to you"),))

    return Command(GET_PENDING, _NAME, lambda _: True, run, opening=opened)
