"""Lists the wheels of a folder as pip wants them for --require-hashes: name==version, SHA-256 of each file.

    python deploy/hashes.py FOLDER > requirements.txt
    pip install --no-index --find-links FOLDER --require-hashes -r requirements.txt

A wheel's name says what it is (PyPA, "Binary distribution format": NAME-VERSION-…-TAGS.whl). pip is left
out: it installs, and is not installed. Only Python's own library is used.
"""

from __future__ import annotations

import hashlib
import sys
from collections import defaultdict
from pathlib import Path


def requirements(folder: Path) -> str:
    """The text of requirements.txt. Raises ValueError when two versions of a package are there."""
    files: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for wheel in sorted(folder.glob("*.whl")):
        name, version = wheel.name.split("-")[:2]
        name = name.lower().replace("_", "-")
        if name != "pip":
            files[name][version].append(hashlib.sha256(wheel.read_bytes()).hexdigest())
    lines = []
    for name, versions in sorted(files.items()):
        if len(versions) > 1:
            raise ValueError(f"{folder} has {name} in the versions {', '.join(sorted(versions))}; leave one")
        [(version, hashes)] = versions.items()
        lines.append(" ".join([f"{name}=={version}", *(f"--hash=sha256:{h}" for h in sorted(hashes))]))
    if not lines:
        raise ValueError(f"{folder} has no wheels")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        sys.stdout.write(requirements(Path(sys.argv[1])))
    except (OSError, ValueError) as e:
        sys.exit(f"hashes.py: {e}")
