"""Who comes from where: what one IP address may do, on all listeners together.

An IPv6 address stands for its /64 network, which is what one subscriber has (RFC 6177); an IPv4 address for
itself, also where a listener for both shows it as ``::ffff:192.0.2.1``.
"""

from __future__ import annotations

import resource
from collections import Counter
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

from jabberd.rates import HeldBack, Meter, ip, network

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twisted.internet.interfaces import IReactorTime

    from jabberd.settings import Limits

__all__ = ["Addresses", "ip", "most_connections", "network"]

log = Logger()

_OTHER_FILES: Final = 256  # the storage, the log, links to other servers, questions to name servers


class Addresses:
    """The connections and the failures of each address.

    :ivar most: connections that the process has room for, from everywhere; None: any number.
    :ivar open: how many connections there are.
    :ivar refused: how often a connection was one too many, by the setting.
    """

    def __init__(self, clock: IReactorTime, limits: Limits, most: int | None = None) -> None:
        self.open = 0
        self.refused: Counter[str] = Counter()
        self._clock = clock
        self.most = most
        self._connections: Counter[str] = Counter()
        self._attempts = Meter("connection_attempts", limits.connection_attempts)
        self._guesses = Meter("login_failures", limits.login_failures)
        self._failures = Meter("address_failures", limits.address_failures)
        self._registrations = Meter("registrations", limits.registrations)
        self.use(limits)

    def use(self, limits: Limits) -> None:
        """Have other limits, for those who come from now on."""
        self._limits = limits
        self._exempt = [ip_network(each) for each in limits.exempt]
        self._attempts.rate = limits.connection_attempts
        self._guesses.rate = limits.login_failures
        self._failures.rate = limits.address_failures
        self._registrations.rate = limits.registrations

    @property
    def meters(self) -> tuple[Meter, ...]:
        """What counts over time."""
        return self._attempts, self._guesses, self._failures, self._registrations

    def admit(self, address: str) -> bool:
        """Whether one more connection may come from there; if so, it counts until `leave`."""
        subject = network(address)
        why = self._objection(address, subject)
        if why:
            self.refused[why] += 1
            log.info("refused a connection from {address}: {why}", address=subject, why=why)
            return False
        self._connections[subject] += 1
        self.open += 1
        return True

    def _is_exempt(self, address: str) -> bool:
        """Whether many share it, so that one must not pay for all."""
        if not self._exempt or not address:
            return False
        parsed = ip_address(address)
        return any(parsed in each for each in self._exempt)

    def _objection(self, address: str, subject: str) -> str:
        if self.most is not None and self.open >= self.most:
            return "files"
        if self._is_exempt(address):
            return ""
        if self._connections[subject] >= self._limits.connections:
            return "connections"
        return "" if self._attempts.take(subject, self._clock.seconds()) else "connection_attempts"

    def leave(self, address: str) -> None:
        """A connection from there is gone."""
        subject = network(address)
        self.open -= 1
        self._connections[subject] -= 1
        if self._connections[subject] <= 0:
            del self._connections[subject]

    def may_try(self, address: str, account: str) -> bool:
        """Whether that address may guess once more the password of that account."""
        subject, now = network(address), self._clock.seconds()
        meter = self._guesses if self._guesses.wait(_guess(account, subject), now) else self._failures
        key = _guess(account, subject) if meter is self._guesses else subject
        if not meter.wait(key, now):
            return True
        meter.refused += 1
        return False

    def failed(self, address: str, account: str) -> None:
        """It guessed wrong."""
        subject, now = network(address), self._clock.seconds()
        self._guesses.count(_guess(account, subject), now)
        if not self._is_exempt(address):
            self._failures.count(subject, now)

    def may_register(self, address: str) -> bool:
        """Whether somebody there may try once more to make an account; if so, it counts."""
        return self._is_exempt(address) or self._registrations.take(network(address), self._clock.seconds())

    def held(self) -> Iterator[HeldBack]:
        """Who is held back now."""
        now, most = self._clock.seconds(), self._limits.connections
        for subject, count in self._connections.items():
            if count >= most and not self._is_exempt(subject.partition("/")[0]):
                yield HeldBack("connections", subject, f"{count} of {most}")
        for meter in self.meters:
            yield from meter.held(now)


def _guess(account: str, subject: str) -> str:
    return f"{account} from {subject}"


def most_connections() -> int | None:
    """How many connections this process has room for: files are left for all else that it opens."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if files == resource.RLIM_INFINITY else files - min(_OTHER_FILES, files // 4)
