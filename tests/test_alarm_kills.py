"""The whole station as a process, killed with -9 between the steps of a send; what it talks to lives outside.

Whatever dies when: the alarm comes, at most one repetition comes, and that says so.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from drivers.emulators.modbus_models import Y532
from drivers.emulators.modem import ModemEmulator
from drivers.emulators.port import PortThread, PtyPort
from drivers.link import Line

WITHIN_S = 45.0
SETTLED_S = 3.0
"""So long nothing must come any more; a repetition is due after one second here."""
STATION = """
[station]
id = "river-1"
data = "{folder}/data"
[journal]
commit = "200 ms"
sync = "1 s"
[sms]
modem = "{folder}/modem"
[[contact]]
id = "duty"
phone = "+996555000001"
language = "en"
[[sensor]]
id = "ph1"
model = "yosemitech-y532"
port = "{folder}/ph"
every = "500 ms"
[[rule]]
id = "acid"
sensor = "ph1"
quantity = "ph"
unit = "pH"
below = 5
priority = "critical"
send = [["duty"]]
"""
RUN = (
    "import sys, alerts.outbox; alerts.outbox.REPEAT_AFTER_S = 1.0; "  # a minute in life
    "from gateway.cli import main; sys.exit(main(['run', sys.argv[1]]))"
)


class Watched(ModemEmulator):
    """An emulated modem that tells of each step of a send, before it does anything about it."""

    def __init__(self) -> None:
        super().__init__(network_s=0.1)
        self.steps: list[str] = []
        self.on_step: Callable[[str], None] = lambda _: None
        self.on_sms = lambda _: self._step("the network takes it")

    def _step(self, name: str) -> None:
        self.steps.append(name)
        self.on_step(name)

    def _prompt(self, length: int) -> None:
        self._step("AT+CMGS")
        super()._prompt(length)

    def _submit(self, line: str, now_s: float) -> bytes:
        self._step("the PDU")
        return super()._submit(line, now_s)

    def _answer(self, data: bytes) -> bytes:
        self._step("the result")
        return super()._answer(data)


class Outside:
    """An instrument, a modem, and the station's process between them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modem = Watched()
        self.ph = 7.0
        self.file = folder / "station.toml"
        self.file.write_text(STATION.format(folder=folder))
        self.process: subprocess.Popen[bytes] | None = None
        self.ports = [
            PtyPort([Y532("ph1", 1, lambda quantity, _: self.ph if quantity == "ph" else 20.0)],
                    link_path=folder / "ph", line=Line(9600)),
            PtyPort([self.modem], link_path=folder / "modem", line=Line(115200)),
        ]  # fmt: skip

    def start(self) -> None:
        with (self.folder / "log").open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", RUN, str(self.file)], stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)

    def wait(self, what: str, condition: Callable[[], object]) -> None:
        deadline_s = time.monotonic() + WITHIN_S
        while not condition():
            assert time.monotonic() < deadline_s, f"{what}: {(self.folder / 'log').read_text()[-2000:]}"
            time.sleep(0.02)

    @property
    def texts(self) -> list[str]:
        return [sms.text.partition(": ")[0] for sms in self.modem.sent]


@contextmanager
def outside(folder: Path) -> Iterator[Outside]:
    made = Outside(folder)
    with PortThread(*made.ports):
        try:
            yield made
        finally:
            if made.process is not None:
                made.process.kill()
                made.process.wait(10)


ALARM = "ALARM river-1 ph1"
REPEAT = f"(repeat) {ALARM}"


STEPS = {
    "AT+CMGS": ("AT+CMGS", 0.0, [[REPEAT]]),
    "the PDU": ("the PDU", 0.0, [[ALARM, REPEAT]]),  # the modem goes on by itself
    "the network takes it": ("the network takes it", 0.0, [[ALARM, REPEAT]]),
    "the result": ("the result", 0.0, [[ALARM, REPEAT]]),
    # its record may be on the disk or not
    "after the result": ("the result", 0.05, [[ALARM], [ALARM, REPEAT]]),
}


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[list[str]]]]:
    """What came of each kill. They mostly wait, so all live at once; each has its own station and folder."""
    with ThreadPoolExecutor(len(STEPS) + 1) as pool:
        yield {
            "again and again": pool.submit(killed_again_and_again, tmp_path_factory.mktemp("site")),
            **{name: pool.submit(killed_at, tmp_path_factory.mktemp("site"), *STEPS[name]) for name in STEPS},
        }


def killed_at(folder: Path, step: str, pause_s: float, expected: list[list[str]]) -> list[str]:
    with outside(folder) as site:
        killed = threading.Event()

        def kill_at(name: str) -> None:
            if name == step and not killed.is_set():
                killed.set()
                if pause_s:
                    threading.Timer(pause_s, site.kill).start()
                else:
                    site.kill()

        site.modem.on_step = kill_at
        site.modem.report_after_s = None  # else the report says that it came, and nothing is repeated
        site.start()
        site.wait("the modem is ready", lambda: "AT+CIMI" in site.modem.commands)
        site.ph = 4.0
        assert site.process is not None
        site.process.wait(WITHIN_S)
        assert site.process.returncode == -signal.SIGKILL
        site.start()
        site.wait("the alarm", lambda: site.modem.sent)
        if len(expected) == 1:
            site.wait("the repetition", lambda: REPEAT in site.texts)
        return settled(site)


def killed_again_and_again(folder: Path) -> list[str]:
    """Killed from outside at no particular step, all the way from the reading to the result."""
    with outside(folder) as site:
        site.start()
        site.wait("the modem is ready", lambda: "AT+CIMI" in site.modem.commands)
        site.ph = 4.0
        for pause_s in (0.3, 0.7, 1.2, 1.6):
            time.sleep(pause_s)
            site.kill()
            assert site.process is not None
            site.process.wait(WITHIN_S)
            site.start()
        site.wait("the alarm", lambda: site.modem.sent)
        return settled(site)


def settled(site: Outside) -> list[str]:
    quiet_until_s = time.monotonic() + SETTLED_S
    site.wait("it is quiet", lambda: time.monotonic() > quiet_until_s)
    return site.texts


@pytest.mark.parametrize("name", STEPS)
def test_killed_at_a_step_of_a_send(lives: dict[str, Future[list[str]]], name: str) -> None:
    assert lives[name].result() in STEPS[name][2]


def test_killed_again_and_again_while_an_alarm_is_on_its_way(lives: dict[str, Future[list[str]]]) -> None:
    assert lives["again and again"].result() in ([ALARM], [ALARM, REPEAT], [REPEAT])
