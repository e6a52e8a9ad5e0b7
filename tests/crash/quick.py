"""`suuaba` whose averages have windows of some seconds too, where sinks can ask for a minute at least. A run
of a minute with a kill each second then closes many of them.

    python -m tests.crash.quick run station.toml
"""

from __future__ import annotations

import sys

from gateway import averages as averages_module
from gateway import cli, config
from gateway.averages import AveragesFold

SHORT_S = (2, 10)

_as_asked = averages_module.averages


def averages(wanted: config.Station) -> AveragesFold:
    """The station's own fold, with the short windows too."""
    fold = _as_asked(wanted)
    fold._lengths_s = sorted({*SHORT_S, *fold._lengths_s})
    return fold


if __name__ == "__main__":
    averages_module.averages = averages
    sys.exit(cli.main())
