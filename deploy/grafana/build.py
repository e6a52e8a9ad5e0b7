"""Makes the dashboards in deploy/grafana/dashboards/, all from here: python deploy/grafana/build.py

One source for InfluxDB 1, 2 and 3: every query is InfluxQL, which all three answer. Change a limit or a panel
here, run it, and commit both; a test holds the files against this one, and asks every query of a real
InfluxDB. What the measurements look like is said in gateway/influx.py.

Sources: Grafana documentation, "Dashboard JSON model", "InfluxDB query editor", "Grafana Live".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Json = dict[str, Any]

FOLDER = Path(__file__).parent / "dashboards"
SOURCE = {"type": "influxdb", "uid": "suuaba"}
LIVE = {"type": "datasource", "uid": "grafana"}
MQTT = {"type": "grafana-mqtt-datasource", "uid": "suuaba-mqtt"}
SCHEMA = 39
"""schemaVersion: Grafana 11; later ones migrate it by themselves."""

WIDTH = 24
ONE = '"station" =~ /^$station$/ AND $timeFilter'
EVERY_READING = "/^(water|air|soil|power|station)$/"
GREEN, YELLOW, RED = "green", "yellow", "red"

# ── limits that are drawn; change them to those of your permit ──────────────────────────────────────────────────
PH = [(None, RED), (6.0, GREEN), (9.0, RED)]
"""IFC, Environmental, Health and Safety Guidelines: Mining (2007), table 1: pH 6 to 9."""
PM2_5 = [(None, GREEN), (15.0, YELLOW), (75.0, RED)]
PM10 = [(None, GREEN), (45.0, YELLOW), (150.0, RED)]
"""WHO global air quality guidelines (2021): 24-hour guideline value, and interim target 1."""

# QARTOD's integers, as docs/quality.md explains them.
FLAGS = {
    "1": ("good", GREEN), "2": ("not evaluated", "blue"), "3": ("suspect", YELLOW), "4": ("fail", RED),
    "9": ("missing", "text"),
}  # fmt: skip


class Board:
    """A dashboard that grows panel by panel, left to right and down."""

    def __init__(self, uid: str, title: str, about: str, *variables: Json, refresh: str = "30s") -> None:
        self.file = f"{uid}.json"
        self._panels: list[Json] = []
        self._x = self._y = self._row_h = 0
        self._rest = {"uid": uid, "title": title, "description": about, "refresh": refresh}
        self._variables = list(variables)
        self.annotations: list[Json] = []
        self.since = "now-24h"

    def add(self, panel: Json, w: int, h: int) -> None:
        if self._x + w > WIDTH:
            self._x, self._y = 0, self._y + self._row_h
            self._row_h = 0
        place = {"x": self._x, "y": self._y, "w": w, "h": h}
        self._panels.append({"id": len(self._panels) + 1, "gridPos": place, **panel})
        self._x, self._row_h = self._x + w, max(self._row_h, h)

    def json(self) -> str:
        made = {
            **self._rest,
            "schemaVersion": SCHEMA,
            "version": 1,
            "editable": True,
            "graphTooltip": 1,
            "tags": ["suu-aba"],
            "timezone": "browser",
            "time": {"from": self.since, "to": "now"},
            "timepicker": {},
            "fiscalYearStartMonth": 0,
            "liveNow": False,
            "weekStart": "",
            "links": [
                {"type": "dashboards", "title": "Suu-Aba", "tags": ["suu-aba"], "asDropdown": True,
                 "includeVars": True, "keepTime": True, "targetBlank": False, "icon": "external link",
                 "tooltip": "", "url": ""},
            ],
            "templating": {"list": self._variables},
            "annotations": {"list": self.annotations},
            "panels": self._panels,
        }  # fmt: skip
        return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


# ── parts ───────────────────────────────────────────────────────────────────────────────────────────────────────


def ask(query: str, alias: str = "", *, table: bool = False) -> Json:
    """A query in InfluxQL, as written."""
    asked: Json = {"datasource": SOURCE, "rawQuery": True, "query": query}
    asked["resultFormat"] = "table" if table else "time_series"
    return asked | ({"alias": alias} if alias else {})


def panel(kind: str, title: str, targets: Sequence[Json], **more: Any) -> Json:
    """A panel; `unit`, `steps`, `mappings` and `custom` go into its field configuration."""
    defaults: Json = {"custom": more.pop("custom", {})}
    if unit := more.pop("unit", ""):
        defaults["unit"] = unit
    if steps := more.pop("steps", None):
        defaults["color"] = {"mode": more.pop("color", "palette-classic")}
        at = [{"value": value, "color": color} for value, color in steps]
        defaults["thresholds"] = {"mode": "absolute", "steps": at}
    if mappings := more.pop("mappings", None):
        defaults["mappings"] = mappings
    source = targets[0]["datasource"] if targets else SOURCE
    named = [{"refId": chr(ord("A") + n), **target} for n, target in enumerate(targets)]
    return {
        "type": kind, "title": title, "datasource": source, "targets": named,
        "fieldConfig": {"defaults": defaults, "overrides": more.pop("overrides", [])},
        "options": more.pop("options", {}), "transformations": more.pop("transformations", []), **more,
    }  # fmt: skip


def variable(name: str, label: str, query: str, *, regex: str = "", several: bool = True) -> Json:
    everything = {"selected": True, "text": ["All"], "value": ["$__all"]}
    return {
        "type": "query", "name": name, "label": label, "datasource": SOURCE, "query": query,
        "definition": query, "regex": regex, "refresh": 2, "sort": 1, "multi": several, "includeAll": several,
        "current": everything if several else {}, "hide": 0, "options": [], "skipUrlSync": False,
    }  # fmt: skip


def lines(title: str, targets: Sequence[Json], unit: str = "", **more: Any) -> Json:
    """A chart over time; gaps stay gaps."""
    custom = {"drawStyle": "line", "lineWidth": 1, "spanNulls": False, "showPoints": "auto", "fillOpacity": 0}
    if more.get("steps"):
        custom["thresholdsStyle"] = {"mode": "line+area"}
    legend = {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "min", "max"]}
    options = {"legend": legend, "tooltip": {"mode": "multi", "sort": "none"}}
    more.setdefault("overrides", [])
    custom |= more.pop("draw", {})
    return panel("timeseries", title, targets, unit=unit, custom=custom, options=options, **more)


def table(title: str, targets: Sequence[Json], **more: Any) -> Json:
    options = {
        "showHeader": True,
        "cellHeight": "sm",
        "footer": {"show": False, "reducer": ["sum"], "fields": ""},
    }
    return panel(
        "table", title, targets, custom={"align": "auto", "filterable": True}, options=options, **more
    )


def number(title: str, target: Json, unit: str = "", **more: Any) -> Json:
    calcs = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    options = {"reduceOptions": calcs, "colorMode": "value", "graphMode": "area", "textMode": "auto",
               "justifyMode": "auto", "orientation": "auto"}  # fmt: skip
    more.setdefault("steps", [(None, "text")])
    return panel("stat", title, [target], unit=unit, color="thresholds", options=options, **more)


def flags(title: str, targets: Sequence[Json], **more: Any) -> Json:
    """Quality flags over time, in QARTOD's colours."""
    words = {
        n: {"text": text, "color": color, "index": i} for i, (n, (text, color)) in enumerate(FLAGS.items())
    }
    options = {"mergeValues": True, "showValue": "never", "rowHeight": 0.9,
               "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
               "tooltip": {"mode": "single"}}  # fmt: skip
    mappings = [{"type": "value", "options": words}]
    return panel("state-timeline", title, targets, mappings=mappings, options=options,
                 custom={"fillOpacity": 80, "lineWidth": 0}, **more)  # fmt: skip


