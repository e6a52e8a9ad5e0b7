"""`suuaba alarms` with a station.toml that has mistakes: a rule that is left out is not called unknown."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway import config
from gateway.alarms import AlarmFold
from gateway.alarms_command import Wish, alarms
from gateway.alarms_config import watch
from gateway.alarms_verb import alarms as verb
from gateway.clock import Clock
from gateway.control import NAME, ControlDoor
from gateway.errors import ControlError
from gateway.journal import Journal
from tests.test_control import until

STATION = """
[station]
id = "river-1"
data = "data"
[[sensor]]
id = "dust1"
port = "/dev/serial/by-id/dust"
model = "plantower"
"""
DUSTY = """
[[rule]]
id = "dusty"
sensor = "dust1"
quantity = "pm2_5"
unit = "ug/m3"
above = 150
"""
BROKEN = DUSTY.replace("dusty", "dustier").replace("above", "abov")
HINT = "station.toml has a mistake, and may lack a rule for it: suuaba check "


def file_of(folder: Path, rules: str) -> Path:
    file = folder / "station.toml"
    file.write_text(STATION + rules, encoding="utf-8")
    return file


def asked(file: Path, wish: Wish, *, running: bool) -> list[str]:
    """What the command says; with a service behind it, or only the journal of one that has ended."""

    async def main() -> list[str]:
        wanted, clock = config.load(file, lenient=True), Clock("trust")
        fold = AlarmFold(watch(wanted))
        journal = Journal(wanted.data, clock, folds=[fold])
        await journal.open()
        said: list[str] = []
        if not running:
            await journal.close()
            await alarms(file, wish, said.append)
            return said
        door = ControlDoor(wanted.data, {"alarms": verb(fold, journal, clock.stamp)})
        serving = asyncio.create_task(door.run())
        try:
            async with asyncio.timeout(30):
                await until((wanted.data / NAME).exists)
            await alarms(file, wish, said.append)
        finally:
            serving.cancel()
            await asyncio.wait([serving])
            await journal.close()
        return said

    return asyncio.run(main())


@pytest.mark.parametrize(("do", "running"), [("list", False), ("list", True), ("ack", True)])
def test_a_rule_with_a_mistake_is_not_unknown(tmp_path: Path, do: str, running: bool) -> None:
    file = file_of(tmp_path, DUSTY + BROKEN)
    with pytest.raises(ControlError) as caught:
        asked(file, Wish(do, ("dustier",)), running=running)
    assert "no rule 'dustier'" in str(caught.value)
    assert f"{HINT}names it" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_several_at_once_each_get_their_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = file_of(tmp_path, DUSTY + BROKEN)
    asked(file, Wish("ack", ("dusty", "dustier")), running=True)
    dusty, dustier = capsys.readouterr().err.splitlines()
    assert "nothing waits to be acknowledged" in dusty
    assert HINT not in dusty
    assert HINT in dustier


def test_where_all_rules_are_left_out(tmp_path: Path) -> None:
    [line] = asked(file_of(tmp_path, BROKEN), Wish(), running=False)
    assert line.startswith(f"no rules; {HINT}")
    (tmp_path / "sound").mkdir()
    [line] = asked(file_of(tmp_path / "sound", ""), Wish(), running=False)
    assert line == "no rules: add [[rule]] to the configuration"


def test_without_a_mistake_nothing_is_said_of_any(tmp_path: Path) -> None:
    with pytest.raises(ControlError) as caught:
        asked(file_of(tmp_path, DUSTY), Wish("list", ("dustier",)), running=False)
    assert str(caught.value) == "there is no rule 'dustier'"
