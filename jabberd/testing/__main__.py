"""``python -m jabberd.testing [NAME:PASSWORD ...]``: a `local_server` for tests in any language.

One line of JSON says where it is, as soon as clients may come.  It ends, and forgets everything, when its
standard input is closed, or by SIGTERM or SIGINT.
"""

from __future__ import annotations

import json
import signal
import sys

from jabberd.testing.local import local_server


def main(accounts: list[str]) -> None:
    """Run a server with these accounts until nobody needs it any more."""
    for account in accounts:
        if ":" not in account:
            sys.exit(f"{account} is not NAME:PASSWORD; usage: python -m jabberd.testing [NAME:PASSWORD ...]")
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: sys.exit())  # the server is ended on the way out
    with local_server() as server:
        for account in accounts:
            server.account(*account.split(":", 1))
        told = {
            "domain": server.domain,
            "host": server.host,
            "port": server.port,
            "direct_port": server.direct_port,
            "authority": str(server.authority),
            "config": str(server.log.with_suffix(".toml")),
            "log": str(server.log),
        }
        sys.stdout.write(f"{json.dumps(told)}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1:])
