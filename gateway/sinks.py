"""The configured sinks, made. What a sink needs is imported here, and only for a sink that is wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from gateway.budget import Budget
from gateway.follow import Sink
from gateway.model import Record, Stamp
from gateway.version import VERSION

if TYPE_CHECKING:
    from pydantic import SecretStr

    from gateway import config
    from gateway.embedded import EmbeddedBroker
    from gateway.grafana_live import Door as LiveDoor
    from gateway.grafana_live import GrafanaLive, Journal
    from gateway.homeassistant import Discovery
    from gateway.influx import Door
    from gateway.mqtt_pack import Packer

METERED_KEEPALIVE_S = 300
"""Where bytes are paid for: a ping every 30 s would be 14 MB in 30 days. The last will comes later then."""


def budgets(wanted: config.Station) -> dict[str, Budget]:
    """The purses of the sinks that have a budget, by name."""
    sinks = {"mqtt": wanted.mqtt, "influxdb": wanted.influxdb}
    return {
        name: Budget(
            name, *sink.budget, averages_s={send.length_s for send in sink.send if send.kind == "average"}
        )
        for name, sink in sinks.items()
        if sink is not None and sink.budget is not None
    }


async def make(
    wanted: config.Station,
    stamp: Callable[[], Stamp],
    health: Callable[[], Mapping[str, Any]],
    standing: Callable[[], Iterable[Record]],
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
        sinks["mqtt"] = _mqtt(
            wanted.id, wanted.mqtt, url, stamp, health, standing, _discovery(wanted), _packer(wanted)
        )
    if wanted.influxdb is not None:
        sinks["influxdb"] = _influxdb(wanted.id, wanted.influxdb)
    return sinks, broker


def _mqtt(
    station: str,
    mqtt: config.Mqtt,
    url: str,
    stamp: Callable[[], Stamp],
    health: Callable[[], Mapping[str, Any]],
    standing: Callable[[], Iterable[Record]],
    discovery: Discovery | None,
    packer: Packer | None,
) -> Sink:
    from gateway.mqtt import KEEPALIVE_S, STATUS_S, MqttSink
    from gateway.mqtt_pack import PACKED_KEEPALIVE_S, PACKED_STATUS_S

    keepalive_s = METERED_KEEPALIVE_S if mqtt.budget else KEEPALIVE_S
    return MqttSink(
        station,
        url,
        stamp=stamp,
        username=mqtt.username,
        password=opened(mqtt.password),
        ca=mqtt.ca,
        identity=(mqtt.certificate, mqtt.key) if mqtt.certificate else None,
        send=[send.kind for send in mqtt.send],
        averages_s=[send.length_s for send in mqtt.send],
        health=health,
        standing=standing,
        keepalive_s=PACKED_KEEPALIVE_S if mqtt.pack_s else keepalive_s,
        status_s=mqtt.status_s or (PACKED_STATUS_S if mqtt.pack_s else STATUS_S),
        packer=packer,
        discovery=discovery,
        version=4 if mqtt.url == "embedded" else None,  # amqtt falls silent when it is asked for MQTT 5
    )


def _packer(wanted: config.Station) -> Packer | None:
    """How messages are packed, where they are."""
    if wanted.mqtt is None or wanted.mqtt.pack_s is None:
        return None
    from gateway.mqtt_pack import Packer

    digits = {(sensor, q.name): q.digits for sensor, found in wanted.quantities.items() for q in found}
    return Packer(wanted.mqtt.pack_s, digits)


def _discovery(wanted: config.Station) -> Discovery | None:
    if wanted.mqtt is None or wanted.mqtt.discovery is None:
        return None
    from gateway.homeassistant import Discovery, configs

    return Discovery(configs(wanted, VERSION), wanted.data)


def _influxdb(station: str, influxdb: config.Influxdb) -> Sink:
    from gateway.influx import InfluxSink

    return InfluxSink(
        station,
        influx_door(influxdb),
        send=[send.kind for send in influxdb.send],
        averages_s=[send.length_s for send in influxdb.send],
    )


def influx_door(influxdb: config.Influxdb) -> Callable[[], Door]:
    """The way into the database of [influxdb]; what it needs is imported when it is made."""
    from gateway import influx_doors

    if influxdb.version == 1:
        return influx_doors.version1(
            influxdb.url,
            influxdb.database or "",
            username=influxdb.username,
            password=opened(influxdb.password),
            ca=influxdb.ca,
        )
    return influx_doors.version2(
        influxdb.url,
        influxdb.org or "",
        influxdb.bucket or influxdb.database or "",
        token=opened(influxdb.token),
        ca=influxdb.ca,
    )


def live_view(wanted: config.Station, journal: Journal) -> GrafanaLive | None:
    """Grafana Live, where it is wanted: a view that keeps nothing, so no sink with a cursor."""
    if wanted.grafana_live is None:
        return None
    from gateway.grafana_live import GrafanaLive

    return GrafanaLive(wanted.id, journal, live_door(wanted.grafana_live))


def live_door(live: config.GrafanaLive) -> Callable[[], LiveDoor]:
    """The way to Grafana's push endpoint, made when it is needed."""

    def door() -> LiveDoor:
        from gateway.grafana_live import Door

        return Door(live.url, live.stream, lambda: opened(live.token), live.ca)

    return door


def opened(secret: SecretStr | None) -> str | None:
    """A secret's text, for the one who needs it."""
    return None if secret is None else secret.get_secret_value()
