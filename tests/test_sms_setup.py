"""The SMS service as station.toml says: two modems, the power switch, the salt."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from alerts.modem_inbox import Received
from drivers.emulators.modem import ModemEmulator
from drivers.emulators.port import PtyPort
from drivers.link import Line
from gateway import config
from gateway.errors import ConfigError
from gateway.sms import SmsService, _salt
from gateway.sms_power import power_switch
from tests.alarm_station import DUTY
from tests.sms_desk import Desk, desk, port
from tests.test_sms_answers import Stored
from tests.virtual_time import run

# ── put together from a station.toml ────────────────────────────────────────────────────────────────────────

TOML = """
[station]
id = "river-1"
data = "data"
[sms]
modem = "{modem}"
power = ["{power}", "x"]
{more}
[[contact]]
id = "duty"
phone = "+996555000001"
[[sensor]]
id = "dust1"
port = "/dev/serial/by-id/dust"
model = "plantower"
"""


def test_the_service_is_put_together_as_the_file_says(tmp_path: Path) -> None:
    file = tmp_path / "station.toml"
    more = (
        'provider = "kannel"\nprovider_settings = { url = "http://127.0.0.1:1", username = "u", password = '
    )
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "pw").write_text("x")
    (tmp_path / "secrets" / "pw").chmod(0o600)
    text = TOML.format(modem="/dev/m", power="/bin/true", more=more + ' { file = "pw" } }')
    file.write_text(text, encoding="utf-8")
    wanted = config.load(file, environment={})

    async def main() -> None:
        made = Desk(tmp_path / "journal", Stored(Received("x", True, "", "", 1, True, ())))
        service = SmsService(wanted, made.journal, made.fold, made.clock.stamp)
        assert sorted(service.tasks) == ["sms", "sms.inbox"]
        assert service.health() == {"waiting": 0, "state": "alive", "modem": {"state": "unknown"}}
        await made.open()
        await made.kill()

    run(main())


def test_two_modems_the_second_sends_and_hears_when_the_first_cannot(tmp_path: Path) -> None:
    async def main() -> None:
        first, second = ModemEmulator("first"), ModemEmulator("second")
        first.registered = False
        second._mr = 200  # its references are others
        ports = [PtyPort([m], link_path=tmp_path / m.name, line=Line(115200)) for m in (first, second)]
        for pty in ports:
            await pty.start()
        more = f'[sms.second]\nmodem = "{ports[1].link_path}"\n'
        text = TOML.format(modem=ports[0].link_path, power="/bin/true", more=more)
        (tmp_path / "station.toml").write_text(text, encoding="utf-8")
        wanted = config.load(tmp_path / "station.toml", environment={})
        for life in range(2):
            made = Desk(tmp_path / "journal", Stored(Received("x", True, "", "", 1, True, ())))
            service = SmsService(wanted, made.journal, made.fold, made.clock.stamp)
            assert sorted(service.tasks) == ["sms", "sms.inbox", "sms.second"]
            await made.open()
            tasks = [asyncio.create_task(run()) for run in service.tasks.values()]
            if life == 0:
                second.report_after_s = 125.0  # in the second life
                made.read(80)
            await asyncio.sleep(30)
            assert made.fold.watch.memory.path.modem_ms is not None  # of the first: the second hides nothing
            if life == 1:
                heard = [at._modem.expected for at in (service.desk, service.second) if at is not None]
                assert [len(expected._sent) for expected in heard] == [0, 1]
                second.receive(DUTY.phone, made.code())
            for _ in range(60):
                await asyncio.sleep(1)
                made.journal.tick()
            states = [(e["state"], e["path"]) for e in await made.events("sms")]
            assert (first.sent, len(second.sent)) == ([], 1 + life)
            if life == 1:
                assert made.fold.standing()[0]["state"] == "active_acknowledged"
                assert ("delivered", "second") in states
                assert service.health()["modem"]["state"] == "not registered"
                assert service.health()["second"]["state"] == "ready"
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for at in (service.desk, service.second):
                assert at is not None
                at._modem.close()  # type: ignore[attr-defined]  # the real modem has it
            await made.kill()
        for pty in ports:
            await pty.stop()

    run(main())


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        ('modem = "/dev/a"', 'modem = "/dev/a"', "belongs to the modem already"),
        ('provider = "kannel"', 'modem = "/dev/a"', "stands without a first one"),
        ('modem = "/dev/a"', "", "second.modem"),
    ],
)
def test_mistakes_about_a_second_modem(tmp_path: Path, first: str, second: str, says: str) -> None:
    text = TOML.replace('modem = "{modem}"\npower = ["{power}", "x"]\n{more}', "{more}")
    file = tmp_path / "station.toml"
    file.write_text(text.format(more=f"{first}\n[sms.second]\n{second}\n"), encoding="utf-8")
    with pytest.raises(ConfigError, match=says):
        config.load(file, environment={})


def test_the_salt_is_made_once_and_is_secret(tmp_path: Path) -> None:
    salt = _salt(tmp_path / "data")
    assert len(salt) == 16
    assert _salt(tmp_path / "data") == salt
    assert (tmp_path / "data" / "sms-salt").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("/bin/true",), ""),
        (("/bin/false",), "ended with code 1"),
        (("/no/such/thing",), "cannot be run"),
    ],
)
def test_the_power_switch_is_a_command(
    command: tuple[str, ...], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    asyncio.run(power_switch(command)())
    errors = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert (len(errors) == 1 and said in errors[0]) if said else errors == []


def test_an_event_is_plain_json(tmp_path: Path) -> None:
    async def main() -> None:
        async with port(tmp_path) as (emulated, path), desk(tmp_path, path) as station:
            station.read(80)
            await station.work(5)
            emulated.receive(DUTY.phone, f"mute {station.code()} 2h")
            await station.work(5)
            for what in ("alarm", "answer", "notify", "sms", "modem"):
                assert json.loads(json.dumps(await station.events(what))) == await station.events(what)

    run(main())
