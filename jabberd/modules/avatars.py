"""XEP-0398: published avatars (XEP-0084) are seen in vCards and presence (XEP-0153), and the other way."""

from __future__ import annotations

import binascii
import hashlib
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Final, cast

from jabberd.api import Account, E, Element, Keyed, Module, Session, Stage, Stanza, StanzaError, filters, on
from jabberd.modules.pep import AccountVenue, Pep
from jabberd.modules.vcard import NS as VCARD
from jabberd.modules.vcard import PHOTO, VCardChanged
from jabberd.pubsub.access import hears
from jabberd.pubsub.venue import Published, Removed
from jabberd.xmpp.element import parse

if TYPE_CHECKING:
    from jabberd.api import JID

DATA: Final = "urn:xmpp:avatar:data"
METADATA: Final = "urn:xmpp:avatar:metadata"
UPDATE: Final = "vcard-temp:x:update"
_X: Final = f"{{{UPDATE}}}x"
_LARGEST: Final = 1 << 20  #: bytes of an image that is looked at
_TYPES: Final = {
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
}


class AvatarConversion(Module, xep=398, version="1.0.0"):
    """Shows in vCard and presence what was published, to those who may see that; publishes vCards' photos."""

    requires = ("pep", "vcard")
    account_features = ("urn:xmpp:pep-vcard-conversion:0",)

    hashes = Keyed("avatar", of=str, resident=True)  #: the id of the avatar that is shown now

    async def start(self) -> None:
        """Find the nodes."""
        self._pep = cast("Pep", self.domain.module("pep"))

    # -- from PEP -----------------------------------------------------------------------------------

    @on(Published)
    async def shown(self, event: Published) -> None:
        """An avatar is shown, or (without an ``<info/>``) none any more (XEP-0084 §4.2)."""
        if event.node == METADATA and isinstance(event.venue, AccountVenue):
            account, id = event.venue.account, _shown_in(event.payload)
            await self._show(account, id if id and await self._held(account, id) else "")

    @on(Removed)
    async def removed(self, event: Removed) -> None:
        """None is shown any more."""
        if event.node == METADATA and isinstance(event.venue, AccountVenue):
            await self._show(event.venue.account, "")

    async def _show(self, account: Account, id: str) -> None:
        if account.exists and self.hashes.of(account).get("", "") != id:
            await self.hashes.change(account.jid, {"": id or None})

    async def photo(self, account: Account, asker: JID) -> Element | None:
        """See `jabberd.modules.vcard.HasPhotos`; the asker may see the nodes, too (§7)."""
        id = self.hashes.of(account).get("")
        if not id:
            return None
        venue, pubsub = self._pep.venue(account), self._pep
        nodes = pubsub.nodes.of(account)
        for name in (DATA, METADATA):
            node = nodes.get(name)
            if node is None or not hears(venue, node, pubsub.options(node), asker):
                return None
        text = await self._held(account, id)
        if not text:
            return None
        type = E(VCARD, "TYPE", None, _image_type(_decoded(text)))
        return E(VCARD, "PHOTO", None, type, E(VCARD, "BINVAL", None, text))

    async def _held(self, account: Account, id: str) -> str:
        """An image that is published and is what it is called (§3.1), in base64; empty: there is none."""
        found = await self._pep.items.get(account.jid, DATA, [id])
        text = (parse(found[0].value.payload.encode(), "").text or "") if found else ""
        return text if _id(_decoded(text)) == id else ""

    @filters(Stage.SAID, "presence")
    def mark(self, stanza: Stanza, session: Session) -> Stanza:
        """Say in presence which avatar is shown, unless the client is not ready to say (§4)."""
        if stanza.type != "":
            return stanza
        id = self.hashes.of(session.account).get("")
        if not id:
            return stanza
        said = stanza.child(_X)
        if said is not None:
            photo = said.find(f"{{{UPDATE}}}photo")
            if photo is not None and photo.text in (None, "", id):
                return stanza
            stanza = stanza.without([_X])
        return stanza.with_child(E(UPDATE, "x", None, E(UPDATE, "photo", None, id)))

    # -- from the vCard -----------------------------------------------------------------------------

    @on(VCardChanged)
    async def published(self, event: VCardChanged) -> None:
        """Publish a vCard's photo as an avatar that everybody may see, as they may the vCard (§3.2)."""
        account, photo = event.account, event.new.find(PHOTO)
        image = None if photo is None else _decoded(photo.findtext(f"{{{VCARD}}}BINVAL") or "")
        try:
            if photo is not None and image:
                await self._publish(account, image, photo.findtext(f"{{{VCARD}}}TYPE") or "image/png")
            elif event.old is not None and event.old.find(PHOTO) is not None:
                await self._pep.publish(account, METADATA, "", E(METADATA, "metadata"))
        except StanzaError as why:
            self.log.info("an avatar of {jid} is not published: {why}", jid=account.jid, why=why.condition)

    async def _publish(self, account: Account, image: bytes, type: str) -> None:
        id = _id(image)
        if self.hashes.of(account).get("") == id:
            return
        nodes = self._pep.nodes.of(account)
        data = E(DATA, "data", None, b64encode(image).decode())
        info = E(METADATA, "info", {"id": id, "type": type, "bytes": str(len(image))})
        for node, payload in ((DATA, data), (METADATA, E(METADATA, "metadata", None, info))):
            options = {} if node in nodes else {"access_model": "open"}
            await self._pep.publish(account, node, id, payload, **options)


def _shown_in(metadata: Element | None) -> str:
    """The id of the image in the metadata that is published here and not elsewhere; empty: there is none."""
    for info in metadata if metadata is not None else ():
        if info.tag == f"{{{METADATA}}}info" and not info.get("url"):
            return info.get("id", "")
    return ""


def _id(image: bytes) -> str:
    """What an image is called (XEP-0084 §4.1)."""
    return hashlib.sha1(image, usedforsecurity=False).hexdigest()


def _decoded(text: str) -> bytes:
    """An image; empty if it is none."""
    if len(text) > _LARGEST * 2:
        return b""
    try:
        return b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _image_type(image: bytes) -> str:
    """The media type of an image, by how it begins."""
    return next((type for start, type in _TYPES.items() if image.startswith(start)), "image/png")
