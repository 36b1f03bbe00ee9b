"""``/metrics``: what operators watch, read from the live server when it is asked for (OpenMetrics)."""

from __future__ import annotations

import platform
from collections import Counter
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, exposition
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from twisted.application.service import Service
from twisted.logger import Logger

import twisted
from jabberd import __version__
from jabberd.measure import Histogram
from jabberd.web import Page, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric
    from twisted.web.server import Request

    from jabberd.hosting import Host
    from jabberd.interfaces import Storage
    from jabberd.measure import Traffic
    from jabberd.streams.certfiles import ServerCertificate
    from jabberd.streams.clients import ClientFactory
    from jabberd.streams.federation import Federation
    from jabberd.streams.protocol import StreamProtocol
    from jabberd.streams.servers import ServerFactory

    Labels = Any  # a tuple of the labels' values

__all__ = ["Lag", "Metrics", "Sources"]

log = Logger()

_PERIOD: Final = 0.5  # seconds between two looks at the reactor
_KINDS: Final = ("c2s", "s2s-in", "s2s-out")
_STATES: Final = ("negotiating", "established", "closing")


class Lag(Service):
    """How late the reactor is: seconds, beyond the time that a call was made for.

    :ivar late: one figure for each half second.
    """

    name = "reactor lag"

    def __init__(self, clock: Any) -> None:
        self.late = Histogram()
        self._clock = clock
        self._call: Any = None

    def startService(self) -> None:
        Service.startService(self)
        self._wait()

    def stopService(self) -> None:
        Service.stopService(self)
        self._call.cancel()

    def _wait(self) -> None:
        self._call = self._clock.callLater(_PERIOD, self._look, self._clock.seconds() + _PERIOD)

    def _look(self, due: float) -> None:
        self.late.observe(self._clock.seconds() - due)
        self._wait()


@dataclass(frozen=True, slots=True)
class Sources:
    """What is measured.

    :ivar traffic: by kind of stream.
    :ivar verbs: seconds that operators' verbs took.
    :ivar limits: how often each limit was met, of those that are counted.
    :ivar lag: see `Lag.late`.
    """

    hosts: Mapping[str, Host]
    clients: ClientFactory
    servers: ServerFactory
    federation: Federation
    storage: Storage
    certificates: Mapping[str, ServerCertificate]
    traffic: Mapping[str, Traffic]
    verbs: Histogram
    lag: Histogram
    limits: Callable[[], Mapping[str, int]]


