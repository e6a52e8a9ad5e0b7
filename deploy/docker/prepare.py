"""Makes what docker-compose.yml needs before anything starts: an authority and the broker's certificate,
passwords and tokens, each drawn at random, one volume for each service. What is there already is kept.

    prepare.py FOLDER [SCRIPTS]       FOLDER/mosquitto, influxdb, grafana, gateway, collector

Mosquitto's password file: mosquitto_passwd(1), type 7: $7$ITERATIONS$SALT$HASH, PBKDF2 with SHA-512, base64.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

USERS = {"mosquitto": 1883, "influxdb": 1000, "grafana": 472, "gateway": 10001, "collector": 10001}
"""Who runs in each container: the uid of the official images, and ours."""
ITERATIONS = 10_000
SCRIPTS = Path("/usr/share/suuaba")


def mosquitto_hash(password: str, salt: bytes) -> str:
    """A password as Mosquitto keeps it."""
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ITERATIONS)
    return f"$7${ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def prepare(folder: Path, scripts: Path = SCRIPTS) -> list[str]:
    """Make what is not there yet; gives the names of the files made. Raises OSError, CalledProcessError."""
    made: list[str] = []

    def put(name: str, content: str) -> str:
        file = folder / name
        if file.exists():
            return file.read_text(encoding="utf-8").strip()
        file.write_text(content + "\n", encoding="utf-8")
        made.append(name)
        return content

    for name in USERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    broker = folder / "mosquitto"
    certificates = ["sh", str(scripts / "certificates.sh"), str(broker)]
    for words, there in (
        (["authority"], "ca.crt"),
        (["server", "mosquitto", "localhost", "127.0.0.1"], "server.crt"),
    ):
        if not (broker / there).exists():
            # our own script, words from above
            subprocess.run([*certificates, *words], check=True, stdout=subprocess.DEVNULL)  # nosec B603  # noqa: S603  see above
            made.append(f"mosquitto/{there}")
    passwords = {
        user: put(f"{place}/{name}", secrets.token_urlsafe(24))
        for user, place, name in (
            ("kanysh-kyia-1", "gateway", "mqtt.password"),
            ("centre-1", "collector", "mqtt.password"),
            ("grafana", "grafana", "mqtt.password"),
        )
    }
    put(
        "mosquitto/passwords",
        "\n".join(f"{u}:{mosquitto_hash(p, os.urandom(12))}" for u, p in passwords.items()),
    )
    token = put("influxdb/token", secrets.token_urlsafe(48))
    put("influxdb/user", "admin")
    put("influxdb/password", secrets.token_urlsafe(24))
    put("gateway/web.password", secrets.token_urlsafe(12))
    put("grafana/admin.password", secrets.token_urlsafe(12))
    for place in ("collector", "grafana"):
        put(f"{place}/influxdb.token", token)
        shutil.copy(broker / "ca.crt", folder / place / "ca.crt")
    shutil.copy(broker / "ca.crt", folder / "gateway/ca.crt")
    shutil.copy(scripts / "mosquitto/acl", broker / "acl")
    text = (scripts / "mosquitto/mosquitto.conf").read_text(encoding="utf-8")
    for theirs, ours in {
        "/etc/mosquitto/certs/": "/secrets/",
        "/etc/mosquitto/suuaba.passwords": "/secrets/passwords",
        "/etc/mosquitto/suuaba.acl": "/secrets/acl",
        "/var/lib/mosquitto/": "/mosquitto/data/",
    }.items():
        text = text.replace(theirs, ours)
    (broker / "mosquitto.conf").write_text(text, encoding="utf-8")
    for name, uid in USERS.items():
        for file in [folder / name, *(folder / name).iterdir()]:
            file.chmod(0o700 if file.is_dir() else 0o600)
            if os.geteuid() == 0:
                os.chown(file, uid, uid)
    return made


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    new = prepare(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else SCRIPTS)
    sys.stdout.write(f"made: {', '.join(new) or 'nothing, all is there'}\n")
