"""The same readings once more, in one go, through a station that was never killed: same flags, same averages?

Only the readings are taken from the journal, and what was said of calibrations; flags, verdicts on spikes and
averages are made anew and held against those that the killed station journaled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway import config
from gateway.model import Average, Body, Event, Reading, Record, Stamp
from gateway.qc import Checks, expected
from gateway.qc_memory import QualityMemory
from gateway.qc_spike import WHAT, spike_folds
from tests.crash.compared import Tally, tally
from tests.crash.quick import averages

WINDOW_AFTER_MS = 20_000
"""A window that ended shorter ago than this need not have been given yet."""


@dataclass
class Again:
    """What was compared, and what differs."""

    compared: Tally
    flags: int = 0
    """All that were compared; `compared` has those that say something, by test."""
    differ: list[str] = field(default_factory=list)


def again(records: Sequence[Record], station: config.Station) -> Again:
    """Hold what the killed station said against what an uninterrupted one says."""
    found = Again(tally(records))
    checks = {s.id: Checks(expected(s.expect), s.every_s) for s in station.sensors}
    memory, spikes, means = QualityMemory(checks), spike_folds(station.sensors), averages(station)
    verdicts: list[tuple[object, ...]] = []
    given: dict[tuple[str, int, int], Average] = {}
    said: dict[tuple[str, int, int], Average] = {}

    def keep(bodies: Sequence[Body], into: dict[tuple[str, int, int], Average]) -> None:
        for body in bodies:
            if isinstance(body, Average):
                key = body.sensor, body.length_s, body.start_ms
                if key not in into or into[key].revision < body.revision:
                    into[key] = body

    for record in records:
        body = record.body
        if isinstance(body, Average):
            keep([body], said)
            continue
        if isinstance(body, Reading):
            for name, value in body.values.items():
                level, why = checks[body.sensor].flag(name, value.value, body.at)
                found.flags += 1
                if (level, why) != (value.flag, value.why):
                    found.differ.append(f"{record.seq} {name}: {value.flag} {value.why}, not {level} {why}")
        elif body.what == WHAT:
            continue
        memory.step(record)
        derived = [more for fold in spikes for more in fold.step(record)]
        verdicts += [_verdict(more) for more in derived if isinstance(more, Event)]
        keep(means.step(record), given)
        for more in derived:
            keep(means.step(Record(record.seq, more)), given)
        keep(means.tick(body.at), given)
    end = records[-1].body.at
    keep(
        means.tick(Stamp(end.utc_ms + WINDOW_AFTER_MS, end.boot, end.mono_ms + WINDOW_AFTER_MS, True)), given
    )
    theirs = [_verdict(r.body) for r in records if isinstance(r.body, Event) and r.body.what == WHAT]
    if theirs != verdicts:
        found.differ.append(f"verdicts on spikes: {theirs}, not {verdicts}")
    for key in said.keys() | {k for k, a in given.items() if a.at.utc_ms < end.utc_ms - WINDOW_AFTER_MS}:
        one, other = said.get(key), given.get(key)
        if one is None or other is None or (one.values, one.revision) != (other.values, other.revision):
            found.differ.append(f"average {key}: {one}, not {other}")
    return found


def _verdict(event: Event) -> tuple[object, ...]:
    return tuple(event.detail[name] for name in ("sensor", "quantity", "seq", "value", "flag", "before"))
