"""`make bench`: every figure beside its floor and its goal. Nothing here asserts; the tests do.

    python -m tests.bench                 all of it, a quarter of an hour at most
    python -m tests.bench load wire       only these parts
    python -m tests.bench long            kills, power cuts, bad lines, backlog, soak: two hours

In the end all figures that have a goal stand once more, in one table. A part that takes longer than `PART_S`,
or than is left of `ALL_S`, is given up, and that is said. Floors were measured on a shared two-core x86-64
machine (a durable Python program of 115 lines that is no product); CPU figures compare only between programs
run on the same machine at about the same time.
"""

from __future__ import annotations

import json
import os
import pkgutil
import signal
import subprocess
import sys
import time
from typing import Any

import tests.bench

FLOORS = {
    "W1: CPU per reading, us": "99",
    "W2: CPU per reading, us": "2.2",
    "W2: RSS, headless with MQTT, MB": "17.5",
    "W1: process start to first reading published, s": "0.1",
}
PART_S, ALL_S = 300.0, 900.0
SHORT: dict[str, dict[str, Any]] = {
    "crash": {"kills": 30, "states": 2500},
    "soak": {"minutes": 1, "outage_s": 10},
    "network": {"minutes": 1.0},
    "backlog": {"hours": 8.0},
    "bus": {"seconds": 20.0},
    "fleet": {"stations": 2000, "minutes": 0.5},
}
LONG: dict[str, dict[str, Any]] = {
    "crash": {"kills": 1000, "states": 30_000},
    "soak": {"minutes": 10, "outage_s": 60},
    "network": {"minutes": 60.0},
    "backlog": {"hours": 24.0},
    "fleet": {"stations": 10_000, "minutes": 2.0},
}
FIRST = ("crash", "bus", "clock", "backlog", "promises", "card", "network", "soak", "load", "wire")
"""What is looked at first, should the time not be enough for all."""
CALLS = {"soak": "soak"}
"""Where the part's function has another name than `run`."""
ONE = "import importlib, json, sys; part = importlib.import_module('tests.bench.' + sys.argv[1]);\
rows = getattr(part, sys.argv[2])(**json.loads(sys.argv[3])); print('\\n' + json.dumps(list(rows)))"

Row = tuple[str, str, str]


def main(wanted: list[str]) -> int:
    parts = [
        module.name for module in pkgutil.iter_modules(tests.bench.__path__) if module.name != "__main__"
    ]
    parts.sort(key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
    long = "long" in wanted
    wanted = [name for name in wanted if name != "long"] or (sorted(LONG) if long else parts)
    unknown = set(wanted) - set(parts)
    if unknown:
        print(f"no bench called {', '.join(sorted(unknown))}; there are {', '.join(parts)}", file=sys.stderr)
        return 2
    began_s, rows, wrong = time.monotonic(), list[Row](), list[str]()
    print(f"{'what':70} {'floor':>8} {'goal':>24}  figure")
    for name in wanted:
        part_s = time.monotonic()
        within_s = None if long else min(PART_S, began_s + ALL_S - part_s)
        if within_s is not None and within_s <= 0:
            wrong.append(f"{name}: no time left")
            continue
        try:
            some = _part(name, LONG if long else SHORT, within_s)
        except subprocess.TimeoutExpired:
            wrong.append(f"{name}: given up after {within_s:.0f} s")
        except (subprocess.CalledProcessError, ValueError) as e:
            wrong.append(f"{name}: {str(e)[-200:]}")
        else:
            rows += some
            for row in some:
                _print(row)
        print(f"── {name}: {time.monotonic() - part_s:.0f} s", flush=True)
    print(f"\n══ all that has a goal; {time.monotonic() - began_s:.0f} s in all")
    for row in rows:
        if row[1]:
            _print(row)
    for line in wrong:
        print(f"no figures from {line}", flush=True)
    return 1 if wrong else 0


def _part(name: str, lengths: dict[str, dict[str, Any]], within_s: float | None) -> list[Row]:
    """One part in a process of its own, so that it can be given up, and its memory is its own.

    Raises CalledProcessError, TimeoutExpired, ValueError.
    """
    command = [sys.executable, "-c", ONE, name, CALLS.get(name, "run"), json.dumps(lengths.get(name, {}))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            said, _ = process.communicate(timeout=within_s)
        finally:
            if process.poll() is None:  # with the servers that it started
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, name)
    return [(what, goal, figure) for what, goal, figure in json.loads(said.rstrip().rpartition("\n")[2])]


def _print(row: Row) -> None:
    what, goal, figure = row
    print(f"{what:70} {FLOORS.get(what, ''):>8} {goal:>24}  {figure}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
