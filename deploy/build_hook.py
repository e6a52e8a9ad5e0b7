"""Puts uPlot, which draws the page's charts, into the package when it is built. Run by hatchling
(pyproject.toml, tool.hatch.build.hooks.custom), also for `pip install -e .`; by hand:

    python deploy/build_hook.py

pip, or else npm, fetches it from wherever it is set up to fetch from. Two files are taken out, only if their
SHA-256 are the pinned ones: who carried them does not matter then. What is there already, and right, is kept.
Without a network the build goes on, and says so: the page then draws its own simple charts.

Only Python's own library is used, for hatchling is all that is there at that time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

VERSION = "1.6.31"
PINNED = {
    "uPlot.iife.min.js": "2d27e8ad3d228164525ce213f9dc716f39b4e3aee0cc773fb3491c96cf4921a2",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}
"""SHA-256 of the files of uPlot's own release (npm: uplot 1.6.31), compared on 2026-11-24."""
CARRIER = "youplot==1.0.0"
"""A package for pip that has these very files in youplot/vendor. Nothing of it is run."""
VENDOR = Path(__file__).parent.parent / "gateway" / "web" / "static" / "vendor"
LICENSE = Path(__file__).with_name("uPlot.LICENSE.txt")
MOST_BYTES = 1_000_000
WITHIN_S = 90.0


class Refused(Exception):
    """What came is not what is pinned."""


def provide(vendor: Path = VENDOR) -> str:
    """Put the files there if they are not. Gives one line to show, or "". Raises Refused."""
    stamp = vendor / "uPlot.integrity.txt"
    wanted = "\n".join([VERSION, *PINNED.values(), ""])
    if stamp.exists() and stamp.read_text(encoding="ascii") == wanted:
        return ""
    why = []
    for fetch in (by_pip, by_npm):
        with tempfile.TemporaryDirectory() as folder:
            try:
                files = fetch(Path(folder))
            except (OSError, subprocess.SubprocessError, KeyError, ValueError) as e:
                why.append(" ".join(str(e).split())[-160:])
                continue
        vendor.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (vendor / name).write_bytes(content)
        shutil.copy(LICENSE, vendor)
        stamp.write_text(wanted, encoding="ascii")
        return ""
    return (
        f"uPlot {VERSION} was not fetched ({'; '.join(why)}); the page draws simple charts. "
        "With a network: python deploy/build_hook.py"
    )


def by_pip(folder: Path) -> dict[str, bytes]:
    """By the pip of this Python. Raises OSError, SubprocessError, KeyError, ValueError; Refused."""
    quietly = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
    _run([sys.executable, "-m", "pip", "download", *quietly, "--dest", str(folder), CARRIER])
    with zipfile.ZipFile(next(folder.glob("*.whl"), folder / "wheel")) as wheel:

        def read(name: str) -> bytes:
            with wheel.open(f"youplot/vendor/{name.lower()}") as file:
                return file.read(MOST_BYTES)

        return _checked(read)


def by_npm(folder: Path) -> dict[str, bytes]:
    """By npm, where it is. Raises as `by_pip`."""
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("and there is no npm")
    _run([npm, "pack", "--silent", "--pack-destination", str(folder), f"uplot@{VERSION}"])
    with tarfile.open(next(folder.glob("*.tgz"), folder / "package")) as archive:

        def read(name: str) -> bytes:
            member = archive.extractfile(f"package/dist/{name}")
            return b"" if member is None else member.read(MOST_BYTES)

        return _checked(read)


def _run(command: list[str]) -> None:
    # an isolated build hides pip from this Python by PYTHONPATH
    own = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(  # nosec B603  # noqa: S603  our own words
        command, env=own, capture_output=True, text=True, timeout=WITHIN_S, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise OSError(f"{Path(command[0]).name}: {done.stderr.strip() or done.returncode}")


def _checked(read: Callable[[str], bytes]) -> dict[str, bytes]:
    def each() -> Iterator[tuple[str, bytes]]:
        for name, pinned in PINNED.items():
            content = read(name)
            found = hashlib.sha256(content).hexdigest()
            if found != pinned:
                raise Refused(f"uPlot {VERSION}: {name} has {found}, pinned is {pinned}; nothing was taken")
            yield name, content

    return dict(each())


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
