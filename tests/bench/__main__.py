"""`make bench`: every figure beside its floor and its goal. Nothing here asserts; the tests do.

    python -m tests.bench            all of it, some minutes
    python -m tests.bench load wire  only these parts

Floors were measured on a shared two-core x86-64 machine (a durable Python program of 115 lines that is no
product); CPU figures compare only between programs run on the same machine at about the same time.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import time

import tests.bench

FLOORS = {
    "W1: CPU per reading, us": "99",
    "W2: CPU per reading, us": "2.2",
    "W2: RSS, headless with MQTT, MB": "17.5",
    "W1: process start to first reading published, s": "0.1",
}


def main(wanted: list[str]) -> int:
    parts = [
        module.name for module in pkgutil.iter_modules(tests.bench.__path__) if module.name != "__main__"
    ]
    unknown = set(wanted) - set(parts)
    if unknown:
        print(f"no bench called {', '.join(sorted(unknown))}; there are {', '.join(parts)}", file=sys.stderr)
        return 2
    print(f"{'what':62} {'floor':>8} {'goal':>26}  figure")
    for name in wanted or parts:
        part = importlib.import_module(f"tests.bench.{name}")
        began_s = time.monotonic()
        for what, goal, figure in part.run():
            print(f"{what:62} {FLOORS.get(what, ''):>8} {goal:>26}  {figure}", flush=True)
        print(f"── {name}: {time.monotonic() - began_s:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
