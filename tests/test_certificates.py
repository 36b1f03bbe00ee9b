"""The development CA makes certificates that strict peers accept, and every odd kind that tests need."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from OpenSSL.crypto import X509, X509Store, X509StoreContext, X509StoreContextError
from service_identity import VerificationError
from service_identity.hazmat import DNS_ID, SRV_ID, verify_service_identity
from service_identity.pyopenssl import extract_patterns

from jabberd.certificates import SERVER_AUTH, Issued, development_certificates, issue, make_ca

if TYPE_CHECKING:
    from pathlib import Path


def vouches(root: Issued, leaf: Issued) -> bool:
    store = X509Store()
    store.add_cert(X509.from_cryptography(root.certificate))
    chain = [X509.from_cryptography(each) for each in leaf.chain]
    try:
        X509StoreContext(store, X509.from_cryptography(leaf.certificate), chain).verify_certificate()
    except X509StoreContextError:
        return False
    return True


def names(leaf: Issued, *wanted: DNS_ID | SRV_ID) -> None:
    patterns = extract_patterns(X509.from_cryptography(leaf.certificate))
    verify_service_identity(patterns, wanted, [])


def test_a_leaf_names_its_domain_as_dns_id_and_as_srv_id_for_servers_and_clients() -> None:
    leaf = issue(make_ca(), "montague.lit", "rooms.montague.lit")
    for wanted in (
        DNS_ID("montague.lit"),
        DNS_ID("rooms.montague.lit"),
        SRV_ID("_xmpp-server.montague.lit"),
        SRV_ID("_xmpp-client.rooms.montague.lit"),
    ):
        names(leaf, wanted)
    with pytest.raises(VerificationError):
        names(leaf, DNS_ID("capulet.lit"))


def test_a_leaf_is_for_servers_only_unless_said_otherwise() -> None:
    leaf = issue(make_ca(), "montague.lit").certificate
    assert list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [SERVER_AUTH]
    bare = issue(make_ca(), "montague.lit", eku=()).certificate
    with pytest.raises(x509.ExtensionNotFound):
        bare.extensions.get_extension_for_class(x509.ExtendedKeyUsage)


def test_the_root_vouches_for_its_leaves_and_for_those_of_its_intermediates() -> None:
    root = make_ca()
    middle = issue(root, "an intermediate", authority=True)
    leaf = issue(middle, "montague.lit")
    assert leaf.chain == (middle.certificate,)
    assert vouches(root, leaf)
    assert vouches(root, issue(root, "montague.lit"))
    assert issue(root, "montague.lit").chain == ()


def test_nobody_vouches_for_the_expired_the_self_signed_and_strangers() -> None:
    root = make_ca()
    assert not vouches(root, issue(root, "montague.lit", expired=True))
    assert not vouches(root, issue(None, "montague.lit"))
    assert not vouches(root, issue(make_ca(), "montague.lit"))


def test_a_leaf_without_alternatives_has_the_common_name_alone() -> None:
    leaf = issue(make_ca(), "montague.lit", dns=False, srv=False).certificate
    assert leaf.subject.rfc4514_string() == "CN=montague.lit"
    with pytest.raises(x509.ExtensionNotFound):
        leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)


def handshake(root: Path, leaf: Path, hostname: str) -> None:
    """Python's own TLS, in memory, with the strictest checks it has."""
    client_context = ssl.create_default_context(cafile=root)
    client_context.verify_flags |= ssl.VERIFY_X509_STRICT
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_context.load_cert_chain(leaf, leaf.with_suffix(".key"))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=hostname)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    done = 0
    for side in (client, server, client, server):
        try:
            side.do_handshake()
            done += 1
        except ssl.SSLWantReadError:
            continue
    assert done


def test_strict_tls_accepts_what_is_in_the_folder(tmp_path: Path) -> None:
    development_certificates(tmp_path, ["montague.lit"])
    handshake(tmp_path / "ca.crt", tmp_path / "montague.lit.crt", "montague.lit")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path / "ca.crt", tmp_path / "montague.lit.crt", "capulet.lit")


def test_private_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    development_certificates(tmp_path, ["montague.lit"])
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("*.key")} == {
        "ca.key": 0o600,
        "montague.lit.key": 0o600,
    }


def test_what_is_there_stays_and_what_is_missing_or_of_another_ca_is_made(tmp_path: Path) -> None:
    development_certificates(tmp_path, ["montague.lit"])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    development_certificates(tmp_path, ["montague.lit", "capulet.lit"])
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"capulet.lit.crt", "capulet.lit.key"}
    (tmp_path / "ca.crt").unlink()
    development_certificates(tmp_path, ["montague.lit"])
    handshake(tmp_path / "ca.crt", tmp_path / "montague.lit.crt", "montague.lit")


def test_an_expired_certificate_is_made_anew(tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    issue(ca, "montague.lit", expired=True).write(tmp_path, "montague.lit")
    development_certificates(tmp_path, ["montague.lit"])
    handshake(tmp_path / "ca.crt", tmp_path / "montague.lit.crt", "montague.lit")
