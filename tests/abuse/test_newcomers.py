"""Row F12 of the abuses: what somebody without an account can try to get one, said to a real server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.abuse.wire import condition

if TYPE_CHECKING:
    from tests.abuse.scene import Scene
    from tests.abuse.wire import Wire

pytestmark = pytest.mark.process

NS = "jabber:iq:register"
FIELD = "{jabber:x:data}field"


def registers(wire: Wire, name: str) -> str:
    """What comes of the fields of old."""
    fields = f"<username>{name}</username><password>trust me</password>"
    return condition(wire.ask(f"<iq type='set' id='q1'><query xmlns='{NS}'>{fields}</query></iq>"))


def shows(wire: Wire, token: str) -> str:
    return condition(
        wire.ask(f"<iq type='set' id='q1'><preauth xmlns='urn:xmpp:pars:0' token='{token}'/></iq>")
    )


def challenge(wire: Wire) -> str:
    form = wire.ask(f"<iq type='get' id='q1'><query xmlns='{NS}'/></iq>")
    values = {each.get("var"): each.findtext("{jabber:x:data}value") for each in form.iter(FIELD)}
    return values["challenge"] or ""


def answers(wire: Wire, challenge: str, answer: str, name: str) -> str:
    filled = {"username": name, "password": "trust me", "challenge": challenge, "qa": answer}
    fields = "".join(f"<field var='{var}'><value>{value}</value></field>" for var, value in filled.items())
    form = f"<x xmlns='jabber:x:data' type='submit'>{fields}</x>"
    return condition(wire.ask(f"<iq type='set' id='q1'><query xmlns='{NS}'>{form}</query></iq>"))


def invitation(scene: Scene, *words: str) -> str:
    """The token of a new one."""
    found = re.search(r"preauth=(\w+)", scene.operate("invitations", "create", *words)["uri"])
    assert found is not None
    return found[1]


def test_f12_nobody_makes_an_account_behind_a_closed_door(scene: Scene) -> None:
    assert registers(scene.encrypted(), "tybalt") == "not-allowed"
    scene.lines = 0


def test_f12_nobody_takes_a_name_that_is_taken(scene: Scene) -> None:
    wire = scene.encrypted()
    assert shows(wire, invitation(scene, "montague.lit")) == ""
    assert registers(wire, "benvolio") == "conflict"
    scene.lines = 0


def test_f12_a_wrong_answer_makes_no_account_and_no_answer_makes_two(scene: Scene) -> None:
    wire = scene.encrypted("capulet.lit")
    first, second = challenge(wire), challenge(wire)
    assert answers(wire, first, "rosaline", scene.villain) == "not-acceptable"
    assert answers(wire, first, "any other name", scene.villain) == "service-unavailable"
    assert registers(wire, scene.villain) == "not-acceptable"
    assert answers(wire, second, "any other name", scene.villain) == ""
    assert answers(wire, second, "any other name", f"{scene.villain}x") == "service-unavailable"
    scene.lines = 1  # the account


def test_f12_an_invitation_that_was_used_or_is_none_is_not_found(scene: Scene) -> None:
    token = invitation(scene, "montague.lit")
    assert shows(scene.encrypted(), "a" * 24) == "item-not-found"
    wire, other = scene.encrypted(), scene.encrypted()
    assert (shows(wire, token), shows(other, token)) == ("", "")
    assert registers(wire, f"{scene.villain}x") == ""
    assert registers(other, f"{scene.villain}y") == "item-not-found"
    assert shows(scene.encrypted(), token) == "item-not-found"
    assert token not in scene.log()
    scene.lines = 1  # the account


def visited(scene: Scene, *paths: str) -> list[bytes]:
    """What each page answers, without its date."""
    answers = []
    for path in paths:
        with scene.visitor() as sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: montague.lit\r\nConnection: close\r\n\r\n".encode())
            with sock.makefile("rb") as answer:
                answers.append(re.sub(rb"(?i)\r\ndate: [^\r]*", b"", answer.read()))
    return answers


def test_f12_the_page_of_an_invitation_tells_nobody_which_tokens_there_were(scene: Scene) -> None:
    token = invitation(scene, "montague.lit")
    assert visited(scene, f"/invite/{token}")[0].startswith(b"HTTP/1.1 200 ")
    wire = scene.encrypted()
    assert shows(wire, token) == ""
    assert registers(wire, f"{scene.villain}z") == ""
    guesses = (token, "a" * 24, token[:-1], f"{token}/", "%3Cscript%3E", "a" * 5000)
    [answer] = {*visited(scene, *(f"/invite/{each}" for each in guesses))}
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"<script" not in answer
    assert token not in scene.log()
    scene.lines = 1  # the account


def test_f12_one_address_tries_so_often_and_no_more(scene: Scene) -> None:
    wire = scene.encrypted()
    outcomes = [registers(wire, "tybalt") for _ in range(25)]
    assert outcomes[-1] == "resource-constraint"
    assert set(outcomes) <= {"not-allowed", "resource-constraint"}
    scene.lines = 0
