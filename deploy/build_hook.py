"""Puts uPlot, which draws the page's charts, into the package when it is built. Run by hatchling
(pyproject.toml, tool.hatch.build.hooks.custom), also for `pip install -e .`; by hand:

    python deploy/build_hook.py

It fetches one file from the npm registry (or the one that npm_config_registry names), and takes it only if
its SHA-512 is the pinned one: where it came from does not matter then. What is there already, and right, is
kept. Without a network the build goes on, and says so: the page then draws its own simple charts.

Only Python's own library is used, for hatchling is all that is there at that time.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import sys
import tarfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

VERSION = "1.6.32"
INTEGRITY = "sha512-KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw=="
"""As the registry states it for this version (Subresource Integrity notation)."""
REGISTRY = "https://registry.npmjs.org"
FILES = {
    "package/dist/uPlot.iife.min.js": "uPlot.iife.min.js",
    "package/dist/uPlot.min.css": "uPlot.min.css",
    "package/LICENSE": "uPlot.LICENSE.txt",
}
VENDOR = Path(__file__).parent.parent / "gateway" / "web" / "static" / "vendor"
MOST_BYTES = 5_000_000
WITHIN_S = 30.0
TRIES = 2


class Refused(Exception):
    """What came is not what is pinned."""


def provide(vendor: Path = VENDOR, registry: str = "", integrity: str = INTEGRITY) -> str:
    """Put the files there if they are not. Gives one line to show, or "". Raises Refused."""
    stamp = vendor / "uPlot.integrity.txt"
    if stamp.exists() and stamp.read_text(encoding="ascii").split() == [VERSION, integrity]:
        return ""
    base = registry or os.environ.get("npm_config_registry") or REGISTRY  # noqa: SIM112  npm spells it so
    address = f"{base.rstrip('/')}/uplot/-/uplot-{VERSION}.tgz"
    if not address.startswith(("https://", "http://")):
        return f"uPlot was not fetched: {base!r} is no registry's address; the page draws simple charts"
    why = ""
    for _ in range(TRIES):
        try:
            with urllib.request.urlopen(address, timeout=WITHIN_S) as answer:  # nosec B310  # noqa: S310  http, checked above
                content = answer.read(MOST_BYTES + 1)
            break
        except (OSError, urllib.error.URLError, ValueError) as e:
            why = str(getattr(e, "reason", e))
    else:
        return (
            f"uPlot {VERSION} was not fetched from {base} ({why}); the page draws simple charts. "
            "With a network: python deploy/build_hook.py"
        )
    unpack(content, vendor, integrity)
    stamp.write_text(f"{VERSION} {integrity}\n", encoding="ascii")
    return ""


def unpack(content: bytes, vendor: Path, integrity: str) -> None:
    """Check, then write what we need. Raises Refused."""
    found = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
    if found != integrity:
        raise Refused(f"uPlot {VERSION}: the file has {found}, pinned is {integrity}; nothing was taken")
    vendor.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        for name, target in FILES.items():
            member = archive.extractfile(name)
            if member is None:
                raise Refused(f"uPlot {VERSION}: {name} is no file")
            (vendor / target).write_bytes(member.read())


if __name__ == "__main__":
    said = provide()
    sys.stderr.write((said or f"uPlot {VERSION} is in {VENDOR}") + "\n")
    sys.exit(1 if said else 0)

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run or tested without hatchling
    pass
else:

    class UplotHook(BuildHookInterface):  # type: ignore[type-arg, misc, unused-ignore]  # hatchling is not installed where mypy runs
        """See above."""

        PLUGIN_NAME = "custom"

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            said = provide()
            if said:
                self.app.display_warning(said)
            build_data.setdefault("artifacts", []).append("gateway/web/static/vendor/*")
