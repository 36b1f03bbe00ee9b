"""Histograms: a figure is counted under the first bound that it does not exceed."""

from __future__ import annotations

from jabberd.measure import Histogram, Traffic


def test_a_figure_belongs_to_the_first_bound_that_it_does_not_exceed() -> None:
    histogram = Histogram((1.0, 2.5))
    for figure in (0.5, 1.0, 1.1, 2.5, 2.6, 100.0):
        histogram.observe(figure)
    assert histogram.counts == [2, 2, 2]
    assert histogram.sum == 107.7


def test_each_kind_of_stream_counts_for_itself() -> None:
    clients, servers = Traffic(), Traffic()
    clients.received["message"] += 1
    clients.waited.observe(1)
    assert servers.received == servers.sent == {"message": 0, "presence": 0, "iq": 0}
    assert sum(servers.waited.counts) == 0
