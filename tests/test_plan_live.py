"""What `check` says of Grafana Live's bytes, against real requests and the commits of an hour."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import plan, plan_traffic
from gateway.grafana_live import Door
from gateway.influx import Lines
from tests.services import Reply, ScriptedWeb
from tests.test_plan import Counter, records, station

LIVE = '\n[grafana_live]\nurl = "{url}"\ntoken = {{ file = "live.token" }}\n'
HERE = '[station]\nid = "river-1"\n[[sensor]]\nid = "ph1"\nport = "/dev/x"\nmodel = "yosemitech-y532"\n'
TOKEN = "glsa_" + "x" * 41


def test_a_push_weighs_what_the_plan_says(tmp_path: Path) -> None:
    (tmp_path / "live.token").write_text(TOKEN)
    (tmp_path / "live.token").chmod(0o600)
    wanted = station(
        tmp_path, HERE + 'address = 1\nevery = "10 s"\n' + LIVE.format(url="http://grafana:3000")
    )
    [sink] = plan.plan(wanted).sinks
    assert (sink.name, sink.where) == ("grafana_live", "http://grafana:3000")
    assert sink.traffic.messages == 8640
    assert "grafana_live" in plan.render(plan.plan(wanted))

    web = ScriptedWeb()
    web.otherwise = Reply(200)
    tap = Counter(int(web.url.rpartition(":")[2]))
    try:
        door = Door(f"http://127.0.0.1:{tap.port}", "suuaba", lambda: TOKEN)
        bodies = [
            f"{Lines(wanted.id).join([one]).decode()}000000".encode() for one in records(wanted, count=8)
        ]
        for body in bodies:
            door.push(body)
    finally:
        tap.close()
        web.close()
    heads = tap.up - sum(map(len, bodies))
    assert heads / 8 == pytest.approx(plan_traffic.LIVE_HEADS - 250, abs=10)
    assert sink.traffic.payload == pytest.approx(8640 * (tap.up / 8 + 250), rel=0.02)
