"""gammu (Debian) as the judge: it drives our emulated modem, and its PDUs must be ours, octet for octet.

One gammu start with a modem costs some 3.5 s, most of it gammu's own pauses, so these runs go side by side,
each with a modem of its own. Left out of the comparison: the message centre in front, and the reference of
a long message, which gammu takes from the clock. Not tried: \\ and line ends (gammu's command line reads
them as escapes) and ~ in UCS-2 (a defect of gammu). That gammu's decoder adds a false "@" behind a part of
exactly 152 septets does not matter here: only what it encodes is compared.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from alerts import pdu
from alerts.alphabet import BASIC, EXTENSION
from drivers.emulators.modem import ModemEmulator
from drivers.emulators.port import PortThread, PtyPort

TO = "+996555000001"
GAMMU = shutil.which("gammu")
pytestmark = pytest.mark.skipif(GAMMU is None, reason="gammu is not installed (apt-get install gammu)")
WITHIN_S = 60.0


class Recording(ModemEmulator):
    """Keeps the PDU lines as they were written."""

    def __init__(self) -> None:
        super().__init__(network_s=0.01)
        self.lines: list[str] = []

    def _submit(self, line: str, now_s: float) -> bytes:
        self.lines.append(line)
        return super()._submit(line, now_s)


@dataclass
class Run:
    """One gammu on its way."""

    emulated: Recording
    process: subprocess.Popen[bytes]

    def ends(self) -> str:
        out, err = self.process.communicate(timeout=WITHIN_S)
        assert self.process.returncode == 0, (out + err).decode()
        return out.decode()


@contextmanager
def running(folder: Path, *jobs: tuple[Recording, list[str]]) -> Iterator[list[Run]]:
    """gammu with these arguments on each of these modems, all at once."""
    ports = [PtyPort([emulated], name=f"modem {i}") for i, (emulated, _) in enumerate(jobs)]
    runs: list[Run] = []
    with PortThread(*ports):
        try:
            for i, (emulated, arguments) in enumerate(jobs):
                settings = folder / f"gammurc{i}"
                settings.write_text(
                    f"[gammu]\ndevice = {ports[i].path}\nconnection = at\nmodel = at\nsynchronizetime = no\n"
                )
                process = subprocess.Popen(
                    [str(GAMMU), "-c", str(settings), *arguments],
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    env=environment(folder),
                )  # fmt: skip
                runs.append(Run(emulated, process))
            yield runs
        finally:
            for run in runs:
                if run.process.poll() is None:
                    run.process.kill()
                    run.process.communicate()


def environment(folder: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(folder)}


def sending(text: str) -> list[str]:
    unicode = ["-unicode"] if pdu.segments(text).alphabet == pdu.UCS2 else []
    room = str(2 * len(text))  # gammu counts UTF-16 units
    return ["sendsms", "TEXT", TO, "-text", text, "-report", "-validity", "DAY", "-len", room, *unicode]


LATIN = [c for c in BASIC if c not in "\x1b\r\n"] + [c for c in EXTENSION.values() if c not in "\f\\"]
KYRGYZ = list("абвгдеёжзийклмнңоөпрстуүфхцчшщъыьэюяАБВГДЕЁЖЗИЙКЛМНҢОӨПРСТУҮФХЦЧШЩЪЫЬЭЮЯ ,.!?0123456789")


def random_text(rng: random.Random, alphabet: str) -> str:
    mixed = [*LATIN, *KYRGYZ, *"🌊🚨💧" * 9]
    mixed.remove("~")  # a defect of gammu 1.42: in UCS-2 it writes ~ as 0001
    signs = {"latin": LATIN, "kyrgyz": KYRGYZ, "mixed": mixed}[alphabet]
    length = rng.choice([rng.randint(1, 70), rng.randint(65, 165), rng.randint(150, 420)])
    return "".join(rng.choice(signs) for _ in range(length))


def texts() -> dict[str, str]:
    """The corners by name, and one random text of each alphabet."""
    rng = random.Random("gammu")
    named = {
        "plain": "pH 4.1 < 6.5 at Kanysh-Kyia, code 4711",
        "160": "0123456789" * 16,
        "161": "0123456789" * 16 + "x",
        "escapes split": "a" * 152 + "€[]{}|~^" * 10,
        "kyrgyz": "Суу: pH 4,1; чеги 6,5. Жооп: КАБЫЛ 4711",
        "70": "ү" * 70,
        "71": "ү" * 71,
        "emoji split": "🌊" * 66,
    }
    return named | {f"random {a}": random_text(rng, a) for a in ("latin", "kyrgyz", "mixed")}


def comparable(line: str) -> bytes:
    """A PDU without the message centre, and without the reference of a long message."""
    octets = bytearray.fromhex(line)
    del octets[: octets[0] + 1]
    after_number = 4 + (octets[2] + 1) // 2
    if octets[0] & 0x40:
        octets[after_number + 7] = 0  # reference of the long message
    return bytes(octets)


def test_gammu_sends_what_the_emulator_reads_and_writes_the_same_pdus(tmp_path: Path) -> None:
    wanted = list(texts().items())
    with running(tmp_path, *((Recording(), sending(text)) for _, text in wanted)) as runs:
        for run, (name, text) in zip(runs, wanted, strict=True):
            run.ends()
            ours = [comparable(part.line) for part in pdu.submit(TO, text)]
            assert [comparable(line) for line in run.emulated.lines] == ours, name
            assert [sms.text for sms in run.emulated.sent] == [text], name


def test_a_thousand_random_texts_give_the_pdus_that_gammu_gives(tmp_path: Path) -> None:
    """`gammu displaysms` with gammu's dummy telephone: no modem, some 12 ms each."""
    (tmp_path / "dummy").mkdir()
    settings = tmp_path / "gammurc"
    settings.write_text(f"[gammu]\nmodel = dummy\nconnection = none\ndevice = {tmp_path}/dummy\n")
    rng = random.Random("a thousand texts")
    wanted = [random_text(rng, ("latin", "kyrgyz", "mixed")[i % 3]) for i in range(1000)]

    begin = [str(GAMMU), "-c", str(settings), "displaysms"]

    def displayed(text: str) -> list[str]:
        done = subprocess.run(
            [*begin, *sending(text)[1:], "-smscnumber", "+996555000000"],
            stdin=subprocess.DEVNULL, capture_output=True, env=environment(tmp_path), timeout=WITHIN_S,
            check=True,
        )  # fmt: skip
        return re.findall(r"Whole PDU +: ([0-9A-F]+)", done.stdout.decode())

    with ThreadPoolExecutor(2) as pool:
        for text, theirs in zip(wanted, pool.map(displayed, wanted), strict=True):
            ours = [comparable(part.line) for part in pdu.submit(TO, text)]
            assert [comparable(line) for line in theirs] == ours, text


