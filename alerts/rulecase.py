"""Operators' own tests of their rules: a series of values in, the states and the messages that must come of
it out.

    [[series]]
    sensor = "turb1"
    quantity = "turbidity"
    every = "10 s"
    values = ["20 for 5 min", "20 to 80 in 2 min", "80 for 15 min", "nothing for 3 min", "20 for 30 min"]

    [expect]
    states = ["14:06:10 turbidity-high pending", "14:08:10 turbidity-high active_unacknowledged", …]
    sms = ["14:08:10 duty: ТРЕВОГА kanysh-kyia-1 turb1: мутность 80,0 > 50 NTU с 14:06", …]

Both lists are complete: what happens and is not there is a failure as well. alerts/README.md describes the
file; the thought comes from the rule tests of Prometheus (docs/configuration/unit_testing_rules.md). Time
is an argument: a day takes a moment. Messages count as sent in the second in which they are due.
"""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from alerts import answers
from alerts.commands import parse
from alerts.messages import LANGUAGES, TextsError, packaged
from alerts.outbox import Outcome as Became
from alerts.rules import RuleError
from alerts.rulewords import CaseError, contact_from, duration, only, rule_from
from alerts.watch import Change, Limits, Now, Overlaid, Said, Watch

MOST_S = 40 * 86_400
_NUMBER = r"-?\d+(?:\.\d+)?"
_STRETCH = re.compile(
    rf"(?:(?P<from>{_NUMBER}) to (?P<to>{_NUMBER}) in|(?P<word>{_NUMBER}|nothing|bad|fault) for) (?P<time>.+)"
)
_CASE_KEYS = {
    "about", "station", "start", "timezone", "collect", "contact", "rule", "series", "acknowledge", "answers",
    "expect",
}  # fmt: skip
FIRST_CODE = 1001
"""The one-time codes count up from here, so that a case can foretell them."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one sensor gives at one moment: a number, "bad", "fault", or nothing at all (then there is no
    sample).
    """

    at_ms: int
    sensor: str
    quantity: str
    value: float | str


