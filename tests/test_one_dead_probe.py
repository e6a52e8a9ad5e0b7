"""A dead probe is both ill and without data: one message tells of it, whichever rule is the quicker."""

from __future__ import annotations

import pytest

from alerts.rule import Kind, Priority, Rule, Tier
from tests.test_own_rules import Desk

DUTY_FIRST = (Tier(("duty",)),)
LOW, HIGH, CRITICAL = Priority.LOW, Priority.HIGH, Priority.CRITICAL


def silent(within_s: float, priority: Priority = HIGH, send: tuple[Tier, ...] = DUTY_FIRST) -> Rule:
    return Rule("silent", "ph1", Kind.NO_DATA, no_data_s=within_s, priority=priority, send=send)


def ill(after_s: float, priority: Priority = HIGH, send: tuple[Tier, ...] = DUTY_FIRST) -> Rule:
    return Rule("ill", "ph1", Kind.FAULT, on_delay_s=after_s, priority=priority, send=send)


def dies(*rules: Rule) -> tuple[Desk, list[str]]:
    """What is told in twenty minutes after the probe's death; it was well before."""
    desk = Desk(*rules)
    desk.see(7.2)
    desk.tick(5)
    desk.watch.see_health("ph1", desk.ms, works=False, now=desk.now)
    return desk, desk.tick(1200)


@pytest.mark.parametrize(("no_data_s", "fault_s"), [(60, 300), (60, 60), (300, 60), (300, 0), (60, 59)])
@pytest.mark.parametrize("fault_first", [True, False])
def test_one_message_for_one_dead_probe(no_data_s: float, fault_s: float, fault_first: bool) -> None:
    rules = [ill(fault_s), silent(no_data_s)]
    desk, told = dies(*(rules if fault_first else reversed(rules)))
    assert len(told) == 1, told
    desk.watch.see_health("ph1", desk.ms, works=True, now=desk.now)
    desk.see(7.2)
    over = desk.tick(30)
    assert len(over) == 1, over


def test_what_is_more_urgent_is_told_all_the_same() -> None:
    _, told = dies(silent(60, LOW), ill(300, CRITICAL))
    assert sorted(text.split()[0] for text in told) == ["ALARM", "Notice"]
    _, told = dies(silent(300, CRITICAL), ill(60, LOW))
    assert len(told) == 2


def test_a_rule_that_tells_nobody_keeps_no_other_silent() -> None:
    _, told = dies(silent(60, send=()), ill(300))
    assert len(told) == 1
    _, told = dies(silent(300), ill(60, send=()))
    assert len(told) == 1
