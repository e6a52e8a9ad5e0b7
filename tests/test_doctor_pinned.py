"""The doctor at a database whose certificate only [influxdb] ca knows: as the station itself sees it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import urllib3

from gateway import config
from gateway.doctor_database import check_database
from tests.services import InfluxDB, make_certificates, running


class Secured(InfluxDB):
    """InfluxDB 1.6.7 over TLS, with a certificate of an authority of its own."""

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def command(self, program: str) -> list[str]:
        words = super().command(program)
        file = self.folder / "influxdb.conf"
        keys = "".join(
            f'  https-{what} = "{self.folder}/server.{end}"\n'
            for what, end in (("certificate", "crt"), ("private-key", "key"))
        )
        file.write_text(file.read_text().replace("[logging]", f"  https-enabled = true\n{keys}[logging]"))
        return words

    def ready(self) -> bool:
        pools = urllib3.PoolManager(ca_certs=str(self.folder / "ca.crt"), retries=False, timeout=5)
        try:
            return pools.request("POST", f"{self.url}/query?q=CREATE+DATABASE+d").status == 200
        except urllib3.exceptions.HTTPError:
            return False
        finally:
            pools.clear()


def test_with_an_authority_of_its_own(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    with running(Secured(tmp_path)) as database:

        def found(ca: str) -> list[tuple[str, str]]:
            text = '[station]\nid = "a"\n[[sensor]]\nid = "s"\nport = "/dev/a"\nmodel = "plantower"\n'
            text += f'[influxdb]\nurl = "{database.url}"\nversion = 1\ndatabase = "d"\n{ca}'
            (tmp_path / "station.toml").write_text(text)
            wanted = config.load(tmp_path / "station.toml")
            return [(one.level, one.what) for one in asyncio.run(check_database(wanted))]

        with_it = found('ca = "ca.crt"\n')
        assert {level for level, _ in with_it} <= {"ok", "warning"}, with_it  # it expires tomorrow
        assert any("written and read back" in what for _, what in with_it)
        without = found("")
        assert any(level == "failure" and "certificate" in what for level, what in without), without