def test_gammu_identifies_lists_and_deletes(tmp_path: Path) -> None:
    full, deleting = Recording(), Recording()
    for sender, text in (
        ("+996777000002", "КАБЫЛ 4711 🌊"),
        ("BEELINE", "Advert " * 30),
        ("4141", "[€] 12.50"),
    ):
        full.receive(sender, text)
    for i in range(3):
        deleting.receive(TO, f"message {i}")
    jobs = (Recording(), ["identify"]), (full, ["getallsms"]), (deleting, ["deletesms", "1", "2"])
    with running(tmp_path, *jobs) as runs:
        identified, listed, _ = (run.ends() for run in runs)
    assert "EMULATED MODEM" in identified
    assert "351111111111110" in identified
    for expected in ("КАБЫЛ 4711 🌊", "+996777000002", "BEELINE", "[€] 12.50", "part 2 of 2"):
        assert expected in listed
    assert "4 SMS parts in 4 SMS sequences" in listed
    assert sorted(deleting.store["SM"]) == [1, 3]


def test_gammu_reads_the_delivery_reports_of_what_it_sent(tmp_path: Path) -> None:
    delivered, failed = Recording(), Recording()
    failed.report_status = 0x46  # the validity expired
    for emulated in (delivered, failed):
        emulated._cnmi = [2, 1, 0, 2, 0]  # as left by an earlier program: reports are stored
    with running(tmp_path, *((emulated, sending("alarm")) for emulated in (delivered, failed))) as runs:
        for run in runs:
            assert "OK, message reference=1" in run.ends()
        deadline_s = time.monotonic() + WITHIN_S
        while not (delivered.store["SM"] and failed.store["SM"]):
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
    with running(tmp_path, *((emulated, ["getallsms"]) for emulated in (delivered, failed))) as runs:
        good, bad = (run.ends() for run in runs)
    for said, status in (
        (good, "SM received by the SME"),
        (bad, "Permanent error, SM Validity Period Expired"),
    ):
        assert "SMS status report" in said
        assert "Reference number     : 1" in said
        assert status in said
