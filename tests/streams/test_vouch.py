from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID
from OpenSSL import SSL

from jabberd.certificates import CLIENT_AUTH, SERVER_AUTH, SRV_NAME, Issued, issue, make_ca
from jabberd.streams.vouch import SYSTEM, Trust, TrustError, Verdict, judge

if TYPE_CHECKING:
    from pathlib import Path


ANY = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE


@pytest.fixture(scope="module")
def ca() -> Issued:
    return make_ca()


@pytest.fixture(scope="module")
def trust(ca: Issued, tmp_path_factory: pytest.TempPathFactory) -> Trust:
    return Trust([ca.write(tmp_path_factory.mktemp("trust"), "ca")])


def der(issued: Issued) -> tuple[bytes, ...]:
    return tuple(each.public_bytes(Encoding.DER) for each in (issued.certificate, *issued.chain))


def with_names(ca: Issued, *names: x509.GeneralName) -> tuple[bytes, ...]:
    """A certificate whose names no sound authority would put into one."""
    return with_extension(ca, x509.SubjectAlternativeName(names))


def with_extension(ca: Issued, extension: x509.ExtensionType) -> tuple[bytes, ...]:
    model = issue(ca, "model")
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(ca.certificate.subject)
        .public_key(model.key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(extension, critical=True)
    )
    return (builder.sign(ca.key, hashes.SHA256()).public_bytes(Encoding.DER),)


@pytest.mark.parametrize(
    "eku",
    [
        (SERVER_AUTH,),
        (CLIENT_AUTH,),
        (SERVER_AUTH, CLIENT_AUTH),
        (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,),
        (),
    ],
    ids=["server", "client", "both", "any", "unlimited"],
)
def test_a_certificate_for_tls_of_either_role_vouches(
    ca: Issued, trust: Trust, eku: tuple[x509.ObjectIdentifier, ...]
) -> None:
    assert judge(der(issue(ca, "montague.lit", eku=eku)), "montague.lit", trust)


def test_a_leaf_for_servers_alone_vouches_under_an_intermediate_for_servers_alone(
    ca: Issued, trust: Trust
) -> None:
    chain = der(issue(issue(ca, "Verona CA", authority=True), "montague.lit"))
    assert len(chain) == 2
    assert judge(chain, "montague.lit", trust)


def test_a_certificate_for_neither_servers_nor_clients_is_refused(ca: Issued, trust: Trust) -> None:
    signing = issue(ca, "montague.lit", eku=(ExtendedKeyUsageOID.CODE_SIGNING,))
    assert judge(der(signing), "montague.lit", trust) == Verdict("it is not for TLS servers or clients")


@pytest.mark.rfc6120("13.7.1.2.1-1")
@pytest.mark.parametrize(("dns", "srv"), [(True, False), (False, True)])
def test_either_kind_of_name_suffices(ca: Issued, trust: Trust, dns: bool, srv: bool) -> None:
    assert judge(der(issue(ca, "montague.lit", dns=dns, srv=srv)), "montague.lit", trust)


def test_a_name_for_clients_only_does_not_vouch_for_a_server(ca: Issued, trust: Trust) -> None:
    name = x509.OtherName(SRV_NAME, b"\x16\x19_xmpp-client.montague.lit")
    verdict = judge(with_names(ca, name), "montague.lit", trust)
    assert verdict == Verdict("it names only _xmpp-client.montague.lit")


@pytest.mark.parametrize(
    ("name", "domain", "vouches"),
    [
        ("*.montague.lit", "rooms.montague.lit", True),
        ("*.montague.lit", "montague.lit", False),
        ("*.montague.lit", "a.rooms.montague.lit", False),
        ("*.lit", "montague.lit", False),
        ("MONTAGUE.lit", "montague.lit", True),
        ("xn--bcher-kva.example", "bücher.example", True),
        ("evil.example", "montague.lit", False),
        ("montague.lit.evil.example", "montague.lit", False),
    ],
)
def test_names_are_compared_as_rfc_9525_says(
    ca: Issued, trust: Trust, name: str, domain: str, vouches: bool
) -> None:
    assert bool(judge(with_names(ca, x509.DNSName(name)), domain, trust)) is vouches


@pytest.mark.parametrize("domain", ["192.0.2.1", "[2001:db8::1]", "", "mon tague.lit", "a" * 64 + "ü.lit"])
def test_no_certificate_vouches_for_what_is_no_name(ca: Issued, trust: Trust, domain: str) -> None:
    verdict = judge(der(issue(ca, "montague.lit")), domain, trust)
    assert verdict.objection.startswith("certificates do not name")


def test_b16_a_name_only_in_the_common_name_does_not_vouch(ca: Issued, trust: Trust) -> None:
    verdict = judge(der(issue(ca, "montague.lit", dns=False, srv=False)), "montague.lit", trust)
    assert verdict == Verdict("it has no names (a common name is none)")


@pytest.mark.parametrize(
    "name", ["rooms.*.lit", "*.*.lit", "r*s.mon*.lit", "montague.lit\0.evil.example", "127.0.0.1"]
)
def test_b16_one_name_that_is_none_spoils_the_certificate(ca: Issued, trust: Trust, name: str) -> None:
    verdict = judge(with_names(ca, x509.DNSName("montague.lit"), x509.DNSName(name)), "montague.lit", trust)
    assert verdict.objection.startswith("it cannot be read: ")
    assert verdict.objection.isprintable()


