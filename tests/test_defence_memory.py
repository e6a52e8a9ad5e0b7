"""Flags and averages take little memory, however long they run; the bench `defence` has the figures."""

from __future__ import annotations

from tests.bench.defence import memory_kb


def test_twenty_channels_take_less_than_a_fifth_of_a_megabyte() -> None:
    """100 may take one. All tests on every quantity, all lengths of averages."""
    assert memory_kb(4, 2.5) < 200
