"""What no single part of a station.toml shows: names that must fit together, units, what a sink needs.

Every check looks only at the parts that are sound in themselves, adds its mistakes, and takes a part that
cannot be used out of the draft, so that one slip gives one line.
"""

from __future__ import annotations

import re
import zoneinfo
from pathlib import Path
from urllib.parse import urlsplit

from alerts.kinds import fits
from drivers.base import Quantity
from gateway.config_calibration_checks import check_calibrations
from gateway.config_draft import Draft, Spot
from gateway.config_lines import mean
from gateway.config_parts import Expect, Rule, Sensor, Sms
from gateway.config_wires import check_wires
from gateway.config_words import shown


def check(draft: Draft) -> None:
    """Run every check, in the order in which they build on each other."""
    for step in (
        _station,
        _ids,
        check_wires,
        _expectations,
        check_calibrations,
        _rules,
        _sms,
        _mqtt,
        _influxdb,
    ):
        step(draft)


def _station(draft: Draft) -> None:
    if draft.general is not None:
        problem = zone_problem(draft.general.timezone)
        if problem:
            draft.at("station").complain("timezone", problem)
            draft.general = draft.general.model_copy(update={"timezone": "UTC"})
    if draft.journal and draft.journal.commit_s > draft.journal.sync_s:
        text = (
            f"{draft.journal.sync_s:g} s is shorter than commit; write {draft.journal.commit_s:g} s or more"
        )
        draft.at("journal").complain("sync", text)
    if not draft.data.get("sensor"):
        draft.at("sensor").complain("", "there is none; add [[sensor]] with id, model and port or bus")


def zone_problem(name: str) -> str:
    """What is wrong with a time zone's name; "" if nothing is."""
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        known = zoneinfo.available_timezones()
        if not known - {"UTC"}:
            return 'this machine has no time zone data; sudo apt-get install tzdata, or write "UTC"'
        cities = {zone.rpartition("/")[2].lower(): zone for zone in sorted(known)}
        place = name.rpartition("/")[2].lower().replace(" ", "_")
        hint = f'; did you mean "{cities[place]}"?' if place in cities else mean(name, known, otherwise=False)
        return f'{shown(name)} is no time zone; allowed are names such as "Asia/Bishkek"{hint}'
    return ""


def _ids(draft: Draft) -> None:
    for section in ("bus", "sensor", "contact", "rule"):
        seen: dict[str, int] = {}
        for index, part in list(draft.parts(section).items()):
            first = seen.setdefault(part.id, index)
            if first != index:
                text = f"{shown(part.id)} is the id of {section}[{first + 1}] already; give each its own"
                draft.at(section, index).spoil("id", text)
    buses = {bus.id for bus in draft.buses.values()}
    for index, sensor in list(draft.sensors.items()):
        if sensor.bus is None and sensor.id in buses:
            text = f"{shown(sensor.id)} is the id of a bus already; give the sensor another"
            draft.at("sensor", index).spoil("id", text)


def _expectations(draft: Draft) -> None:
    for index, sensor in draft.sensors.items():
        at = draft.at("sensor", index)
        names = [q.name for q in draft.quantities[index]]
        for quantity, expect in sensor.expect.items():
            key = f"expect.{quantity}"
            if quantity not in names:
                text = f"a {sensor.model} does not measure {shown(quantity)}{mean(quantity, names)}"
                at.complain(key, text)
            if expect.gross and expect.usual:
                (low, high), (usual_low, usual_high) = expect.gross, expect.usual
                if not (low <= usual_low and usual_high <= high):
                    text = f"[{usual_low:g}, {usual_high:g}] is wider than gross; allowed {low:g}…{high:g}"
                    at.complain(f"{key}.usual", text)
            if expect.flat and expect.flat.fail_s <= expect.flat.suspect_s:
                at.complain(f"{key}.flat.fail", "is not longer than suspect; write a longer time")
            _against_every(at, key, expect, sensor.every_s)
        kept = {quantity: e for quantity, e in sensor.expect.items() if quantity in names}
        draft.sensors[index] = sensor.model_copy(update={"expect": kept})