def good(quantity: str, medium: str) -> Json:
    """The mean of what is not known to be wrong."""
    return ask(
        f'SELECT mean("{quantity}") FROM "{medium}" WHERE {ONE} AND "{quantity}_flag" < 4 '
        'GROUP BY time($__interval), "station", "sensor" fill(null)',
        "$tag_station $tag_sensor",
    )


def failed(quantity: str, medium: str) -> Json:
    """What a quality test found wrong: shown, and in no mean."""
    return ask(
        f'SELECT mean("{quantity}") FROM "{medium}" WHERE {ONE} AND "{quantity}_flag" = 4 '
        'GROUP BY time($__interval), "station", "sensor" fill(none)',
        "$tag_station $tag_sensor: wrong",
    )


def limit(quantity: str) -> Json:
    """The limit of the station's own rule, as its alarms told it last."""
    return ask(
        f'SELECT last("limit") FROM "alarm" WHERE {ONE} AND "quantity" = \'{quantity}\' '
        'GROUP BY time($__interval), "station" fill(previous)',
        "$tag_station: alarm limit",
    )


WRONG: Json = {
    "matcher": {"id": "byRegexp", "options": "/: wrong$/"},
    "properties": [
        {"id": "custom.drawStyle", "value": "points"},
        {"id": "color", "value": {"mode": "fixed", "fixedColor": RED}},
    ],
}
LIMIT: Json = {
    "matcher": {"id": "byRegexp", "options": "/: alarm limit$/"},
    "properties": [
        {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [10, 10]}},
        {"id": "color", "value": {"mode": "fixed", "fixedColor": RED}},
    ],
}
STATION = variable(
    "station", "Station",
    'SHOW TAG VALUES FROM /^(water|air|soil|power|station)(_[0-9]+(min|h))?$/ WITH KEY = "station"',
)  # fmt: skip
NO_DETAIL = "/^(?!.*_(raw|flag|min|max|n|of)$)(?!(revision|uncertainty_ms)$)(.*)$/"
"""Names of fields that are quantities."""


