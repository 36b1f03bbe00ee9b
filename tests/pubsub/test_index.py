"""What a service knows of all its nodes without reading them."""

from __future__ import annotations

from jabberd.pubsub.index import Index
from jabberd.pubsub.node import Node, Subscription

JULIET, ROMEO, NURSE = "juliet@capulet.lit", "romeo@montague.lit", "nurse@capulet.lit"
NEWS = Node(
    affiliations=((JULIET, "owner"),),
    subscriptions=(Subscription(f"{ROMEO}/orchard", "1"), Subscription(ROMEO, "2")),
    creator=JULIET,
)


def test_it_knows_who_is_something_to_which_nodes() -> None:
    index = Index()
    index.saw("news", NEWS, purges=False)
    index.saw("gossip", Node(affiliations=((JULIET, "owner"), (NURSE, "outcast"))), purges=False)
    found = {who: sorted(index.related(who)) for who in (JULIET, ROMEO, NURSE, "friar@verona.lit")}
    assert found == {JULIET: ["gossip", "news"], ROMEO: ["news"], NURSE: ["gossip"], "friar@verona.lit": []}


def test_it_follows_changes_and_holds_nothing_of_what_is_gone() -> None:
    index, empty = Index(), vars(Index())
    index.saw("news", NEWS, purges=True)
    index.saw("news", NEWS.with_subscriptions(without=NEWS.subscriptions), purges=True)
    assert (*index.related(ROMEO), *index.related(JULIET)) == ("news",)
    assert (len(index), index.creators[JULIET], index.purging) == (1, 1, {"news"})
    index.saw("news", None, purges=False)
    assert len(index) == 0
    assert vars(index) == empty
