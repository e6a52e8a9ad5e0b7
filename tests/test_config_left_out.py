"""What a station.toml with mistakes or doubts still gives: warnings, what is left out, secrets, any input."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.config import Station, load
from gateway.errors import ConfigError
from tests.configs import DUST, HEAD, RIVER, RULE, lines, read, write

# ── warnings: it runs, but look ──


def test_ports_are_looked_at(tmp_path: Path) -> None:
    there = tmp_path / "port"
    there.touch()
    assert read(tmp_path, HEAD + DUST.replace("/dev/serial/by-id/dust", str(there))).warnings == ()
    [gone] = read(tmp_path, HEAD + DUST).warnings
    assert gone.startswith(
        "station.toml: sensor[1].port (dust1): /dev/serial/by-id/dust is not there now; plug"
    )
    warnings = read(tmp_path, HEAD + DUST.replace("/dev/serial/by-id/dust", "/dev/ttyUSB7")).warnings
    assert any("may be another adapter after a restart" in line for line in warnings)


def test_one_port_under_two_names(tmp_path: Path) -> None:
    real = tmp_path / "ttyUSB0"
    real.touch()
    (tmp_path / "by-path").symlink_to(real)
    second = DUST.replace("dust1", "dust2").replace("/dev/serial/by-id/dust", str(tmp_path / "by-path"))
    [line] = lines(tmp_path, HEAD + DUST.replace("/dev/serial/by-id/dust", str(real)) + second)
    assert "sensor[2].port (dust2)" in line
    assert 'belongs to sensor "dust1" already' in line


def test_a_label_that_differs_from_the_bus(tmp_path: Path) -> None:
    bus = RIVER.replace('4001"', '4001"\nbaudrate = 19200\nformat = "8E1"')
    warnings = read(tmp_path, HEAD + bus).warnings
    assert [line.partition(":")[2].partition(" a ")[0] for line in warnings] == [
        " sensor[1].format (ph1):",
        " sensor[2].format (turb1):",
    ]
    assert 'set the instrument to 19200 8E1, then add format = "8E1" here' in warnings[0]
    said = bus.replace("address = 1", 'address = 1\nformat = "8E1"').replace(
        "address = 2", "address = 2\nbaudrate = 19200"
    )
    assert read(tmp_path, HEAD + said).warnings == ()


def test_a_password_in_the_clear(tmp_path: Path) -> None:
    mqtt = '[mqtt]\nurl = "mqtt://{}"\nusername = "a"\npassword = {{ env = "P" }}\n'
    text = HEAD + RIVER
    assert "in the clear" in read(tmp_path, text + mqtt.format("10.0.0.1"), P="x").warnings[0]
    assert read(tmp_path, text + mqtt.format("127.0.0.1"), P="x").warnings == ()


def test_an_idle_bus(tmp_path: Path) -> None:
    station = read(
        tmp_path, HEAD + DUST.replace("/dev/", "rtu+tcp://h:1/") + '[[bus]]\nid = "b"\nport = "tcp://h:2"\n'
    )
    assert station.warnings == (
        'station.toml: bus[1] (b): has no sensor; add [[sensor]] with bus = "b", or take the bus out',
    )
    assert [wire.id for wire in station.wires] == ["dust1"]


def test_what_this_version_does_not_do_yet_is_said(tmp_path: Path) -> None:
    text = HEAD + RIVER + "[sensor.expect.turbidity]\ngross = [0, 4000]\n"
    text += RULE + 'over = "10 min"\n[mqtt]\nurl = "mqtts://h"\nsend = ["average:1 h"]\n'
    text += '[sms]\nbudget = "9 segments / 1 d"\nprovider = { env = "P" }\n'
    address = "https://sms.example/send?to={to}&text={text}"
    assert [line.split(";")[0] for line in read(tmp_path, text, P=address).warnings] == [
        (
            "station.toml: sms.provider: nothing says how the answer begins when a message was taken, "
            "so HTTP 200 counts as taken"
        ),
    ]


@pytest.mark.parametrize("names", ['"a.kg"', '["http://a.kg"]', "[1]", '["a b"]', '["a.kg:80"]'])
def test_names_of_the_page_that_are_none(tmp_path: Path, names: str) -> None:
    with pytest.raises(ConfigError) as wrong:
        read(tmp_path, HEAD + RIVER + f"[web]\nnames = {names}\n")
    [line] = wrong.value.lines
    assert line.startswith("station.toml: web.names: ")
    assert "station.example.kg" in line


# ── what follows from a mistake ──


def test_a_rule_falls_with_its_sensor(tmp_path: Path) -> None:
    text = HEAD + RIVER.replace("address = 2", "address = 300") + RULE
    assert len(lines(tmp_path, text)) == 1  # the rule itself is right: nothing to mend there
    station = read(tmp_path, text, lenient=True)
    assert [s.id for s in station.sensors] == ["ph1"]
    assert station.rules == ()
    assert station.left_out == (
        "station.toml: sensor[2].address (turb1): 300 is out of range; allowed 1…247; did you mean 30?",
        'station.toml: rule[1].sensor (turbid): sensor "turb1" is left out, and so is this rule',
    )


def test_sensors_fall_with_their_bus(tmp_path: Path) -> None:
    text = HEAD + RIVER.replace('port = "rtu+tcp', 'port = "rtutcp') + DUST + RULE
    assert len(lines(tmp_path, text)) == 1
    station = read(tmp_path, text, lenient=True)
    assert [s.id for s in station.sensors] == ["dust1"]
    assert [line.split(":")[1] for line in station.left_out] == [
        " bus[1].port (river)",
        " sensor[1].bus (ph1)",
        " sensor[2].bus (turb1)",
        " rule[1].sensor (turbid)",
    ]


def test_the_later_of_two_buses_on_a_port_falls(tmp_path: Path) -> None:
    second = RIVER.replace('"river"', '"well"').replace('"ph1"', '"ph2"').replace('"turb1"', '"turb2"')
    station = read(tmp_path, HEAD + RIVER + second, lenient=True)
    assert [s.id for s in station.sensors] == ["ph1", "turb1"]
    assert [wire.id for wire in station.wires] == ["river"]
    assert [line.split(":")[1] for line in station.left_out] == [
        " bus[2].port (well)",
        " sensor[3].bus (ph2)",
        " sensor[4].bus (turb2)",
    ]


def test_a_database_without_its_bucket_is_left_out(tmp_path: Path) -> None:
    influx = '[influxdb]\nurl = "http://h"\norg = "o"\ntoken = { env = "T" }\n'
    station = read(tmp_path, HEAD + RIVER + influx, lenient=True, T="t")
    assert station.influxdb is None
    assert len(station.left_out) == 1


def test_a_rule_keeps_the_contacts_there_are(tmp_path: Path) -> None:
    text = (
        HEAD
        + RIVER
        + RULE
        + 'send = [["duty", "nobody"], ["chief", "after 5 min"]]\n[sms]\nmodem = "/dev/m"\n'
    )
    text += '[[contact]]\nid = "duty"\nphone = "+996555000001"\n[[contact]]\nid = "chief"\nphone = "5"\n'
    station = read(tmp_path, text, lenient=True)
    assert [(t.contacts, t.after_s) for t in station.rules[0].send] == [(("duty",), 0.0)]
    assert len(station.left_out) == 2


def test_a_sink_without_its_secret_is_left_out(tmp_path: Path) -> None:
    text = HEAD + RIVER + '[mqtt]\nurl = "mqtts://h"\nusername = "a"\npassword = { file = "p" }\n'
    station = read(tmp_path, text, lenient=True)
    assert station.mqtt is None
    [line] = station.left_out
    assert line.startswith("station.toml: mqtt.password: the secret is missing; write it into ")


# ── secrets ──


MQTT = '[mqtt]\nurl = "mqtts://h"\nusername = "a"\npassword = { file = "mqtt.password" }\n'


def secret_of(station: Station) -> str:
    assert station.mqtt is not None
    assert station.mqtt.password is not None
    return station.mqtt.password.get_secret_value()


def test_where_a_secret_is_looked_for(tmp_path: Path) -> None:
    """systemd's credentials, then secrets/, then beside the file."""
    text = HEAD + RIVER + MQTT
    credentials = tmp_path / "credentials"
    for folder in (tmp_path, tmp_path / "secrets", credentials):
        folder.mkdir(exist_ok=True)
        file = folder / "mqtt.password"
        file.touch(mode=0o600)
        file.write_text(f"from {folder.name}\n", encoding="utf-8")
    assert secret_of(read(tmp_path, text, CREDENTIALS_DIRECTORY=str(credentials))) == "from credentials"
    assert secret_of(read(tmp_path, text)) == "from secrets"
    (tmp_path / "secrets/mqtt.password").unlink()
    assert secret_of(read(tmp_path, text)) == f"from {tmp_path.name}"
    absolute = text.replace('"mqtt.password"', f'"{credentials / "mqtt.password"}"')
    assert secret_of(read(tmp_path, absolute)) == "from credentials"


