"""Services outside of XMPP (XEP-0215), with credentials that do not last."""

from __future__ import annotations

import hmac
from base64 import b64encode
from hashlib import sha1
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jabberd.config import Config
from jabberd.modules.extdisco import NS, ExternalServices
from jabberd.operating.options import differences, options
from jabberd.testing import Network
from jabberd.testing.client import condition
from jabberd.typed import read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxml.etree import _Element

    from jabberd.testing.client import Client

SECRET = "open sesame"
STUN = {"type": "stun", "host": "turn.montague.lit"}
TURN = {"type": "turn", "host": "turn.montague.lit", "secret": SECRET}
TURNS = {"type": "turns", "host": "turn.montague.lit", "transport": "tcp", "secret": SECRET}
FTP = {"type": "ftp", "host": "192.0.2.1", "port": 20, "transport": "tcp", "name": "Files"}
GUEST = {**FTP, "username": "guest", "password": "guest"}


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    modules = {"disco": {}, "extdisco": {"services": [STUN, TURN, TURNS, GUEST]}}
    network.serve("montague.lit", modules=modules)
    network.clock.advance(1000)
    yield network
    network.close()


@pytest.fixture
def romeo(network: Network) -> Client:
    return network.client("romeo@montague.lit/orchard")


def ask(client: Client, inside: str) -> _Element:
    return client.ask(f"<iq type='get' to='montague.lit'>{inside}</iq>")


def services(answer: _Element) -> list[dict[str, str]]:
    return [dict(each.attrib) for each in answer.iter(f"{{{NS}}}service")]


def credentials(client: Client, **named: str) -> _Element:
    attrs = " ".join(f"{key}='{value}'" for key, value in named.items())
    return ask(client, f"<credentials xmlns='{NS}'><service {attrs}/></credentials>")


def password(username: str) -> str:
    return b64encode(hmac.new(SECRET.encode(), username.encode(), sha1).digest()).decode()


def test_all_services_are_told_each_with_what_lets_its_user_in(romeo: Client) -> None:
    stun, turn, turns, ftp = services(ask(romeo, f"<services xmlns='{NS}'/>"))
    assert stun == {"type": "stun", "host": "turn.montague.lit", "port": "3478", "transport": "udp"}
    assert turn["password"] == password(turn["username"])
    assert (turn["port"], turn["transport"], turn["restricted"]) == ("3478", "udp", "true")
    assert (turns["port"], turns["transport"]) == ("5349", "tcp")
    assert (ftp["username"], ftp["password"], ftp["name"]) == ("guest", "guest", "Files")
    assert "expires" not in ftp
    assert SECRET not in str((turn, turns))


def test_credentials_end_when_they_say_so_and_are_the_same_for_an_hour(
    romeo: Client, network: Network
) -> None:
    first = services(ask(romeo, f"<services xmlns='{NS}' type='turn'/>"))[0]
    expires, _, pseudonym = first["username"].partition(":")
    assert (int(expires), first["expires"]) == (90000, "1970-01-02T01:00:00Z")
    assert "romeo" not in pseudonym
    network.advance(60)
    assert services(ask(romeo, f"<services xmlns='{NS}' type='turn'/>"))[0] == first
    network.advance(3600)
    romeo = network.client("romeo@montague.lit/garden")
    later = services(ask(romeo, f"<services xmlns='{NS}' type='turn'/>"))[0]
    assert later["username"] == f"93600:{pseudonym}"


def test_everybody_has_credentials_of_their_own(romeo: Client, network: Network) -> None:
    benvolio = network.client("benvolio@montague.lit/street")
    names = {
        services(ask(each, f"<services xmlns='{NS}' type='turn'/>"))[0]["username"]
        for each in (romeo, benvolio)
    }
    assert len(names) == 2


def test_services_of_one_type_are_told_alone_and_the_type_with_them(romeo: Client) -> None:
    answer = ask(romeo, f"<services xmlns='{NS}' type='turns'/>")
    assert answer[0].get("type") == "turns"
    assert [each["type"] for each in services(answer)] == ["turns"]
    assert services(ask(romeo, f"<services xmlns='{NS}' type='xmpp'/>")) == []


def test_credentials_are_given_for_the_service_that_is_named(romeo: Client) -> None:
    [turn] = services(credentials(romeo, host="turn.montague.lit", type="turn"))
    assert turn["password"] == password(turn["username"])
    assert len(services(credentials(romeo, host="192.0.2.1", type="ftp", port="20"))) == 1
    for other in (
        {"host": "turn.montague.lit", "type": "ftp"},
        {"host": "192.0.2.1", "type": "ftp", "port": "21"},
        {"host": "evil.example", "type": "turn"},
    ):
        assert condition(credentials(romeo, **other)) == "item-not-found"
    assert condition(credentials(romeo, host="turn.montague.lit")) == "bad-request"
    assert condition(ask(romeo, f"<credentials xmlns='{NS}'/>")) == "bad-request"