def _against_every(at: Spot, key: str, expect: Expect, every_s: float) -> None:
    """Tests that look back need readings to look back on."""
    if expect.flat and expect.flat.suspect_s < 2 * every_s:
        text = f"{expect.flat.suspect_s:g} s has less than two readings; write {2 * every_s:g} s or more"
        at.complain(f"{key}.flat.suspect", text)
    if expect.attenuated:
        over_s = expect.attenuated.over_s
        if over_s < 10 * every_s:
            text = f"{over_s:g} s has less than ten readings; write {10 * every_s:g} s or more"
            at.complain(f"{key}.attenuated.over", text)
        if expect.attenuated.fail >= expect.attenuated.suspect:
            at.complain(f"{key}.attenuated.fail", "is not less than suspect; write a smaller range")
    if expect.gap_s is not None and expect.gap_s <= every_s:
        text = f"{expect.gap_s:g} s is not longer than the sensor's every; write more than {every_s:g} s"
        at.complain(f"{key}.gap", text)


def _rules(draft: Draft) -> None:
    sound = {sensor.id: index for index, sensor in draft.sensors.items()}
    declared, rules = draft.declared("sensor"), draft.declared("rule")
    parents = {rule.id: rule.id if rule.parent else "" for rule in draft.rules.values()}
    for index, rule in list(draft.rules.items()):
        at = draft.at("rule", index)
        _kind(at, rule)
        if rule.watch is not None:
            for key in ("sensor", "quantity", "unit"):
                if getattr(rule, key) and index in draft.rules:
                    at.spoil(key, "means nothing to a rule with watch; take it out")
        elif not rule.sensor:
            at.spoil("sensor", f"is missing{mean('', declared)}")
        elif rule.sensor not in declared:
            at.spoil("sensor", f"there is no sensor {shown(rule.sensor)}{mean(rule.sensor, declared)}")
        elif rule.sensor not in sound:
            at.drop("sensor", f"sensor {shown(rule.sensor)}")
        else:
            _limit(draft, index, rule, draft.quantities[sound[rule.sensor]])
            _same_kind(at, rule, draft.sensors[sound[rule.sensor]])
            _looks_back(at, rule, draft.sensors[sound[rule.sensor]].every_s)
        if rule.and_rule and rule.and_rule not in rules:
            at.spoil("and", f"there is no rule {shown(rule.and_rule)}{mean(rule.and_rule, rules)}")
        elif rule.and_rule == rule.id:
            at.spoil("and", "is the rule itself; name another one, or take the key out")
        if rule.parent and rule.parent not in rules:
            at.spoil("parent", f"there is no rule {shown(rule.parent)}{mean(rule.parent, rules)}")
        elif rule.parent in (rule.id, parents.get(rule.parent)) and rule.parent:
            at.spoil("parent", "would keep both silent; name a rule that has no parent of its own")
        _tiers(draft, index, rule)


def _kind(at: Spot, rule: Rule) -> None:
    """A rule looks at one thing."""
    asked = {
        "above": rule.above is not None or rule.below is not None,
        "change": rule.change is not None,
        "no_data": rule.no_data_s is not None,
        "fault": rule.fault,
        "stuck": rule.stuck_s is not None,
        "watch": rule.watch is not None,
    }
    kinds = [key for key, is_asked in asked.items() if is_asked]
    if not kinds:
        at.spoil(
            "above", "is missing, and so is below; add one of them, or change, no_data, fault, stuck or watch"
        )
        return
    if len(kinds) > 1:
        at.spoil(kinds[1], f"stands beside {kinds[0]}; a rule looks at one thing: make two rules")
        return
    if rule.above is not None and rule.below is not None:  # outside of a band
        least = rule.below + 2 * rule.hysteresis
        if least >= rule.above:
            text = f"{rule.above:g} leaves nothing between it and below, and the rule would never clear"
            at.spoil("above", f"{text}; allowed is more than {least:g} (below + twice hysteresis)")
    has_limit = kinds[0] in ("above", "change", "stuck")
    for key in ("quantity", "unit") if has_limit else ():
        if not getattr(rule, key):
            at.spoil(key, "is missing; a rule with a limit needs quantity and unit, as the sensor has them")
    if rule.change is not None and rule.hysteresis >= rule.change.amount:
        at.spoil("hysteresis", f"{rule.hysteresis:g} is not less than change ({rule.change.amount:g})")
    for key, is_asked in (("over", rule.over_s is not None), ("nowcast", rule.nowcast)):
        if is_asked and kinds[0] != "above":
            at.spoil(key, f"means nothing to a rule with {kinds[0]}; take it out")
    if rule.nowcast and rule.over_s is not None:
        at.spoil("nowcast", "stands beside over; take one of them out")