def quantities(medium: str) -> Json:
    return variable("quantity", "Quantity", f'SHOW FIELD KEYS FROM "{medium}"', regex=NO_DETAIL)


def alarm_marks() -> Json:
    """Alarms over every chart."""
    return {
        "name": "Alarms", "datasource": SOURCE, "enable": True, "hide": False, "iconColor": RED,
        "target": {
            "refId": "Anno", "query": f'SELECT "rule", "state", "quantity" FROM "alarm" WHERE {ONE}',
            "rawQuery": True, "resultFormat": "table", "limit": 500, "fromAnnotations": True,
        },
        "query": f'SELECT "rule", "state", "quantity" FROM "alarm" WHERE {ONE}',
        "textColumn": "rule", "tagsColumn": "state,quantity", "titleColumn": "", "timeEndColumn": "",
    }  # fmt: skip


def said(title: str, what: str, query: str = "", about: str = "") -> Json:
    """A table of events, their detail taken apart."""
    asked = query or f'SELECT "detail" FROM "event" WHERE {ONE} AND "what" = \'{what}\' GROUP BY "station"'
    apart = {"id": "extractFields", "options": {"source": "detail", "format": "json", "replace": False}}
    hide = {
        "id": "organize",
        "options": {"excludeByName": {"detail": True, "sha256": True}, "renameByName": {}},
    }
    newest = {"id": "sortBy", "options": {"sort": [{"field": "Time", "desc": True}]}}
    return table(title, [ask(asked, table=True)], transformations=[apart, hide, newest], description=about)


# ── the dashboards ──────────────────────────────────────────────────────────────────────────────────────────────


