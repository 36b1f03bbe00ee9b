"""The public interoperability suite against this server: ``make interop JAR=FILE``; see docs/interop.md.

The suite is a program of others (XMPP-Interop-Testing, on Smack), in Java, that is not part of this
repository.  It always connects to port 5222.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from lxml import etree

from jabberd.certificates import development_certificates, make_ca
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KNOWN: Final = Path(__file__).with_suffix(".toml")
_FOLDER: Final = Path("var/interop")
_LONGEST: Final = 3600  # seconds: ten times what it takes
_PASSWORD: Final = "secret"  # of a server that nobody else can reach
_UTIL: Final = "org.igniterealtime.smack.inttest.util"
_RESULTS: Final = ("StdOut", "JUnitXml")
_CONFIG: Final = """
[[listeners]]
kind = "c2s"
address = "{address}"
port = 5222
[domains."example.org"]
federation = "off"
admins = ["admin@example.org"]
[domains."example.org".modules]
archive = true
registration = {{open = true}}
[domains."pubsub.example.org"]
service = "pubsub"
federation = "off"
admins = ["admin@example.org"]
[domains."rooms.example.org"]
service = "muc"
federation = "off"
admins = ["admin@example.org"]
[domains."rooms.example.org".modules.muc]
whois = "anyone"
[tls]
certificates = "certs"
[storage]
url = "sqlite:jabberd.db"
[limits]                        # it is a crowd at one address, and in a hurry
exempt = ["{address}"]
presence = "10000 per min"
subscriptions = "100000 per h"
"""


def main(arguments: Sequence[str]) -> str | None:
    """Run it.

    :returns: which tests failed that are not `KNOWN` to; None if there is none.
    """
    asked = _parser().parse_args(arguments)
    folder = _FOLDER.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = _prepared(folder, asked.address, asked.more)
    with running(config) as server:
        command = _java(asked, folder)
        with (folder / "suite.log").open("wb") as log:
            subprocess.run(command, cwd=folder, stderr=log, check=False, timeout=_LONGEST)
        sys.stdout.write(f"stanzas of each test: {folder}/logs; logs: {log.name}, {server.log}\n")
    results = folder / "logs" / "test-results.xml"
    if not results.exists():
        return "the suite did not come to its end"
    failed = sorted(set(failures(results.read_bytes())) - set(known()))
    return f"failed, and not known to: {', '.join(failed)}" if failed else None


def known() -> Mapping[str, str]:
    """The tests that do not pass, by class and method, each with the reason."""
    return tomllib.loads(KNOWN.read_text())


def failures(results: bytes) -> list[str]:
    """The tests that failed, as ``Class.method``, of a file of results in JUnit's format."""
    cases = etree.fromstring(results).iterfind(".//testcase")
    return [case.get("name", "").partition(" ")[0] for case in cases if case.find("failure") is not None]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make interop", description=__doc__)
    parser.add_argument(
        "jar", type=Path, help="the suite: smack-sint-server-extensions-...-with-dependencies.jar"
    )
    parser.add_argument("--address", default="127.0.0.1", help="where the server listens, on port 5222")
    parser.add_argument("--specifications", help="only these, like XEP-0030,RFC6121")
    parser.add_argument("--tests", help="only these classes, or Class.method, separated by commas")
    parser.add_argument("--more", type=Path, help="tables to add to the server's configuration")
    return parser


def _prepared(folder: Path, address: str, more: Path | None) -> Path:
    """A configuration with its certificates and the admin's account, and what Java has to know of it.

    That is whom to trust, and where the domains are: it has files to put there over HTTPS.
    """
    config = folder / "jabberd.toml"
    config.write_text(_CONFIG.format(address=address) + (more.read_text() if more else ""))
    domains = sorted(set(re.findall(r'^\[domains\."([^"]+)"', config.read_text(), re.MULTILINE)))
    development_certificates(folder / "certs", domains)
    trusted = pkcs12.PKCS12Certificate(make_ca(folder / "certs").certificate, b"ca")
    encrypted = BestAvailableEncryption(_PASSWORD.encode())
    (folder / "trusted.p12").write_bytes(pkcs12.serialize_java_truststore([trusted], encrypted))
    (folder / "hosts").write_text("".join(f"{address} {domain}\n" for domain in domains))
    jabberctl = Path(sys.executable).with_name("jabberctl")
    account = ["--password-stdin", "accounts", "create", "admin@example.org"]
    subprocess.run([jabberctl, "--config", config, *account], input=_PASSWORD, text=True, check=True)
    return config


def _java(asked: argparse.Namespace, folder: Path) -> list[str]:
    """What starts the suite."""
    settings = {
        "service": "example.org",
        "host": asked.address,
        "securityMode": "required",
        "replyTimeout": "5000",
        "adminAccountUsername": "admin",
        "adminAccountPassword": _PASSWORD,
        "enabledConnections": "tcp",
        "dnsResolver": "javax",
        "enabledSpecifications": asked.specifications,
        "enabledTests": asked.tests,
        "testRunResultProcessors": ",".join(f"{_UTIL}.{kind}TestRunResultProcessor" for kind in _RESULTS),
        "debugger": f"{_UTIL}.ModifiedStandardSinttestDebuggerMetaFactory",
    }
    machine = {
        "javax.net.ssl.trustStore": folder / "trusted.p12",
        "javax.net.ssl.trustStorePassword": _PASSWORD,
        "jdk.net.hosts.file": folder / "hosts",
        "logDir": folder / "logs",
        **{f"sinttest.{name}": value for name, value in settings.items() if value},
    }
    return [
        "java",
        *(f"-D{name}={value}" for name, value in machine.items()),
        "-jar",
        str(asked.jar.resolve()),
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
