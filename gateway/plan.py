"""What a station.toml will do, before it does it: time on the wires, traffic, the card. `check` prints it.

Figures are worked out from the instruments' requests, the lines' settings and really encoded examples; what a
reading weighs differs a little from day to day, and events come on top.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from drivers import catalogue
from gateway import plan_card
from gateway import plan_traffic as traffic
from gateway.config import Rate, Sensor, Station, Wire
from gateway.plan_averages import Averages, air_lines, averages, lengths_s, windows_a_day
from gateway.plan_card import Card
from gateway.plan_pack import packed
from gateway.plan_traffic import DAY_S, Traffic
from gateway.wire_time import cycle

FULL = 0.8
"""A wire that is used more than this has no room for a retry or for a dead instrument."""


@dataclass(frozen=True, slots=True)
class SensorPlan:
    sensor: Sensor
    requests: int | None
    wire_s: float | None
    """None: nothing to work out, the instrument is alone on its wire and speaks as it likes."""
    waits_s: float = 0.0

    @property
    def share(self) -> float:
        return (self.wire_s or 0.0) / self.sensor.every_s


@dataclass(frozen=True, slots=True)
class WirePlan:
    wire: Wire
    sensors: tuple[SensorPlan, ...]

    @property
    def share(self) -> float:
        return sum(s.share for s in self.sensors)

    @property
    def is_known(self) -> bool:
        return all(s.wire_s is not None for s in self.sensors)


@dataclass(frozen=True, slots=True)
class SinkPlan:
    name: str
    where: str
    traffic: Traffic
    counted: str
    """What `traffic.messages` counts."""


@dataclass(frozen=True, slots=True)
class Plan:
    station: Station
    wires: tuple[WirePlan, ...]
    readings_a_day: float
    averages_a_day: float
    sinks: tuple[SinkPlan, ...]
    card: Card
    warnings: tuple[str, ...]


def plan(station: Station) -> Plan:
    """Work out the plan. Reads the profiles of the instruments again; takes some tens of milliseconds."""
    wires = tuple(_wire(station, wire) for wire in station.wires)
    readings = traffic.readings_a_day(station)
    averaged = averages(station)
    weight = plan_card.readings(station) + averaged.weight
    card = plan_card.card(weight, plan_card.commits_a_day(station), DAY_S / station.journal.sync_s)
    sinks = tuple(_sinks(station, averaged))
    warnings = tuple(_warnings(station, wires, sinks, card))
    return Plan(station, wires, readings, averaged.a_day, sinks, card, warnings)


def _wire(station: Station, wire: Wire) -> WirePlan:
    sensors = []
    for sensor in wire.sensors:
        model = catalogue.find(sensor.model, station.profiles)
        cost = None if wire.port.startswith("tcp://") else cycle(model, wire.line, wire.framing)
        if cost is None:
            sensors.append(SensorPlan(sensor, None, None))
        else:
            sensors.append(SensorPlan(sensor, cost.requests, cost.wire_s, cost.waits_s))
    return WirePlan(wire, tuple(sensors))


def _sinks(station: Station, averaged: Averages) -> list[SinkPlan]:
    sinks = []
    mqtt, influx = station.mqtt, station.influxdb
    examples = averaged.examples
    if mqtt is not None and any(send.kind != "event" for send in mqtt.send):
        embedded, tls = mqtt.url == "embedded", mqtt.url.startswith("mqtts:")
        readings = any(send.kind == "reading" for send in mqtt.send)
        lengths = lengths_s(mqtt.send)
        if mqtt.pack_s is not None:
            weight = packed(station, lengths, mqtt.pack_s, readings=readings, tls=tls, embedded=embedded)
        else:
            weight = traffic.mqtt(station, tls=tls, embedded=embedded, readings=readings)
        if mqtt.pack_s is None and (windows := windows_a_day(lengths)):
            weight += traffic.mqtt_averages(station, examples, windows, tls=tls, embedded=embedded)
        sinks.append(SinkPlan("mqtt", mqtt.url, weight, "messages"))
    if influx is not None and any(send.kind != "event" for send in influx.send):
        version, tls = influx.version, influx.url.startswith("https:")
        weight = traffic.Traffic(0.0, 0.0, 0.0)
        if any(send.kind == "reading" for send in influx.send):
            weight += traffic.influxdb(station, version=version, tls=tls)
        if windows := windows_a_day(lengths_s(influx.send)):
            weight += traffic.influxdb_averages(station, examples, windows, version=version, tls=tls)
        sinks.append(SinkPlan("influxdb", influx.url, weight, "requests"))
    if (live := station.grafana_live) is not None:
        weight = traffic.grafana_live(station, tls=live.url.startswith("https:"))
        sinks.append(SinkPlan("grafana_live", live.url, weight, "requests"))
    return sinks


def _warnings(
    station: Station, wires: tuple[WirePlan, ...], sinks: tuple[SinkPlan, ...], card: Card
) -> list[str]:
    said = [
        f"{w.wire.id}: {w.share:.0%} of the wire's time is asked for; above {FULL:.0%} one silent instrument"
        " delays the others: read less often, or raise the baudrate"
        for w in wires
        if w.share > FULL
    ]
    for sink in sinks:
        budget: Rate | None = getattr(getattr(station, sink.name), "budget", None)
        if budget is not None:
            planned = (sink.traffic.payload + sink.traffic.carriage) * budget.per_s / DAY_S
            if planned > budget.amount:
                said.append(
                    f"{sink.name}: {planned / 1e6:.1f} MB in {budget.per_s / DAY_S:g} days, and the budget is"
                    f" {budget.amount / 1e6:g} MB: read less often, or raise the budget"
                )
    journal = station.journal
    days = journal.limit_bytes / card.kept if card.kept else float("inf")
    if days < journal.keep_s / DAY_S:
        said.append(
            f"journal: {journal.limit_bytes / 1e6:g} MB are full after {days:.0f} days, before keep"
            f" ({journal.keep_s / DAY_S:g} days); then the oldest go: raise limit, or read less often"
        )
    return said


# ── as text ────────────────────────────────────────────────────────────────────────────────────────────────


def render(plan: Plan) -> str:
    """The plan as lines for a terminal of 100 columns."""
    station = plan.station
    count = [
        f"{n} {what}{'s' * (n != 1)}"
        for n, what in ((len(station.sensors), "instrument"), (len(plan.wires), "port"))
    ]
    out = [f"{station.id}: {count[0]} on {count[1]}", ""]
    out += [f"{'WIRE':<34}{'every':>9}{'requests':>10}{'wire time':>12}{'of the wire':>13}"]
    for w in plan.wires:
        out += _wire_lines(w)
    out += ["", f"{'READINGS':<34}{plan.readings_a_day:>9,.0f} a day"]
    if plan.averages_a_day:
        out += [f"{'AVERAGES':<34}{plan.averages_a_day:>9,.0f} a day", *air_lines(station)]
    out += ["", f"{'SENT':<34}{'a day':>16}{'MB a month':>15}{'of it TCP/IP, TLS':>20}"]
    for sink in plan.sinks:
        weight = sink.traffic
        where = f"{sink.name} {urlsplit(sink.where).netloc or sink.where}"
        carried_mb = weight.carriage * 30 / 1e6
        counted = f"{weight.messages:,.0f} {sink.counted}"
        out += [f"  {where[:31]:<32}{counted:>16}{_mb(weight.month_mb):>15}{_mb(carried_mb):>20}"]
    if not plan.sinks:
        out += ["  nothing: neither [mqtt] nor [influxdb] sends readings or averages"]
    journal = station.journal
    kept_mb = plan.card.kept * journal.keep_s / DAY_S / 1e6
    keep, limit_mb = f"{journal.keep_s / DAY_S:g} d of readings", journal.limit_bytes / 1e6
    out += [
        "",
        f"JOURNAL in {station.data}",
        f"  written to the card  {plan.card.written / 1e6:>9.1f} MB a day",
        f"  {keep:<21}{kept_mb:>9,.0f} MB, of {limit_mb:,.0f} MB allowed",
        f"  lost at most         {journal.commit_s:>9g} s if the process is killed",
        f"                       {journal.sync_s:>9g} s if the power is cut",
    ]
    if plan.warnings:
        out += ["", "LOOK AT"] + [f"  {line}" for line in plan.warnings]
    return "\n".join(out)


def _mb(mb: float) -> str:
    return f"{mb:,.0f}" if mb >= 100 else f"{mb:.1f}"


def _wire_lines(w: WirePlan) -> list[str]:
    settings = f"{w.wire.line.baudrate} {w.wire.line.format}"
    if w.wire.port.startswith("tcp://"):
        settings = "network"
    total = f"{w.share:>13.1%}" if w.is_known and not w.wire.port.startswith("tcp://") else f"{'–':>13}"
    lines = [f"  {w.wire.id + ', ' + settings:<63}{total}"]
    for s in w.sensors:
        address = "" if s.sensor.address is None else f" at {s.sensor.address}"
        name = f"{s.sensor.id} {s.sensor.model}{address}"
        every = f"{s.sensor.every_s:g} s"
        if s.wire_s is None:
            lines.append(f"    {name[:29]:<30}{every:>9}{'–':>10}{'–':>12}")
        else:
            lines.append(
                f"    {name[:29]:<30}{every:>9}{s.requests:>10}{s.wire_s * 1000:>9.0f} ms{s.share:>13.1%}"
            )
    return lines