def _looks_back(at: Spot, rule: Rule, every_s: float) -> None:
    """What a rule looks back at needs readings."""
    if rule.over_s is not None and rule.over_s < every_s:
        text = f"{rule.over_s:g} s is shorter than the sensor's every ({every_s:g} s)"
        at.spoil("over", f'{text}; write a longer time, or "reading"')
    if rule.change is not None and rule.change.per_s < 4 * every_s:
        text = f"{rule.change.per_s:g} s has less than four readings"
        at.spoil("change", f'{text}; write for example "{rule.change.amount:g} / {4 * every_s:g} s"')
    if rule.nowcast and every_s > 900:
        at.spoil("nowcast", f"needs four readings an hour; the sensor has one each {every_s:g} s")
    if rule.stuck_s is not None and rule.stuck_s < 4 * every_s:
        text = f"{rule.stuck_s:g} s has less than four readings; write {4 * every_s:g} s or more"
        at.spoil("stuck", text)
    if rule.no_data_s is not None and rule.no_data_s < 2 * every_s:
        text = f"{rule.no_data_s:g} s has less than two readings; write {2 * every_s:g} s or more"
        at.spoil("no_data", text)


def _limit(draft: Draft, index: int, rule: Rule, quantities: tuple[Quantity, ...]) -> None:
    at = draft.at("rule", index)
    if not rule.quantity:
        if rule.unit and index in draft.rules:
            at.spoil("unit", "stands without quantity; add quantity, or take unit out")
        return
    quantity = next((q for q in quantities if q.name == rule.quantity), None)
    if quantity is None:
        hint = mean(rule.quantity, [q.name for q in quantities])
        at.spoil("quantity", f'sensor "{rule.sensor}" does not measure {shown(rule.quantity)}{hint}')
    elif quantity.unit != rule.unit and (rule.unit or rule.no_data_s is None):
        text = f'{shown(rule.unit)} is not the unit of {rule.quantity} at sensor "{rule.sensor}"'
        at.spoil("unit", f'{text}; allowed is "{quantity.unit}"')


def _same_kind(at: Spot, rule: Rule, sensor: Sensor) -> None:
    """A limit for drinking water says nothing of a river."""
    if rule.kind is not None and not fits(rule.kind, sensor.kind or ""):
        lies = f'sensor "{sensor.id}" is in {sensor.kind or sensor.medium}'
        text = f"is a limit for {rule.kind}, and {lies}"
        at.spoil("kind", f"{text}; take the rule out, or give the sensor its kind where that is wrong")


def _tiers(draft: Draft, index: int, rule: Rule) -> None:
    """Contacts that are not there are left out of a rule, never the rule for them."""
    declared = draft.declared("contact")
    sound = {contact.id for contact in draft.contacts.values()}
    tiers = []
    for number, tier in enumerate(rule.send, 1):
        for name in tier.contacts:
            if name not in declared:
                text = f"there is no contact {shown(name)}{mean(name, declared)}"
                draft.at("rule", index).complain(f"send[{number}]", text)
        contacts = tuple(name for name in tier.contacts if name in sound)
        if contacts:
            tiers.append(tier.model_copy(update={"contacts": contacts}))
    if index in draft.rules:
        draft.rules[index] = rule.model_copy(update={"send": tuple(tiers)})


def _sms(draft: Draft) -> None:
    asked = draft.data.get("sms")
    if draft.clock is not None and draft.clock.source == "modem":
        if not (isinstance(asked, dict) and "modem" in asked):
            text = '"modem" asks the SMS modem, and there is none; add [sms] with modem, or write "ntp"'
            draft.at("clock").complain("source", text)
        if draft.sms is None or draft.sms.modem is None:
            draft.clock = draft.clock.model_copy(update={"source": "ntp"})
    if draft.sms is not None and isinstance(asked, dict) and not {"modem", "provider"} & asked.keys():
        text = 'is missing, and so is provider; add modem = "/dev/serial/by-path/…"'
        draft.at("sms").complain("modem", text)
    sending = [index for index, rule in draft.rules.items() if rule.send]
    if sending and asked is None:
        text = 'nothing can send messages; add [sms] with modem = "/dev/serial/by-path/…"'
        draft.at("rule", sending[0]).complain("send", text)
    for index, contact in draft.contacts.items():
        if contact.pin is not None and not re.fullmatch(r"[0-9]{4,8}", contact.pin.get_secret_value()):
            draft.at("contact", index).complain("pin", "is not 4 to 8 digits; write others into its file")
            draft.contacts[index] = contact.model_copy(update={"pin": None})
    if draft.sms is not None:
        _sms_paths(draft, draft.sms)


