"""The gateway's own errors; the instruments' stand in drivers.base. gateway/__init__.py draws the whole
tree.
"""

from __future__ import annotations


class DeliveryError(Exception):
    """A sink could not hand records over."""


class Unreachable(DeliveryError):
    """The far side is away or overloaded: the same batch again, later. `retry_after_s` where it said when."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Refused(DeliveryError):
    """The far side will never take this batch as it is. `accepted` says how many records of its start are
    taken.
    """

    def __init__(self, message: str, accepted: int = 0) -> None:
        super().__init__(message)
        self.accepted = accepted


class ConfigError(Exception):
    """A configuration that cannot be used: `lines` holds one line per mistake (file, key path, what,
    allowed).
    """

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class JournalError(Exception):
    """The disk does not keep what it is given. Nobody retries: the process ends and says why."""


class ControlError(Exception):
    """What was asked of the running service cannot be done, or not so: one line."""


class NotRunning(ControlError):
    """No service runs on this data folder."""
