from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.x509.oid import NameOID

from jabberd.certificates import Issued, issue, make_ca
from jabberd.streams.certfiles import CertificateFolder, NoCertificateError
from tests.streams.test_tls import weakened

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def ca() -> Issued:
    return make_ca()


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def missing(folder: Path, domain: str) -> NoCertificateError:
    with pytest.raises(NoCertificateError) as raised:
        CertificateFolder(folder).choose(domain)
    return raised.value


def test_a_certificate_and_its_key_may_be_two_files(ca: Issued, tmp_path: Path) -> None:
    issued = issue(ca, "montague.lit")
    path = issued.write(tmp_path, "montague.lit")
    chosen = CertificateFolder(tmp_path).choose("montague.lit")
    assert (chosen.leaf, chosen.chain, chosen.path) == (issued.certificate, (), path)
    assert chosen.key.public_key() == issued.certificate.public_key()
    assert chosen.expires == issued.certificate.not_valid_after_utc


@pytest.mark.parametrize("key_first", [True, False])
def test_a_certificate_its_chain_and_its_key_may_be_one_file(
    ca: Issued, tmp_path: Path, key_first: bool
) -> None:
    issued = issue(issue(ca, "Verona CA", authority=True), "montague.lit")
    parts = [issued.certificate_pem(), issued.key_pem()]
    (tmp_path / "all.pem").write_bytes(b"".join(reversed(parts) if key_first else parts))
    chosen = CertificateFolder(tmp_path).choose("montague.lit")
    assert (chosen.leaf, chosen.chain) == (issued.certificate, issued.chain)


def test_the_full_chain_is_taken_from_certbots_folders(ca: Issued, tmp_path: Path) -> None:
    for domain in ("montague.lit", "capulet.lit"):
        issued = issue(issue(ca, "Verona CA", authority=True), domain)
        live = tmp_path / domain
        live.mkdir()
        (live / "README").write_text("This directory contains your keys and certificates.")
        (live / "privkey.pem").write_bytes(issued.key_pem())
        (live / "cert.pem").write_bytes(pem(issued.certificate))
        (live / "chain.pem").write_bytes(pem(issued.chain[0]))
        (live / "fullchain.pem").write_bytes(issued.certificate_pem())
    folder = CertificateFolder(tmp_path)
    for domain in ("montague.lit", "capulet.lit"):
        chosen = folder.choose(domain)
        assert chosen.path == tmp_path / domain / "fullchain.pem"
        assert len(chosen.chain) == 1


