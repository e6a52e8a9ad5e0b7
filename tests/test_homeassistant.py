"""Home Assistant's discovery messages: as its documentation has them, on a real broker, and taken back."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gateway import config
from gateway.errors import ConfigError, Unreachable
from gateway.homeassistant import CLASSES, FILE, PREFIX, TAKEN, Discovery, configs
from gateway.model import Reading, Stamp, Value
from gateway.mqtt import HANG_UPS, MqttSink
from gateway.mqtt_messages import encode, reading_json
from tests.memory_journal import stamp
from tests.services import Mosquitto, Subscriber, running

HEAD = '[station]\nid = "kyia-1"\nname = "Kanysh-Kyia"\n'
PH = '[[sensor]]\nid = "ph1"\nport = "/dev/a"\nmodel = "yosemitech-y532"\naddress = 1\nevery = "1 min"\n'
DUST = '[[sensor]]\nid = "dust1"\nport = "/dev/b"\nmodel = "plantower"\nevery = "1 s"\n'
MQTT = '[mqtt]\nurl = "mqtt://x"\ndiscovery = "homeassistant"\n'

# Home Assistant documentation, "MQTT Sensor", configuration variables, and "MQTT", discovery messages.
KEYS = {
    "name", "unique_id", "state_topic", "value_template", "state_class", "suggested_display_precision",
    "expire_after", "availability_topic", "availability_template", "payload_available",
    "payload_not_available", "qos", "device", "origin", "unit_of_measurement", "device_class",
}  # fmt: skip
DEVICE = {"identifiers", "name", "manufacturer", "model", "sw_version"}
# "Sensor entity": device classes with the units that they take.
SENSOR_CLASSES = {
    "ph": {None}, "temperature": {"°C", "°F", "K"}, "pm1": {"µg/m³"}, "pm25": {"µg/m³"}, "pm10": {"µg/m³"},
    "voltage": {"V", "mV", "µV", "kV", "MV"}, "conductivity": {"S/cm", "mS/cm", "µS/cm"}, "humidity": {"%"},
    "atmospheric_pressure": {"cbar", "bar", "hPa", "mmHg", "inHg", "kPa", "mbar", "Pa", "psi"},
    "wind_speed": {"ft/s", "in/d", "in/h", "km/h", "kn", "m/s", "mph", "mm/d", "mm/s"},
    "precipitation": {"cm", "in", "mm"}, "current": {"A", "mA"}, "power": {"mW", "W", "kW", "MW", "GW", "TW"},
    "battery": {"%"}, "signal_strength": {"dB", "dBm"},
    "distance": {"km", "m", "cm", "mm", "mi", "nmi", "yd", "in"},
}  # fmt: skip


def station(folder: Path, text: str = HEAD + PH + DUST + MQTT) -> config.Station:
    (folder / "station.toml").write_text(text + "")
    return config.load(folder / "station.toml")


def test_every_quantity_has_a_message_as_home_assistant_wants_it(tmp_path: Path) -> None:
    wanted = station(tmp_path)
    made = {topic: json.loads(payload) for topic, payload in configs(wanted, "1.2").items()}
    assert len(made) == sum(len(some) for some in wanted.quantities.values()) > 3
    assert len({said["unique_id"] for said in made.values()}) == len(made)
    for topic, said in made.items():
        assert re.fullmatch(r"homeassistant/sensor/[a-zA-Z0-9_-]+/[a-zA-Z0-9_-]+/config", topic)
        assert set(said) <= KEYS
        assert set(said["device"]) == DEVICE
        assert {"name"} <= set(said["origin"])
        assert said["state_class"] == "measurement"
        if "device_class" in said:
            assert said.get("unit_of_measurement") in SENSOR_CLASSES[said["device_class"]]
    ph = made["homeassistant/sensor/kyia-1/ph1_ph/config"]
    assert (ph["device_class"], "unit_of_measurement" in ph) == ("ph", False)
    assert ph["state_topic"] == "suuaba/1/kyia-1/reading/ph1"
    assert ph["availability_topic"] == "suuaba/1/kyia-1/status"
    assert ph["expire_after"] == 300
    dust = made["homeassistant/sensor/kyia-1/dust1_pm2_5/config"]
    assert (dust["device_class"], dust["unit_of_measurement"], dust["expire_after"]) == ("pm25", "µg/m³", 120)
    assert ph["device"] == dust["device"]  # one device for the station


def test_our_classes_and_units_are_among_theirs() -> None:
    assert set(CLASSES.values()) == set(TAKEN)
    for kind, units in TAKEN.items():
        assert units <= SENSOR_CLASSES[kind], kind


@pytest.mark.parametrize(
    ("value", "flag", "shown"),
    [(7.1, 1, "7.1"), (7.1, 3, "7.1"), (7.1, 4, "None"), (float("nan"), 1, "None")],
)
def test_the_template_reads_our_reading(tmp_path: Path, value: float, flag: int, shown: str) -> None:
    """The template's two expressions are Python's as well; Home Assistant shows None as unknown."""
    said = json.loads(configs(station(tmp_path), "1")["homeassistant/sensor/kyia-1/ph1_ph/config"])
    found = re.fullmatch(r"\{% set v = (.+?) %\}\{\{ (.+?) if (.+?) else None \}\}", said["value_template"])
    assert found
    body = Reading("ph1", "m", "water", Stamp(1, "b", 1, True), {"ph": Value(value, value, "pH", flag)})
    message = json.loads(reading_json("kyia-1", 5, body))

    class Attributes(dict[str, Any]):
        __getattr__ = dict.__getitem__

    v = eval(found[1], {"value_json": message})  # noqa: S307  our own template
    v = Attributes(v)
    assert str(eval(f"({found[2]}) if ({found[3]}) else None", {"v": v})) == shown  # noqa: S307  as above
    assert eval(found[1], {"value_json": {"values": {}}}) is None  # noqa: S307  as above


def test_what_is_told_is_retained_and_taken_back_when_a_sensor_goes(tmp_path: Path) -> None:
    with running(Mosquitto(tmp_path / "broker")) as broker:

        def told(text: str) -> set[str]:
            discovery = Discovery(configs(station(tmp_path, text), "1"), tmp_path / "data")
            sink = MqttSink("kyia-1", broker.url, stamp=stamp, discovery=discovery)

            async def once() -> None:
                async with asyncio.timeout(20):
                    await sink.beat()
                    await sink.close()

            asyncio.run(once())
            listener = Subscriber(broker.port)
            listener.wait("the status", lambda got: any(g.topic.endswith("/status") for g in got))
            end = "end/of/what/is/retained"
            listener._client.publish(end, b"x", qos=1)
            got = listener.wait("the end", lambda got: [*got] if got[-1].topic == end else None)
            listener.close()
            assert all(g.retained for g in got[:-1])
            return {g.topic for g in got if g.topic.startswith(PREFIX)}

        both = told(HEAD + PH + DUST + MQTT)
        assert both == set(configs(station(tmp_path), "1"))
        alone = told(HEAD + DUST + MQTT)
        assert alone == {topic for topic in both if "dust1" in topic}
        (tmp_path / "data" / FILE).write_text("nonsense")
        assert told(HEAD + DUST + MQTT) == alone
        foreign = f"{PREFIX}/light/x/config"  # what the file says is not ours to take back
        publish = ["mosquitto_pub", "-p", str(broker.port), "-q", "1", "-r", "-t", foreign, "-m", "x"]
        subprocess.run(publish, check=True, timeout=30)
        (tmp_path / "data" / FILE).write_bytes(encode([foreign, f"{PREFIX}/sensor/#"]))
        assert told(HEAD + DUST + MQTT) == alone | {foreign}


def test_a_broker_that_forbids_it_gets_the_readings_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "acl").write_text("topic write suuaba/1/kyia-1/#\n")
    settings = f"acl_file {tmp_path}/acl"
    with running(Mosquitto(tmp_path / "broker", settings=settings)) as broker:
        discovery = Discovery(configs(station(tmp_path), "1"), tmp_path / "data")
        sink = MqttSink("kyia-1", broker.url, stamp=stamp, discovery=discovery)

        async def once() -> None:
            async with asyncio.timeout(20):
                await sink.beat()
                await sink.close()

        asyncio.run(once())
        assert "does not take what Home Assistant is told" in caplog.text
        assert not (tmp_path / "data" / FILE).exists()


def test_a_broker_that_hangs_up_on_it_gets_the_readings_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Mosquitto 2.0.11 without a limit of what it keeps."""
    (tmp_path / "acl").write_text("topic write suuaba/1/kyia-1/#\n")
    settings = f"acl_file {tmp_path}/acl\nmax_queued_messages 0"
    with running(Mosquitto(tmp_path / "broker", settings=settings)) as broker:
        discovery = Discovery(configs(station(tmp_path), "1"), tmp_path / "data")
        sink = MqttSink("kyia-1", broker.url, stamp=stamp, discovery=discovery)

        async def some() -> None:
            async with asyncio.timeout(20):
                for _ in range(HANG_UPS):
                    with pytest.raises(Unreachable):
                        await sink.beat()
                await sink.beat()
                await sink.close()

        asyncio.run(some())
        assert "going on without" in caplog.text


def test_it_needs_readings(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='add "reading" to send'):
        station(tmp_path, HEAD + PH + MQTT + 'send = ["average:1 min", "event"]\n')
    with pytest.raises(ConfigError, match="discovery"):
        station(tmp_path, HEAD + PH + MQTT.replace('"homeassistant"', '"hass"'))
