"""A month's report: how long it takes, and how much memory, on the reference station.

Ten channels of three instruments at 10 s, dust with three channels at 1 s, in blocks of half an hour: 3.4
million readings, written straight into the journal's file.

    python -m tests.bench report
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import zlib
from datetime import UTC, datetime
from pathlib import Path

from gateway.journal_chain import NOTHING, Signer, chained
from gateway.journal_store import Block, Memory, Store

START_MS = round(datetime(2026, 9, 30, 18, tzinfo=UTC).timestamp() * 1000)
"""The first of October in Bishkek."""
DAYS = 31
CHANNELS = (
    ("ph1", "water", (("ph", "pH", 7.4), ("water_temperature", "degC", 12), ("orp", "mV", 20))),
    ("turb1", "water", (("turbidity", "NTU", 20), ("water_temperature", "degC", 12))),
    ("air1", "air", (("air_temperature", "degC", 9), ("humidity", "%", 60), ("pressure", "hPa", 870))),
)  # fmt: skip
DUST = ("dust1", "air", (("pm1", "ug/m3", 9), ("pm2_5", "ug/m3", 14), ("pm10", "ug/m3", 21)))
FOLDS = {"calibration": '{"sensors":{}}'}
"""As of a station that was never calibrated; without it the corrections are looked for in every block."""
TOML = """
[station]
id = "kyia"
name = "Kanysh-Kyia"
timezone = "Asia/Bishkek"
language = "ru"
data = "data"

[[sensor]]
id = "dust1"
port = "/dev/ttyUSB1"
model = "plantower"
every = "1 s"
"""
REPORT = """
import resource, sys, time
began = time.perf_counter()
from gateway import cli
wanted = ["--month", "2026-10", "--output", sys.argv[2], "--format", sys.argv[3]]
code = cli.main(["report", sys.argv[1], *wanted])
took = time.perf_counter() - began
own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
print(code, took, cpu, max(own.ru_maxrss, children.ru_maxrss) / 1024)
"""


def journal(folder: Path, days: float = DAYS) -> int:
    """A journal of so many days; gives its records."""
    noise, signer = random.Random(7), Signer(b"b" * 32)
    folder.mkdir(parents=True, exist_ok=True)
    store = Store(folder / "journal.db")
    seq, previous = 1, NOTHING
    for number in range(1, round(days * 48) + 1):
        first_s, begin, lines = (number - 1) * 1800, seq, []
        for second in range(first_s, first_s + 1800):
            at = f'[{START_MS + second * 1000},"boot0001",{second * 1000},true]'
            for sensor, medium, channels in (DUST, *CHANNELS) if second % 10 == 0 else (DUST,):
                values = []
                for name, unit, usual in channels:
                    x = round(usual * (0.9 + 0.2 * noise.random()), 2)
                    values.append(f'"{name}":[{x},{x},"{unit}",1,""]')
                lines.append(
                    f'[{seq},{{"kind":"reading","sensor":"{sensor}","model":"reference","medium":"{medium}",'
                    f'"at":{at},"values":{{{",".join(values)}}},"calibration":0}}]'
                )
                seq += 1
        deflate = zlib.compressobj(1, zlib.DEFLATED, -15)
        body = deflate.compress("\n".join(lines).encode() + b"\n") + deflate.flush()
        times = START_MS + first_s * 1000, START_MS + (first_s + 1799) * 1000
        block = Block(begin, seq - 1, *times, len(lines), body, begin - 1)
        block, previous = chained(block, number, previous, signer)
        memory = Memory(
            generation=number, last_seq=seq - 1, closed=True, block=number, link=previous.hex(), folds=FOLDS
        )
        store.settle(block, memory)
    store.close()
    return seq - 1


def run() -> list[tuple[str, str, str]]:
    figures = []
    with tempfile.TemporaryDirectory(prefix="suuaba-report-") as name:
        records = journal(Path(name) / "data")
        (Path(name) / "station.toml").write_text(TOML, encoding="utf-8")
        for kind in ("html", "pdf"):
            out = Path(name) / f"out.{kind}"
            command = [sys.executable, "-c", REPORT, f"{name}/station.toml", str(out), kind]
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=1800)
            code, took_s, cpu_s, peak = (float(word) for word in done.stdout.split()[-4:])
            if code:
                raise ValueError(done.stderr)
            about = f"report: a month of {records / 1e6:.1f} million readings, {kind}"
            figures += [
                (f"{about}, s", "10", f"{took_s:.1f} ({cpu_s:.1f} CPU in all)"),
                (f"{about}, MB at most in one process", "", f"{peak:.0f}"),
                (f"{about}, KB of file", "", f"{out.stat().st_size / 1e3:.0f}"),
            ]
    return figures
