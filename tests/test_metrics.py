"""``/metrics``: what the live server says of itself, read by Prometheus' own parser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock

from jabberd import __version__
from jabberd.measure import SECONDS, Histogram
from jabberd.metrics import Lag, Metrics, Sources
from jabberd.storage import open_storage
from jabberd.streams.certfiles import ServerCertificate
from jabberd.testing.server import trusting
from jabberd.web import Page, Pages
from jabberd.xmpp.jid import JID
from tests.storage.pump import Pump
from tests.streams.federated import CERTIFICATES, HOSTS, World
from tests.test_web import ask

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from jabberd.testing import Network

_ISSUED = CERTIFICATES["montague.lit"]
CERTIFICATE = ServerCertificate(
    _ISSUED.certificate, _ISSUED.chain, _ISSUED.key, Path("montague.lit.crt"), Path("montague.lit.key")
)


def families(page: str) -> list[Metric]:
    return list(read_openmetrics(page))  # type: ignore[no-untyped-call]  # the library's


class Watched:
    """A server in memory with its page of metrics."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.server = network.serve("montague.lit")
        self.world = World()
        self.federated = self.world.serve("montague.lit")
        self.verbs, self.lag = Histogram(), Histogram()
        self.storage = self.server.storage

    def scrape(self, accept: str = "application/openmetrics-text") -> tuple[str, str]:
        """The page and its type."""
        root = Page()
        root.putChild(
            b"metrics",
            Metrics(
                Sources(
                    hosts=self.server.hosts,
                    clients=self.server.door,
                    servers=self.federated.factory,
                    federation=self.federated.federation,
                    storage=self.storage,
                    certificates={"montague.lit": CERTIFICATE},
                    traffic={"c2s": self.server.door.traffic, "s2s": self.federated.terms.streams.traffic},
                    verbs=self.verbs,
                    lag=self.lag,
                    limits=lambda: {"connections": 3},
                )
            ),
        )
        request = f"GET /metrics HTTP/1.1\nHost: localhost\nAccept: {accept}"
        status, headers, body = ask(Pages(root, lambda _: False, Clock()), request)
        assert status == 200
        return body.decode(), headers["content-type"]

    def __call__(self, name: str, /, **labels: str) -> float | None:
        """The value of that sample; None if there is none."""
        for family in families(self.scrape()[0]):
            for sample in family.samples:
                if (sample.name, sample.labels) == (name, labels):
                    return float(sample.value)
        return None


@pytest.fixture
def watched(network: Network) -> Watched:
    return Watched(network)


HELLO = "<message to='juliet@montague.lit' type='chat'><body>hello</body></message>"


# --- what is told --------------------------------------------------------------------------------


def test_streams_and_sessions_are_counted_by_kind_and_state(watched: Watched) -> None:
    watched.network.client("romeo@montague.lit/orchard")
    watched.network.client("romeo@montague.lit/garden", presence="")
    watched.network.connected("juliet@montague.lit/balcony")
    assert watched("jabberd_streams", kind="c2s", state="established") == 2
    assert watched("jabberd_streams", kind="c2s", state="negotiating") == 1
    assert watched("jabberd_streams", kind="s2s-in", state="established") == 0
    assert watched("jabberd_sessions", domain="montague.lit", state="available") == 1
    assert watched("jabberd_sessions", domain="montague.lit", state="unavailable") == 1
    assert watched("jabberd_accounts_loaded", domain="montague.lit") == 1


def test_stanzas_are_counted_by_kind_of_stream_direction_and_name(watched: Watched) -> None:
    romeo = watched.network.client("romeo@montague.lit/orchard")
    watched.network.client("juliet@montague.lit/balcony")

    def count(direction: str, name: str) -> float:
        return watched("jabberd_stanzas_total", kind="c2s", direction=direction, stanza=name) or 0

    presence = count("received", "presence")
    for _ in range(3):
        romeo.send(HELLO)
    assert (count("received", "message"), count("sent", "message")) == (3, 3)
    romeo.ask("<iq to='montague.lit' type='get'><ping xmlns='urn:xmpp:ping'/></iq>")
    assert count("sent", "iq") == 1
    assert count("received", "presence") == presence == 2
    assert watched("jabberd_stanzas_total", kind="s2s", direction="sent", stanza="message") == 0


def test_logins_are_counted_by_how_they_end(watched: Watched) -> None:
    watched.network.client("romeo@montague.lit/orchard")
    villain = watched.network.connected("juliet@montague.lit/x")
    villain._password = "guessed"
    with pytest.raises(AssertionError, match="not-authorized"):
        villain.enter(trusting("montague.lit"))
    assert watched("jabberd_logins_total", outcome="success") == 1
    assert watched("jabberd_logins_total", outcome="not-authorized") == 1


def test_links_and_their_queues_are_counted(watched: Watched) -> None:
    world, montague = watched.world, watched.federated
    capulet = world.serve("capulet.lit")
    verona = HOSTS["verona.lit"]
    world.internet.listen(verona.host, verona.port, Factory.forProtocol(Protocol))  # which never answers
    montague.message("romeo@montague.lit", "juliet@capulet.lit")
    world.advance(1)
    assert capulet.bodies == ["m1"]
    for number in range(3):
        montague.message("romeo@montague.lit", "escalus@verona.lit", f"v{number}")
    montague.message("romeo@montague.lit", "villain@evil.example")
    assert watched("jabberd_links", state="up") == 1
    assert watched("jabberd_links", state="opening") == 1
    assert watched("jabberd_links", state="failing") == 1
    assert watched("jabberd_link_queue_stanzas") == 4
    assert watched("jabberd_link_queue_longest") == 3
    assert watched("jabberd_streams", kind="s2s-out", state="established") == 1
    assert watched("jabberd_stanzas_total", kind="s2s", direction="sent", stanza="message") == 1


