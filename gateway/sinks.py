"""The configured sinks, made. What a sink needs is imported here, and only for a sink that is wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from gateway import config
from gateway.follow import Sink
from gateway.model import Stamp

if TYPE_CHECKING:
    from gateway.embedded import EmbeddedBroker


async def make(
    wanted: config.Station,
    stamp: Callable[[], Stamp],
    health: Callable[[], Mapping[str, Any]],
    *,
    embedded_port: int,
) -> tuple[dict[str, Sink], EmbeddedBroker | None]:
    """The sinks by name, and the embedded broker if one was started. Raises OSError: its port is taken."""
    sinks: dict[str, Sink] = {}
    broker = None
    if wanted.mqtt is not None:
        url = wanted.mqtt.url
        if url == "embedded":
            from gateway.embedded import EmbeddedBroker

            broker = EmbeddedBroker(embedded_port)
            await broker.start()
            url = broker.url
        sinks["mqtt"] = _mqtt(wanted.id, wanted.mqtt, url, stamp, health)
    if wanted.influxdb is not None:
        sinks["influxdb"] = _influxdb(wanted.id, wanted.influxdb)
    return sinks, broker


def _mqtt(
    station: str,
    mqtt: config.Mqtt,
    url: str,
    stamp: Callable[[], Stamp],
    health: Callable[[], Mapping[str, Any]],
) -> Sink:
    from gateway.mqtt import MqttSink

    return MqttSink(
        station,
        url,
        stamp=stamp,
        username=mqtt.username,
        password=opened(mqtt.password),
        ca=mqtt.ca,
        send=[send.kind for send in mqtt.send],
        averages_s=[send.length_s for send in mqtt.send],
        health=health,
        version=4 if mqtt.url == "embedded" else None,  # amqtt falls silent when it is asked for MQTT 5
    )


def _influxdb(station: str, influxdb: config.Influxdb) -> Sink:
    from gateway import influx_doors
    from gateway.influx import InfluxSink

    if influxdb.version == 1:
        door = influx_doors.version1(
            influxdb.url,
            influxdb.database or "",
            username=influxdb.username,
            password=opened(influxdb.password),
        )
    else:
        door = influx_doors.version2(
            influxdb.url,
            influxdb.org or "",
            influxdb.bucket or influxdb.database or "",
            token=opened(influxdb.token),
        )
    return InfluxSink(
        station,
        door,
        send=[send.kind for send in influxdb.send],
        averages_s=[send.length_s for send in influxdb.send],
    )


def opened(secret: SecretStr | None) -> str | None:
    """A secret's text, for the one who needs it."""
    return None if secret is None else secret.get_secret_value()
