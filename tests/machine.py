"""A clean Debian that boots: debootstrap makes its root once, systemd-nspawn starts systemd in it.

It takes root and Debian's packages from the network the first time; the root is kept in the system's
temporary folder. The machine has a network of its own, without a way out, as a site without internet.
"""

from __future__ import annotations

import faulthandler
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

RECIPE = "1"  # another number makes the root anew
SUITES = {"bookworm": "debian-12", "trixie": "debian-13"}
PACKAGES = "systemd systemd-sysv udev dbus python3"


def base(suite: str = "bookworm") -> Path:
    """The folder of a minimal Debian, made by debootstrap where it is not there yet. Blocks."""
    return _made(suite, "minimal")


def clean(suite: str = "bookworm") -> Path:
    """The folder of a Debian with systemd and python3, and nothing of ours."""
    return _made(suite, "booting")


def apt(folder: Path, packages: str) -> None:
    """Install Debian packages inside a root."""
    install = "apt-get install -yqq --no-install-recommends"
    update = "export DEBIAN_FRONTEND=noninteractive; apt-get update -qq"
    run(
        ["chroot", str(folder), "sh", "-c", f"{update} && {install} {packages}"],
        within_s=600,
    )  # fmt: skip


def run(words: list[str], within_s: float = 120) -> str:
    """Run a command to its end. Raises AssertionError with what it said when it fails."""
    if within_s > 120:  # longer than pytest lets a test be silent; it has a deadline of its own
        faulthandler.cancel_dump_traceback_later()
    done = subprocess.run(words, capture_output=True, text=True, timeout=within_s, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, (
        f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    )
    return done.stdout


class Machine:
    """One that runs, in a copy of the clean root. Close it: it powers off and its files go."""

    def __init__(self, folder: Path, suite: str = "bookworm") -> None:
        self.root = folder / "machine"
        run(["cp", "-a", "--reflink=auto", str(clean(suite)), str(self.root)])
        (self.root / "etc/machine-id").write_text("")
        self._said = (folder / "console").open("wb")
        self._nspawn = subprocess.Popen(
            ["systemd-nspawn", "--quiet", f"--directory={self.root}", "--register=no", "--keep-unit",
             "--boot", "--private-network", "--console=pipe", "--kill-signal=SIGRTMIN+3"],
            stdin=subprocess.DEVNULL, stdout=self._said, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._pid = 0
        deadline_s = time.monotonic() + 60
        while True:
            children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
            if children:
                self._pid = int(children[-1])
                done = self.try_("systemctl is-system-running --wait", within_s=60)
                if done.stdout.strip() in ("running", "degraded"):
                    break
            assert self._nspawn.poll() is None, Path(self._said.name).read_text()
            assert time.monotonic() < deadline_s, "systemd did not come up in the machine"
            time.sleep(0.2)

    def try_(self, command: str, within_s: float = 120) -> subprocess.CompletedProcess[str]:
        """A shell command in the machine, as root."""
        return subprocess.run(
            ["nsenter", f"--target={self._pid}", "--all", "--", "/bin/sh", "-c", command],
            capture_output=True, text=True, timeout=within_s, stdin=subprocess.DEVNULL,
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        )  # fmt: skip

    def run(self, command: str, within_s: float = 120) -> str:
        """The same; it must succeed."""
        done = self.try_(command, within_s)
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    def until(self, command: str, within_s: float = 30) -> None:
        """Wait until a command succeeds."""
        deadline_s = time.monotonic() + within_s
        while self.try_(command).returncode:
            assert time.monotonic() < deadline_s, f"not within {within_s} s: {command}\n{self.log()}"
            time.sleep(0.2)

    def log(self) -> str:
        """What the machine's services said."""
        return self.try_("journalctl --no-pager -u 'suuaba*' | tail -n 40").stdout

    def close(self) -> None:
        os.kill(self._pid, signal.SIGKILL)  # its init: the kernel ends all of it
        self._nspawn.wait(30)
        self._said.close()
        shutil.rmtree(self.root, ignore_errors=True)


def _made(suite: str, name: str) -> Path:
    place = Path(tempfile.gettempdir()) / "suuaba-tests" / f"{SUITES[suite]}-{RECIPE}"
    folder = place / name
    if (place / f"{name}.complete").exists():
        return folder
    place.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    if name == "minimal":
        mirror = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
        words = [
            "debootstrap",
            "--variant=minbase",
            "--include=ca-certificates",
            suite,
            str(folder),
            mirror,
        ]
        run(words, within_s=900)
        for proxy in Path("/etc/apt/apt.conf.d").glob("*proxy*"):
            shutil.copy(proxy, folder / "etc/apt/apt.conf.d" / proxy.name)
    else:
        run(["cp", "-a", "--reflink=auto", str(base(suite)), str(folder)])
        shutil.copy("/etc/resolv.conf", folder / "etc/resolv.conf")
        apt(folder, PACKAGES)
        run(["chroot", str(folder), "apt-get", "clean"])
    (place / f"{name}.complete").write_text("")
    return folder