def test_a_server_that_comes_in_is_counted_on_its_side(watched: Watched) -> None:
    capulet = watched.world.serve("capulet.lit")
    capulet.message("juliet@capulet.lit", "romeo@montague.lit")
    watched.world.advance(1)
    assert watched("jabberd_streams", kind="s2s-in", state="established") == 1
    assert watched("jabberd_stanzas_total", kind="s2s", direction="received", stanza="message") == 1


def test_what_waits_for_a_peer_that_does_not_read_is_measured(watched: Watched) -> None:
    romeo = watched.network.client("romeo@montague.lit/orchard")
    watched.network.client("juliet@montague.lit/balcony")
    [stream] = [
        each for each in watched.server.door.streams if "juliet" in str(each.session and each.session.jid)
    ]
    stream.pauseProducing()
    romeo.send(HELLO)
    assert 100 < (watched("jabberd_outbox_bytes", kind="c2s") or 0) < 300
    stream.resumeProducing()
    assert watched("jabberd_outbox_bytes", kind="c2s") == 0


def test_how_long_a_stanza_waits_for_its_home_is_measured(watched: Watched) -> None:
    romeo = watched.network.client("romeo@montague.lit/orchard")
    before = watched("jabberd_stanza_waiting_seconds_count", kind="c2s")
    watched.server.create(JID.parse("nurse@montague.lit"), "secret")
    romeo.send(HELLO.replace("juliet", "nurse"))  # stored
    assert watched("jabberd_stanza_waiting_seconds_count", kind="c2s") == (before or 0) + 1


def test_commits_are_timed_and_their_sizes_told(watched: Watched, tmp_path: Path) -> None:
    threads = Pump()
    watched.storage = open_storage(f"sqlite:///{tmp_path}/montague.db", threads)
    store = watched.storage.keyed("test", str)
    for number in range(20):
        threads.wait(store.put("romeo@montague.lit", str(number), "rose"))
    pending = [store.put("romeo@montague.lit", str(number), "rose") for number in range(100)]
    for each in pending:
        threads.wait(each)
    commits = watched("jabberd_storage_commit_seconds_count")
    assert 21 <= (commits or 0) <= 120
    assert watched("jabberd_storage_batch_units_count") == commits
    assert watched("jabberd_storage_batch_units_sum") == 120
    assert watched("jabberd_storage_batch_units_bucket", le="1.0") == pytest.approx(20, abs=2)
    assert watched("jabberd_storage_waiting", work="write") == 0
    unread = store.get("romeo@montague.lit", "1")
    assert watched("jabberd_storage_waiting", work="read") == 1
    threads.wait(unread)
    threads.wait(watched.storage.close())


def test_verbs_certificates_and_the_version_are_told(watched: Watched) -> None:
    watched.verbs.observe(0.003)
    assert watched("jabberd_verb_seconds_bucket", le="0.0025") == 0
    assert watched("jabberd_verb_seconds_bucket", le="0.005") == 1
    assert watched("jabberd_verb_seconds_bucket", le="+Inf") == 1
    expiry = watched("jabberd_certificate_expiry_timestamp_seconds", domain="montague.lit")
    assert expiry == CERTIFICATE.expires.timestamp()
    [build] = [each for each in families(watched.scrape()[0]) if each.name == "jabberd_build"]
    assert build.samples[0].labels["version"] == __version__


def test_it_is_told_how_often_a_peer_was_held_back(watched: Watched) -> None:
    assert watched("jabberd_limits_met_total", limit="connections") == 3


def test_the_process_itself_is_told(watched: Watched) -> None:
    assert (watched("process_resident_memory_bytes") or 0) > 1 << 20
    assert (watched("process_open_fds") or 0) > 2


# --- form ----------------------------------------------------------------------------------------


def test_every_figure_is_documented_and_open_metrics(watched: Watched) -> None:
    page, type = watched.scrape(
        "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.3"
    )
    assert type == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert page.endswith("# EOF\n")
    found = families(page)
    assert len(found) > 20
    assert [each.name for each in found if not each.documentation] == []


def test_who_knows_the_older_format_only_gets_it(watched: Watched) -> None:
    page, type = watched.scrape("text/plain")
    assert type == "text/plain; version=0.0.4; charset=utf-8"
    names = {each.name for each in read_text(page)}
    assert names > {"jabberd_streams", "jabberd_storage_commit_seconds"}


@pytest.mark.parametrize(
    "accept", ["*/*", "application/openmetrics-text; version=poison; escaping=x", "\xff"]
)
def test_whatever_is_accepted_there_is_an_answer(watched: Watched, accept: str) -> None:
    assert watched.scrape(accept)[1].startswith("application/openmetrics-text")


# --- the reactor's lag ---------------------------------------------------------------------------


def test_a_reactor_that_is_late_is_noticed_twice_a_second() -> None:
    clock = Clock()
    lag = Lag(clock)
    lag.startService()
    clock.pump([0.5] * 4)
    assert lag.late.counts[0] == 4
    clock.advance(0.5 + 0.3)
    assert lag.late.counts[SECONDS.index(0.5)] == 1
    assert lag.late.sum == pytest.approx(0.3)
    clock.advance(0.5)
    assert sum(lag.late.counts) == 6
    lag.stopService()
    assert not clock.getDelayedCalls()