@dataclass(frozen=True, slots=True)
class Case:
    """One case file, read."""

    name: str
    watch: Watch
    start_utc_ms: int
    last_ms: int
    samples: tuple[Sample, ...]
    acknowledge: tuple[tuple[int, str, str], ...]
    answers: tuple[tuple[int, str, str], ...]
    states: tuple[str, ...]
    sms: tuple[str, ...]
    about: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened in a case, in the words of its file. `failures` is empty when it is what was expected."""

    states: tuple[str, ...]
    sms: tuple[str, ...]
    failures: tuple[str, ...]


def read(source: str, name: str) -> Case:
    """Read a case file. Raises CaseError, RuleError or TextsError."""
    try:
        return _read(tomllib.loads(source), name)
    except (CaseError, RuleError, TextsError):
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as e:
        raise CaseError(f"{name}: {type(e).__name__}: {e}; see alerts/README.md for the form") from e


def _read(table: Mapping[str, Any], name: str) -> Case:
    only(table, _CASE_KEYS, name, "")
    zone = ZoneInfo(table.get("timezone", "UTC"))
    start = datetime.fromisoformat(table.get("start", "2026-01-01 00:00")).replace(tzinfo=zone)
    start_ms = int(start.timestamp() * 1000)
    rules = [rule_from(rule, f"{name}: rule {i}") for i, rule in enumerate(table.get("rule", []), 1)]
    contacts = [contact_from(contact, name) for contact in table.get("contact", [])]
    count = itertools.count(FIRST_CODE - 1000)
    limits = Limits(collect_s=duration(table.get("collect", "45 s"), name))
    texts = {language: packaged(language) for language in LANGUAGES}
    station = table.get("station", "station")
    watch = Watch(station, rules, contacts, texts, zone, limits, lambda _: next(count) % 9000)
    samples: list[Sample] = []
    last_ms = 0
    for series in table.get("series", []):
        found, end_ms = _series(series, name)
        samples += found
        last_ms = max(last_ms, end_ms)
    expect = table.get("expect", {})
    only(expect, {"states", "sms"}, name, "expect.")
    return Case(
        name=name,
        watch=watch,
        start_utc_ms=start_ms,
        last_ms=last_ms,
        samples=tuple(sorted(samples, key=lambda sample: sample.at_ms)),
        acknowledge=tuple(_acknowledgement(line, start, name) for line in table.get("acknowledge", [])),
        answers=tuple(_answer(line, start, name) for line in table.get("answers", [])),
        states=tuple(expect.get("states", ())),
        sms=tuple(expect.get("sms", ())),
        about=" ".join(str(table.get("about", "")).split()),
    )


def run(case: Case) -> Outcome:
    """Play a case from its first second to its last."""
    watch, states, sms = case.watch, list[str](), list[str]()
    samples = iter(case.samples)
    sample = next(samples, None)
    acknowledge, coming = sorted(case.acknowledge), sorted(case.answers)
    for second in range(case.last_ms // 1000 + 1):
        ms = second * 1000
        now = Now(ms, case.start_utc_ms + ms)
        clock = watch.mail.local(ms, now).strftime("%H:%M:%S")
        said: list[Said] = []
        while sample is not None and sample.at_ms <= ms:
            said += _see(watch, sample, now)
            sample = next(samples, None)
        while acknowledge and acknowledge[0][0] <= ms:
            _, rule, by = acknowledge.pop(0)
            said += watch.acknowledge(rule, by, now)
        while coming and coming[0][0] <= ms:
            at_ms, by, text = coming.pop(0)
            answer = answers.decide(watch, by, parse(text), now, f"{at_ms} {by} {text}")
            said += answers.act(watch, answer, now)
        said += watch.tick(now)
        for one in said:
            if isinstance(one, Change | Overlaid):
                states.append(f"{clock} {one.rule.id} {one.standing}")
        sms += [f"{clock} {line}" for line in _send(watch, now)]
    failures = [*_compare("state", case.states, states), *_compare("sms", case.sms, sms)]
    return Outcome(tuple(states), tuple(sms), tuple(f"{case.name}: {failure}" for failure in failures))


def _see(watch: Watch, sample: Sample, now: Now) -> list[Said]:
    if sample.value == "fault":
        return watch.see_health(sample.sensor, sample.at_ms, False, now)
    if isinstance(sample.value, str):
        return watch.see_values(sample.sensor, sample.at_ms, {sample.quantity: (0.0, False)}, now)
    return watch.see_values(sample.sensor, sample.at_ms, {sample.quantity: (sample.value, True)}, now)


def _send(watch: Watch, now: Now) -> Iterator[str]:
    while (row := watch.memory.outbox.next(now.ms)) is not None:
        for state in ("sending", "accepted", "delivered"):
            watch.outcome(row.id, Became(state, row.attempts + 1), now)
        yield f"{row.contact}: {watch.mail.text_of(row)}"


def _compare(kind: str, expected: Sequence[str], got: Sequence[str]) -> Iterator[str]:
    left = list(got)
    for line in expected:
        if line in left:
            left.remove(line)
        else:
            yield f"{kind} expected, did not come: {line}"
    for line in left:
        yield f"{kind} came, not expected: {line}"


def _series(table: Mapping[str, Any], name: str) -> tuple[list[Sample], int]:
    where = f"{name}: series {table.get('sensor', '?')}"
    only(table, {"sensor", "quantity", "every", "values"}, where, "")
    every_ms = int(duration(table.get("every", "10 s"), where) * 1000)
    if every_ms <= 0:
        raise CaseError(f"{where}: every: a duration above zero is needed")
    samples: list[Sample] = []
    begin_ms = 0
    for words in table.get("values", []):
        match = _STRETCH.fullmatch(str(words))
        if match is None:
            ways = '"20 for 5 min", "20 to 80 in 2 min", "nothing / bad / fault for 3 min"'
            raise CaseError(f"{where}: values: {words!r} is not understood; write {ways}")
        length_ms = int(duration(match["time"], where) * 1000)
        end_ms = begin_ms + length_ms
        if end_ms > MOST_S * 1000:
            raise CaseError(f"{where}: values: {MOST_S // 86_400} days are the most")
        first_ms = -(-begin_ms // every_ms) * every_ms
        for at_ms in range(first_ms, end_ms, every_ms):
            value: float | str
            if match["word"] is None:
                share = (at_ms - begin_ms) / length_ms
                value = float(match["from"]) + share * (float(match["to"]) - float(match["from"]))
            elif match["word"] == "nothing":
                continue
            else:
                word = match["word"]
                value = word if word in ("bad", "fault") else float(word)
            samples.append(Sample(at_ms, str(table.get("sensor")), str(table.get("quantity", "")), value))
        begin_ms = end_ms
    return samples, begin_ms


def _acknowledgement(line: str, start: datetime, name: str) -> tuple[int, str, str]:
    words = line.split()
    if len(words) != 3:
        raise CaseError(f'{name}: acknowledge: {line!r}; write "14:20:00 RULE CONTACT"')
    return _at_ms(words[0], start), words[1], words[2]


def _answer(line: str, start: datetime, name: str) -> tuple[int, str, str]:
    """What somebody answers by SMS: "14:20:00 duty: ACK 1001"."""
    clock, _, rest = line.partition(" ")
    by, colon, text = rest.partition(": ")
    if not colon:
        raise CaseError(f'{name}: answers: {line!r}; write "14:20:00 CONTACT: ACK {FIRST_CODE}"')
    return _at_ms(clock, start), by, text


def _at_ms(clock: str, start: datetime) -> int:
    """How long after the start a time of day comes next."""
    hours, minutes, seconds = (int(part) for part in f"{clock}:00".split(":")[:3])
    at = start.replace(hour=hours, minute=minutes, second=seconds)
    if at < start:
        at += timedelta(days=1)
    return int((at.astimezone(UTC) - start.astimezone(UTC)).total_seconds() * 1000)