def test_the_domain_says_that_it_does_so(romeo: Client) -> None:
    info = ask(romeo, "<query xmlns='http://jabber.org/protocol/disco#info'/>")
    assert NS in info.xpath(".//@var")


def test_others_learn_nothing(network: Network) -> None:
    stranger = network.stranger("tybalt@capulet.lit/street")
    for asked in (f"<services xmlns='{NS}'/>", f"<credentials xmlns='{NS}'><service/></credentials>"):
        stranger.send(f"<iq type='get' id='1' to='montague.lit'>{asked}</iq>")
        assert condition(stranger.next()) == "service-unavailable"


# --- changes -------------------------------------------------------------------------------------


def become(network: Network, *wanted: dict[str, Any]) -> None:
    """Follow other settings, as after a reload."""
    module = network.servers[0].hosts["montague.lit"].manager.module("extdisco")
    assert isinstance(module, ExternalServices)
    before, told = module.config, []
    config = read(ExternalServices.Config, {"services": list(wanted)}, told=lambda *said: told.append(said))
    assert config is not None, told
    module.config = config
    module.reconfigured(before)
    network.flush()


def test_who_has_asked_and_is_there_learns_what_has_changed(network: Network, romeo: Client) -> None:
    away = network.client("romeo@montague.lit/closet", presence="")
    never = network.client("benvolio@montague.lit/street")
    for each in (romeo, away):
        ask(each, f"<services xmlns='{NS}'/>")
        each.forget()
    become(network, STUN, {**TURN, "secret": "another"}, {**TURN, "port": 80})
    push = romeo.next()
    assert (push.get("type"), push.get("from")) == ("set", "montague.lit")
    told = {(each["action"], each["type"], each["port"]): each for each in services(push)}
    assert [*told] == [
        ("modify", "turn", "3478"),
        ("add", "turn", "80"),
        ("delete", "turns", "5349"),
        ("delete", "ftp", "20"),
    ]
    assert "password" in told["modify", "turn", "3478"]
    assert "password" not in told["delete", "ftp", "20"]
    romeo.send(f"<iq type='result' id='{push.get('id')}' to='montague.lit'/>")
    assert away.heard == never.heard == romeo.heard == []


def test_who_asked_for_one_type_learns_of_no_other_and_who_has_left_of_none(
    network: Network, romeo: Client
) -> None:
    phone = network.client("romeo@montague.lit/phone")
    for each in (romeo, phone):
        ask(each, f"<services xmlns='{NS}' type='ftp'/>")
        each.forget()
    phone.drop()
    phone = network.client("romeo@montague.lit/phone")
    romeo.forget()
    become(network, STUN, TURNS, GUEST)
    assert romeo.heard == []
    become(network, STUN, TURNS)
    push = romeo.next()
    assert [each["action"] for each in services(push)] == ["delete"]
    romeo.send(f"<iq type='error' id='{push.get('id')}' to='montague.lit'/>")
    assert phone.heard == []


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {**TURN, "username": "guest", "password": "guest"},
        {**FTP, "username": "guest"},
        {**STUN, "host": "turn montague"},
        {**STUN, "port": 0},
        {"type": "stun"},
    ],
)
def test_a_service_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    told: list[str] = []
    config = read(ExternalServices.Config, {"services": [wrong]}, told=lambda _, said: told.append(said))
    assert (config, len(told)) == (None, 1)
    assert SECRET not in told[0]


def test_nobody_is_shown_a_secret_and_yet_a_change_of_one_is_seen() -> None:
    def shown(secret: str) -> dict[str, str | None]:
        text = '[[listeners]]\nkind = "c2s"\naddress = "::1"\nport = 0\n[storage]\nurl = "memory"\n'
        text += '[domains."montague.lit"]\nrequire_tls = false\n'
        text += '[[domains."montague.lit".modules.extdisco.services]]\n'
        text += f'type = "turn"\nhost = "turn.montague.lit"\nsecret = "{secret}"\n'
        return options(Config("montague.toml", text, Path("/srv")))

    one, other = shown(SECRET), shown("another")
    assert SECRET not in str(one)
    assert "turn.montague.lit" in str(one)
    assert [name for name, *_ in differences(one, other)] == [
        'domains."montague.lit".modules.extdisco.services'
    ]
    assert [*differences(one, shown(SECRET))] == []