def test_b16_ten_thousand_names_are_not_even_read(ca: Issued, trust: Trust) -> None:
    chain = with_names(ca, *(x509.DNSName(f"{i}.montague.lit") for i in range(10_000)))
    before = time.process_time()
    assert judge(chain, "1.montague.lit", trust) == Verdict("it has 10000 names")
    assert time.process_time() - before < 0.5


@pytest.mark.parametrize(
    "name",
    [
        x509.OtherName(SRV_NAME, b"\x16\x00"),
        x509.OtherName(SRV_NAME, b"\x0c\x02_x"),
        x509.UniformResourceIdentifier("urn:uuid:b3e0"),
    ],
    ids=["an empty SRVName", "a SRVName of another type", "a URI of three parts"],
)
def test_what_trips_the_libraries_only_fails_to_vouch(
    ca: Issued, trust: Trust, name: x509.GeneralName
) -> None:
    assert not judge(with_names(ca, x509.DNSName("montague.lit"), name), "montague.lit", trust)


def test_names_that_are_no_asn_1_fail_to_vouch(ca: Issued, trust: Trust) -> None:
    names = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, b"montague.lit")
    assert not judge(with_extension(ca, names), "montague.lit", trust)


@pytest.mark.parametrize(
    "chain", [(b"",), (b"junk",), (b"\x30\x82\xff\xff",)], ids=["nothing", "text", "a stump"]
)
def test_what_is_no_certificate_does_not_vouch(trust: Trust, chain: tuple[bytes, ...]) -> None:
    assert judge(chain, "montague.lit", trust).objection.startswith("it cannot be read")


def test_nobody_vouches_without_a_certificate(trust: Trust) -> None:
    assert judge((), "montague.lit", trust) == Verdict("it sent no certificate")


def test_the_objection_tells_the_operator_what_is_wrong_with_the_chain(ca: Issued, trust: Trust) -> None:
    yesterday = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}"
    stranger = issue(None, "Evil CA", authority=True, eku=())
    old = issue(ca, "Old CA", authority=True, expired=True)
    for issued, objection in (
        (issue(ca, "montague.lit", expired=True), f"it expired on {yesterday}"),
        (issue(old, "montague.lit"), f"the authority CN=Old CA expired on {yesterday}"),
        (issue(None, "montague.lit"), "it is signed by itself"),
        (issue(stranger, "montague.lit"), "it was issued by an unknown authority (CN=Evil CA)"),
    ):
        assert judge(der(issued), "montague.lit", trust) == Verdict(objection)


def test_a_chain_with_its_intermediate_left_out_comes_from_an_unknown_authority(
    ca: Issued, trust: Trust
) -> None:
    leaf, _ = der(issue(issue(ca, "Verona CA", authority=True), "montague.lit"))
    verdict = judge((leaf,), "montague.lit", trust)
    assert verdict == Verdict("it was issued by an unknown authority (CN=Verona CA)")


def test_an_ordinary_certificate_is_no_authority(ca: Issued, trust: Trust) -> None:
    mallory = issue(ca, "evil.example")
    forged = Issued(issue(mallory, "montague.lit").certificate, mallory.key, (mallory.certificate,))
    assert not judge(der(forged), "montague.lit", trust)


def test_names_in_an_objection_are_few_short_and_printable(ca: Issued, trust: Trust) -> None:
    names = [x509.DNSName(f"{i}.evil.example") for i in range(7)]
    assert judge(with_names(ca, *names), "montague.lit", trust).objection == (
        "it names only 0.evil.example, 1.evil.example, 2.evil.example, 3.evil.example, 4.evil.example"
        " and 2 more"
    )
    noisy = judge(with_names(ca, x509.DNSName("\x1b[31m\n" + "x" * 500)), "montague.lit", trust)
    assert noisy.objection.isprintable()
    assert len(noisy.objection) < 150


def test_several_files_are_trusted_together(ca: Issued, tmp_path: Path) -> None:
    other = make_ca(name="Another CA")
    trust = Trust([ca.write(tmp_path, "one"), other.write(tmp_path, "two"), SYSTEM])
    for authority in (ca, other):
        assert judge(der(issue(authority, "montague.lit")), "montague.lit", trust)


@pytest.mark.rfc6120("13.6-2")
def test_who_names_authorities_does_not_get_those_of_the_system_as_well(
    ca: Issued, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(SSL.Context, "set_default_verify_paths", lambda _: asked.append("system"))
    chain = der(issue(ca, "montague.lit"))
    assert judge(chain, "montague.lit", Trust([ca.write(tmp_path, "ca")]))
    assert asked == []
    assert not judge(chain, "montague.lit", Trust())
    assert asked == ["system"]


def test_the_system_alone_does_not_trust_a_development_authority(ca: Issued) -> None:
    assert not judge(der(issue(ca, "montague.lit")), "montague.lit", Trust())


def test_reloading_takes_new_authorities_and_a_broken_file_changes_nothing(
    ca: Issued, tmp_path: Path
) -> None:
    path = ca.write(tmp_path, "trusted")
    trust, other = Trust([path]), make_ca(name="Another CA")
    other.write(tmp_path, "trusted")
    trust.reload()
    assert not judge(der(issue(ca, "montague.lit")), "montague.lit", trust)
    assert judge(der(issue(other, "montague.lit")), "montague.lit", trust)
    path.write_text("torn")
    with pytest.raises(TrustError, match=r"trusted.crt: no certificate"):
        trust.reload()
    assert judge(der(issue(other, "montague.lit")), "montague.lit", trust)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match=r"nowhere.pem: No such file or directory$"):
        Trust([tmp_path / "nowhere.pem"])
