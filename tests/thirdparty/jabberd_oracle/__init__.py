"""An oracle for jabberd: it answers questions, and spares prophecies those who want none."""

from jabberd.api import (
    ACCOUNT,
    DOMAIN,
    IQ,
    JID,
    LOCAL,
    Account,
    BecameAvailable,
    E,
    Element,
    Keyed,
    Module,
    Settings,
    Stage,
    Stanza,
    StanzaError,
    answers,
    filters,
    on,
    operator,
)
from jabberd.xmpp import ns

NS = "urn:example:oracle"
PROPHECY = f"{{{NS}}}prophecy"


class Oracle(Module):
    """Answers the questions of the domain's own people, each with the next of its sayings."""

    features = (NS,)
    account_features = (NS,)

    class Config(Settings):
        """What the oracle knows.

        :ivar sayings: its answers, in the order in which everybody gets them.
        """

        sayings: tuple[str, ...] = ("Time will tell.", "Ask again.")

    config: Config

    asked = Keyed("oracle-asked", of=int)
    spared = Keyed("oracle-spared", of=bool, resident=True)

    @answers.get(NS, "question", to=DOMAIN, by=LOCAL)
    async def answer(self, request: IQ) -> Element:
        """Say what is next for whoever asks."""
        times = await self.asked.get(request.sender.bare) or 0
        await self.asked.put(request.sender.bare, "", times + 1)
        return E(NS, "answer", {}, self.config.sayings[times % len(self.config.sayings)])

    @answers.set(NS, "spare", to=ACCOUNT)
    async def spare(self, request: IQ) -> None:
        """Let no more prophecies through to this account."""
        assert request.account is not None
        await self.spared.put(request.account.jid, "", value=True)

    @filters(Stage.REFUSE, "message", children=[PROPHECY])
    def refuse_prophecy(self, stanza: Stanza, account: Account) -> Stanza:
        """Send a prophecy back whose reader wants none."""
        if self.spared.of(account):
            raise StanzaError("not-acceptable", "no prophecies, please")
        return stanza

    @on(BecameAvailable)
    async def greet(self, event: BecameAvailable) -> None:
        """Welcome whoever has asked before."""
        if await self.asked.get(event.account.jid):
            body = E(ns.CLIENT, "body", {}, "The oracle remembers you.")
            self.domain.route(Stanza.of("message", body, sender=self.domain.jid, to=event.session.jid))

    @operator("tell how often an account has asked")
    async def count(self, jid: JID) -> int:
        """How many questions there were."""
        return await self.asked.get(jid.bare) or 0
