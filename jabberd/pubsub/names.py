"""The names of XEP-0060, and its errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jabberd.xmpp.errors import StanzaError

if TYPE_CHECKING:
    from jabberd.xmpp.element import Element

NS: Final = "http://jabber.org/protocol/pubsub"
OWNER: Final = f"{NS}#owner"
EVENT: Final = f"{NS}#event"
ERRORS: Final = f"{NS}#errors"
NODE_CONFIG: Final = f"{NS}#node_config"
PUBLISH_OPTIONS: Final = f"{NS}#publish-options"
SUBSCRIBE_OPTIONS: Final = f"{NS}#subscribe_options"
SUBSCRIBE_AUTHORIZATION: Final = f"{NS}#subscribe_authorization"
META_DATA: Final = f"{NS}#meta-data"

_LONGEST_ID: Final = 500  #: bytes

#: What every venue of ours can do, as `Feature Summary` (§10) calls it.
FEATURES: Final = (
    NS,
    *(
        f"{NS}#{name}"
        for name in (
            "config-node",
            "config-node-max",
            "create-and-configure",
            "create-nodes",
            "delete-items",
            "delete-nodes",
            "instant-nodes",
            "item-ids",
            "leased-subscription",
            "manage-subscriptions",
            "member-affiliation",
            "meta-data",
            "modify-affiliations",
            "multi-items",
            "outcast-affiliation",
            "persistent-items",
            "publish",
            "publish-node-full",
            "publish-only-affiliation",
            "publish-options",
            "publisher-affiliation",
            "purge-nodes",
            "retract-items",
            "retrieve-affiliations",
            "retrieve-default",
            "retrieve-default-sub",
            "retrieve-items",
            "retrieve-subscriptions",
            "rsm",
            "subscribe",
            "subscription-notifications",
            "subscription-options",
        )
    ),
)


def refusal(
    condition: str, name: str, text: str = "", *, type: str | None = None, beside: Element | None = None
) -> StanzaError:
    """An error with a condition of pubsub's own (§11); ``beside``: see `StanzaError`."""
    return StanzaError(condition, text, type=type, application=(ERRORS, name), beside=beside)


def unsupported(feature: str) -> StanzaError:
    """What is asked for cannot be done here."""
    return StanzaError(
        "feature-not-implemented", application=(ERRORS, "unsupported"), details={"feature": feature}
    )


def check_id(id: str) -> None:
    """See that a node or an item may be called that.

    :raises StanzaError: ``not-acceptable``.
    """
    if len(id.encode()) > _LONGEST_ID:
        raise StanzaError("not-acceptable", f"an id has at most {_LONGEST_ID} bytes")
