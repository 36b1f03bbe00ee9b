"""What the database still says of an account after its deletion: what others keep, and nothing else."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from jabberd import loader
from jabberd.api import JID
from jabberd.modules.upload.files import File
from jabberd.storage import open_storage
from jabberd.testing import Network
from jabberd.testing.client import condition
from jabberd.testing.outcome import done
from jabberd.testing.server import trusting
from tests.modules.muc import play as rooms
from tests.pubsub.play import order, publish

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jabberd.modules.upload import Upload
    from jabberd.testing import Client

ROMEO = JID.parse("romeo@montague.lit")
BENVOLIO = "benvolio@montague.lit"
NODES = "nodes.montague.lit"
TUNE = "http://jabber.org/protocol/tune"
PICTURE = "5ba93c9db0cff93f52b521d7420e43f6eda2784f"  # the SHA-1 of one zero
AGENT = "<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'><software>A</software></user-agent>"
TOKEN = "<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-NONE'/>"
ACCOUNTS = (*loader.DEFAULT, "archive", "groups", "invitations", "strangers", "upload")

#: What is left on purpose, by store.
LEFT = {
    "deleted-names": "the name, which nobody gets for a while",
    "archive": "what he and others said stays in their archives, and waits for those who were not there",
    "roster": "in rosters of others he stays a contact, whom they may have named, without a subscription",
    "blocklist": "who blocked him blocks his name",
    "reports": "what he reported, and who reported him, is for operators, who remove it",
    "muc-archive": "what he said in a room stays there",
    "muc-rooms": "his room stays, without an owner, and says who made it",
    "pubsub-items": "what he published at a node of somebody else, or of nobody, stays there",
}
#: Stores in which no row ever names an account, and of the name itself, which is there afterwards alone.
NAMELESS = {
    *("deleted-names", "motd", "muc-activity", "muc-moved", "muc-vcard", "pubsub-moved", "welcome"),
    "pep-gone",  # for as long as it takes to have him forgotten
}


class Stage:
    """A server with every module that keeps something, on a database."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.file = folder / "jabberd.db"
        self.storage = open_storage(f"sqlite:///{self.file}", None)
        modules: dict[str, Any] = {name: {} for name in ACCOUNTS}
        modules["upload"] = {"folder": str(folder / "files")}
        modules["invitations"] = {"inviters": "everybody"}
        muc: dict[str, Any] = {name: {} for name in (*loader.SERVICE_DEFAULT, "muc", *loader.BESIDE["muc"])}
        services = {rooms.ROOMS: muc, NODES: {name: {} for name in (*loader.SERVICE_DEFAULT, "pubsub")}}
        self.network = network
        self.server = network.serve(
            "montague.lit", tls=True, modules=modules, services=services, storage=self.storage
        )
        self.manager = self.server.hosts["montague.lit"].manager
        self.seen: set[str] = set()

    def module(self, name: str, domain: str = "montague.lit") -> Any:
        return self.server.hosts[domain].manager.module(name)

    def naming(self) -> dict[str, list[tuple[Any, ...]]]:
        """By store, all rows that say his name."""
        found: dict[str, list[tuple[Any, ...]]] = {}
        with sqlite3.connect(self.file) as database:
            for table in ("keyed", "archive", "ordered"):
                cursor = database.execute(f"SELECT * FROM {table}")
                column = [each[0] for each in cursor.description].index("store")
                for row in cursor:
                    if ROMEO in str(row):
                        found.setdefault(row[column], []).append(row)
        database.close()
        self.seen |= found.keys()
        return found

    def stores(self) -> set[str]:
        """All that there are."""
        modules = [each for host in self.server.hosts.values() for each in host.manager.modules]
        named = {getattr(type(each), place).name for each in modules for place in each.stores}
        return named | {"account", "roster", "deleted-names"}

    # -- what he does -------------------------------------------------------------------------------

    def comes(self) -> Client:
        """For the first time, with a client that wants a token."""
        done(self.manager.registrar.create(ROMEO, "secret"))
        self.naming()  # with what goes when he has been welcomed
        romeo = self.network.connected(f"{ROMEO}/orchard")
        bind = "<bind xmlns='urn:xmpp:bind:0'><tag>orchard</tag></bind>"
        romeo.enter_at_once(trusting("montague.lit"), AGENT + TOKEN + bind)
        romeo.send("<presence/>")
        romeo.forget()
        return romeo

    def keeps(self, romeo: Client) -> None:
        """What only he can read."""
        bookmarks = f"<url name='x' url='http://x.example/'/><conference jid='{rooms.ROOM}'/>"
        report = "<report xmlns='urn:xmpp:reporting:1' reason='urn:xmpp:reporting:spam'/>"
        private = "<query xmlns='jabber:iq:private'>{}</query>"
        for inside in (
            "<vCard xmlns='vcard-temp'><FN>Romeo</FN></vCard>",
            private.format("<e xmlns='urn:example'>Romeo</e>"),
            private.format(f"<storage xmlns='storage:bookmarks'>{bookmarks}</storage>"),
            f"<block xmlns='urn:xmpp:blocking'><item jid='tybalt@capulet.lit'>{report}</item></block>",
            "<prefs xmlns='urn:xmpp:mam:2' default='roster'><always/><never/></prefs>",
            "<enable xmlns='urn:xmpp:push:0' jid='push.example.org' node='1'/>",
            "<query xmlns='jabber:iq:roster'><item jid='juliet@capulet.lit' name='Juliet'/></query>",
        ):
            assert condition(romeo.ask(f"<iq type='set'>{inside}</iq>")) == "", inside
        data = "<data xmlns='urn:xmpp:avatar:data'>AA==</data>"
        info = f"<info id='{PICTURE}' bytes='1' type='image/png'/>"
        for node, payload, id in (
            (TUNE, f"<tune xmlns='{TUNE}'/>", "current"),
            ("urn:xmpp:avatar:data", data, PICTURE),
            (
                "urn:xmpp:avatar:metadata",
                f"<metadata xmlns='urn:xmpp:avatar:metadata'>{info}</metadata>",
                PICTURE,
            ),
        ):
            assert condition(romeo.ask(publish(node, payload, id))) == "", node

    def is_given(self) -> None:
        """What operators keep of him, and what he put on the server."""
        done(self.module("archive").retain(ROMEO, 7, 7))
        done(self.module("strangers").admit(ROMEO))
        done(self.module("administration").add(JID.parse("montague.lit"), ROMEO))
        done(self.module("groups").add(ROMEO, "house"))
        done(self.module("groups").add(JID.parse(BENVOLIO), "house"))
        done(self.module("motd").set("Peace!"))
        done(self.module("invitations").create(JID.parse("montague.lit"), ROMEO))
        upload: Upload = self.module("upload")
        done(upload.quota(ROMEO, 7))
        now = self.network.clock.seconds()
        spooled = upload.files.spooled()
        done(upload.files.keep(spooled, "f" * 32, File(ROMEO, "rose.txt", "text/plain", 0, now, now + 9e6)))

    def meets(self, romeo: Client, benvolio: Client) -> None:
        """What others have of him."""
        for one, other in ((romeo, benvolio), (benvolio, romeo)):
            one.send(f"<presence type='subscribe' to='{other.jid.bare}'/>")
            other.send(f"<presence type='subscribed' to='{one.jid.bare}'/>")
        romeo.send(f"<message to='{BENVOLIO}' type='chat'><body>Good morrow</body></message>")
        benvolio.send(f"<message to='{ROMEO}' type='chat'><body>Good morrow, cousin</body></message>")
        romeo.send("<message to='paris@montague.lit' type='chat'><body>Give way</body></message>")
        tybalt = self.network.client("tybalt@montague.lit/street")
        for inside in (
            f"<block xmlns='urn:xmpp:blocking'><item jid='{ROMEO}'/></block>",
            f"<query xmlns='jabber:iq:roster'><item jid='{ROMEO}' name='Villain'/></query>",
        ):
            assert condition(tybalt.ask(f"<iq type='set'>{inside}</iq>")) == ""
        benvolio.ask(publish(TUNE, f"<tune xmlns='{TUNE}'/>", access_model="whitelist"))
        given = (
            f"<affiliations node='{TUNE}'><affiliation jid='{ROMEO}' affiliation='publisher'/></affiliations>"
        )
        answer = benvolio.ask(order(f"<affiliations node='{TUNE}'>{given}</affiliations>", owner="#owner"))
        assert condition(answer) == ""
        for inside in (
            "<create node='n'/>",
            f"<subscribe node='n' jid='{ROMEO}'/>",
            "<publish node='n'><item id='i'><e xmlns='urn:example'/></item></publish>",
        ):
            assert condition(romeo.ask(order(inside, NODES))) == "", inside

    def enters(self, romeo: Client, benvolio: Client) -> None:
        """Two rooms: his own, and one where he is an admin with a hat."""
        rooms.create(romeo, "Romeo", persistentroom="1")
        other = f"street@{rooms.ROOMS}"
        rooms.create(benvolio, "Benvolio", room=other, persistentroom="1")
        rooms.ask(benvolio, f"<item jid='{ROMEO}' affiliation='admin'/>", room=other)
        rooms.enter(romeo, "Romeo", room=other)
        for room in (rooms.ROOM, other):
            rooms.say(romeo, "Romeo is here", room=room)
        token = romeo.ask(
            f"<iq type='set' to='{rooms.ROOM}'><request xmlns='urn:xmpp:muc-token-invite:0'/></iq>"
        )
        assert token is not None
        card = "<vCard xmlns='vcard-temp'><DESC>Romeo's room</DESC></vCard>"
        romeo.ask(f"<iq type='set' to='{rooms.ROOM}'>{card}</iq>")

    def goes(self, romeo: Client) -> None:
        """So that it is known when, and something waits for him, and for a phone of his that was lost."""
        romeo.close()
        self.network.advance(90)
        mercutio = self.network.client("mercutio@montague.lit/street")
        mercutio.send(f"<message to='{ROMEO}' type='chat'><body>Where art thou</body></message>")
        self.naming()  # with what waits
        phone = self.network.client(f"{ROMEO}/phone")
        phone.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
        phone.drop()
        mercutio.send(f"<message to='{ROMEO}/phone' type='chat'><body>Nay, gentle Romeo</body></message>")
        self.network.advance(5)


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    yield network
    network.close()


@pytest.mark.parametrize("by", ["the operator", "himself"])
def test_a_deleted_account_leaves_what_others_keep_and_nothing_else(
    network: Network, tmp_path: Path, by: str
) -> None:
    stage = Stage(network, tmp_path)
    network.connected("paris@montague.lit").drop()
    benvolio = network.client(f"{BENVOLIO}/street")
    romeo = stage.comes()
    stage.keeps(romeo)
    stage.is_given()
    stage.meets(romeo, benvolio)
    stage.enters(romeo, benvolio)
    stage.naming()
    stage.goes(romeo)
    stage.naming()
    assert stage.stores() - stage.seen == NAMELESS
    if by == "himself":
        romeo = network.client(f"{ROMEO}/orchard")
        romeo.ask("<iq type='set'><query xmlns='jabber:iq:register'><remove/></query></iq>")
    else:
        done(stage.manager.registrar.delete(ROMEO))
    network.advance(90)
    left = stage.naming()
    assert set(left) == set(LEFT)
    assert {row[0] for row in left["roster"]} == {"tybalt@montague.lit"}
    assert '"owner"' not in str(left)
    done(stage.storage.close())