def fleet() -> Board:
    board = Board("suuaba-fleet", "Suu-Aba: fleet", "Where the stations are, and which of them are silent.",
                  STATION, refresh="1m")  # fmt: skip
    where = ask(
        'SELECT last("latitude") AS "latitude", last("longitude") AS "longitude" FROM "event" '
        'WHERE "what" = \'started\' AND "station" =~ /^$station$/ GROUP BY "station"',
        table=True,
    )
    # Of no quantity in particular, so by the flags: LIMIT 1 gives the newest point of each group.
    heard = ask(
        "SELECT /_flag$/ FROM /^(water|air|soil|power|station)(_[0-9]+(min|h))?$/ WHERE "
        '"station" =~ /^$station$/ AND time > now() - 30d GROUP BY "station" ORDER BY time DESC LIMIT 1',
        table=True,
    )
    latest = [
        {"id": "groupBy", "options": {"fields": {
            "station": {"operation": "groupby", "aggregations": []},
            "Time": {"operation": "aggregate", "aggregations": ["max"]},
        }}},
        {"id": "organize", "options": {"renameByName": {"Time (max)": "last heard"}, "excludeByName": {}}},
        {"id": "sortBy", "options": {"sort": [{"field": "last heard"}]}},
    ]  # fmt: skip
    markers = {
        "type": "markers", "name": "Stations", "tooltip": True,
        "location": {"mode": "coords", "latitude": "latitude", "longitude": "longitude"},
        "config": {"style": {"size": {"fixed": 8}, "color": {"fixed": "blue"}, "text": {"field": "station",
                   "mode": "field", "fixed": ""}, "textConfig": {"offsetY": 14, "fontSize": 12}}},
    }  # fmt: skip
    board.add(
        panel("geomap", "Where they are", [where], options={
            "basemap": {"type": "default", "name": "Map"}, "layers": [markers],
            "view": {"id": "fit", "lat": 41.5, "lon": 74.5, "zoom": 6, "allLayers": True},
            "controls": {"showZoom": True, "showAttribution": True}, "tooltip": {"mode": "details"}},
            description="As each station said it when it started (latitude and longitude in station.toml). "
            "The map's tiles come from the internet, by the browser."),
        14, 14,
    )  # fmt: skip
    board.add(
        table("Freshness", [heard], transformations=latest,
              description="The newest value of each station of the last 30 days; the longest silent first.",
              overrides=[{"matcher": {"id": "byName", "options": "last heard"},
                          "properties": [{"id": "unit", "value": "dateTimeFromNow"}]}]),
        10, 14,
    )  # fmt: skip
    rate = ask(f'SELECT count("seq") FROM "event" WHERE {ONE} GROUP BY time($__interval), "station" fill(0)',
               "$tag_station")  # fmt: skip
    board.add(lines("Events", [rate], draw={"drawStyle": "bars", "stacking": {"mode": "normal"}}), 12, 8)
    rules = ask(
        f'SELECT "rule", "state", "quantity", "value", "limit", "priority" FROM "alarm" WHERE {ONE} '
        'GROUP BY "station" ORDER BY time DESC LIMIT 100', table=True)  # fmt: skip
    board.add(table("Alarms, newest first", [rules]), 12, 8)
    return board


def station() -> Board:
    board = Board("suuaba-station", "Suu-Aba: a station live", "The last values of one station.",
                  variable("station", "Station", STATION["query"], several=False), refresh="5s")  # fmt: skip
    board.since = "now-15m"
    for medium, title in (("water", "Water"), ("air", "Air")):
        values = ask(
            f'SELECT * FROM "{medium}" WHERE {ONE} GROUP BY "sensor" ORDER BY time DESC LIMIT 1', table=True
        )
        board.add(table(f"{title}: last readings", [values]), 12, 9)
    for quantity, medium, title, unit, steps in (
        ("ph", "water", "pH", "pH", PH),
        ("turbidity", "water", "Turbidity", "", None),
        ("pm2_5", "air", "PM2.5", "conμgm3", PM2_5),
    ):
        latest = ask(
            f'SELECT last("{quantity}") FROM "{medium}" WHERE {ONE} GROUP BY "sensor"', "$tag_sensor"
        )
        board.add(number(title, latest, unit, steps=steps or [(None, "text")]), 8, 5)
    for quantity, medium, title, unit, steps in (
        ("ph", "water", "pH", "pH", PH),
        ("turbidity", "water", "Turbidity", "", None),
        ("pm2_5", "air", "PM2.5", "conμgm3", PM2_5),
    ):
        raw = ask(f'SELECT "{quantity}" FROM "{medium}" WHERE {ONE} GROUP BY "sensor"', "$tag_sensor")
        board.add(lines(title, [raw], unit, steps=steps), 8, 9)
    board.annotations = [alarm_marks()]
    return board


def water() -> Board:
    board = Board("suuaba-water", "Suu-Aba: water", "Water, with limits. Wrong values are red points.",
                  STATION, quantities("water"))  # fmt: skip
    over = [WRONG, LIMIT]
    board.add(lines("pH", [good("ph", "water"), failed("ph", "water")], "pH", steps=PH, overrides=over,
                    description="Shaded outside of 6 to 9 (IFC guidelines for mining, 2007)."), 12, 10)  # fmt: skip
    board.add(lines("Turbidity", [good("turbidity", "water"), failed("turbidity", "water"), limit("turbidity")],
                    overrides=over, description="Dashed: the limit of the station's own rule, once it has told "
                    "an alarm."), 12, 10)  # fmt: skip
    each = lines("$quantity", [good("$quantity", "water")], overrides=over)
    board.add(each | {"repeat": "quantity", "repeatDirection": "h", "maxPerRow": 3}, WIDTH, 8)
    board.annotations = [alarm_marks()]
    return board