def test_a_secret_everybody_can_read(tmp_path: Path) -> None:
    file = write(tmp_path, HEAD + RIVER + MQTT, mqtt__password="x")
    assert load(file).warnings == ()
    secret = tmp_path / "secrets/mqtt.password"
    secret.chmod(0o644)
    assert load(file).warnings == (
        f"{secret}: everybody on this machine may read this secret; chmod o= {secret}",
    )


@pytest.mark.parametrize(
    ("content", "what"), [(b"", "is empty"), (b"\xff", "is not text"), (b"x" * 5000, "is too long")]
)
def test_secrets_that_are_none(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "mqtt.password").write_bytes(content)
    [line] = lines(tmp_path, HEAD + RIVER + MQTT)
    assert f"mqtt.password {what}; write the secret into it as one line" in line


def test_a_secret_is_never_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = HEAD + RIVER + MQTT.replace('{ file = "mqtt.password" }', '{ env = "P" }')
    station = read(tmp_path, text, P="hunter2")
    logging.getLogger("test").warning("%s %r", station, station.mqtt)
    assert "hunter2" not in caplog.text + repr(station) + str(station)
    literal = lines(tmp_path, text.replace('{ env = "P" }', '"hunter2"'))
    assert "hunter2" not in "".join(literal)
    assert "a secret does not belong in this file" in literal[0]
    in_url = lines(tmp_path, HEAD + RIVER + '[mqtt]\nurl = "mqtt://a:hunter2@h"\n')
    assert "hunter2" not in "".join(in_url)


