"""The doctor's look at Grafana Live: one line pushed, as readings are. It is shown and kept nowhere."""

from __future__ import annotations

from collections.abc import Sequence

from gateway import config
from gateway.clock import Clock
from gateway.doctor_finding import Finding, in_thread, one_line
from gateway.influx_lines import escaped
from gateway.sinks import live_door

WITHIN_S = 10.0


async def check_grafana_live(wanted: config.Station) -> Sequence[Finding]:
    """Grafana of [grafana_live]."""
    live = wanted.grafana_live
    if live is None:
        return []
    line = f"doctor,station={escaped(wanted.id)} test=1i {Clock('trust').stamp().utc_ms}000000"
    try:
        await in_thread(lambda: live_door(live)().push(line.encode()), WITHIN_S)
    except TimeoutError:
        text = f"{live.url} does not answer within {WITHIN_S:g} s"
        return [Finding("grafana live", "", "failure", text, "is the address right, and Grafana running?")]
    except OSError as e:
        hint = "make a service account with the role Editor in Grafana, and put its token into the file"
        if not str(e).startswith(("401", "403")):
            hint = "is the address right, and Grafana running?"
        return [Finding("grafana live", "", "failure", f"{live.url}: {one_line(e)}", hint)]
    return [Finding("grafana live", "", "ok", f"{live.url} takes what we push")]
