"""VCards (XEP-0054), and avatars in them and in presence (XEP-0398, XEP-0153)."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from typing import TYPE_CHECKING

import pytest

from jabberd.testing import Network
from jabberd.testing.client import condition
from tests.pubsub.play import JULIET, Held, befriend, items, order, publish

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxml.etree import _Element

    from jabberd.testing.client import Client

VCARD = "vcard-temp"
UPDATE = "vcard-temp:x:update"
DATA, METADATA = "urn:xmpp:avatar:data", "urn:xmpp:avatar:metadata"
IMAGE = b"\x89PNG a rose"
ID = hashlib.sha1(IMAGE).hexdigest()  # XEP-0084 wants it
BASE64 = b64encode(IMAGE).decode()
GET = f"<iq type='get'><vCard xmlns='{VCARD}'/></iq>"
MODULES: dict[str, dict[str, int]] = {
    **{name: {} for name in ("disco", "caps", "pep", "avatars")},
    "vcard": {"size": 1_000},
}


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    for domain in ("capulet.lit", "montague.lit"):
        network.serve(domain, modules=MODULES)
    yield network
    network.close()


@pytest.fixture
def juliet(network: Network) -> Client:
    return network.client(f"{JULIET}/balcony")


@pytest.fixture
def romeo(network: Network) -> Client:
    return network.client("romeo@montague.lit/orchard")


def keep(inside: str) -> str:
    return f"<iq type='set'><vCard xmlns='{VCARD}'>{inside}</vCard></iq>"


def of(client: Client, jid: str = JULIET) -> _Element:
    return client.ask(GET.replace("<iq", f"<iq to='{jid}'"))


def photo(answer: _Element) -> str | None:
    return answer.findtext(f".//{{{VCARD}}}BINVAL")


def show(juliet: Client, **options: str) -> None:
    """Publish the image, as a client does that knows XEP-0084."""
    data = f"<data xmlns='{DATA}'>{BASE64}</data>"
    elsewhere = f"<info id='{'0' * 40}' type='image/gif' bytes='9' url='https://evil.example/'/>"
    info = f"{elsewhere}<info id='{ID}' type='image/png' bytes='{len(IMAGE)}'/>"
    assert juliet.ask(publish(DATA, data, ID, **options)).get("type") == "result"
    metadata = f"<metadata xmlns='{METADATA}'>{info}</metadata>"
    assert juliet.ask(publish(METADATA, metadata, ID, **options)).get("type") == "result"


# -- vCards -----------------------------------------------------------------------------------------


def test_a_vcard_is_there_for_everybody(juliet: Client, romeo: Client) -> None:
    assert juliet.ask(keep("<FN>Juliet Capulet</FN>")).get("type") == "result"
    assert of(romeo).findtext(f".//{{{VCARD}}}FN") == "Juliet Capulet"
    assert juliet.ask(GET).findtext(f".//{{{VCARD}}}FN") == "Juliet Capulet"


def test_nobody_learns_whether_somebody_without_a_vcard_exists(juliet: Client, romeo: Client) -> None:
    for jid in (JULIET, "nobody@capulet.lit"):
        assert condition(of(romeo, jid)) == "service-unavailable"
    assert condition(juliet.ask(GET)) == "item-not-found"


def test_nobody_else_changes_a_vcard(juliet: Client, romeo: Client) -> None:
    juliet.ask(keep("<FN>Juliet Capulet</FN>"))
    forged = keep("<FN>Fool</FN>").replace("<iq", f"<iq to='{JULIET}'")
    assert condition(romeo.ask(forged)) == "service-unavailable"
    assert of(romeo).findtext(f".//{{{VCARD}}}FN") == "Juliet Capulet"


def test_a_vcard_has_a_limit(juliet: Client) -> None:
    assert condition(juliet.ask(keep(f"<DESC>{'x' * 1_000}</DESC>"))) == "resource-constraint"


# -- avatars ----------------------------------------------------------------------------------------


def test_a_published_avatar_is_seen_in_the_vcard_by_whom_it_is_for(juliet: Client, romeo: Client) -> None:
    juliet.ask(keep("<FN>Juliet</FN>"))
    show(juliet)
    assert photo(juliet.ask(GET)) == BASE64
    assert photo(of(romeo)) is None
    befriend(juliet, romeo)
    assert photo(of(romeo)) == BASE64
    assert of(romeo).findtext(f".//{{{VCARD}}}TYPE") == "image/png"


def test_a_published_avatar_is_a_vcard_even_where_there_is_none(juliet: Client, romeo: Client) -> None:
    show(juliet, access_model="open")
    assert photo(of(romeo)) == BASE64


def test_an_avatar_that_is_not_what_its_name_says_is_not_shown(juliet: Client, romeo: Client) -> None:
    show(juliet, access_model="open")
    juliet.ask(publish(DATA, f"<data xmlns='{DATA}'>{b64encode(b'other').decode()}</data>", ID))
    assert condition(of(romeo)) == "service-unavailable"


def test_presence_tells_of_the_avatar_directed_or_not(juliet: Client, romeo: Client) -> None:
    show(juliet)
    befriend(juliet, romeo)
    for sent in ("<presence/>", "<presence to='romeo@montague.lit/orchard'/>"):
        juliet.send(sent)
        assert romeo.next().findtext(f"{{{UPDATE}}}x/{{{UPDATE}}}photo") == ID


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("<photo/>", [""]),
        ("", [ID]),
        (f"<photo>{'0' * 40}</photo>", [ID]),
        (f"<photo>{ID}</photo>", [ID]),
    ],
)
def test_presence_that_tells_something_else_is_corrected(
    juliet: Client, romeo: Client, said: str, told: list[str]
) -> None:
    show(juliet)
    befriend(juliet, romeo)
    juliet.send(f"<presence><x xmlns='{UPDATE}'>{said}</x></presence>")
    assert [each.text or "" for each in romeo.next().iter(f"{{{UPDATE}}}photo")] == told


def test_presence_tells_of_no_avatar_that_nobody_could_have(juliet: Client, romeo: Client) -> None:
    """§3.1: the image itself has to be there, and to be what it is called."""
    befriend(juliet, romeo)
    info = f"<info id='{ID}' type='image/png' bytes='{len(IMAGE)}'/>"
    metadata = publish(METADATA, f"<metadata xmlns='{METADATA}'>{info}</metadata>", ID)
    data = f"<data xmlns='{DATA}'>{{}}</data>"
    for content, told in (("", None), (b64encode(b"other").decode(), None), (BASE64, ID)):
        if content:
            juliet.ask(publish(DATA, data.format(content), ID))
        juliet.ask(metadata)
        romeo.forget()
        juliet.send("<presence/>")
        assert romeo.next().findtext(f"{{{UPDATE}}}x/{{{UPDATE}}}photo") == told


def test_an_avatar_that_is_taken_back_is_not_shown(juliet: Client, romeo: Client) -> None:
    show(juliet, access_model="open")
    juliet.ask(publish(METADATA, f"<metadata xmlns='{METADATA}'/>", "none"))
    assert condition(of(romeo)) == "service-unavailable"
    show(juliet)
    juliet.ask(order(f"<retract node='{METADATA}'><item id='{ID}'/></retract>"))
    assert condition(of(romeo)) == "service-unavailable"


def test_the_photo_of_a_vcard_is_published_for_everybody(juliet: Client, romeo: Client) -> None:
    image = f"<PHOTO><TYPE>image/png</TYPE><BINVAL>\n{BASE64[:8]}\n{BASE64[8:]}\n</BINVAL></PHOTO>"
    assert juliet.ask(keep(image)).get("type") == "result"
    answer = romeo.ask(items(METADATA, JULIET))
    assert answer.xpath(".//@bytes") == [str(len(IMAGE))]
    assert romeo.ask(items(DATA, JULIET, f"<item id='{ID}'/>")).findtext(f".//{{{DATA}}}data") == BASE64
    juliet.ask(keep("<FN>Juliet</FN>"))
    assert romeo.ask(items(METADATA, JULIET)).xpath(".//@bytes") == []


def test_who_has_set_a_photo_is_answered_when_it_is_published(
    network: Network, juliet: Client, romeo: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else others, or the next presence, might find the one before."""
    pep = network.server("capulet.lit").hosts["capulet.lit"].manager.module("pep")
    held = Held(monkeypatch, pep.items)  # type: ignore[attr-defined]
    photo = f"<PHOTO><TYPE>image/png</TYPE><BINVAL>{BASE64}</BINVAL></PHOTO>"
    juliet.send(keep(photo).replace("<iq", "<iq id='s1'"))
    assert juliet.hears_nothing()
    held.let_go()
    assert juliet.next().get("type") == "result"
    assert romeo.ask(items(DATA, JULIET, f"<item id='{ID}'/>")).findtext(f".//{{{DATA}}}data") == BASE64


