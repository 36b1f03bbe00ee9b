"""XEP-0388: logging in within one round trip, over real TLS in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from lxml import etree
from twisted.internet.defer import Deferred

from jabberd import settings
from jabberd.interfaces import LoginPolicy
from jabberd.rates import Rate
from jabberd.testing.client import condition
from jabberd.xmpp import ns
from jabberd.xmpp.sasl import Challenge
from tests.streams.said import (
    AGENT,
    HEAD,
    PLAIN,
    PLUS,
    ROMEO,
    SCRAM,
    at_once,
    auth,
    authenticate,
    base64,
    bind,
    connected,
    decoded,
    encrypted,
    failure,
    failure2,
    response,
    response2,
    secured,
)
from tests.xmpp.test_sasl import HandMade

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxml.etree import _Element

    from jabberd.testing import Client, Network
    from jabberd.xmpp.scram import ScramKeys
    from tests.conftest import LoggedErrors


def challenged(client: Client, made: HandMade) -> Challenge:
    """Begin with SCRAM-SHA-256."""
    client.send(authenticate("SCRAM-SHA-256", made.first()))
    challenge = client.next()
    assert challenge.tag == f"{{{ns.SASL2}}}challenge"
    return Challenge(decoded(challenge))


def offer(features: _Element) -> list[str | None]:
    return [each.text for each in features.iterfind(f"{{{ns.SASL2}}}authentication/{{*}}mechanism")]


@pytest.fixture
def under_tls(network: Network) -> None:
    network.serve("montague.lit", tls=True)


# --- as it should go ------------------------------------------------------------------------------


def test_the_same_mechanisms_are_offered_in_both_profiles_under_tls_alone(network: Network) -> None:
    network.serve("montague.lit", tls=True, policy=LoginPolicy(require_tls=False))
    assert offer(network.connected(ROMEO).open()) == []
    assert offer(encrypted(network).open()) == [*PLUS, *SCRAM, "PLAIN"]


def test_scram_logs_in_without_a_new_stream(network: Network) -> None:
    client = secured(network)
    made = HandMade("SHA-256", password="secret")
    client.send(response2(made.final(challenged(client, made))))
    assert client.receives(
        f"<success xmlns='{ns.SASL2}'><additional-data>{base64(made.expected)}</additional-data>"
        "<authorization-identifier>romeo@montague.lit</authorization-identifier></success>"
    )
    features = client.next()
    assert features.tag == f"{{{ns.STREAM}}}features"
    assert features.find(f"{{{ns.BIND}}}bind") is not None
    assert features.find(f"{{{ns.SASL2}}}authentication") is None
    assert bind(client).get("type") == "result"


def test_the_first_response_may_come_behind_an_empty_challenge(network: Network) -> None:
    client = secured(network)
    client.send(authenticate("PLAIN"))
    assert client.receives(f"<challenge xmlns='{ns.SASL2}'/>")
    client.send(response2(PLAIN))
    assert client.next().findtext("{*}authorization-identifier") == "romeo@montague.lit"


def test_white_space_around_base64_does_no_harm(network: Network) -> None:
    client = secured(network)
    client.send(authenticate("PLAIN", PLAIN).replace("response>", "response>\n  ", 1))
    assert client.next().tag == f"{{{ns.SASL2}}}success"


def test_an_exchange_can_be_given_up_and_begun_anew_in_either_profile(network: Network) -> None:
    client = secured(network)
    challenged(client, HandMade("SHA-256"))
    client.send(f"<abort xmlns='{ns.SASL2}'><text>no time</text></abort>")
    assert client.receives(failure2("aborted"))
    client.send(auth("PLAIN", "\0romeo\0wrong"))
    assert client.receives(failure("not-authorized"))
    assert at_once(client).tag == f"{{{ns.SASL2}}}success"


def test_what_comes_right_behind_the_login_is_done_when_it_is_done(network: Network) -> None:
    client = secured(network)
    inside = "<bind xmlns='urn:xmpp:bind:0'/>"
    client.send(
        authenticate("PLAIN", PLAIN, inside) + "<iq type='get' id='p' to='montague.lit'>"
        "<ping xmlns='urn:xmpp:ping'/></iq>"
    )
    assert [etree.QName(client.next()).localname for _ in range(3)] == ["success", "features", "iq"]


def test_anonymous_clients_bind_at_once(network: Network) -> None:
    network.serve("montague.lit", tls=True, policy=LoginPolicy(anonymous=True))
    client = secured(network, "montague.lit")
    client.send(authenticate("ANONYMOUS", "", "<bind xmlns='urn:xmpp:bind:0'/>"))
    success = client.next()
    localpart, _, rest = success.findtext("{*}authorization-identifier", "").partition("@")
    assert len(localpart) == 16
    assert rest.startswith("montague.lit/")
    account = (
        network.server("montague.lit").hosts["montague.lit"].manager.accounts.get(f"{localpart}@montague.lit")
    )
    assert account is not None
    assert account.anonymous


# --- as it should not ------------------------------------------------------------------------------


def test_without_tls_nobody_logs_in(network: Network) -> None:
    network.serve("montague.lit", tls=True, policy=LoginPolicy(require_tls=False))
    client = connected(network)
    client.send(authenticate("PLAIN", PLAIN))
    assert client.receives(failure2("encryption-required"))
    client.send(authenticate("SCRAM-SHA-256", HandMade("SHA-256").first()))
    assert client.receives(failure2("encryption-required"))


@pytest.mark.parametrize(
    ("mechanism", "data", "wrong"),
    [
        ("PLAIN", "\0romeo\0wrong", "not-authorized"),
        ("PLAIN", "\0nobody\0secret", "not-authorized"),
        ("PLAIN", "no nul", "malformed-request"),
        ("PLAIN", "juliet@montague.lit\0romeo\0secret", "invalid-authzid"),
        ("DIGEST-MD5", "", "invalid-mechanism"),
        ("", "", "invalid-mechanism"),
        ("ANONYMOUS", "", "invalid-mechanism"),
        ("EXTERNAL", "", "invalid-mechanism"),
    ],
)
def test_what_is_refused_may_be_tried_again(
    network: Network, under_tls: None, unharmed: Callable[..., None], mechanism: str, data: str, wrong: str
) -> None:
    client = secured(network)
    client.send(authenticate(mechanism, data, f"{AGENT}<bind xmlns='urn:xmpp:bind:0'/>"))
    assert client.receives(failure2(wrong))
    assert client.hears_nothing()
    assert at_once(client).find("{urn:xmpp:bind:0}bound") is None  # what the first try asked for is over
    client.drop()
    unharmed(lines=1)


@pytest.mark.parametrize("text", ["!!!", "AGE", "AGE=B", "=", "cm9tZW8 cm9tZW8="])
def test_what_is_not_base64_is_refused(network: Network, text: str) -> None:
    client = secured(network)
    client.send(
        f"<authenticate xmlns='{ns.SASL2}' mechanism='PLAIN'><initial-response>{text}</initial-response>"
        "</authenticate>"
    )
    assert client.receives(failure2("malformed-request" if text == "=" else "incorrect-encoding"))


def test_an_agent_whose_id_is_no_uuid_is_refused(network: Network) -> None:
    client = secured(network)
    client.send(authenticate("PLAIN", PLAIN, "<user-agent id='my telephone'/>"))
    assert client.receives(failure2("malformed-request", "the id of a user-agent is a UUID"))


@pytest.mark.parametrize(
    "said",
    [
        authenticate("PLAIN", PLAIN),
        auth("PLAIN", PLAIN),
        response("x"),
        f"<abort xmlns='{ns.SASL}'/>",
        f"<starttls xmlns='{ns.TLS}'/>",
        "<r xmlns='urn:xmpp:sm:3'/>",
    ],
)
def test_whatever_else_is_said_in_the_middle_ends_the_stream(network: Network, said: str) -> None:
    client = secured(network)
    challenged(client, HandMade("SHA-256"))
    client.send(said)
    assert client.is_dismissed_with("policy-violation")


def test_a_stanza_in_the_middle_ends_the_stream(network: Network) -> None:
    client = secured(network)
    challenged(client, HandMade("SHA-256"))
    client.send("<message to='romeo@montague.lit'><body>hi</body></message>")
    assert client.is_dismissed_with("not-authorized")


def test_the_other_profile_in_the_middle_ends_the_stream(network: Network) -> None:
    client = secured(network)
    client.send(auth("SCRAM-SHA-256", HandMade("SHA-256").first()))
    client.next()
    client.send(authenticate("PLAIN", PLAIN))
    assert client.is_dismissed_with("policy-violation")


@pytest.mark.parametrize("again", [authenticate("PLAIN", PLAIN), auth("PLAIN", PLAIN)])
@pytest.mark.parametrize("inside", ["", "<bind xmlns='urn:xmpp:bind:0'/>"])
def test_a_second_login_ends_the_stream(network: Network, inside: str, again: str) -> None:
    client = secured(network)
    at_once(client, inside)
    client.next()
    client.send(again)
    assert client.is_dismissed_with("policy-violation")


@pytest.mark.parametrize("said", [response2("x"), f"<abort xmlns='{ns.SASL2}'/>"])
def test_an_answer_that_nobody_asked_for_is_a_failure(network: Network, said: str) -> None:
    client = secured(network)
    client.send(said)
    assert condition(client.next()) in ("malformed-request", "aborted")
    client.send(said)
    client.send(said)
    client.next(), client.next()
    assert client.is_dismissed_with("policy-violation")


def test_a_response_after_success_ends_nothing_and_starts_nothing(network: Network) -> None:
    client = secured(network)
    made = HandMade("SHA-256", password="secret")
    final = made.final(challenged(client, made))
    client.send(response2(final) + response2(final))
    client.next(), client.next()
    assert condition(client.next()) == "malformed-request"


@pytest.mark.parametrize(
    "task", ["<next xmlns='urn:xmpp:sasl:2' task='TOTP'/>", "<task-data xmlns='urn:xmpp:sasl:2'/>"]
)
def test_tasks_that_nobody_offered_end_the_stream(network: Network, task: str) -> None:
    client = secured(network)
    client.send(task)
    assert client.is_dismissed_with("unsupported-stanza-type")


def test_an_oversized_login_ends_the_stream(
    network: Network, under_tls: None, unharmed: Callable[..., None]
) -> None:
    client = secured(network)
    client.send(authenticate("PLAIN", PLAIN, f"<user-agent><device>{'x' * 9000}</device></user-agent>"))
    assert client.is_dismissed_with("policy-violation")
    unharmed()


def test_a_login_with_too_many_elements_ends_the_stream(
    network: Network, under_tls: None, unharmed: Callable[..., None]
) -> None:
    client = secured(network)
    client.send(authenticate("PLAIN", PLAIN, "<x/>" * 40))
    assert client.is_dismissed_with("policy-violation")
    unharmed()


def test_after_many_wrong_passwords_an_address_must_wait_in_both_profiles(network: Network) -> None:
    network.serve("montague.lit", tls=True, door=settings.Limits(login_failures=Rate(1, 300)))
    client = secured(network)
    client.send(authenticate("PLAIN", "\0romeo\0wrong"))
    assert client.receives(failure2("not-authorized"))
    client.send(authenticate("PLAIN", PLAIN))
    assert client.receives(failure2("temporary-auth-failure"))
    client.send(auth("PLAIN", PLAIN))
    assert client.receives(failure("temporary-auth-failure"))


# --- who the stream says it is from ------------------------------------------------------------------


def opened_by(network: Network, sender: str) -> Client:
    network.serve("montague.lit", tls=True)
    client = encrypted(network)
    client._restart()
    client.send(f"{HEAD}from='{sender}' to='montague.lit' version='1.0'>")
    return client


def test_whoever_the_stream_is_from_may_log_in_and_nobody_else(network: Network) -> None:
    client = opened_by(network, "romeo@montague.lit")
    client.next()
    network.server("montague.lit").create(client.jid.parse("juliet@montague.lit"), "secret")
    client.send(authenticate("PLAIN", "\0juliet\0secret"))
    assert condition(client.next()) == "invalid-authzid"
    assert at_once(client).tag == f"{{{ns.SASL2}}}success"


def test_a_stream_from_another_domain_is_refused(network: Network) -> None:
    assert opened_by(network, "romeo@capulet.lit").is_dismissed_with("invalid-from")


# --- a slow storage ----------------------------------------------------------------------------------


class Slow:
    """Credentials that take their time."""

    def __init__(self) -> None:
        self.answer: Deferred[bool] = Deferred()

    async def keys(self, username: str, hash_name: str) -> ScramKeys:
        raise AssertionError

    async def check(self, username: str, password: str) -> bool:
        return await self.answer


def test_a_client_that_leaves_while_its_password_is_checked_leaves_nothing(network: Network) -> None:
    server = network.serve("montague.lit", tls=True)
    client = secured(network)
    server.hosts["montague.lit"].manager.credentials = slow = Slow()
    client.send(authenticate("PLAIN", PLAIN, "<bind xmlns='urn:xmpp:bind:0'/>"))
    client.drop()
    slow.answer.callback(True)
    network.flush()
    assert not server.door.streams  # and `Network.close` looks for sessions


def test_a_storage_that_is_away_is_a_temporary_failure(network: Network, logged_errors: LoggedErrors) -> None:
    server = network.serve("montague.lit", tls=True)
    client = secured(network)
    server.hosts["montague.lit"].manager.credentials = slow = Slow()
    client.send(authenticate("PLAIN", PLAIN))
    slow.answer.errback(OSError("away"))
    assert client.receives(failure2("temporary-auth-failure"))
    assert len(logged_errors.take(OSError)) == 1
