from __future__ import annotations

import pytest

from jabberd.streams.proof import LinkError, Offer, Offered, Policy, next_step, offer
from jabberd.xmpp import ns
from jabberd.xmpp.element import parse

PROOFS = ("certificate", "dialback", "either")


def offered(proof: str, *, require_tls: bool = True, **known: bool) -> Offer:
    facts = {"encrypted": True, "can_encrypt": True, "vouched": True, "authenticated": False, "bidi": True}
    return offer(Policy(proof, require_tls), **{**facts, **known})  # type: ignore[arg-type]  # the names above are right


@pytest.mark.parametrize(
    ("proof", "vouched", "external", "dialback"),
    [
        ("certificate", True, True, True),  # dialback signals further pairs that the certificate names
        ("certificate", False, False, False),
        ("dialback", True, False, True),
        ("dialback", False, False, True),
        ("either", True, True, True),
        ("either", False, False, True),
    ],
)
def test_what_an_encrypted_stream_is_offered(
    proof: str, vouched: bool, external: bool, dialback: bool
) -> None:
    got = offered(proof, vouched=vouched)
    assert (got.external, got.dialback) == (external, dialback)
    assert not got.starttls
    assert not got.must_encrypt


@pytest.mark.parametrize("proof", PROOFS)
def test_before_tls_nothing_else_is_offered(proof: str) -> None:
    got = offered(proof, encrypted=False)
    assert got == Offer(
        starttls=True, must_encrypt=True, external=False, dialback=False, sm=False, bidi=False
    )


@pytest.mark.parametrize("proof", PROOFS)
def test_where_tls_is_not_required_dialback_is_offered_without_it(proof: str) -> None:
    got = offered(proof, require_tls=False, encrypted=False)
    asks = proof != "certificate"
    assert got == Offer(starttls=True, must_encrypt=False, external=False, dialback=asks, sm=asks, bidi=True)


def test_a_proved_peer_is_not_asked_for_its_certificate_again() -> None:
    got = offered("certificate", authenticated=True)
    assert not got.external
    assert got.dialback
    assert not got.bidi  # it is asked for before


def step(proof: str, objection: str = "", *, require_tls: bool = True, **facts: bool) -> str:
    known = {"encrypted": True, "can_encrypt": True, **facts}
    features = Offered(starttls=known.pop("starttls", False))
    try:
        return next_step(Policy(proof, require_tls), features, objection=objection, **known)  # type: ignore[arg-type]  # the names above are right
    except LinkError as error:
        return str(error)


@pytest.mark.parametrize("proof", PROOFS)
def test_tls_is_started_wherever_it_is_offered(proof: str) -> None:
    assert step(proof, "no certificate", encrypted=False, starttls=True) == "starttls"
    assert step(proof, "no certificate", encrypted=False, starttls=True, require_tls=False) == "starttls"


@pytest.mark.rfc7590("3.1-1")
@pytest.mark.parametrize("proof", PROOFS)
def test_where_tls_is_required_it_is_started_though_nobody_offers_it(proof: str) -> None:
    assert step(proof, "no certificate", encrypted=False) == "starttls"


@pytest.mark.parametrize("proof", PROOFS)
def test_without_tls_where_it_is_required_it_ends(proof: str) -> None:
    said = step(proof, "no certificate", encrypted=False, can_encrypt=False)
    assert said == "remote-server-timeout: it offers no encryption"


@pytest.mark.parametrize(
    ("proof", "objection", "expected"),
    [
        ("certificate", "", "secured"),
        (
            "certificate",
            "it expired",
            "remote-server-timeout: its certificate does not vouch for it: it expired",
        ),
        ("dialback", "it expired", "secured"),
        ("either", "it expired", "secured"),
    ],
)
def test_whom_an_encrypted_stream_leads_to(proof: str, objection: str, expected: str) -> None:
    assert step(proof, objection) == expected


def test_without_tls_there_is_no_certificate_to_believe() -> None:
    assert step("certificate", "it sent none", encrypted=False, require_tls=False) != "secured"
    assert step("dialback", "it sent none", encrypted=False, require_tls=False) == "secured"


def test_features_are_read() -> None:
    xml = (
        f"<stream:features xmlns:stream='{ns.STREAM}'><starttls xmlns='{ns.TLS}'><required/></starttls>"
        f"<mechanisms xmlns='{ns.SASL}'><mechanism>PLAIN</mechanism>"
        f"<mechanism>EXTERNAL</mechanism></mechanisms>"
        f"<dialback xmlns='{ns.DIALBACK_FEATURE}'><errors/></dialback></stream:features>"
    )
    assert Offered.read(parse(xml.encode())) == Offered(starttls=True, external=True, dialback=True)
    assert Offered.read(parse(f"<features xmlns='{ns.STREAM}'/>".encode())) == Offered()