def test_who_has_published_an_avatar_is_answered_when_presence_tells_of_it(
    network: Network, juliet: Client, romeo: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XEP-0398 §4: the service says so in every presence from then on."""
    befriend(juliet, romeo)
    avatars = network.server("capulet.lit").hosts["capulet.lit"].manager.module("avatars")
    held = Held(monkeypatch, avatars.hashes)  # type: ignore[attr-defined]
    juliet.ask(publish(DATA, f"<data xmlns='{DATA}'>{BASE64}</data>", ID))
    info = f"<info id='{ID}' type='image/png' bytes='{len(IMAGE)}'/>"
    metadata = publish(METADATA, f"<metadata xmlns='{METADATA}'>{info}</metadata>", ID)
    juliet.send(metadata.replace("<iq", "<iq id='m1'"))
    juliet.send("<presence/>")
    assert juliet.hears_nothing()
    held.let_go()
    assert romeo.next().findtext(f"{{{UPDATE}}}x/{{{UPDATE}}}photo") == ID


@pytest.mark.parametrize("image", ["", "%%%", "rosé"])
def test_a_photo_that_is_none_is_not_published(juliet: Client, romeo: Client, image: str) -> None:
    assert juliet.ask(keep(f"<PHOTO><BINVAL>{image}</BINVAL></PHOTO>")).get("type") == "result"
    assert condition(romeo.ask(items(METADATA, JULIET))) == "service-unavailable"
