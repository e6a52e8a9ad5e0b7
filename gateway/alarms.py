"""Alarms in the station: a fold of the journal that watches the rules.

    reading, sensor event ──┐                ┌─► Event("alarm")     what changed; also what is told no longer
    "answer" (an SMS came) ─┼─► AlarmFold ───┼─► Event("notify")    a message to send, once per
    "shelve", "acknowledge" │                │                      rule/occurrence/kind/contact
    "sms" (what became of   │                ├─► Event("sms")       withdrawn, and why
           a message) ──────┘                └─► Event("sms_path")  messages do not leave, or leave again

gateway.alarms_sender hands the messages over. Why nothing is lost: a message is a row of the fold's state,
which the journal commits together with the reading that caused it; it leaves that state only by an outcome
that is in the journal.

The fold has a time scale of its own (`Steady`): the boot's steady clock within a boot, and over a restart
what UTC says if the clock was right before and after. Neither a clock step nor a wrong clock moves a delay.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from alerts import answers
from alerts.memory import Change, Dropped, Memory, Now, Overlaid, PathChange, Said
from alerts.outbox import Outcome, Row
from alerts.rules import State, standing
from alerts.watch import Watch
from gateway.governor import ANSWERING
from gateway.model import Average, Body, Event, Flag, Reading, Record, Stamp

log = logging.getLogger(__name__)

_LONG_AGO_MS = 10**10
_BAD = (int(Flag.FAIL), int(Flag.MISSING))


class Steady(msgspec.Struct):
    """The alarms' time scale: a moment of it, and the stamp of that moment."""

    ms: int = 0
    stamp: Stamp | None = None

    def place(self, stamp: Stamp, *, newly_started: bool) -> int:
        """Where a stamp lies on the scale. The scale moves on with the latest stamp, never back.

        A stamp of another boot is that of the present one if nothing was heard since the start
        (`newly_started`); later it belongs to a record that was held back, so it is history.
        """
        last = self.stamp
        if last is None:
            self.stamp = stamp
            return self.ms
        both_right = last.synced and stamp.synced
        if stamp.boot == last.boot:
            at_ms = self.ms + stamp.mono_ms - last.mono_ms
        elif newly_started:
            passed_ms = max(0, stamp.utc_ms - last.utc_ms) if both_right else 0
            self.ms, self.stamp = self.ms + passed_ms, stamp
            return self.ms
        else:
            return self.ms + (min(0, stamp.utc_ms - last.utc_ms) if both_right else -_LONG_AGO_MS)
        if at_ms >= self.ms:
            self.ms, self.stamp = at_ms, stamp
        return at_ms


class Kept(msgspec.Struct):
    """What the fold remembers, as the journal keeps it."""

    steady: Steady
    memory: Memory


