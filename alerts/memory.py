"""What the alarms remember, and what they say: plain values, so that gateway.alarms can keep them in the
journal together with the records of what was said. After a crash both are there or neither.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from alerts.outbox import Outbox, Row
from alerts.policy import Story
from alerts.rules import Phase, Rule, State, What, standing
from alerts.window import Window

STATION = "station"
"""What maintenance of everything is filed under; a sensor's is under "sensor ID"."""


@dataclass(frozen=True, slots=True)
class Now:
    """This moment: `ms` on the scale of the rules, `utc_ms` as the clock says, `sure` whether the clock is
    right.
    """

    ms: int
    utc_ms: int
    sure: bool = True


@dataclass(frozen=True, slots=True)
class Overlay:
    """Why a rule's alarms are not told. Only "out_of_service" has no end."""

    kind: Literal["shelved", "suppressed", "out_of_service"]
    by: str
    why: str
    until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """What a one-time code is good for: these occurrences of these rules, from these contacts, who were sent
    it, until it expires.
    """

    alarms: tuple[tuple[str, int], ...]
    expires_ms: int
    to: tuple[str, ...] = ()


@dataclass(slots=True)
class Desk:
    """What is remembered of the answers that came: wrong tries, locks, replies given, messages dealt with."""

    tries: dict[str, tuple[int, ...]] = field(default_factory=dict)
    locked_ms: dict[str, int] = field(default_factory=dict)
    locks: dict[str, tuple[int, ...]] = field(default_factory=dict)
    unlock: dict[str, str] = field(default_factory=dict)
    """The long code by which the owner of a locked number opens it."""
    replies: dict[str, tuple[int, ...]] = field(default_factory=dict)
    helped_ms: dict[str, int] = field(default_factory=dict)
    seen: tuple[str, ...] = ()
    doctor: dict[str, bool] = field(default_factory=dict)
    """Who asked for the doctor since `doctor_ms`, and whether they still wait for what it finds."""
    doctor_ms: int | None = None
    doctor_tries: int = 0
    """How often the examination that is waited for was begun."""


@dataclass(slots=True)
class PathState:
    """How sending goes. `failing_ms`: since when nothing goes; `modem_ms`: since when the modem is not ready.

    `life`: the signs of life of which one must be delivered, `life_due_ms` until when; `life_day` that of the
    last ones.
    """

    dead: str = ""
    undelivered: bool = False
    by_modem: bool = False
    failing_ms: int | None = None
    error: str = ""
    modem_ms: int | None = None
    modem: str = ""
    life: tuple[str, ...] = ()
    life_due_ms: int = 0
    life_day: int = 0


@dataclass(slots=True)
class Memory:
    """What must survive: the rules' states and stories by rule id, the outbox, and what people did."""

    states: dict[str, State] = field(default_factory=dict)
    stories: dict[str, Story] = field(default_factory=dict)
    outbox: Outbox = field(default_factory=Outbox)
    windows: dict[str, Window] = field(default_factory=dict)
    overlays: dict[str, Overlay] = field(default_factory=dict)
    muted: dict[str, str] = field(default_factory=dict)
    """The rules whose alarms are not told at present, and which kind of overlay that is."""
    codes: dict[str, Grant] = field(default_factory=dict)
    desk: Desk = field(default_factory=Desk)
    lately: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """When the last messages to a contact were given out."""
    digest_ms: dict[str, int] = field(default_factory=dict)
    spent: dict[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    """Segments sent to a contact: (day of the rules' scale, count)."""
    answered: dict[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    """Segments of replies to a contact, likewise."""
    warned: tuple[str, ...] = ()
    """Contacts who were told that their budget runs out."""
    path: PathState = field(default_factory=PathState)
    ill: tuple[str, ...] = ()
    """The parts of the station that are not well: "disk", "power"."""


@dataclass(frozen=True, slots=True)
class Change:
    """A rule's alarm has changed; `standing` is its state afterwards, as it is shown."""

    rule: Rule
    what: What
    before: State
    after: State
    standing: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class Overlaid:
    """A rule's alarms are told no longer, or again: `what` is "shelved", "unshelved", "suppressed" …"""

    rule: Rule
    what: str
    state: State
    before: str
    standing: str
    by: str = ""
    why: str = ""
    until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Dropped:
    """A message that will not be sent, and why."""

    row: Row
    why: str


@dataclass(frozen=True, slots=True)
class PathChange:
    """The way by which messages leave is found dead, or works again."""

    state: Literal["dead", "alive"]
    why: str


Said = Change | Overlaid | Row | Dropped | PathChange


def standing_of(memory: Memory, rule_id: str) -> str:
    """A rule's state as it is shown: by ISA-18.2, overlays included."""
    return memory.muted.get(rule_id) or standing(memory.states.get(rule_id, State()))


def is_up(memory: Memory, rule_id: str) -> bool:
    """Whether a rule's alarm stands, acknowledged or not."""
    state = memory.states.get(rule_id)
    return state is not None and state.phase in (Phase.ACTIVE, Phase.RECOVERING)
