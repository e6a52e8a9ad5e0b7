"""How well the Modbus master uses a wire: five instruments on one bus, the wire's time kept by another
process.

    python -m tests.bench.wire

The other process is the wire and the instruments: what the master writes takes as long as its characters
would, an instrument answers t3.5 after the last of them, and its answer is there when its last character
would be. From then on the wire must be silent for t3.5 before the next request; that is measured there, at
the other side. The limit is a master that needs no time at all and waits exactly t3.5.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
import time
import tty

from drivers.link import Line, Link
from drivers.modbus import pack, read_pdu, read_registers

UNITS = (1, 3, 5, 7, 9)
COUNTS = (2, 5, 8, 10, 2)  # registers of Y532, Y511, Aqualabo, Hamilton, XY-MD02
RUN_S = 5.0
GOALS = {9600: 97.0, 19200: 95.0}


def run() -> list[tuple[str, str, str]]:
    """Rows of (what, goal, figure)."""
    rows = []
    for baudrate, goal in GOALS.items():
        ours, theirs = os.openpty()
        tty.setraw(theirs)
        command = [sys.executable, "-m", "tests.bench.wire", "--wire", str(ours), str(baudrate)]
        wire = subprocess.Popen(command, pass_fds=(ours,), stdout=subprocess.PIPE)
        try:
            used, transactions, cpu_us = asyncio.run(_measure(os.ttyname(theirs), baudrate))
        finally:
            wire.terminate()
            said, _ = wire.communicate(timeout=10)
            os.close(ours)
            os.close(theirs)
        broken = json.loads(said)["broken"]
        rows += [
            (f"wire use at {baudrate} Bd, five devices", f">= {goal:g} % of the limit", f"{used:.1f} %"),
            (f"broken silences at {baudrate} Bd", "0", f"{broken} of {transactions}"),
            (f"master's CPU per transaction at {baudrate} Bd", "", f"{cpu_us:.0f} us"),
        ]
    return rows


async def _measure(port: str, baudrate: int) -> tuple[float, int, float]:
    """Wire use in % of the limit, transactions, CPU per transaction in us."""
    line = Line(baudrate, "8N1")
    link = Link(port, line)
    transactions = 0
    limit_s = 0.0
    await _ask(link, 0)  # the other process has started when it answers
    loop = asyncio.get_running_loop()
    began_s, began_cpu_s = loop.time(), time.process_time()
    while loop.time() - began_s < RUN_S:
        i = transactions % len(UNITS)
        await _ask(link, i)
        transactions += 1
        limit_s += (8 + 5 + 2 * COUNTS[i]) * line.char_s + 2 * line.silence_s
    spent_s = loop.time() - began_s
    cpu_us = (time.process_time() - began_cpu_s) / transactions * 1e6
    link.close()
    return limit_s / spent_s * 100, transactions, cpu_us


async def _ask(link: Link, i: int) -> None:
    await read_registers(link, UNITS[i], 3, 0, COUNTS[i], within_s=10.0)


def _be_the_wire(fd: int, baudrate: int) -> None:
    """Five instruments and the time their characters take. Prints what it saw when told to end."""
    line = Line(baudrate, "8N1")
    answers = {
        pack("rtu", unit, read_pdu(3, 0, count)): pack("rtu", unit, bytes((3, 2 * count)) + bytes(2 * count))
        for unit, count in zip(UNITS, COUNTS, strict=True)
    }
    broken = 0
    silent_from_s = 0.0

    def end(*_: object) -> None:
        print(json.dumps({"broken": broken}), flush=True)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    got = b""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while True:
        while not poll.poll(0):  # no sleeping: a wake-up's delay would be taken for silence
            pass
        heard_s = time.monotonic()
        if not got and heard_s - silent_from_s < line.silence_s:
            broken += 1
        got += os.read(fd, 256)
        if got not in answers:
            continue
        answer = answers[got]
        got = b""
        at_s = heard_s + (8 + len(answer)) * line.char_s + line.silence_s
        time.sleep(max(at_s - time.monotonic() - 0.002, 0))
        while time.monotonic() < at_s:
            pass
        silent_from_s = time.monotonic()
        os.write(fd, answer)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--wire"]:
        _be_the_wire(int(sys.argv[2]), int(sys.argv[3]))
    for what, goal, figure in run():
        print(f"{what:50} {goal:24} {figure}")
