"""Whether messages leave at all: what failed sends, the modem's watchman and the sign of life say of it.

A path that is dead cannot say so by SMS. It is an event, which goes out by MQTT where there is a network, and
its end is one too.
"""

from __future__ import annotations

from alerts.memory import Memory, Now, PathChange, PathState, Said
from alerts.outbox import Outcome

DEAD_AFTER_S = 600.0
"""The path counts as dead when nothing goes for so long."""
AWAY_AFTER_S = 60.0
LIFE_WITHIN_S = 7200.0
"""So long a sign of life may take until it is delivered."""


def was_away(path: PathState, now: Now) -> bool:
    """Whether nothing has gone for a while: one message that fails beside others that go is not the path's
    fault.
    """
    return path.failing_ms is not None and now.ms - path.failing_ms >= AWAY_AFTER_S * 1000


def learn(path: PathState, row_id: str, outcome: Outcome, error: str, now: Now) -> list[Said]:
    """What became of an attempt to send tells of the path as well."""
    if outcome.state in ("retry", "unknown"):
        path.error = error
        if path.failing_ms is None:
            path.failing_ms = now.ms
    if outcome.state not in ("accepted", "delivered"):
        return []
    path.failing_ms = None
    if row_id in path.life and (outcome.state == "delivered" or outcome.path not in ("", "modem", "second")):
        path.life = ()  # only the modems' messages come with a report
    if path.dead and (outcome.state == "delivered" or not path.undelivered):
        path.dead, path.undelivered = "", False
        return [PathChange("alive", f"{row_id} was {outcome.state}")]
    return []


def modem(path: PathState, state: str, why: str, now: Now) -> None:
    """What the modem's watchman says: "ready", or why not."""
    if state == "ready":
        path.modem_ms, path.modem = None, ""
    elif path.modem_ms is None:
        path.modem_ms, path.modem = now.ms, why or state


def switched_off(memory: Memory) -> list[str]:
    """The rules that somebody has put out of service or shelved, those without an end first: the daily sign
    of life names them, so that none is forgotten.
    """
    off = {name: one.kind for name, one in memory.overlays.items() if one.kind != "suppressed"}
    return sorted(off, key=lambda name: (off[name] != "out_of_service", name))


def check(path: PathState, now: Now) -> list[Said]:
    """Whether the path is found dead by now, or works again."""
    why, undelivered = "", False
    if path.failing_ms is not None and now.ms - path.failing_ms >= DEAD_AFTER_S * 1000:
        why = f"nothing could be sent for {DEAD_AFTER_S / 60:g} min: {path.error}"
    elif path.modem_ms is not None and now.ms - path.modem_ms >= DEAD_AFTER_S * 1000:
        why = f"the modem is not ready: {path.modem}"
    elif path.life and now.ms >= path.life_due_ms:
        why = f"the daily sign of life was not delivered within {LIFE_WITHIN_S / 3600:g} h"
        undelivered = True
    if why and not path.dead:
        path.dead, path.undelivered, path.life = why, undelivered, ()
        path.by_modem = path.failing_ms is None and path.modem_ms is not None
        return [PathChange("dead", why)]
    if path.dead and path.by_modem and path.modem_ms is None:
        path.dead, path.by_modem = "", False
        return [PathChange("alive", "the modem is ready")]
    return []
