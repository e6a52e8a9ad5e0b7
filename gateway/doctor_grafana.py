"""The doctor's look at Grafana Live: one line pushed, as readings are. It is shown and kept nowhere."""

from __future__ import annotations

from collections.abc import Sequence

from gateway import config
from gateway.clock import Clock
from gateway.doctor_finding import Finding, in_thread, one_line, said
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
        text = said("{url} does not answer within {within} s", url=live.url, within=f"{WITHIN_S:g}")
        hint = said("is the address right, and Grafana running?")
        return [Finding("grafana live", "", "failure", text, hint)]
    except OSError as e:
        hint = said("make a service account with the role Editor in Grafana, and put its token into the file")
        if not str(e).startswith(("401", "403")):
            hint = said("is the address right, and Grafana running?")
        text = said("{url}: {why}", url=live.url, why=one_line(e))
        return [Finding("grafana live", "", "failure", text, hint)]
    return [Finding("grafana live", "", "ok", said("{url} takes what we push", url=live.url))]