def air() -> Board:
    board = Board("suuaba-air", "Suu-Aba: air", "Air, with limits. Wrong values are red points.",
                  STATION, quantities("air"))  # fmt: skip
    for quantity, title, steps in (("pm2_5", "PM2.5", PM2_5), ("pm10", "PM10", PM10)):
        board.add(lines(title, [good(quantity, "air"), failed(quantity, "air")], "conμgm3", steps=steps,
                        overrides=[WRONG], description="WHO 2021: the 24-hour guideline value and interim "
                        "target 1; they are for means of a day."), 12, 10)  # fmt: skip
        daily = ask(
            f'SELECT mean("{quantity}") FROM "air" WHERE {ONE} AND "{quantity}_flag" < 4 '
            'GROUP BY time(24h), "station", "sensor" fill(null)', "$tag_station $tag_sensor")  # fmt: skip
        board.add(lines(f"{title}, means of 24 h (UTC days)", [daily], "conμgm3", steps=steps,
                        draw={"drawStyle": "bars", "fillOpacity": 60}), 12, 8)  # fmt: skip
    each = lines("$quantity", [good("$quantity", "air")])
    board.add(each | {"repeat": "quantity", "repeatDirection": "h", "maxPerRow": 3}, WIDTH, 8)
    board.annotations = [alarm_marks()]
    return board


def quality() -> Board:
    medium = {
        "type": "custom", "name": "medium", "label": "Medium", "query": "water,air", "multi": False,
        "includeAll": False, "hide": 0, "skipUrlSync": False, "current": {"text": "water", "value": "water"},
        "options": [{"text": m, "value": m, "selected": m == "water"} for m in ("water", "air")],
    }  # fmt: skip
    board = Board("suuaba-quality", "Suu-Aba: quality and gaps", "Flags (QARTOD), what is missing and why.",
                  STATION, medium, quantities("$medium"), refresh="5m")  # fmt: skip
    worst = ask(
        f'SELECT max("${{quantity}}_flag") FROM "$medium" WHERE {ONE} '
        'GROUP BY time($__interval), "station", "sensor" fill(none)', "$tag_station $tag_sensor")  # fmt: skip
    board.add(flags("$quantity: the worst flag", [worst]) | {
        "repeat": "quantity", "repeatDirection": "v"}, WIDTH, 6)  # fmt: skip
    captured = ask(
        f'SELECT sum("${{quantity}}_n") / sum("${{quantity}}_of") FROM /^${{medium}}_[0-9]+(min|h)$/ WHERE {ONE} '
        'GROUP BY time(1h), "station", "sensor" fill(none)', "$tag_station $tag_sensor")  # fmt: skip
    board.add(lines("$quantity: captured, of what was expected", [captured], "percentunit",
                    draw={"drawStyle": "bars", "fillOpacity": 60}, description="Of the averages; a station "
                    'that sends none (send = ["average:1 min"]) shows nothing here.') | {
                        "repeat": "quantity", "repeatDirection": "h", "maxPerRow": 2}, WIDTH, 8)  # fmt: skip
    unsure = ask(f'SELECT max("uncertainty_ms") FROM {EVERY_READING} WHERE {ONE} '
                 'GROUP BY time($__interval), "station" fill(none)', "$tag_station")  # fmt: skip
    board.add(said("Gaps", "gap", about="Stretches without readings, and why."), 12, 10)
    board.add(said("Each hour's account", "ledger", about="Expected and taken, of every sensor."), 12, 10)
    board.add(lines("Readings whose time is not sure: how far off at most", [unsure], "ms"), 12, 8)
    board.add(said("Corrected flags", "flagged", about="Spikes, known one reading later."), 12, 8)
    return board