class AlarmFold:
    """The rules' states and the outbox, moved only by records and by time. See gateway.journal.Fold.

    `more` is set when there may be something to send, `asked` when somebody may want the doctor.
    """

    name = "alarms"

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.more, self.asked = asyncio.Event(), asyncio.Event()
        self._steady = Steady()
        self._newly_started = True

    def step(self, record: Record) -> Sequence[Body]:
        """See one record. Its own events pass without effect."""
        body = record.body
        if isinstance(body, Reading):
            at_ms = self._steady.place(body.at, newly_started=self._newly_started)
            if not self.watch.watches(body.sensor):
                return ()
            now = self._present()
            values = {name: (value.value, value.flag not in _BAD) for name, value in body.values.items()}
            return self._bodies(body.at, now, self.watch.see_values(body.sensor, at_ms, values, now))
        if isinstance(body, Average):
            return ()  # a rule over a length has its own running mean, which need not wait for a window's end
        said = self._happened(body)
        return () if said is None else self._bodies(body.at, self._present(), said)

    def tick(self, at: Stamp) -> Sequence[Body]:
        """See that time passes."""
        _, now = self._now(at)
        self._newly_started = False
        said = self.watch.tick(now)
        if self.next_row() is not None:  # also one that waited for company in vain, of which nothing is said
            self.more.set()
        return self._bodies(at, now, said)

    def save(self) -> bytes:
        """All of it as JSON."""
        return msgspec.json.encode(Kept(self._steady, self.watch.memory))

    def restore(self, state: bytes) -> None:
        """Go on where a state was kept. One that cannot be read (of another version) is said and left: an
        alarm system that begins anew is better than none.
        """
        try:
            kept = msgspec.json.decode(state, type=Kept)
        except msgspec.DecodeError as e:
            log.error("alarms: the kept state cannot be read, beginning anew: %s", e)
            kept = Kept(Steady(), Memory())
        self._steady, self.watch.memory = kept.steady, kept.memory
        self._newly_started = True
        self.more.set()

    def replace(self, watch: Watch, at: Stamp) -> list[Body]:
        """Go on with other rules and contacts (SIGHUP); what there is to say of those that are gone."""
        now, before = self.now(at), self.watch
        bodies = list(self._bodies(at, now, watch.go_on_from(before, now)))
        self.watch = watch
        for name, rule in before.rules.items():
            if name not in watch.rules:
                detail = {"rule": name, "what": "removed", "to": "removed", "sensor": rule.sensor}
                bodies.append(Event(at, "alarm", detail | {"priority": str(rule.priority)}))
        self.more.set()
        return bodies

    def standing(self) -> list[dict[str, Any]]:
        """Every rule with its present state, for the page, the command line and MQTT."""
        now, memory = self._present(), self.watch.memory
        rows = []
        for rule in self.watch.rules.values():
            state = memory.states.get(rule.id)
            row: dict[str, Any] = {"rule": rule.id, "sensor": rule.sensor, "quantity": rule.quantity}
            row |= {"unit": rule.unit, "priority": str(rule.priority), "state": self.watch.standing(rule.id)}
            overlay = memory.overlays.get(rule.id)
            if overlay is not None:
                row |= {"by": overlay.by, "why": overlay.why, "condition": standing(state or State())}
                if overlay.until_ms is not None:
                    row["until_ms"] = now.utc_ms + overlay.until_ms - now.ms
            if state is None:
                rows.append(row | {"occurrence": 0})
                continue
            since_ms = now.utc_ms - (now.ms - state.since_ms)
            row |= {"occurrence": state.occurrence, "since_ms": since_ms}
            rows.append(row | {"value": state.value, "limit": state.limit})
        return rows

    def path(self) -> dict[str, Any]:
        """How sending goes, for the status message."""
        memory = self.watch.memory
        waiting = [row for row in memory.outbox.rows.values() if row.state != "accepted" and not row.group]
        path = {"waiting": len(waiting), "state": "dead" if memory.path.dead else "alive"}
        return path | ({"why": memory.path.dead} if memory.path.dead else {})

    def next_row(self) -> Row | None:
        """The message to send now, if there is one."""
        return self.watch.memory.outbox.next(self._steady.ms)

    def next_in_s(self) -> float | None:
        """In how long the next message is due; None when none waits."""
        due_ms = self.watch.memory.outbox.next_due_ms()
        return None if due_ms is None else max(0.0, (due_ms - self._steady.ms) / 1000)

    def _now(self, stamp: Stamp) -> tuple[int, Now]:
        at_ms = self._steady.place(stamp, newly_started=self._newly_started)
        return at_ms, self._present()

    def _present(self) -> Now:
        stamp = self._steady.stamp
        if stamp is None:
            return Now(self._steady.ms, 0, sure=False)
        return Now(self._steady.ms, stamp.utc_ms, stamp.synced)

    def now(self, stamp: Stamp) -> Now:
        """This moment, as the alarms count time."""
        return self._now(stamp)[1]

    def _happened(self, event: Event) -> list[Said] | None:
        """What follows from an event; None when it is none of ours."""
        detail, watch = event.detail, self.watch
        if event.what not in _OURS:
            return None
        at_ms, now = self._now(event.at)
        match event.what:
            case "sensor":
                works = detail.get("state") in ANSWERING
                return watch.see_health(str(detail.get("sensor")), at_ms, works, now)
            case "acknowledge":
                return watch.acknowledge(str(detail.get("rule")), str(detail.get("by")), now)
            case "answer":
                answer = answers.read(detail)
                self.asked.set()
                return [] if answer is None else answers.act(watch, answer, now)
            case "doctor":
                return answers.examined(watch, detail, now)
            case "station":
                watch.see_station(str(detail.get("part")), detail.get("works") is not False)
                return []
            case "modem" if "modem" in detail:
                return []  # the second one; the first says whether the path is in order
            case "modem":
                return watch.modem(str(detail.get("state")), str(detail.get("why", "")), now)
            case "sms":
                return self._outcome(detail, now)
        return self._overlay(event.what, detail, now)

    def _overlay(self, what: str, detail: Mapping[str, Any], now: Now) -> list[Said]:
        target, by = str(detail.get("rule", "")), str(detail.get("by", ""))
        why, minutes = str(detail.get("why", "")), detail.get("minutes", 0)
        seconds = minutes * 60.0 if isinstance(minutes, int | float) and 0 <= minutes < 10**6 else 0.0
        match what:
            case "shelve":
                return self.watch.shelve(target, seconds, by, why, now) if seconds else []
            case "out_of_service":
                return self.watch.shelve(target, None, by, why, now)
            case "maintenance":
                return self.watch.maintain(str(detail.get("sensor", "")), seconds, by, why, now)
        return self.watch.unshelve(target, by, now)

    def _outcome(self, detail: Mapping[str, Any], now: Now) -> list[Said]:
        row_id, state, attempt = detail.get("id"), detail.get("state"), detail.get("attempt", 0)
        if not (isinstance(row_id, str) and isinstance(state, str) and isinstance(attempt, int)):
            return []
        part, given = detail.get("part", 0), detail.get("reference", ())
        references = tuple(given) if isinstance(given, list | tuple) else ()
        outcome = Outcome(
            state,
            attempt,
            tuple(r for r in references if isinstance(r, int | str)),
            part if isinstance(part, int) else 0,
            str(detail.get("path", "")),
            detail.get("final") is True,
        )
        self.more.set()
        return self.watch.outcome(row_id, outcome, now, str(detail.get("error", "")))

    def _bodies(self, at: Stamp, now: Now, said: Sequence[Said]) -> Sequence[Body]:
        if not said:
            return ()
        bodies: list[Body] = []
        for one in said:
            match one:
                case Change():
                    bodies.append(Event(at, "alarm", _change_detail(one, now)))
                case Overlaid():
                    bodies.append(Event(at, "alarm", _overlaid_detail(one, now)))
                case Row():
                    self.more.set()
                    text = without_codes(one.text, self.watch.memory)
                    bodies.append(Event(at, "notify", _row_detail(one, text, now)))
                case Dropped():
                    detail = {"id": one.row.id, "to": one.row.contact, "state": "withdrawn", "error": one.why}
                    bodies.append(Event(at, "sms", detail))
                case PathChange():
                    log.warning("sms: %s: %s", one.state, one.why)
                    bodies.append(Event(at, "sms_path", {"state": one.state, "why": one.why}))
        return bodies


