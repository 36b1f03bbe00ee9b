"""Components come, change and go while the server runs; those that stay notice nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.api import Refused
from jabberd.streams.proof import Policy
from jabberd.testing import Component, Network
from jabberd.xmpp.jid import JID

if TYPE_CHECKING:
    from tests.operating.conftest import Scene

SMS, IRC = "sms.montague.lit", "irc.montague.lit"
SECRETS = {SMS: "a thing of no great worth", IRC: "a thing of greater worth"}


class Stage:
    """A server whose file has two components, both connected."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.parts = scene.reload.parts
        self._network = Network(scene.reactor)
        self._without = scene.file.read_text()
        self.write({**SECRETS})
        self.reload()
        self.sms, self.irc = self.component(SMS), self.component(IRC)

    def write(self, secrets: dict[str, str], more: str = "") -> None:
        """Have the file say that there are these components."""
        tables = [
            f"[components.'{name}']\nsecret = '{secret}'\nfederation = 'off'\n"
            for name, secret in secrets.items()
        ]
        self.scene.file.write_text("".join([self._without, *tables, more]))

    def reload(self) -> dict[str, str]:
        """By option, what came of it."""
        return {row["option"]: row["outcome"] for row in self.scene.operate("config", "reload")}

    def component(self, domain: str, secret: str = "", *, begin: bool = True) -> Component:
        component = Component(JID.parse(domain), self._network.flush, secret or SECRETS[domain])
        self._network.join(component, self.parts.components)
        if begin:
            component.begin()
        return component

    @property
    def talks(self) -> bool:
        """Whether irc.montague.lit is served as ever."""
        answer = self.irc.ask(
            f"<iq from='{IRC}' to='montague.lit' type='get'><ping xmlns='urn:xmpp:ping'/></iq>"
        )
        return answer.get("type") == "result"


@pytest.fixture
def stage(scene: Scene) -> Stage:
    return Stage(scene)


def test_one_comes(scene: Scene) -> None:
    assert SMS not in scene.reload.parts.router.domains
    stage = Stage(scene)
    assert {SMS, IRC} < {*stage.parts.router.domains}
    assert stage.parts.policies[SMS] == Policy("off")
    assert stage.talks
    assert scene.operate("config", "diff") == []


def test_one_goes_and_the_other_stays(stage: Stage) -> None:
    stage.write({IRC: SECRETS[IRC]})
    assert stage.reload() == {f'components."{SMS}"': "applied"}
    assert stage.sms.is_dismissed_with("host-gone")
    assert stage.talks
    assert SMS not in {*stage.parts.router.domains, *stage.parts.policies}
    late = stage.component(SMS, begin=False)
    late.greet()
    assert late.is_dismissed_with("host-unknown")


def test_another_secret_has_to_be_shown_at_once(stage: Stage) -> None:
    stage.write({**SECRETS, SMS: "another thing of no worth"})
    [row] = stage.scene.operate("config", "diff")
    assert (row["option"], row["outcome"]) == (f'components."{SMS}".secret', "applied")
    assert row["now"] != row["then"]
    assert "worth" not in str(row)
    stage.reload()
    assert stage.sms.is_dismissed_with("reset")
    assert stage.talks
    old = stage.component(SMS, begin=False)
    old.greet()
    old.shake()
    assert old.is_dismissed_with("not-authorized")
    assert stage.component(SMS, "another thing of no worth").connected


def test_another_policy_drops_nobody(stage: Stage) -> None:
    stage.scene.certify(SMS)
    text = stage.scene.file.read_text().replace("federation = 'off'", "federation = 'either'", 1)
    stage.scene.file.write_text(text)
    assert stage.reload() == {f'components."{SMS}".federation': "applied"}
    assert stage.parts.policies[SMS] == Policy("either")
    assert "sms.montague.lit" in stage.parts.shown.table
    assert stage.sms.connected


def test_a_component_becomes_a_domain_and_the_other_way(stage: Stage) -> None:
    stage.scene.certify(SMS)
    stage.write({IRC: SECRETS[IRC]}, f"[domains.'{SMS}']\n")
    stage.reload()
    assert stage.sms.is_dismissed_with("host-gone")
    assert stage.parts.router.routes[SMS] is stage.parts.hosts[SMS].manager
    assert stage.parts.policies[SMS] == Policy()
    stage.write(SECRETS)
    stage.reload()
    assert stage.parts.router.routes[SMS] is stage.parts.components.components[SMS]
    assert stage.component(SMS).connected
    assert stage.talks


def test_one_that_talks_to_others_needs_a_certificate(stage: Stage) -> None:
    stage.scene.file.write_text(stage.scene.file.read_text().replace("federation = 'off'\n", "", 1))
    with pytest.raises(Refused, match=f'components."{SMS}": .*; put one there, or write federation = "off"'):
        stage.scene.operate("config", "reload")
    assert stage.sms.connected
