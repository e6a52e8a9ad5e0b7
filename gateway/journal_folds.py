"""Folds: what derives records from records inside the journal, exactly once (decision D3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from gateway.model import Body, Record, Stamp


class Fold(Protocol):
    """Derives records from records, exactly once. Synchronous, without I/O; time comes with the records and
    with `tick`.
    """

    name: str

    def step(self, record: Record) -> Sequence[Body]:
        """See one record, in order, also those that folds derived; give what follows from it.

        After a crash the records since the last kept state are shown again, and what this gives then is not
        used.
        """
        ...

    def tick(self, at: Stamp) -> Sequence[Body]:
        """See that time passes; called about every second."""
        ...

    def save(self) -> bytes:
        """What must be remembered, as text (JSON); small."""
        ...

    def restore(self, state: bytes) -> None:
        """Go on where a state was kept. One that cannot be read is said and left: never raises."""
        ...


class Folds:
    """The journal's folds, and which of them must be kept with the next commit."""

    def __init__(self, folds: Sequence[Fold]) -> None:
        self._folds = list(folds)
        self._derived: set[str] = set()

    def restore(self, states: Iterable[tuple[str, str]]) -> None:
        """Go on from these states, by name; those of folds that are gone are left."""
        for name, state in states:
            for fold in self._folds:
                if fold.name == name:
                    fold.restore(state.encode())

    def replay(self, record: Record) -> None:
        """Show a record again; what was derived from it then stands behind it."""
        for fold in self._folds:
            fold.step(record)

    def step(self, record: Record) -> list[Body]:
        """What follows from a new record."""
        bodies: list[Body] = []
        for fold in self._folds:
            if derived := fold.step(record):
                self._derived.add(fold.name)
                bodies += derived
        return bodies

    def tick(self, at: Stamp) -> list[Body]:
        """What follows from the time."""
        bodies: list[Body] = []
        for fold in self._folds:
            if derived := fold.tick(at):
                self._derived.add(fold.name)
                bodies += derived
        return bodies

    def states(self) -> dict[str, str]:
        """What all of them remember now."""
        return {fold.name: fold.save().decode() for fold in self._folds}

    def changed(self) -> dict[str, str]:
        """What those remember that derived something since the last `kept`."""
        return {fold.name: fold.save().decode() for fold in self._folds if fold.name in self._derived}

    def kept(self) -> set[str]:
        """What is remembered is on its way to the disk. Gives what `not_kept` takes back."""
        names, self._derived = self._derived, set()
        return names

    def not_kept(self, names: set[str]) -> None:
        self._derived |= names