def weak(key: dsa.DSAPrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    """A certificate for montague.lit with that key, and the key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "montague.lit")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("montague.lit")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    formats = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return pem(made) + key.private_bytes(serialization.Encoding.PEM, *formats)


@pytest.mark.rfc9325("4.5-1")
def test_a_weak_certificate_is_refused_with_the_reason(ca: Issued, tmp_path: Path) -> None:
    file = tmp_path / "weak.pem"
    file.write_bytes(weak(rsa.generate_private_key(65537, 1024)))  # it is to be weak
    assert "its RSA key has 1024 bits; 2048 are the least" in str(missing(tmp_path, "montague.lit"))
    file.write_bytes(weak(ec.generate_private_key(ec.SECP192R1())))  # the same
    assert "on a curve of 192 bits; 224 are the least" in str(missing(tmp_path, "montague.lit"))
    file.write_bytes(weak(rsa.generate_private_key(65537, 2048)))
    assert CertificateFolder(tmp_path).choose("montague.lit").path == file
    issued = issue(ca, "montague.lit")
    old = weakened(issued.certificate.public_bytes(serialization.Encoding.DER))
    file.write_bytes(pem(x509.load_der_x509_certificate(old)) + issued.key_pem())
    assert "signed with SHA-1" in str(missing(tmp_path, "montague.lit"))


def test_the_folder_may_hold_the_authority_too(tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    issue(ca, "montague.lit").write(tmp_path, "montague.lit")
    assert CertificateFolder(tmp_path).choose("montague.lit").path.name == "montague.lit.crt"


def test_one_certificate_may_serve_many_domains_also_by_a_wildcard(ca: Issued, tmp_path: Path) -> None:
    issue(ca, "montague.lit", "*.montague.lit", srv=False).write(tmp_path, "verona")
    folder = CertificateFolder(tmp_path)
    for domain in ("montague.lit", "rooms.montague.lit"):
        assert folder.choose(domain).path.name == "verona.crt"
    with pytest.raises(NoCertificateError):
        folder.choose("a.rooms.montague.lit")


def test_a_service_name_is_a_name_and_u_labels_are_a_labels(ca: Issued, tmp_path: Path) -> None:
    issue(ca, "xn--bcher-kva.example", dns=False).write(tmp_path, "books")
    assert CertificateFolder(tmp_path).choose("bücher.example").path.name == "books.crt"


def test_an_xmpp_address_is_a_name_but_a_common_name_is_none(ca: Issued, tmp_path: Path) -> None:
    issue(ca, "montague.lit", dns=False, srv=False).write(tmp_path, "common")
    assert missing(tmp_path, "montague.lit").found == ("common.crt: it has no names (a common name is none)",)
    model = issue(ca, "model")
    address = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.5"), b"\x0c\x0cmontague.lit")
    certificate = (
        x509.CertificateBuilder(ca.certificate.subject, x509.Name([]), model.key.public_key(), 1)
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=True)
        .sign(ca.key, hashes.SHA256())
    )
    Issued(certificate, model.key).write(tmp_path, "old-style")
    assert CertificateFolder(tmp_path).choose("montague.lit").path.name == "old-style.crt"
    assert missing(tmp_path, "capulet.lit").domain == "capulet.lit"


def test_of_several_the_one_that_expires_last_is_taken(ca: Issued, tmp_path: Path) -> None:
    issue(ca, "montague.lit", expired=True).write(tmp_path, "a")
    issue(ca, "montague.lit").write(tmp_path, "b")
    while_both_are_valid = CertificateFolder(tmp_path, now=lambda: datetime.now(UTC) - timedelta(days=1.5))
    for folder in (while_both_are_valid, CertificateFolder(tmp_path)):
        assert folder.choose("montague.lit").path.name == "b.crt"


def test_an_expired_one_is_refused_with_its_date(ca: Issued, tmp_path: Path) -> None:
    issued = issue(ca, "montague.lit", expired=True)
    issued.write(tmp_path, "montague.lit")
    error = missing(tmp_path, "montague.lit")
    assert str(error) == (
        f"{tmp_path}: no certificate for montague.lit: "
        f"montague.lit.crt: it expired on {issued.certificate.not_valid_after_utc:%Y-%m-%d}"
    )
    assert (error.folder, error.domain) == (tmp_path, "montague.lit")


def test_one_that_tls_itself_refuses_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "montague.lit.pem").write_bytes(weak(dsa.generate_private_key(1024)))  # it is to be weak
    assert missing(tmp_path, "montague.lit").found == ("montague.lit.pem: TLS refuses it: ee key too small",)


def test_one_from_the_future_is_refused(ca: Issued, tmp_path: Path) -> None:
    issue(ca, "montague.lit").write(tmp_path, "montague.lit")
    long_ago = CertificateFolder(tmp_path, now=lambda: datetime(1597, 1, 29, tzinfo=UTC))
    with pytest.raises(NoCertificateError, match="it is not valid before 20"):
        long_ago.choose("montague.lit")


def test_a_key_that_does_not_fit_is_no_key(ca: Issued, tmp_path: Path) -> None:
    issue(ca, "montague.lit").write(tmp_path, "montague.lit")
    (tmp_path / "montague.lit.key").write_bytes(issue(ca, "montague.lit").key_pem())
    assert missing(tmp_path, "montague.lit").found == (
        "montague.lit.crt: no private key that fits it stands beside it",
    )


def test_what_names_other_domains_is_listed_when_nothing_comes_near(ca: Issued, tmp_path: Path) -> None:
    issue(ca, "capulet.lit", srv=False).write(tmp_path, "capulet.lit")
    assert missing(tmp_path, "montague.lit").found == ("capulet.lit.crt: it names only capulet.lit",)


def test_files_that_cannot_be_used_are_named(ca: Issued, tmp_path: Path) -> None:
    issued = issue(ca, "montague.lit")
    (tmp_path / "a.crt").write_bytes(b"-----BEGIN CERTIFICATE-----\ntorn\n-----END CERTIFICATE-----\n")
    (tmp_path / "b.key").write_bytes(b"-----BEGIN PRIVATE KEY-----\ntorn\n-----END PRIVATE KEY-----\n")
    locked = serialization.BestAvailableEncryption(b"sesame")
    (tmp_path / "c.key").write_bytes(
        issued.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
    )
    (tmp_path / "c.crt").write_bytes(issued.certificate_pem())
    assert missing(tmp_path, "montague.lit").found == (
        "c.crt: no private key that fits it stands beside it",
        "b.key: the key cannot be read",
        "c.key: the key is encrypted, and nobody can be asked",
        "a.crt: the certificate cannot be read",
    )


def test_a_file_that_cannot_be_read_does_not_hide_the_others(ca: Issued, tmp_path: Path) -> None:
    issue(ca, "montague.lit").write(tmp_path, "montague.lit")
    (tmp_path / "a.pem").symlink_to("/proc/self/mem")  # an error for root, too
    assert CertificateFolder(tmp_path).choose("montague.lit").path.name == "montague.lit.crt"
    assert missing(tmp_path, "capulet.lit").found[1:] == ("a.pem: Input/output error",)


def test_an_empty_folder_and_a_missing_one_are_told_apart(tmp_path: Path) -> None:
    assert str(missing(tmp_path, "montague.lit")).endswith("there is no certificate at all")
    assert str(missing(tmp_path / "nowhere", "montague.lit")).endswith("nowhere: No such file or directory")


def test_a_folder_full_of_strangers_gives_a_short_message(ca: Issued, tmp_path: Path) -> None:
    issued = issue(ca, "capulet.lit")
    for number in range(20):
        issued.write(tmp_path, str(number))
    assert len(missing(tmp_path, "montague.lit").found) == 5
