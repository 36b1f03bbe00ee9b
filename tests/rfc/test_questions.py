"""RFC 6120 §8.2.3: whoever asks is answered, once, whatever the question has inside."""

from __future__ import annotations

import ast
import atexit
import inspect
import pkgutil
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

import jabberd.modules
from jabberd.loader import BESIDE, SERVICE_DEFAULT, module_class
from jabberd.streams import c2s
from jabberd.testing import Network
from jabberd.testing.client import condition
from jabberd.xmpp import ns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jabberd.testing import Client
    from tests.conftest import LoggedErrors

    Draw = Callable[[st.SearchStrategy[Any]], Any]

FILES = tempfile.mkdtemp(prefix="jabberd-questions-")  # not where this machine keeps those of its users
atexit.register(shutil.rmtree, FILES, ignore_errors=True)
NAMES_OF_MODULES = [module.name for module in pkgutil.iter_modules(jabberd.modules.__path__)]
#: Those that serve a whole domain, each its own here.
SERVICES = [name for name in NAMES_OF_MODULES if "@serves" in inspect.getsource(module_class(name))]
BESIDES = [name for names in BESIDE.values() for name in names]
DOMAINS = {
    "montague.lit": [name for name in NAMES_OF_MODULES if name not in (*SERVICES, *BESIDES)],
    **{f"{name}.montague.lit": [*SERVICE_DEFAULT, name, *BESIDE.get(name, ())] for name in SERVICES},
}


def words() -> set[str]:
    """Every string in the source of the modules: among them all names and values that they know."""
    files = Path(jabberd.modules.__path__[0]).rglob("*.py")
    trees = [ast.walk(ast.parse(file.read_text())) for file in files]
    return {node.value for tree in trees for node in tree if _is_string(node)}  # type: ignore[attr-defined]


def _is_string(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


NAMES = sorted(word for word in words() if re.fullmatch("[A-Za-z][A-Za-z_-]{0,20}", word))
NAMESPACES = sorted(
    word for word in (*words(), *vars(ns).values()) if re.match("urn:|jabber:|http:", str(word))
)
VALUES = [
    *("", "0", "-1", "99999999999999999999", "romeo@montague.lit", "romeo@montague.lit/orchard", "@@"),
    *("nobody@montague.lit", "evil.example", "2026-11-22T12:00:00Z", "yesterday", "AAAA", "=", "'\"&<"),
    *NAMES,
    *NAMESPACES,
]


def fill(draw: Draw, element: Any, namespace: str, depth: int) -> None:
    """Give an element attributes, children and a text."""
    for name in draw(st.sets(st.sampled_from(NAMES), max_size=3)):
        element.set(name, draw(st.sampled_from(VALUES)))
    element.text = draw(st.sampled_from(VALUES))
    for _ in range(draw(st.integers(0, 3 if depth else 0))):
        inside = namespace if draw(st.booleans()) else draw(st.sampled_from(NAMESPACES))
        child = etree.SubElement(element, f"{{{inside}}}{draw(st.sampled_from(NAMES))}")
        fill(draw, child, inside, depth - 1)


def served(network: Network) -> Network:
    """Serve all domains; romeo may administer them."""
    for domain, modules in DOMAINS.items():
        configured = {name: {"folder": FILES} if name == "upload" else {} for name in modules}
        network.serve(domain, modules=configured, admins=["romeo@montague.lit"])
    return network


def asked() -> list[tuple[str, str, str]]:
    """Every question that a module or the server itself answers: type, name, and whom it is put to."""
    network = served(Network())
    found = [(type, f"{{{ns.ROSTER}}}query", "romeo@montague.lit") for type in ("get", "set")]
    for server in network.servers:
        for domain, host in server.hosts.items():
            for type, name, target in host.manager.registry._answers:
                found.append((type, name, domain if target.name == "DOMAIN" else "romeo@montague.lit"))
    network.close()
    return sorted(found)


@pytest.fixture(scope="module")
def romeo() -> Iterator[Client]:
    network = served(Network())
    yield network.client("romeo@montague.lit/orchard")
    network.close()


@pytest.mark.rfc6120("8.2.3-2", "8.2.3-3", "8.2.3-6", "8.3.1-1", "10.3.3-1")
@pytest.mark.parametrize(("type", "name", "to"), asked())
@settings(
    max_examples=settings().max_examples // 5,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_every_question_is_answered_once_whatever_it_has_inside(
    romeo: Client, logged_errors: LoggedErrors, type: str, name: str, to: str, data: st.DataObject
) -> None:
    question = etree.Element(f"{{{ns.CLIENT}}}iq", {"type": type, "id": "q1", "to": to})
    fill(data.draw, etree.SubElement(question, name), name[1:].partition("}")[0], 3)
    romeo.forget()
    romeo.send(etree.tostring(question))
    answers = [each for each in romeo.heard if each.get("id") == "q1"]
    assert [each.get("type") for each in answers] in (["result"], ["error"]), etree.tostring(question)
    assert len(answers[0]) <= 1
    assert condition(answers[0]) != "internal-server-error", etree.tostring(question)
    assert romeo.connected
    assert logged_errors.take() == []


def said() -> list[str]:
    """Every nonza that a client may say, to its stream or to a module."""
    network = served(Network())
    found = set(c2s._NEGOTIATED)
    for server in network.servers:
        for host in server.hosts.values():
            registry = host.manager.registry
            found.update(registry.nonzas, registry.unbound)
    network.close()
    return sorted(found)


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    network = served(Network())
    yield network
    network.close()


@pytest.mark.rfc6120("4.8.4-2", "4.9.2-1")
@pytest.mark.parametrize("when", ["at once", "logged in", "bound"])
@pytest.mark.parametrize("name", said())
@settings(
    max_examples=settings().max_examples // 8,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_no_nonza_is_too_much_whatever_it_has_inside(
    network: Network, logged_errors: LoggedErrors, name: str, when: str, data: st.DataObject
) -> None:
    client = network.connected("romeo@montague.lit/orchard")
    client.open()
    if when != "at once":
        client.login()
        client.open()
    if when == "bound":
        client.bind()
    client.forget()
    nonza = etree.Element(name)
    fill(data.draw, nonza, name[1:].partition("}")[0], 2)
    client.send(etree.tostring(nonza))
    assert b"internal-server-error" not in b"".join(map(etree.tostring, client.heard))
    if client.connected:
        client.drop()
    network.flush()
    assert logged_errors.take() == []
