"""A whole centre for tests: real Mosquitto and InfluxDB 1.6.7, two collectors in processes of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.services import InfluxDB, Mosquitto, fetch, free_port, until

T0_MS = 1_795_428_000_000


class Process:
    """A collector in a process of its own, which may be killed and started again."""

    def __init__(
        self,
        folder: Path,
        name: str,
        broker: Mosquitto,
        influx: InfluxDB,
        extra: str = "",
        again: str = "never",
    ) -> None:
        self.folder, self.port = folder, free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "collector.toml"
        self.file.write_text(
            f'[collector]\nname = "{name}"\ndata = "data"\nagain = "{again}"\n'
            f'[mqtt]\nurl = "{broker.url}"\n{extra}'
            f'[influxdb]\nurl = "{influx.url}"\nversion = 1\ndatabase = "stations"\n'
            f'[web]\nlisten = "127.0.0.1:{self.port}"\n'
        )
        self._process: subprocess.Popen[bytes] | None = None

    def ask_again(self, again: str) -> None:
        """Counts from the next start."""
        self.file.write_text(re.sub("again = .*", f'again = "{again}"', self.file.read_text()))

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway.cli", "collect", str(self.file)], stdout=log, stderr=log
            )

    def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(number)
        code, self._process = self._process.wait(20), None
        return code

    def cpu_s(self) -> float:
        """CPU seconds of the process so far, all threads."""
        assert self._process is not None
        words = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def command_line(self) -> str:
        assert self._process is not None
        environment = Path(f"/proc/{self._process.pid}/environ").read_text(errors="replace")
        return Path(f"/proc/{self._process.pid}/cmdline").read_text() + environment

    def rss_mb(self) -> float:
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024

    def healthy(self) -> bool:
        with suppress(OSError):
            return fetch(f"http://127.0.0.1:{self.port}/healthz") == b"ok"
        return False

    def aside(self) -> list[Any]:
        file = self.folder / "data/poison.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def accounts(self) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gateway.cli", "collect", str(self.file), "--accounts"]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)


@contextmanager
def centre(
    folder: Path, persist_s: int, again: str = "never"
) -> Iterator[tuple[Mosquitto, InfluxDB, list[Process]]]:
    settings_text = f"persistence true\npersistence_location {folder}/broker/\nautosave_interval {persist_s}"
    broker = Mosquitto(folder / "broker", settings=settings_text)
    influx = InfluxDB(folder / "influx")
    broker.start()
    influx.start()
    processes = [Process(folder / f"c{i}", f"c{i}", broker, influx, again=again) for i in (1, 2)]
    try:
        for process in processes:
            process.start()
        for process in processes:
            until("a collector", process.healthy)
        yield broker, influx, processes
    finally:
        for process in processes:
            process.end()
        broker.stop()
        influx.stop()


def points(influx: InfluxDB, *, at_rest: bool = False) -> dict[str, set[int]]:
    """The numbers of the readings that are in the database, by station, from the times of the points."""
    answer = influx.ask("/query", db="stations", epoch="ms", q="SELECT q0, q3 FROM water GROUP BY station")
    found: dict[str, set[int]] = {}
    for series in answer["results"][0].get("series", []):
        seqs = set()
        for at_ms, q0, q3 in series["values"]:
            seq = (at_ms - T0_MS) // 1000
            if at_rest:  # a query may see half of a point that is being written
                assert (q0, q3) == (seq + 0.5, seq + 0.875)
            seqs.add(seq)
        assert len(seqs) == len(series["values"])
        found[series["tags"]["station"]] = seqs
    return found


def accounted(process: Process) -> dict[str, tuple[int, int | None, list[list[int]]]]:
    """What the page says of each station: records there, missing, holes."""
    rows = json.loads(fetch(f"http://127.0.0.1:{process.port}/api/stations"))["stations"]
    return {row["station"]: (row["records"], row["missing"], row["holes"]) for row in rows}
