"""`suuaba doctor` about the modem, the provider and the contacts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from alerts.provider import Balance
from drivers.emulators.modem import ModemEmulator
from drivers.emulators.port import PtyPort
from drivers.link import Line
from gateway import config, doctor, doctor_sms
from gateway.doctor_finding import Finding, worst
from gateway.doctor_journal import Evidence
from tests.doctors import examine, modem, one, station


def test_a_modem_without_sim(tmp_path: Path) -> None:
    emulated = ModemEmulator()
    emulated.sim = False
    [found] = modem(tmp_path, emulated)
    assert (found.about, found.level, found.what) == ("SIM", "failure", "no SIM")
    assert found.remedy.startswith("Put a SIM in the modem")
    assert emulated.resets == 0


def test_the_second_modem_is_looked_at_too(tmp_path: Path) -> None:
    first, second = ModemEmulator(), ModemEmulator()
    second.sim = False

    async def scenario() -> list[Finding]:
        ports = [
            PtyPort([emulated], link_path=tmp_path / name, line=Line(115200))
            for emulated, name in ((first, "modem"), (second, "other"))
        ]
        for port in ports:
            await port.start()
        try:
            more = f'[sms]\nmodem = "{tmp_path}/modem"\n[sms.second]\nmodem = "{tmp_path}/other"\n'
            return await doctor.examine(config.load(station(tmp_path, more), lenient=True))
        finally:
            for port in ports:
                await port.stop()

    found = asyncio.run(scenario())
    assert one(found, "modem", "SIM").level == "ok"
    ill = one(found, "modem 2", "SIM")
    assert (ill.level, ill.what) == ("failure", "no SIM")
    assert "AT+CPIN?" in second.commands


def test_what_the_service_says_of_each_modem(tmp_path: Path) -> None:
    evidence = Evidence()
    evidence.modems["second"] = {"state": "down", "why": "the SIM wants its PUK"}
    assert doctor_sms.journaled(evidence, "modem").what == "the service has not said yet how it is"
    assert doctor_sms.journaled(evidence, "second").what == "the service says: down: the SIM wants its PUK"


def test_a_modem_without_network(tmp_path: Path) -> None:
    emulated = ModemEmulator()
    emulated.registered = False
    found = modem(tmp_path, emulated)
    assert one(found, "modem", "network").level == "failure"
    assert one(found, "modem", "network").what == "searching"
    assert one(found, "modem", "signal").level == "warning"
    assert one(found, "modem", "SIM").level == "ok"


def test_a_wrong_pin_is_tried_once_whoever_tries_it(tmp_path: Path) -> None:
    emulated = ModemEmulator()
    emulated.pin = "1234"
    (tmp_path / "sim.pin").write_text("4321")
    (tmp_path / "sim.pin").chmod(0o600)
    pin = 'pin = { file = "sim.pin" }\n'
    for _ in range(3):
        [found] = modem(tmp_path, emulated, pin)
        assert (found.about, found.what) == ("SIM", "the PIN is wrong")
    assert emulated.tries_left == 2
    [found] = modem(tmp_path, emulated)
    assert found.what == "the SIM wants its PIN"
    emulated.tries_left = 3
    (tmp_path / "sim.pin").write_text("1234")
    assert worst(modem(tmp_path, emulated, pin)) == "ok"


def test_a_modem_that_is_deaf_is_not_restarted(tmp_path: Path) -> None:
    emulated = ModemEmulator()
    emulated.deaf_until = "reset"
    [found] = modem(tmp_path, emulated)
    assert found.level == "failure"
    assert "does not answer" in found.what
    assert emulated.resets == 0
    assert "AT+CFUN=1,1" not in emulated.commands


@pytest.mark.parametrize(
    ("signal", "level", "words"),
    [
        (31, "ok", "very good"),
        (18, "ok", "good"),
        (10, "ok", "fair"),
        (5, "warning", "weak"),
        (1, "warning", "very weak"),
    ],
)
def test_the_signal_in_words(tmp_path: Path, signal: int, level: str, words: str) -> None:
    emulated = ModemEmulator()
    emulated.signal = signal
    emulated.capacity = {"SM": 5, "ME": 5}
    found = one(modem(tmp_path, emulated), "modem", "signal")
    assert (found.level, found.what) == (level, f"{words} ({2 * signal - 113} dBm)")


@pytest.mark.parametrize(
    ("amount", "level"), [(0.0, "failure"), (-3.0, "failure"), (12.5, "warning"), (900.0, "ok"), (None, "ok")]
)
def test_the_providers_balance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, amount: float | None, level: str
) -> None:
    """Asked by the provider's own file, which tests/test_provider.py holds against real answers."""

    class Account:
        async def balance(self) -> Balance | None:
            return None if amount is None else Balance(amount, "KGS")

    monkeypatch.setattr(doctor_sms, "provider_of", lambda *_: Account())
    (tmp_path / "sms.url").write_text("https://sms.example/send?to={to}&text={text}")
    (tmp_path / "sms.url").chmod(0o600)
    findings = examine(station(tmp_path, '[sms]\nprovider = { file = "sms.url" }\n'))
    found = one(findings, "provider", "balance")
    assert found.level == level
    assert amount is None or found.what == f"{amount:g} KGS"


SMS = '[sms]\nmodem = "/dev/serial/by-id/none"\n'
RULE = '[[rule]]\nid = "dusty"\nsensor = "dust1"\nquantity = "pm2_5"\nunit = "ug/m3"\nabove = 150\n'
CRITICAL, HIGH = RULE + 'priority = "critical"\n', RULE + 'priority = "high"\n'
WITH_A = 'send = [["a"]]\n'
A = '[[contact]]\nid = "a"\nphone = "{}"\n'
B = '[[contact]]\nid = "b"\nphone = "{}"\n'
N = "+996555000123"


@pytest.mark.parametrize(
    ("text", "level", "words"),
    [
        (A.format(N) + 'language = "ky"\n', "ok", "+996555000123, told in ky"),
        (A.format("+99655500012"), "failure", "Kyrgyz numbers have 9"),
        (A.format("+996555000000"), "failure", "looks like an example"),
        (A.format(N) + B.format(N), "warning", "told twice"),
        (CRITICAL, "failure", "is critical, and nobody is told"),
        (HIGH + WITH_A + A.format(N), "warning", "no critical alarm reaches anybody"),
        (CRITICAL + WITH_A + A.format(N), "ok", "told in en"),
    ],
)
def test_contacts(tmp_path: Path, text: str, level: str, words: str) -> None:
    from gateway.doctor_sms import check_contacts

    found = check_contacts(config.load(station(tmp_path, SMS + text), lenient=True))
    assert worst(found) == level
    assert any(words in f.what for f in found)
