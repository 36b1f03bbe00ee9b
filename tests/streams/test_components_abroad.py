"""Components and the servers of others: what they say to each other goes over real streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.streams.proof import Policy
from jabberd.testing.client import condition

if TYPE_CHECKING:
    from jabberd.testing import Client, Component, Network
    from jabberd.testing.server import Server

SMS = "sms.montague.lit"


class Stage:
    """montague.lit with a component, and Juliet at another server."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.montague: Server = network.serve("montague.lit", federate=True, components=[SMS])
        network.serve("capulet.lit", federate=True)
        self.sms: Component = network.component(SMS)
        self.juliet: Client = network.client("juliet@capulet.lit/balcony")


@pytest.fixture
def stage(network: Network) -> Stage:
    return Stage(network)


def test_whom_it_writes_to_hears_it_from_the_components_own_domain(stage: Stage) -> None:
    stage.sms.send(f"<message from='+39045@{SMS}' to='juliet@capulet.lit' id='m1'><body>hi</body></message>")
    assert stage.juliet.receives(
        f"<message from='+39045@{SMS}' to='juliet@capulet.lit' id='m1' xml:lang='en'>"
        "<body>hi</body></message>"
    )
    assert (SMS, "capulet.lit") in stage.network.federated[0].route.links


def test_who_writes_to_it_from_afar_is_heard(stage: Stage) -> None:
    said = f"<message to='+39045@{SMS}' id='m1'><body>hi</body></message>"
    stage.juliet.send(said)
    assert stage.sms.receives(said.replace(" id", " xml:lang='en' from='juliet@capulet.lit/balcony' id"))


def test_a_question_from_afar_is_answered_and_one_to_afar_as_well(stage: Stage) -> None:
    answer = stage.sms.ask(f"<iq from='{SMS}' to='capulet.lit' type='get'><ping xmlns='urn:xmpp:ping'/></iq>")
    assert (answer.get("type"), answer.get("from")) == ("result", "capulet.lit")
    stage.juliet.send(f"<iq to='{SMS}' type='get' id='q1'><ping xmlns='urn:xmpp:ping'/></iq>")
    asked = stage.sms.next()
    stage.sms.send(f"<iq from='{SMS}' to='{asked.get('from')}' type='result' id='{asked.get('id')}'/>")
    assert stage.juliet.receives(
        f"<iq from='{SMS}' to='juliet@capulet.lit/balcony' type='result' id='q1' xml:lang='en'/>"
    )


def test_while_it_is_away_others_are_told_so(stage: Stage) -> None:
    stage.sms.drop()
    stage.juliet.send(f"<message to='{SMS}' id='m1'><body>hi</body></message>")
    assert condition(stage.juliet.next()) == "remote-server-timeout"
    stage.network.advance(1)  # until both have acknowledged


def test_what_cannot_be_delivered_abroad_comes_back_to_it(stage: Stage) -> None:
    stage.sms.send(f"<message from='x@{SMS}' to='juliet@nowhere.example' id='m1'><body>hi</body></message>")
    bounced = stage.sms.next()
    assert (bounced.get("to"), condition(bounced)) == (f"x@{SMS}", "remote-server-not-found")


def test_where_the_operator_says_so_it_stays_at_home(stage: Stage) -> None:
    stage.network.federated[0].policies[SMS] = Policy("off")
    stage.sms.send(f"<message from='x@{SMS}' to='juliet@capulet.lit' id='m1'><body>hi</body></message>")
    assert condition(stage.sms.next()) == "not-allowed"
    stage.juliet.send(f"<message to='x@{SMS}' id='m2'><body>hi</body></message>")
    assert condition(stage.juliet.next()) == "remote-server-timeout"
    assert stage.sms.hears_nothing()
    romeo = stage.network.client("romeo@montague.lit/orchard")
    romeo.send(f"<message to='x@{SMS}' id='m3'><body>hi</body></message>")
    assert stage.sms.next().get("id") == "m3"
