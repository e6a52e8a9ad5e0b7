"""All rules of a station together: what is observed goes in, changes and messages come out. No disk, no
clock, no broker.

    observation, time ──► rules.step ──► Change ──► policy ──► mail: texts, what goes together ──► outbox: Row
    what people did   ──► acknowledge, shelve, maintenance         │
                                           └────────► Said, in order ◄────────┘

Everything it remembers is in `memory`, plain values; gateway.alarms keeps it in the journal together with
the records of what was said, so that after a crash both are there or neither.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, tzinfo

from alerts import air_quality, lifeline
from alerts.mail import TOO_OLD, Limits, Mail
from alerts.memory import (
    STATION,
    Change,
    Dropped,
    Memory,
    Now,
    Overlaid,
    Overlay,
    PathChange,
    Said,
    is_up,
    standing_of,
)
from alerts.messages import Texts
from alerts.outbox import TELLING, Outcome
from alerts.policy import Contact, Moment, Story, on_change, on_time, rank, tell_again
from alerts.rules import (
    OF_STATION,
    Kind,
    Observation,
    Phase,
    Priority,
    Quality,
    Rule,
    State,
    What,
    acknowledge,
    happened,
    resume,
    standing,
    step,
)
from alerts.window import Window, add, add_hour, change, mean, nowcast

__all__ = [
    "Change", "Dropped", "Limits", "Memory", "Now", "Overlaid", "PathChange", "Said", "Watch",
]  # fmt: skip

UNWATCHED_S = 60.0
"""When nobody has looked for so long, nothing is concluded from the silence."""
SHELVE_MOST_S = 86_400.0
_OVER = "it was over before this was sent"
_SAME_NEWS = {Kind.NO_DATA: Kind.FAULT, Kind.FAULT: Kind.NO_DATA}
"""A dead probe is both: who was told of the one need not be told of the other."""
_ENDS = {"shelved": "unshelved", "suppressed": "unsuppressed", "out_of_service": "in_service"}


class Watch:
    """The rules, the contacts and the memory of one station. `texts` holds the texts by language; `random`
    gives the one-time codes (a number below the one given).
    """

    def __init__(
        self,
        station: str,
        rules: Sequence[Rule],
        contacts: Sequence[Contact],
        texts: Mapping[str, Texts],
        zone: tzinfo = UTC,
        limits: Limits | None = None,
        random: Callable[[int], int] = secrets.randbelow,
    ) -> None:
        self.station = station
        self.rules = {rule.id: rule for rule in rules}
        self.contacts = {contact.id: contact for contact in contacts}
        self.mail = Mail(station, self.contacts, texts, zone, limits or Limits(), random)
        self.memory = Memory()
        self._last_ms: int | None = None  # None: has not looked since the start
        self._by_sensor: dict[str, list[Rule]] = {}
        self._timed = [rule for rule in rules if rule.kind in (Kind.NO_DATA, Kind.FAULT, *OF_STATION)]
        self._started_ms: int | None = None
        for rule in rules:
            self._by_sensor.setdefault(rule.sensor, []).append(rule)

    def go_on_from(self, old: Watch, now: Now) -> list[Said]:
        """Take the place of `old`, with its memory. A rule that is gone, or looks at something else now,
        leaves nothing behind but the number of its last alarm.
        """
        memory = self.memory = old.memory
        self._last_ms, self._started_ms = old._last_ms, old._started_ms
        said: list[Said] = []
        for name, was in old.rules.items():
            rule = self.rules.get(name)
            if rule is not None and _subject(rule) == _subject(was):
                continue
            said += self.mail.withdraw(memory, name, now, "the rule was changed", whole=True)[0]
            occurrence = memory.states.get(name, State()).occurrence
            memory.states[name] = State(occurrence=occurrence)
            memory.stories.pop(name, None)
            memory.windows.pop(name, None)
            if rule is None:
                memory.overlays.pop(name, None)
                memory.muted.pop(name, None)
        return said

    def watches(self, sensor: str) -> bool:
        """Whether any rule looks at this sensor; of others nothing need be shown."""
        return sensor in self._by_sensor

    def see_values(
        self, sensor: str, at_ms: int, values: Mapping[str, tuple[float, bool]], now: Now
    ) -> list[Said]:
        """A reading: for each quantity its value and whether that is good. A quantity that a rule waits for
        and that is not there is bad.
        """
        said: list[Said] = []
        some_good = any(good for _, good in values.values())
        for rule in self._by_sensor.get(sensor, ()):
            if rule.quantity:
                value, good = values.get(rule.quantity, (None, False))
            else:
                value, good = None, some_good
            if (rule.over_s or rule.nowcast or rule.change_s) and now.ms - at_ms <= rule.late_s * 1000:
                value = self._looked_at(rule, at_ms, value if good else None)
                good = value is not None
            seen = Observation(at_ms, Quality.GOOD if good else Quality.BAD, value)
            said += self._step(rule, now, seen)
        return said

    def see_health(self, sensor: str, at_ms: int, works: bool, now: Now) -> list[Said]:
        """The instrument is at fault, or works again (which is no value yet)."""
        said: list[Said] = []
        for rule in self._by_sensor.get(sensor, ()):
            if not works:
                said += self._step(rule, now, Observation(at_ms, Quality.FAULT))
            elif rule.kind is Kind.FAULT:
                said += self._step(rule, now, Observation(at_ms, Quality.GOOD))
        return said

    def tick(self, now: Now) -> list[Said]:
        """Time passes: missing data, delays of faults, escalation, reminders, messages that are past their
        use.
        """
        last_ms, self._last_ms = self._last_ms, now.ms
        memory = self.memory
        if last_ms is None or now.ms - last_ms > UNWATCHED_S * 1000:
            for name, state in memory.states.items():
                memory.states[name] = resume(state, now.ms)
        said: list[Said] = []
        for rule in self._timed:
            said += self._step(rule, now, self._of_station(rule, now))
        for name, overlay in list(memory.overlays.items()):
            ended = overlay.until_ms is not None and overlay.until_ms <= now.ms
            if ended or (overlay.kind != "suppressed" and name not in self.rules):
                del memory.overlays[name]
        for rule in self.rules.values():
            said += self._look_at_overlays(rule, now)
        for name, story in list(memory.stories.items()):
            found = self.rules.get(name)
            if found is None or story.episode_ms is None or name in memory.muted:
                continue
            state = memory.states[name]
            after, notices = on_time(found, story, state, self.contacts, self._moment(now))
            memory.stories[name] = after
            if after.episode_ms is None:
                gone, untold = self.mail.withdraw(memory, name, now, _OVER)
                said += gone
                notices = tuple(notice for notice in notices if notice.contact not in untold)
            said += self.mail.notify(memory, found, (state, state), notices, now, story)
        for one in self.mail.tick(memory, now):
            said += self._tell_again(one, now) if isinstance(one, Dropped) else [one]
        return said

    # ── what people do ──────────────────────────────────────────────────────────────────────────

    def acknowledge(self, rule_id: str, by: str, now: Now) -> list[Said]:
        """Somebody has taken notice: no more escalation, no more reminders."""
        rule, state = self.rules.get(rule_id), self.memory.states.get(rule_id)
        if rule is None or state is None:
            return []
        return self._change(rule, state, acknowledge(state), now, by=by)

    def shelve(self, target: str, seconds: float | None, by: str, why: str, now: Now) -> list[Said]:
        """Do not tell of this rule's alarms: for so long (a day at most), or with None until it is put back
        into service.
        """
        until_ms = None if seconds is None else now.ms + int(min(seconds, SHELVE_MOST_S) * 1000)
        if target not in self.rules:
            return []
        overlay = Overlay("out_of_service" if seconds is None else "shelved", by, why, until_ms)
        self.memory.overlays[target] = overlay
        said = self._look_at_overlays(self.rules[target], now)
        return said + self.mail.withdraw(self.memory, target, now, f"{overlay.kind} by {by}", whole=True)[0]

    def unshelve(self, target: str, by: str, now: Now) -> list[Said]:
        """Tell of this rule's alarms again; at once, if it stands."""
        if self.memory.overlays.pop(target, None) is None or target not in self.rules:
            return []
        return self._look_at_overlays(self.rules[target], now, by)

    def maintain(self, sensor: str, seconds: float, by: str, why: str, now: Now) -> list[Said]:
        """Somebody works at a sensor, or with "" at the station: none of its alarms are told for so long.
        Zero ends it.
        """
        key = f"sensor {sensor}" if sensor else STATION
        self.memory.overlays.pop(key, None)
        if seconds > 0:
            until_ms = now.ms + int(min(seconds, SHELVE_MOST_S) * 1000)
            self.memory.overlays[key] = Overlay("suppressed", by, why, until_ms)
        touched = [rule for rule in self.rules.values() if sensor in ("", rule.sensor)]
        return [said for rule in touched for said in self._look_at_overlays(rule, now, by)]

    # ── what became of messages ─────────────────────────────────────────────────────────────────

    def outcome(self, row_id: str, outcome: Outcome, now: Now, error: str = "") -> list[Said]:
        """What became of an attempt to send, as the journal has it."""
        return self.mail.outcome(self.memory, row_id, outcome, error, now)

    def modem(self, state: str, why: str, now: Now) -> list[Said]:
        """What the modem's watchman says: "ready", or why not."""
        lifeline.modem(self.memory.path, state, why, now)
        return lifeline.check(self.memory.path, now)

    def see_station(self, part: str, works: bool) -> None:
        """What the station's watchman says of its "disk" or its "power"."""
        ill = [name for name in self.memory.ill if name != part]
        self.memory.ill = tuple(ill if works else [*ill, part])

    def standing(self, rule_id: str) -> str:
        """A rule's state by ISA-18.2, overlays included."""
        return standing_of(self.memory, rule_id)

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    def _of_station(self, rule: Rule, now: Now) -> Observation | None:
        """How that part of the station is which a rule without a sensor looks at."""
        if rule.kind not in OF_STATION:
            return None
        ill = {Kind.CLOCK: not now.sure, Kind.SMS: bool(self.memory.path.dead)}
        is_ill = ill.get(rule.kind, str(rule.kind) in self.memory.ill)
        return Observation(now.ms, Quality.FAULT if is_ill else Quality.GOOD)

    def _looked_at(self, rule: Rule, at_ms: int, value: float | None) -> float | None:
        """What a rule over a length looks at after this value: a mean, a NowCast, a change."""
        if value is not None and not math.isfinite(value):
            value = None
        window = self.memory.windows.get(rule.id, Window())
        if rule.nowcast:
            window = add_hour(window, at_ms, value)
        else:
            window = add(window, at_ms, value, rule.change_s or rule.over_s, rule.every_s)
        self.memory.windows[rule.id] = window
        if rule.nowcast:
            found = nowcast(window, rule.every_s)
            is_dust = rule.quantity in air_quality.PARTICLES and rule.unit == air_quality.UNIT
            return air_quality.cut(rule.quantity, found) if found is not None and is_dust else found
        if rule.change_s:
            return change(window, rule.change_s, rule.every_s)
        return mean(window, rule.over_s, rule.every_s)

    def _step(self, rule: Rule, now: Now, observation: Observation | None) -> list[Said]:
        before = self.memory.states.get(rule.id, State())
        other = self.memory.states.get(rule.and_rule)
        allowed = not rule.and_rule or (other is not None and other.phase in (Phase.ACTIVE, Phase.RECOVERING))
        after = step(rule, before, now.ms, observation, allowed=allowed)
        return self._change(rule, before, after, now)

    def _change(self, rule: Rule, before: State, after: State, now: Now, by: str = "") -> list[Said]:
        if after is before:
            return []
        memory = self.memory
        memory.states[rule.id] = after
        what = happened(before, after)
        if what is None:
            return []
        said: list[Said] = [Change(rule, what, before, after, standing_of(memory, rule.id), by)]
        if what is What.RAISED and self._overlay(rule, now) is not None:
            return said
        return said + self._tell(rule, before, after, what, now)

    def _tell(
        self, rule: Rule, before: State, after: State, what: What, now: Now, reason: str = "first raise"
    ) -> list[Said]:
        """Let the policy say who is told of a change, and put that into the outbox."""
        memory = self.memory
        story = memory.stories.get(rule.id, Story())
        said: list[Said] = []
        if what is What.CLEARED and not story.flapping:
            said += self.mail.withdraw(memory, rule.id, now, _OVER)[0]
            story = memory.stories.get(rule.id, story)
        moment = self._moment(now)
        later, notices = on_change(rule, story, after, what, self.contacts, moment, reason)
        memory.stories[rule.id] = later
        return said + self.mail.notify(memory, rule, (before, after), notices, now, story)

    def _tell_again(self, gone: Dropped, now: Now) -> list[Said]:
        """A message has become too old: when the alarm it told of stands, make a new one."""
        row, memory = gone.row, self.memory
        rule, state = self.rules.get(row.rule), memory.states.get(row.rule, State())
        if gone.why != TOO_OLD or row.notice not in TELLING or rule is None or rule.id in memory.muted:
            return [gone]
        if state.acknowledged or state.occurrence != row.occurrence or not is_up(memory, rule.id):
            return [gone]
        story, moment = memory.stories.get(rule.id, Story()), self._moment(now)
        made = memory.outbox.made + 1
        later, notices = tell_again(rule, story, state, row.contact, self.contacts, moment, made)
        memory.stories[rule.id] = later
        told = self.mail.notify(memory, rule, (state, state), notices, now, story)
        return [Dropped(row, "too old; told anew"), *told]

    def _overlay(self, rule: Rule, now: Now) -> Overlay | None:
        """Why this rule's alarms are not told at present."""
        overlays = self.memory.overlays
        for key in (rule.id, f"sensor {rule.sensor}", STATION):
            overlay = overlays.get(key)
            if overlay is not None and (overlay.until_ms is None or overlay.until_ms > now.ms):
                return overlay
        if now.sure and not self._in_season(rule, now):
            return Overlay("suppressed", "", "out of its season or hours")
        if self._started_ms is None:
            self._started_ms = now.ms
        until_ms = self._started_ms + int(rule.start_up_s * 1000)
        if now.ms < until_ms:
            return Overlay("suppressed", "", "the station has just started", until_ms)
        if rule.parent and is_up(self.memory, rule.parent):
            return Overlay("suppressed", "", f"{rule.parent} stands")
        quick = rule.kind is Kind.NO_DATA or is_up(self.memory, rule.id)
        other_kind = _SAME_NEWS.get(rule.kind) if quick else None
        for other in self._by_sensor[rule.sensor] if other_kind else ():
            if other.kind is other_kind and self._is_told(other, rule.priority):
                return Overlay("suppressed", "", f"{other.id} stands")
        return None

    def _is_told(self, rule: Rule, priority: Priority) -> bool:
        """Whether this alarm stands, and people were told of it as of one so urgent."""
        told = self.memory.stories.get(rule.id, Story()).episode_ms is not None and rule.send
        return bool(told) and rank(rule.priority) <= rank(priority) and is_up(self.memory, rule.id)

    def _in_season(self, rule: Rule, now: Now) -> bool:
        if not (rule.months or rule.hours):
            return True
        local = self.mail.local(now.ms, now)
        if rule.months and local.month not in rule.months:
            return False
        if rule.hours is None or rule.hours[0] == rule.hours[1]:
            return True
        since_start = (local.hour * 60 + local.minute - rule.hours[0]) % 1440
        return since_start < (rule.hours[1] - rule.hours[0]) % 1440

    def _look_at_overlays(self, rule: Rule, now: Now, by: str = "") -> list[Said]:
        """Say when a rule's alarms begin or cease to be told; tell of one that stands when they are again."""
        memory = self.memory
        overlay, was = self._overlay(rule, now), memory.muted.get(rule.id)
        if (overlay.kind if overlay else None) == was:
            return []
        state, before = memory.states.get(rule.id, State()), standing_of(memory, rule.id)
        if overlay is not None:
            memory.muted[rule.id] = overlay.kind
            said = Overlaid(
                rule, overlay.kind, state, before, overlay.kind, overlay.by, overlay.why, overlay.until_ms
            )
            return [said]
        del memory.muted[rule.id]
        over: list[Said] = [Overlaid(rule, _ENDS[was or ""], state, before, standing(state), by)]
        story = memory.stories.get(rule.id, Story())
        if state.phase is Phase.ACTIVE and not state.acknowledged and story.episode_ms is None:
            over += self._tell(rule, state, state, What.RAISED, now, "it stands, and is told again")
        return over

    def _moment(self, now: Now) -> Moment:
        local = self.mail.local(now.ms, now)
        return Moment(now.ms, local.hour * 60 + local.minute if now.sure else None)


def _subject(rule: Rule) -> tuple[object, ...]:
    """What a rule looks at: with another subject, what it remembers means nothing."""
    looks = (rule.kind, rule.sensor, rule.quantity, rule.unit, rule.over_s, rule.nowcast, rule.change_s)
    return (*looks, rule.and_rule)
