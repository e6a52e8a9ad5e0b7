"""The golden day: a scripted river, dust and power story for three people, on the real journal, fold, outbox,
sender and desk, with a modem emulator on a PTY, in virtual time. What they must get stands in golden/day.txt.

    python -m tests.test_day        writes it anew: read the difference before you commit it
"""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from alerts import rulecase
from alerts.modem import Modem
from drivers.emulators.modem import ModemEmulator
from drivers.emulators.modem_network import EmulatedSms
from drivers.emulators.port import PtyPort
from drivers.link import Line, Link
from gateway.alarms import AlarmFold
from gateway.alarms_sender import SmsSender
from gateway.clock import Clock
from gateway.journal import Journal
from gateway.model import Body, Event, Flag, Reading, Stamp, Value
from gateway.sms import SmsDesk
from tests.virtual_time import run

GOLDEN = Path(__file__).parent / "golden"
TICK_S = 5
CLOCK_RIGHT_MIN = 20
"""Before, the clock is some years behind, and knows that it is not right."""
AWAY_MIN = (19 * 60 + 30, 20 * 60 + 20)
"""From when to when the network is away, in minutes of the day's story."""


class StoryClock(Clock):
    """UTC of the story, by the loop's (virtual) time; wrong at first."""

    def __init__(self, start_utc_ms: int) -> None:
        self._start_utc_ms = start_utc_ms
        self._began_s = asyncio.get_running_loop().time()

    def ms(self) -> int:
        """How much of the story has passed."""
        return int((asyncio.get_running_loop().time() - self._began_s) * 1000)

    def stamp(self) -> Stamp:
        ms = self.ms()
        is_right = ms >= CLOCK_RIGHT_MIN * 60_000
        return Stamp(self._start_utc_ms + ms - (0 if is_right else 10**11), "boot0001", ms, is_right)


async def day(folder: Path) -> list[str]:
    """Play it; a line for each message that the modem handed to the network."""
    case = rulecase.read((GOLDEN / "day.toml").read_text(encoding="utf-8"), "day.toml")
    clock, fold, lines = StoryClock(case.start_utc_ms), AlarmFold(case.watch), list[str]()
    zone = case.watch.mail.zone
    units = {(rule.sensor, rule.quantity): rule.unit for rule in case.watch.rules.values()}
    names = {contact.phone: contact.id for contact in case.watch.contacts.values()}

    def on_sms(sms: EmulatedSms) -> None:
        [row] = [row for row in fold.watch.memory.outbox.rows.values() if row.state == "sending"]
        at = datetime.fromtimestamp((case.start_utc_ms + clock.ms()) / 1000, zone)
        assert row.contact == names[sms.to]
        lines.append(f"{at:%H:%M:%S}  {row.contact:5}  {sms.parts}  {row.reason}\n          {sms.text}\n")

    emulated = ModemEmulator(on_sms=on_sms)
    port = PtyPort([emulated], link_path=folder / "modem", line=Line(115200))
    await port.start()
    modem = Modem(Link(str(port.link_path), Line(115200)))
    journal = Journal(folder / "journal", clock, folds=[fold])
    await journal.open()
    journal.tick()
    sender = SmsSender(journal, fold, modem, clock.stamp)
    desk = SmsDesk(journal, fold, modem, clock.stamp, salt=b"salt", sender=sender)
    parts = [asyncio.ensure_future(part()) for part in (journal.run, sender.run, desk.run)]
    samples, answers = list(case.samples), list(case.answers)
    try:
        while clock.ms() <= case.last_ms:
            now_ms = clock.ms()
            bodies: list[Body] = []
            while samples and samples[0].at_ms <= now_ms:
                bodies.append(_body(samples.pop(0), clock.stamp(), units))
            journal.append(bodies)
            while answers and answers[0][0] <= now_ms:
                _, by, text = answers.pop(0)
                emulated.receive(case.watch.contacts[by].phone, text)
            emulated.registered = not AWAY_MIN[0] <= now_ms // 60_000 < AWAY_MIN[1]
            journal.tick()
            for part in parts:
                if part.done():
                    part.result()
            await asyncio.sleep(TICK_S - (clock.ms() - now_ms) / 1000)
        left = [row.id for row in fold.watch.memory.outbox.rows.values() if row.state != "accepted"]
        assert left == [], "nothing is still to be sent"
    finally:
        for part in parts:
            part.cancel()
        for part in parts:
            with suppress(asyncio.CancelledError):
                await part
        modem.close()
        await journal.close()
        await port.stop()
    return lines


def _body(sample: rulecase.Sample, at: Stamp, units: dict[tuple[str, str], str]) -> Body:
    if sample.value == "fault":
        return Event(at, "sensor", {"sensor": sample.sensor, "state": "fault"})
    flag, number = (Flag.FAIL, 0.0) if isinstance(sample.value, str) else (Flag.GOOD, sample.value)
    unit = units.get((sample.sensor, sample.quantity), "")
    return Reading(sample.sensor, "m", "water", at, {sample.quantity: Value(number, number, unit, flag)})


def render(lines: list[str]) -> str:
    head = "# time, to, segments, why it was sent; below it the text. Made by python -m tests.test_day\n\n"
    return head + "\n".join(lines)


def test_the_golden_day(tmp_path: Path) -> None:
    came = render(run(day(tmp_path)))
    assert came.splitlines() == (GOLDEN / "day.txt").read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        (GOLDEN / "day.txt").write_text(render(run(day(Path(temporary)))), encoding="utf-8")
