"""A story for the gap ledger: what a bus says over hours, and what the ledger makes of it."""

from __future__ import annotations

from gateway.journal_folds import Folds
from gateway.ledger import GapLedger
from gateway.ledger_sums import Account
from gateway.model import Body, Event, Reading, Record, Stamp, Value

UTC_MS = 1_795_428_000_000  # 2026-11-23T10:00:00Z, the beginning of an hour
EVERY_S = 10.0
EVER = (0, 1 << 62)


class Story:
    """A journal's part in the life of a ledger: what is committed and what the fold then remembers survive a
    kill. Time is the boot's clock in seconds.
    """

    def __init__(self, utc_ms: int = UTC_MS, **every_s: float) -> None:
        self.every_s = every_s or {"ph": EVERY_S}
        self.records: list[Record] = []
        self.boot, self.now_s, self.offset_ms, self.synced = "boot0", 0.0, utc_ms, True
        self._kept: list[tuple[int, dict[str, str]]] = []
        self._committed = 0
        self._load()

    def _load(self) -> None:
        self.ledger = GapLedger(self.every_s)
        self._folds = Folds([self.ledger])

    @property
    def at(self) -> Stamp:
        mono_ms = round(self.now_s * 1000)
        return Stamp(mono_ms + self.offset_ms, self.boot, mono_ms, self.synced)

    def append(self, *bodies: Body) -> None:
        waiting = list(bodies)
        while waiting:
            record = Record(len(self.records) + 1, waiting.pop(0))
            self.records.append(record)
            waiting += self._folds.step(record)

    def tick(self) -> None:
        self.append(*self._folds.tick(self.at))

    def commit(self) -> None:
        self._committed = len(self.records)
        if changed := self._folds.changed():
            self._folds.kept()
            self._kept.append((self._committed, changed))

    def settle(self) -> None:
        """As at a clean end, and every ten minutes."""
        self.commit()
        self._kept.append((self._committed, self._folds.states()))

    def kill(self) -> None:
        """End the process: what is not committed is gone. The next one replays as the journal does."""
        del self.records[self._committed :]
        self._load()
        kept = {number: states for number, states in self._kept if number <= self._committed}
        for number, record in enumerate(self.records, 1):
            self._folds.replay(record)
            self._folds.restore(kept.get(number, {}).items())

    def reboot(self, off_s: float, up_s: float = 20.0, *, synced: bool = True, wrong_ms: int = 0) -> None:
        """A power cut: `off_s` without power, and `up_s` until the station runs again."""
        self.kill()
        utc_ms = self.at.utc_ms + round(off_s * 1000)
        self.boot = f"boot{int(self.boot[4:]) + 1}"
        self.now_s, self.synced = up_s, synced
        self.offset_ms = utc_ms + wrong_ms

    def read(self, sensor: str = "ph", flag: int = 1) -> None:
        values = {"ph": Value(7.0, 7.0, "pH", flag)}
        self.append(Reading(sensor, "yosemitech-y532", "water", self.at, values))

    def read_until(self, until_s: float, sensor: str = "ph") -> None:
        """A reading in each slot from now on, and time passes."""
        while self.now_s < until_s:
            self.read(sensor)
            self.now_s += self.every_s[sensor]
            self.tick()
            self.commit()

    def missed(self, first: int, end: int, why: str, sensor: str = "ph") -> None:
        every_ms = round(self.every_s[sensor] * 1000)
        detail = {"sensor": sensor, "slots": end - first, "from_mono_ms": first * every_ms}
        self.append(Event(self.at, "missed", {**detail, "to_mono_ms": end * every_ms, "why": why}))

    def account(self, sensor: str = "ph", from_ms: int = EVER[0], to_ms: int = EVER[1]) -> Account:
        return self.ledger.account(self.records, from_ms, to_ms).get(sensor, Account())

    def events(self, what: str) -> list[dict[str, object]]:
        return [r.body.detail for r in self.records if isinstance(r.body, Event) and r.body.what == what]


def balanced(account: Account) -> tuple[int, int, dict[str, int]]:
    assert account.expected == account.taken + sum(account.missed.values())
    return account.expected, account.taken, account.missed