# ── all input is hostile ──

_scalar = st.one_of(
    st.booleans().map(lambda b: str(b).lower()),
    st.integers(-(10**20), 10**20).map(str),
    st.sampled_from(
        ["nan", "inf", "-inf", "1e400", "1979-05-27", "07:32:00", "[]", "{}", "[[]]", "[{ a = 1 }]", '""']
    ),
    st.text("abc/:.0 é\u202e", max_size=12).map(lambda t: f'"{t}"'),
    st.sampled_from(
        ['"10 s"', '"1e9 s"', '"999999999999 d"', '["duty"]', "[0, 1]", '{ file = "../../etc/passwd" }']
    ),
)
_GOOD = (
    HEAD + RIVER + DUST + RULE + MQTT + '[influxdb]\nurl = "http://h"\nversion = 1\ndatabase = "d"\n'
).splitlines()


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(st.integers(0, len(_GOOD) - 1), _scalar), min_size=1, max_size=3))
def test_whatever_stands_in_it(tmp_path: Path, changes: list[tuple[int, str]]) -> None:
    """Any value anywhere gives a station or lines, one line each, never another exception."""
    rows = list(_GOOD)
    for row, value in changes:
        key, equals, _ = rows[row].partition(" = ")
        rows[row] = f"{key} = {value}" if equals else value
    for lenient in (False, True):
        try:
            found = list(read(tmp_path, "\n".join(rows), lenient=lenient).left_out)
        except ConfigError as e:
            found = e.lines or [""]
        assert all("\n" not in line and line.startswith("station.toml: ") for line in found)
