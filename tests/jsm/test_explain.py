"""What operators are told of a stanza's road, and that it is the road that stanzas go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from jabberd.admin import Admin, UsageError
from jabberd.api import Module, Stage, Stanza, filters
from jabberd.jsm.explain import Explanation
from jabberd.testing import Network
from jabberd.testing.outcome import done

if TYPE_CHECKING:
    from collections.abc import Iterator

ROMEO, JULIET = "romeo@montague.lit", "juliet@capulet.lit"


class Censor(Module):
    """Has a filter in every stage, none of which may run."""

    @filters(Stage.SAID, "message", children=["{urn:x}x", "{urn:a}a"])
    @filters(Stage.REFUSE, "message")
    @filters(Stage.REWRITE, "message")
    @filters(Stage.COPY, "message")
    @filters(Stage.SENDING, "message")
    def judge(self, _stanza: Stanza, *_: object) -> Stanza | None:
        raise AssertionError("it runs")


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    network.serve("montague.lit", "capulet.lit", modules={"offline": {}})
    yield network
    network.close()


def explained(network: Network, *words: str) -> list[tuple[str, str]]:
    hosts = network.servers[0].hosts
    managers = {name: host.manager for name, host in hosts.items()}
    explanation = Explanation(managers, lambda ours, theirs: f"link from {ours} to {theirs}")
    rows: list[dict[str, Any]] = done(Admin(lambda: [("", "", explanation)]).run(["explain", *words], {}))
    return [(row["step"], row["what"]) for row in rows]


def test_each_session_is_told_with_the_reason(network: Network) -> None:
    network.client(f"{ROMEO}/orchard")
    for resource, presence in (
        ("balcony", "<presence/>"),
        ("hall", "<presence><priority>-1</priority></presence>"),
    ):
        network.client(f"{JULIET}/{resource}", presence=presence)
    network.client(f"{JULIET}/garden", presence="")
    assert explained(network, f"{ROMEO}/orchard", JULIET) == [
        ("from", f"{ROMEO}/orchard, connected"),
        ("route", "capulet.lit is hosted here"),
        ("account", f"{JULIET}: 3 sessions, 2 of them available"),
        ("filter REFUSE", "offline.discard_forged, if it has {urn:xmpp:delay}delay"),
        ("plan", "deliver it to each available resource of non-negative priority: there is one"),
        ("session", f"{JULIET}/balcony gets it (priority 0)"),
        ("session", f"{JULIET}/hall does not get it (priority -1)"),
        ("session", f"{JULIET}/garden does not get it (not available)"),
    ]
    assert explained(network, ROMEO, f"{JULIET}/hall")[-3:] == [
        ("session", f"{JULIET}/balcony does not get it (another one is addressed)"),
        ("session", f"{JULIET}/hall gets it (priority -1)"),
        ("session", f"{JULIET}/garden does not get it (another one is addressed)"),
    ]


def test_what_nobody_gets_is_told_with_what_happens_instead(network: Network) -> None:
    network.client(f"{JULIET}/garden", presence="")
    assert explained(network, ROMEO, JULIET)[-3:] == [
        ("plan", "keep it if it is worth_storing, bounce it if that fails (XEP-0160 §2)"),
        ("then", f"{JULIET}/garden does not get it (not available)"),
        ("then", "module offline takes it, if it is worth keeping"),
    ]
    network.serve("verona.lit", modules={})
    network.servers.reverse()
    network.client("escalus@verona.lit/palace", presence="")
    assert explained(network, ROMEO, "escalus@verona.lit")[-1] == (
        "then",
        "no module keeps messages: answered with service-unavailable",
    )


@pytest.mark.parametrize(
    ("sender", "what"),
    [
        (ROMEO, f"{ROMEO}, which does not exist: nobody can say this"),
        ("tybalt@evil.example/alley", "evil.example, over federation"),
    ],
)
def test_who_says_it_is_told(network: Network, sender: str, what: str) -> None:
    assert explained(network, sender, JULIET)[0] == ("from", what)
    assert ("account", f"{JULIET} does not exist") in explained(network, sender, JULIET)
    assert ("plan", "answer with service-unavailable") in explained(network, sender, JULIET)


def test_a_client_that_is_not_connected_cannot_say_it(network: Network) -> None:
    network.client(f"{ROMEO}/orchard")
    assert explained(network, f"{ROMEO}/square", JULIET)[0] == (
        "from",
        f"{ROMEO}/square, which is not connected",
    )
    assert explained(network, ROMEO, JULIET)[0] == ("from", f"{ROMEO}, with 1 sessions")
    network.servers[0].hosts["montague.lit"].manager.accounts.get(ROMEO).disabled = True  # type: ignore[union-attr]
    assert explained(network, ROMEO, JULIET)[0][1].endswith("which is disabled: nobody can say this")


def test_filters_are_named_in_their_order_and_none_runs(network: Network) -> None:
    network.serve("verona.lit", modules={"censor": {}}, classes={"censor": Censor})
    network.servers.reverse()
    network.client("escalus@verona.lit/palace")
    network.client("paris@verona.lit/palace")
    seen = explained(network, "paris@verona.lit/palace", "escalus@verona.lit")
    assert [step for step in seen if step[0].startswith("filter")] == [
        ("filter SAID", "censor.judge, if it has {urn:a}a or {urn:x}x"),
        ("filter REFUSE", "censor.judge"),
        ("filter REWRITE", "censor.judge"),
        ("filter COPY", "censor.judge"),
        ("filter SENDING", "censor.judge"),
    ]
    assert not [
        step for step in explained(network, ROMEO, "escalus@verona.lit", "get") if "filter" in step[0]
    ]


def test_another_servers_domain_is_asked_about_its_link(network: Network) -> None:
    assert explained(network, "tybalt@verona.lit", "x@evil.example") == [
        ("from", "verona.lit, over federation"),
        ("route", "evil.example is not hosted here: link from verona.lit to evil.example"),
    ]


@pytest.mark.parametrize(
    ("to", "kind", "what"),
    [
        ("capulet.lit", "chat", "for the domain itself: answered with service-unavailable"),
        ("capulet.lit", "get", "for the domain itself: the module that knows the iq's child answers"),
        ("capulet.lit", "available", "for the domain itself: it is forgotten"),
        ("capulet.lit", "probe", "for the domain itself: it says that it is there"),
        ("capulet.lit/x", "probe", "for the domain itself: it is forgotten"),
        (JULIET, "get", "the server answers this request in the account's name (§8.5.2.1.3)"),
        (
            JULIET,
            "probe",
            "answer the probe (§4.3.2): an account that does not exist, like one that hides from the sender",
        ),
        (f"{JULIET}/balcony", "set", "answer with service-unavailable"),
        (JULIET, "groupchat", "answer with service-unavailable"),
        (JULIET, "available", "deliver it to each available resource: there may be none"),
    ],
)
def test_the_kind_of_stanza_decides(network: Network, to: str, kind: str, what: str) -> None:
    network.client(f"{JULIET}/balcony")
    assert ("plan", what) in explained(network, "tybalt@evil.example", to, kind)


def test_a_session_that_waits_for_its_client_says_so(network: Network) -> None:
    network.serve("verona.lit")
    network.servers.reverse()
    escalus = network.client("escalus@verona.lit/palace")
    escalus.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
    escalus.drop()
    assert (
        "session",
        "escalus@verona.lit/palace gets it (priority 0, kept until its client is back)",
    ) in explained(network, ROMEO, "escalus@verona.lit")


def test_an_unknown_kind_is_told_which_there_are(network: Network) -> None:
    with pytest.raises(UsageError, match=r"^KIND 'letter' is none of chat, normal, groupchat, "):
        explained(network, ROMEO, JULIET, "letter")
    with pytest.raises(UsageError, match=r"^TO is missing; usage: explain SENDER TO \[KIND\]$"):
        explained(network, ROMEO)