_OURS = (
    "sensor", "acknowledge", "answer", "modem", "sms", "shelve", "unshelve", "out_of_service", "in_service",
    "maintenance", "station", "doctor",
)  # fmt: skip


def _change_detail(change: Change, now: Now) -> dict[str, Any]:
    rule, after = change.rule, change.after
    detail = {
        "rule": rule.id,
        "occurrence": after.occurrence,
        "what": str(change.what),
        "from": standing(change.before),
        "to": change.standing,
        "sensor": rule.sensor,
        "quantity": rule.quantity,
        "unit": rule.unit,
        "value": after.value,
        "limit": after.limit,
        "worst": after.worst,
        "priority": str(rule.priority),
        "since_ms": now.utc_ms - (now.ms - after.begin_ms),
    }
    return detail | ({"by": change.by} if change.by else {})


def _overlaid_detail(one: Overlaid, now: Now) -> dict[str, Any]:
    rule, state = one.rule, one.state
    detail: dict[str, Any] = {"rule": rule.id, "occurrence": state.occurrence, "what": one.what}
    detail |= {"from": one.before, "to": one.standing, "sensor": rule.sensor, "priority": str(rule.priority)}
    detail |= {"condition": standing(state), "by": one.by, "why": one.why}
    if one.until_ms is not None:
        detail["until_ms"] = now.utc_ms + one.until_ms - now.ms
    return detail


def without_codes(text: str, memory: Memory) -> str:
    """Events are published: what acknowledges an alarm is not for everybody who reads them."""
    secret = {*memory.codes, *memory.desk.unlock.values()}
    return re.sub(r"(?<!\d)\d{4,8}(?!\d)", lambda m: "****" if m[0] in secret else m[0], text)


def _row_detail(row: Row, text: str, now: Now) -> dict[str, Any]:
    return {
        "id": row.id,
        "rule": row.rule,
        "occurrence": row.occurrence,
        "kind": str(row.notice),
        "to": row.contact,
        "reason": row.reason,
        "text": text,
        "segments": row.segments,
        "priority": str(row.priority),
        "due_ms": now.utc_ms + row.due_ms - now.ms,
    }
