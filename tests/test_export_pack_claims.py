"""What a pack says of itself and nobody signed is said as such."""

from __future__ import annotations

from gateway.evidence_check import _claim
from gateway.export_source import Span


def test_the_station_and_the_span_are_the_packs_own_words() -> None:
    said = _claim({"station": "clean-\x1b[31mriver"}, Span(1_795_494_600_000, 1_795_498_200_000))
    assert said == "station 'clean-\\x1b[31mriver', from 2026-11-24 04:30:00Z to 2026-11-24 05:30:00Z"
    assert _claim({"station": 5}, Span(0, 10**400)) == "station '5', from its beginning to its end"
