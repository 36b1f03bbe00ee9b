"""XEP-0198: what several resources of an account are sent is one message, wherever it waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jabberd.interfaces import StorageError
from jabberd.testing import Network
from tests.modules.test_sm import NS, enabled, waiting
from tests.modules.test_sm_homes import FragileStorage, handled
from tests.modules.test_sm_homes import romeo as romeo  # noqa: PLC0414  # the fixture
from tests.modules.test_sm_homes import storage as storage  # noqa: PLC0414  # the fixture

if TYPE_CHECKING:
    from jabberd.testing import Client
    from tests.conftest import LoggedErrors


def to_all(body: str) -> str:
    return f"<message to='juliet@montague.lit' type='chat' id='*'><body>{body}</body></message>"


def bodies(client: Client) -> list[str | None]:
    client.flush()
    found = [body.text for each in client.heard for body in each.findall("{jabber:client}body")]
    client.forget()
    return found


def test_what_one_resource_did_not_acknowledge_is_not_sent_to_the_other_again(
    romeo: Client, network: Network
) -> None:
    balcony, tomb = (network.client(f"juliet@montague.lit/{place}") for place in ("balcony", "tomb"))
    for each in (balcony, tomb):
        enabled(each)
    romeo.send(to_all("hi"))
    balcony.drop()
    assert handled(romeo) == "0"  # nobody has it for sure
    assert bodies(tomb) == ["hi"]
    tomb.drop()
    assert handled(romeo) == "1"
    assert waiting(network) == ["hi"]


def test_what_had_waited_and_went_to_a_resource_that_was_lost_goes_to_another_one(
    romeo: Client, network: Network
) -> None:
    network.client("juliet@montague.lit/balcony").close()
    romeo.send(to_all("hi"))
    tomb = network.client("juliet@montague.lit/tomb", presence="")
    enabled(tomb)
    tomb.send("<presence/>")
    balcony = network.client("juliet@montague.lit/balcony")
    tomb.drop()
    assert bodies(balcony) == ["hi"]


def test_what_two_resources_did_not_acknowledge_is_in_the_spool_once(
    romeo: Client, network: Network, storage: FragileStorage
) -> None:
    balcony, tomb = (network.client(f"juliet@montague.lit/{place}") for place in ("balcony", "tomb"))
    for each in (balcony, tomb):
        enabled(each, " resume='true'")
    romeo.send(to_all("hi"))
    network.advance(1)
    assert handled(romeo) == "1"
    assert storage.rows("spool", "montague.lit") == 1
    balcony.send(f"<a xmlns='{NS}' h='1'/>")
    assert storage.rows("spool", "montague.lit") == 1  # the other one may never get it
    again = Network()
    again.serve("montague.lit", storage=storage, modules={"sm": {}, "offline": {}})
    assert waiting(again) == ["hi"]


def test_what_two_resources_have_acknowledged_is_in_the_spool_no_more(
    romeo: Client, network: Network, storage: FragileStorage
) -> None:
    both = [network.client(f"juliet@montague.lit/{place}") for place in ("balcony", "tomb")]
    for each in both:
        enabled(each)
    romeo.send(to_all("hi"))
    network.advance(1)
    for each in both:
        each.send(f"<a xmlns='{NS}' h='1'/>")
    assert storage.rows("spool", "montague.lit") == 0


def test_what_two_resources_were_sent_is_spooled_for_both_once_it_can_be(
    romeo: Client, network: Network, storage: FragileStorage, logged_errors: LoggedErrors
) -> None:
    for place in ("balcony", "tomb"):
        enabled(network.client(f"juliet@montague.lit/{place}"))
    storage.fill("spool")
    romeo.send(to_all("hi"))
    network.advance(1)
    assert handled(romeo) == "0"
    storage.fill("spool", full=False)
    network.advance(1)
    assert handled(romeo) == "1"
    assert storage.rows("spool", "montague.lit") == 1
    assert logged_errors.take(StorageError)


def test_what_is_spooled_for_several_sessions_is_delivered_in_the_order_in_which_it_was_said(
    romeo: Client, network: Network, storage: FragileStorage
) -> None:
    for place in ("balcony", "tomb", "church", "street"):
        enabled(network.client(f"juliet@montague.lit/{place}"))
    said = []
    for number, place in enumerate(("/street", "/balcony", "", "/church", "/tomb", "")):
        said.append(str(number))
        romeo.send(to_all(said[-1]).replace("juliet@montague.lit", f"juliet@montague.lit{place}"))
        network.clock.advance(0.01)
    network.advance(1)
    assert handled(romeo) == "6"
    again = Network()
    again.serve("montague.lit", storage=storage, modules={"sm": {}, "offline": {}})
    assert waiting(again) == said


def test_what_others_had_delayed_went_to_all_resources_as_well(romeo: Client, network: Network) -> None:
    balcony, tomb = (network.client(f"juliet@montague.lit/{place}") for place in ("balcony", "tomb"))
    for each in (balcony, tomb):
        enabled(each)
    note = "<delay xmlns='urn:xmpp:delay' from='mantua.lit' stamp='2002-09-10T23:08:25Z'/>"
    romeo.send(to_all("hi").replace("</body>", f"</body>{note}"))
    balcony.drop()
    assert bodies(tomb) == ["hi"]


def test_who_was_away_in_between_is_not_sent_again_what_it_has(romeo: Client, network: Network) -> None:
    balcony, tomb = (network.client(f"juliet@montague.lit/{place}") for place in ("balcony", "tomb"))
    enabled(balcony)
    romeo.send(to_all("hi"))
    for presence in ("<presence><priority>-1</priority></presence>", "<presence/>"):
        network.advance(0.1)
        tomb.send(presence)
    balcony.drop()
    assert bodies(tomb) == ["hi"]


def test_who_was_away_just_then_gets_it(romeo: Client, network: Network) -> None:
    balcony, tomb = (network.client(f"juliet@montague.lit/{place}") for place in ("balcony", "tomb"))
    enabled(balcony)
    tomb.send("<presence type='unavailable'/>")
    network.advance(0.1)
    romeo.send(to_all("hi"))
    network.advance(0.1)
    tomb.send("<presence/>")
    assert bodies(tomb) == []
    balcony.drop()
    assert bodies(tomb) == ["hi"]


def test_what_had_not_left_when_acknowledgements_began_goes_to_who_came_later(
    romeo: Client, network: Network
) -> None:
    balcony = network.client("juliet@montague.lit/balcony")
    balcony.transport.pauseProducing()
    said = [f"{number}{'x' * 50_000}" for number in range(8)]
    for body in said:
        romeo.send(to_all(body))
    balcony.send(f"<enable xmlns='{NS}' resume='true'/>")
    network.advance(1)
    tomb = network.client("juliet@montague.lit/tomb")
    network.advance(1)
    balcony.drop()
    network.advance(601)
    left = bodies(tomb)
    assert len(left) > 4
    assert left == said[-len(left) :]
