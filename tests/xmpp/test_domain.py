from __future__ import annotations

from ipaddress import ip_address

import pytest

from jabberd.xmpp.domain import a_labels, ip_literal


@pytest.mark.parametrize(
    ("domainpart", "name"),
    [
        ("montague.lit", "montague.lit"),
        ("Montague.LIT.", "montague.lit"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("_odd.example", "_odd.example"),
    ],
)
def test_names_become_a_labels(domainpart: str, name: str) -> None:
    assert a_labels(domainpart) == name


@pytest.mark.parametrize("domainpart", ["192.0.2.1", "[2001:db8::1]", "ü" * 64, "a..ü", "ü b.example"])
def test_what_dns_cannot_hold_is_refused(domainpart: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # idna has its own words for it
        a_labels(domainpart)


@pytest.mark.parametrize(
    ("domainpart", "address"), [("192.0.2.1", "192.0.2.1"), ("[2001:db8::1]", "2001:db8::1")]
)
def test_an_address_is_known_as_one(domainpart: str, address: str) -> None:
    assert ip_literal(domainpart) == ip_address(address)


@pytest.mark.parametrize("domainpart", ["montague.lit", "", "1.2.3", "[montague.lit]"])
def test_a_name_is_no_address(domainpart: str) -> None:
    assert ip_literal(domainpart) is None