def _sms_paths(draft: Draft, sms: Sms) -> None:
    at, declared = draft.at("sms"), draft.declared("contact")
    if sms.second is not None and "modem" not in draft.data["sms"]:
        at.complain("second", "stands without a first one; write its keys into [sms]")
    for name in sms.daily_to:
        if name not in declared:
            at.complain("daily_to", f"there is no contact {shown(name)}{mean(name, declared)}")
    if (sms.daily is None) != (not sms.daily_to):
        key = "daily" if sms.daily is None else "daily_to"
        at.complain(key, 'is missing; write daily = "08:00" and daily_to = ["duty"], or neither')
    if sms.provider is None:
        return
    from alerts import provider

    draft.sms = sms.model_copy(update={"provider": None})
    try:
        if isinstance(sms.provider, str):
            form = provider.find(sms.provider)
            given = {key: value.get_secret_value() for key, value in sms.provider_settings.items()}
            wrong = list(provider.wrong_settings(form, given))
            for key, what, remedy in wrong:
                at.complain(f"provider_settings.{key}", f"{what}; {remedy}")
            literal = draft.data["sms"].get("provider_settings", {})
            for key in [k for k, s in form.settings.items() if s.kind == "secret" and k in literal]:
                if isinstance(literal[key], str):
                    text = f'a secret does not belong in this file; write {{ file = "sms.{key}" }}'
                    at.complain(f"provider_settings.{key}", text)
                    wrong.append((key, "", ""))
            if wrong:
                return
            path = provider.Provider(form, given)
        else:
            path = provider.of_url(sms.provider.get_secret_value())
    except (ValueError, provider.UnknownProvider) as e:
        at.complain("provider", str(e))
        return
    draft.sms = sms
    for line in provider.warnings(path):
        at.warn("provider", line)


def _mqtt(draft: Draft) -> None:
    mqtt, at = draft.mqtt, draft.at("mqtt")
    if mqtt is None:
        return
    host = urlsplit(mqtt.url).hostname or ""
    if mqtt.password is not None and mqtt.url.startswith("mqtt://") and not _here(host):
        at.warn("url", "the password goes over the network in the clear; use mqtts://")
    if mqtt.password is not None and mqtt.username is None:
        at.complain("username", "is missing beside password; add username")
    if (mqtt.certificate is None) != (mqtt.key is None):
        lacking = "key" if mqtt.key is None else "certificate"
        at.complain(lacking, "is missing; certificate and key go together")
    if mqtt.certificate is not None and not mqtt.url.startswith("mqtts://"):
        at.complain("url", "has no TLS, and a certificate was given; use mqtts://")
    if mqtt.discovery is not None and not any(send.kind == "reading" for send in mqtt.send):
        at.complain("discovery", 'needs readings: add "reading" to send, or take discovery out')
    if mqtt.discovery is not None and mqtt.pack_s is not None:
        at.complain("discovery", "Home Assistant cannot read packed messages; leave out pack, or discovery")
    if mqtt.key is not None and Path(mqtt.key).stat().st_mode & 0o007:
        at.warn("key", f"everybody on this machine may read {mqtt.key}; chmod o= {mqtt.key}")


def _here(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _influxdb(draft: Draft) -> None:
    influx, at = draft.influxdb, draft.at("influxdb")
    if influx is None:
        return
    given = draft.data["influxdb"]
    wanted = {1: ("database",), 2: ("org", "bucket", "token"), 3: ("database", "token")}[influx.version]
    lacking = [key for key in wanted if key not in given]
    for key in lacking:
        example = '{ file = "influxdb.token" }' if key == "token" else '"…"'
        at.complain(key, f"is missing; InfluxDB {influx.version} needs it: add {key} = {example}")
    foreign = {1: ("org", "bucket", "token"), 2: ("database",), 3: ("org", "bucket")}[influx.version]
    for key in foreign:
        if key in given:
            text = f"does not belong to InfluxDB {influx.version}; it has {', '.join(wanted)}"
            at.complain(key, f"{text}: take it out, or change version")
    if lacking:
        draft.influxdb = None