def alarms() -> Board:
    board = Board("suuaba-alarms", "Suu-Aba: alarms", "Alarms, and who was told.", STATION)
    board.since = "now-7d"
    active = ask(f'SELECT count("seq") FROM "alarm" WHERE {ONE} AND "state" =~ /^active/ '
                 'GROUP BY time($__interval), "station" fill(0)', "$tag_station")  # fmt: skip
    board.add(lines("Alarms that began", [active], draw={"drawStyle": "bars", "fillOpacity": 60}), WIDTH, 7)
    rows = ask(
        f'SELECT "rule", "state", "quantity", "value", "limit", "priority", "detail" FROM "alarm" WHERE {ONE} '
        'GROUP BY "station", "sensor" ORDER BY time DESC LIMIT 500', table=True)  # fmt: skip
    board.add(table("All that happened", [rows]), WIDTH, 12)
    board.add(said("Messages", "sms", about="What became of each SMS."), WIDTH, 9)
    board.annotations = [alarm_marks()]
    return board


def calibrations() -> Board:
    board = Board("suuaba-calibrations", "Suu-Aba: calibrations", "When, by whom, how far off, and what is due.",
                  STATION)  # fmt: skip
    board.since = "now-1y"
    board.add(
        said("Calibrations", "calibrated", about="docs/calibration.md says what stands in them."), WIDTH, 10
    )
    board.add(said("Due", "calibration_due"), 12, 8)
    board.add(said("Corrections in force", "correction"), 12, 8)
    board.add(said("Work at the instruments", "maintenance"), WIDTH, 8)
    return board


def gateway() -> Board:
    board = Board("suuaba-gateway", "Suu-Aba: gateways", "Starts, losses, outages: how the machines are doing.",
                  STATION)  # fmt: skip
    board.since = "now-7d"
    kinds = "sink_down|sink_up|refused|loss|clock_set|clock_unknown|started|stopped|sensor"
    happened = ask(f'SELECT count("seq") FROM "event" WHERE {ONE} AND "what" =~ /^({kinds})$/ '
                   'GROUP BY time($__interval), "station" fill(none)', "$tag_station")  # fmt: skip
    board.add(lines("What happened", [happened], draw={"drawStyle": "bars"}), 12, 8)
    count = ask(f'SELECT count(/_flag$/) FROM {EVERY_READING} WHERE {ONE} '
                'GROUP BY time($__interval), "station" fill(0)', "$tag_station $m $col")  # fmt: skip
    board.add(lines("Values that arrived", [count], draw={"drawStyle": "bars", "stacking": {"mode": "normal"}}),
              12, 8)  # fmt: skip
    board.add(said("Starts", "started"), 12, 8)
    board.add(said("Lost", "loss", about="What is missing for good: numbers, and why."), 12, 8)
    board.add(said("Outages of broker and database", "", f'SELECT "what", "detail" FROM "event" WHERE {ONE} '
                   'AND "what" =~ /^sink_(down|up)$/ GROUP BY "station"'), 12, 8)  # fmt: skip
    board.add(said("Instruments that failed and came back", "sensor"), 12, 8)
    return board


def live() -> Board:
    """Grafana Live: what a station pushes; nothing is asked of a database."""
    board = Board("suuaba-live", "Suu-Aba: live (Grafana Live)", "Pushed within a second ([grafana_live]).",
                  refresh="")  # fmt: skip
    board.since = "now-5m"
    for medium in ("water", "air"):
        pushed = {"datasource": LIVE, "queryType": "measurements", "channel": f"stream/suuaba/{medium}",
                  "buffer": 300_000}  # fmt: skip
        board.add(lines(medium.capitalize(), [pushed]), WIDTH, 11)
    return board


def mqtt() -> Board:
    """The MQTT data source; its plugin knows no variables in topics, so the station stands in them."""
    board = Board("suuaba-mqtt", "Suu-Aba: live (MQTT)", "Straight from the broker. Change the topics to yours.",
                  refresh="")  # fmt: skip
    board.since = "now-5m"
    for sensor, title in (("ph1", "pH"), ("turb1", "Turbidity"), ("dust1", "Dust")):
        heard = {"datasource": MQTT, "topic": f"suuaba/1/kanysh-kyia-1/reading/{sensor}"}
        apart = {"id": "extractFields", "options": {"source": "values", "format": "json", "replace": False}}
        board.add(lines(title, [heard], transformations=[apart]), WIDTH, 8)
    return board


BOARDS = (fleet, station, water, air, quality, alarms, calibrations, gateway, live, mqtt)


def files() -> dict[str, str]:
    """The text of every dashboard, by file name."""
    return {board.file: board.json() for board in (make() for make in BOARDS)}


if __name__ == "__main__":
    for name, text in files().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