class Figures(Collector):
    """Reads everything anew each time it is collected."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        """See `prometheus_client.registry.Collector`."""
        yield _build()
        yield from self._streams()
        yield from self._sessions()
        yield from self._links()
        yield from self._traffic()
        yield from self._storage()
        yield from self._operation()

    def _streams(self) -> Iterator[Metric]:
        states = Counter({(kind, state): 0 for kind in _KINDS for state in _STATES})
        inbox = Counter({(kind,): 0 for kind in _KINDS})
        outbox = Counter(inbox)
        for kind, state, stream in self._each_stream():
            states[kind, state] += 1
            events, unread = stream.backlog
            inbox[kind,] += events
            outbox[kind,] += unread
        yield _gauge("streams", "Open streams.", states, "kind", "state")
        yield _gauge("inbox_elements", "First-level elements that wait to be handled.", inbox, "kind")
        yield _gauge("outbox_bytes", "Bytes that wait for peers that do not read.", outbox, "kind")

    def _each_stream(self) -> Iterator[tuple[str, str, StreamProtocol]]:
        for client in self._sources.clients.streams:
            yield "c2s", _state(client, client.session is not None), client
        for server in self._sources.servers.streams:
            yield "s2s-in", _state(server, bool(server.pairs)), server
        for link in self._sources.federation.links.values():
            if link.stream is not None and not link.stream.receiving:
                yield "s2s-out", _state(link.stream, True), link.stream

    def _sessions(self) -> Iterator[Metric]:
        sessions: Counter[tuple[str, ...]] = Counter()
        loaded: dict[tuple[str, ...], int] = {}
        for name, host in self._sources.hosts.items():
            accounts = host.manager.accounts
            loaded[name,] = len(accounts)
            available = sum(len(each.available) for each in accounts)
            sessions[name, "available"] = available
            sessions[name, "unavailable"] = sum(len(each.sessions) for each in accounts) - available
        said = "Bound resources, by whether they sent presence."
        yield _gauge("sessions", said, sessions, "domain", "state")
        yield _gauge("accounts_loaded", "Accounts held in memory.", loaded, "domain")

    def _links(self) -> Iterator[Metric]:
        links = self._sources.federation.links.values()
        states = Counter({("up",): 0, ("opening",): 0, ("failing",): 0})
        states.update(("up" if each.stream else "failing" if each.failure else "opening",) for each in links)
        waiting = [link.waiting for link in links]
        yield _gauge("links", "Links to other domains.", states, "state")
        yield _gauge("link_queue_stanzas", "Stanzas that wait for links.", {(): sum(waiting)})
        longest = max(waiting, default=0)
        yield _gauge("link_queue_longest", "Stanzas that wait for one link at most.", {(): longest})

    def _traffic(self) -> Iterator[Metric]:
        traffic = self._sources.traffic
        stanzas: dict[tuple[str, ...], float] = {}
        for kind, each in traffic.items():
            for direction, counts in (("received", each.received), ("sent", each.sent)):
                stanzas |= {(kind, direction, name): count for name, count in counts.items()}
        logins = {(outcome,): count for outcome, count in traffic["c2s"].logins.items()}
        waited = {(kind,): each.waited for kind, each in traffic.items()}
        said = "From receiving a stanza to its home, if it had none at once."
        yield _counter("stanzas", "Stanzas, by kind of stream.", stanzas, "kind", "direction", "stanza")
        yield _counter("logins", "Ends of SASL exchanges.", logins, "outcome")
        yield _histogram("stanza_waiting", said, waited, "kind", unit="seconds")

    def _storage(self) -> Iterator[Metric]:
        figures = self._sources.storage.figures()
        waiting = {("write",): figures.writes, ("read",): figures.reads}
        yield _gauge("storage_waiting", "Work that waits for the database.", waiting, "work")
        yield _histogram("storage_commit", "Commits.", {(): figures.commit}, unit="seconds")
        yield _histogram("storage_batch_units", "Units of work in one commit.", {(): figures.together})

    def _operation(self) -> Iterator[Metric]:
        sources = self._sources
        expiry = {(name,): each.expires.timestamp() for name, each in sources.certificates.items()}
        met = {(name,): count for name, count in sources.limits().items()}
        yield _counter("limits_met", "How often a peer was held back, by limit.", met, "limit")
        yield _histogram("verb", "Verbs of operators.", {(): sources.verbs}, unit="seconds")
        yield _histogram("reactor_lag", "How late timers fire.", {(): sources.lag}, unit="seconds")
        yield _gauge("certificate_expiry_timestamp_seconds", "Ends of certificates.", expiry, "domain")


class Metrics(Page):
    """The page: OpenMetrics, or the older text format for those who ask for it."""

    def __init__(self, sources: Sources) -> None:
        super().__init__()
        self._registry = CollectorRegistry()
        self._registry.register(Figures(sources))
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def render_GET(self, request: Request) -> bytes:
        """Everything, as it is now."""
        accepted = request.getHeader("accept") or ""
        old = "text/plain" in accepted and "application/openmetrics-text" not in accepted
        format = exposition if old else openmetrics
        type = exposition.CONTENT_TYPE_PLAIN_0_0_4 if old else openmetrics.CONTENT_TYPE_LATEST
        return plain(request, type.encode(), format.generate_latest(self._registry))


# --- families ------------------------------------------------------------------------------------


def _state(stream: StreamProtocol, established: bool) -> str:
    return "closing" if stream.ended else "established" if established else "negotiating"


def _build() -> InfoMetricFamily:
    versions = {"version": __version__, "python": platform.python_version(), "twisted": twisted.__version__}
    return InfoMetricFamily("jabberd_build", "What is running.", value=versions)


def _gauge(name: str, said: str, samples: Mapping[Labels, float], *labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"jabberd_{name}", said, labels=labels)
    _fill(family, samples)
    return family


def _counter(name: str, said: str, samples: Mapping[Labels, float], *labels: str) -> CounterMetricFamily:
    family = CounterMetricFamily(f"jabberd_{name}", said, labels=labels)
    _fill(family, samples)
    return family


def _fill(family: GaugeMetricFamily | CounterMetricFamily, samples: Mapping[Labels, float]) -> None:
    for values, value in samples.items():
        family.add_metric(values, value)


def _histogram(
    name: str, said: str, histograms: Mapping[Labels, Histogram], *labels: str, unit: str = ""
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(f"jabberd_{name}", said, labels=labels, unit=unit)
    for values, each in histograms.items():
        family.add_metric(values, list(_buckets(each)), each.sum)
    return family


def _buckets(histogram: Histogram) -> Iterable[tuple[str, float]]:
    bounds = [*map(repr, histogram.bounds), "+Inf"]
    return zip(bounds, accumulate(histogram.counts), strict=True)
