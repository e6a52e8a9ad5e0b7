"""What the tests of the evidence chain share: another key, the verb, and openssl's word."""

from __future__ import annotations

import subprocess
from pathlib import Path

from gateway import cli
from gateway.verify import Trusted

OTHER = b"o" * 32
ANYONE = Trusted()


def suuaba(*arguments: str | Path) -> int:
    return cli.main(["verify", *map(str, arguments)])


def openssl(public: Path, signed: bytes, signature: bytes, folder: Path) -> bool:
    (folder / "text").write_bytes(signed)
    (folder / "signature").write_bytes(signature)
    command = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", public, "-in", folder / "text"]
    done = subprocess.run([*command, "-sigfile", folder / "signature"], capture_output=True, timeout=30)
    return done.returncode == 0
