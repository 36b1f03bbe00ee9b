"""The certificates that a running server shows, wherever it shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from OpenSSL import SSL
from twisted.logger import Logger

from jabberd.streams.tls import Contexts, openssl_reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jabberd.streams.certfiles import ServerCertificate

__all__ = ["Shown", "UnusableError"]

log = Logger()

Minimum = Literal["TLSv1.2", "TLSv1.3"]


class UnusableError(Exception):
    """OpenSSL does not take a certificate; the text says why."""


class Shown:
    """All TLS contexts of a server.

    :ivar table: by domain the certificate; it changes in place, for those who look at it.
    """

    def __init__(self, table: Mapping[str, ServerCertificate], minimum: Minimum) -> None:
        self.table: dict[str, ServerCertificate] = {}
        self._minimum = minimum
        self._contexts: list[Contexts] = []
        self._tell(table)

    def contexts(self, service: Literal["xmpp-client", "xmpp-server", "http/1.1"]) -> Contexts | None:
        """Contexts that follow every `replace`; None if this server has no certificate."""
        if not self.table:
            return None
        contexts = Contexts(service, self.table, self._minimum)
        self._contexts.append(contexts)
        return contexts

    def can_show(self, table: Mapping[str, ServerCertificate]) -> bool:
        """Whether `replace` can: what listens with TLS, or without, was decided at the start."""
        return bool(table) == bool(self.table)

    def replace(self, table: Mapping[str, ServerCertificate], minimum: Minimum) -> None:
        """Show these to all who connect from now on.

        :raises UnusableError: they cannot be shown; what was shown before still is.
        """
        try:
            for contexts in self._contexts:
                contexts.replace(table, minimum)
        except (SSL.Error, ValueError) as error:
            for contexts in self._contexts:
                contexts.replace(self.table, self._minimum)
            why = openssl_reason(error) if isinstance(error, SSL.Error) else str(error)
            raise UnusableError(f"a certificate cannot be used: {why}") from error
        self._minimum = minimum
        self._tell(table)

    def _tell(self, table: Mapping[str, ServerCertificate]) -> None:
        for domain, each in table.items():
            known = self.table.get(domain)
            if known is None or known.leaf != each.leaf:
                log.info(
                    "{domain} shows {path}, valid until {expires:%Y-%m-%d}",
                    domain=domain,
                    path=str(each.path),
                    expires=each.expires,
                )
        for domain in [name for name in self.table if name not in table]:
            del self.table[domain]
        self.table.update(table)
