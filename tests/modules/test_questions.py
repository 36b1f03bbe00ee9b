"""XEP-0158: newcomers answer a question in the registration form, over real TLS in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from jabberd import settings
from jabberd.api import Secret
from jabberd.config import Config
from jabberd.modules.registration import Registration
from jabberd.modules.registration.questions import Question
from jabberd.operating.options import options
from jabberd.rates import Rate
from jabberd.testing.client import condition
from tests.modules.test_registration import ASK, NS, fields, form, newcomer, refused, said

if TYPE_CHECKING:
    from pathlib import Path

    from jabberd.testing import Client, Network

HOUSES = {"lang": "en", "ask": "How many houses are there in fair Verona?", "answers": ["two", "2"]}
CASATE = {"lang": "it", "ask": "Quante casate ci sono nella bella Verona?", "answers": ["due"]}


def serve(network: Network, tries: int = 100, **config: Any) -> None:
    registration = {"open": True, "questions": [HOUSES, CASATE], **config}
    door = settings.Limits(registrations=Rate(tries, 60))
    network.serve("montague.lit", tls=True, modules={"registration": registration}, door=door)


def asked(client: Client, lang: str = "") -> dict[str | None, tuple[str | None, str | None]]:
    """The fields of the form: by name, label and value."""
    query = client.ask(ASK.replace("<iq", f"<iq xml:lang='{lang}' id='reg1'" if lang else "<iq"))[0]
    every = query.iter("{jabber:x:data}field")
    return {each.get("var"): (each.get("label"), each.findtext("{*}value")) for each in every}


def challenge(client: Client) -> str:
    return asked(client)["challenge"][1] or ""


def answer(client: Client, given: str, challenge: str, name: str = "romeo") -> str:
    filled = form(username=name, password="o blessed night", challenge=challenge, sid="reg1", qa=given)
    return refused(client, said(filled))


def test_a_question_stands_in_the_form_and_the_fields_of_old_do_not(network: Network) -> None:
    serve(network)
    client, _ = newcomer(network)
    query = client.ask(ASK)[0]
    assert [each.tag for each in query] == [f"{{{NS}}}instructions", "{jabber:x:data}x"]
    types = {each.get("var"): each.get("type") for each in query.iter("{jabber:x:data}field")}
    assert types == {
        "FORM_TYPE": "hidden",
        "challenge": "hidden",
        "sid": "hidden",
        "qa": "text-single",
        "username": "text-single",
        "password": "text-private",
    }
    assert query.find("{jabber:x:data}x/{*}field[@var='qa']/{*}required") is not None


def test_whoever_answers_gets_an_account(network: Network) -> None:
    serve(network)
    client, _ = newcomer(network)
    assert answer(client, " TWO ", challenge(client)) == ""


@pytest.mark.parametrize(
    ("lang", "ask"), [("it", CASATE), ("it-CH", CASATE), ("IT", CASATE), ("en", HOUSES), ("fr", HOUSES)]
)
def test_everybody_is_asked_in_their_language_or_else_in_the_first(
    network: Network, lang: str, ask: dict[str, Any]
) -> None:
    serve(network)
    client, _ = newcomer(network)
    there = asked(client, lang)
    assert there["qa"][0] == ask["ask"]
    assert there["sid"][1] == "reg1"


def test_a_wrong_answer_is_not_acceptable_and_spends_the_question(network: Network) -> None:
    serve(network)
    client, _ = newcomer(network)
    first = challenge(client)
    error = client.ask(said(form(username="romeo", password="x", challenge=first, qa="three")))
    assert condition(error) == "not-acceptable"
    assert error.xpath("*[local-name()='error']/@type") == ["cancel"]  # §3.1.4
    assert answer(client, "two", first) == "service-unavailable"
    assert answer(client, "two", challenge(client)) == ""


def test_one_answer_makes_one_account(network: Network) -> None:
    serve(network)
    client, _ = newcomer(network)
    first = challenge(client)
    assert answer(client, "two", first) == ""
    assert answer(client, "two", first, "tybalt") == "service-unavailable"


def test_a_right_answer_holds_until_an_account_was_made(network: Network) -> None:
    serve(network)
    network.client("juliet@montague.lit/balcony")
    client, _ = newcomer(network)
    first = challenge(client)
    assert answer(client, "two", first, "juliet") == "conflict"
    assert answer(client, "two", first, "romeo") == ""


def test_an_answer_that_takes_too_long_is_too_late(network: Network) -> None:
    serve(network, answering=50)
    first = challenge(newcomer(network)[0])
    network.advance(49)
    late = challenge(newcomer(network)[0])
    network.advance(1)
    client, _ = newcomer(network)  # a stream without a login has ended by then
    assert answer(client, "two", first) == "service-unavailable"
    assert answer(client, "two", late) == ""


@pytest.mark.parametrize("made_up", ["x", "9999999999.0.00.00", "....", "\u00e9.0.1.2"])
def test_a_question_that_nobody_was_asked_has_no_answer(network: Network, made_up: str) -> None:
    serve(network)
    client, _ = newcomer(network)
    assert answer(client, "two", made_up) == "service-unavailable"


def test_a_question_for_longer_than_it_was_asked_is_none(network: Network) -> None:
    serve(network)
    client, _ = newcomer(network)
    until, rest = challenge(client).split(".", 1)
    assert answer(client, "two", f"{int(until) + 3600}.{rest}") == "service-unavailable"


def test_the_fields_of_old_answer_nothing(network: Network) -> None:
    serve(network)
    client, _ = newcomer(network)
    assert refused(client, said(fields())) == "not-acceptable"


def test_answers_count_as_tries_of_an_address(network: Network) -> None:
    serve(network, tries=2)
    client, _ = newcomer(network)
    outcomes = [answer(client, "three", challenge(client)) for _ in range(3)]
    assert outcomes == ["not-acceptable", "not-acceptable", "resource-constraint"]


CONFIG = """
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = 0
[storage]
url = "memory"
[[domains."montague.lit".modules.registration.questions]]
ask = "Who has had a dream tonight?"
answers = ["{}"]
"""


def read(folder: Path, answer: str) -> dict[str, str | None]:
    file = folder / "montague.toml"
    file.write_text(CONFIG.format(answer))
    return options(Config.read(file))


def test_nobody_is_shown_an_answer_but_that_it_has_changed(tmp_path: Path) -> None:
    name = 'domains."montague.lit".modules.registration.questions'
    one, same, other = (read(tmp_path, each)[name] for each in ("romeo", "romeo", "mercutio"))
    assert one == same != other
    assert "tonight" in str(one)
    assert "romeo" not in str(one)


def test_a_mistake_in_an_answer_is_told_without_it(tmp_path: Path) -> None:
    file = tmp_path / "montague.toml"
    file.write_text(CONFIG.format("mercutio").replace('["mercutio"]', '"mercutio"'))
    with pytest.raises(Exception, match="answers: is not a list") as mistake:
        options(Config.read(file))
    assert "mercutio" not in str(mistake.value)


def test_other_questions_hold_as_soon_as_they_are_set(network: Network) -> None:
    serve(network)
    client, _ = newcomer(network)
    before = challenge(client)
    module = network.server("montague.lit").hosts["montague.lit"].manager.module("registration")
    rose = Question(ask="What is in a name?", answers=(Secret("nothing"),))
    module.config = Registration.Config(open=True, questions=(rose,))
    assert answer(client, "nothing", before) == "service-unavailable"
    assert answer(client, "nothing", challenge(client)) == ""
