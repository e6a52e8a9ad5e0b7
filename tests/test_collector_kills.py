"""Two collectors, real Mosquitto and InfluxDB, stations by the hundred, and kills of all of them."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

from tests.centre import T0_MS, Process, accounted, centre, points
from tests.fleet import Fleet, reading, status
from tests.services import InfluxDB, Mosquitto, fetch, until


def test_stations_reach_the_database_and_the_page_and_nonsense_does_not(tmp_path: Path) -> None:
    with centre(tmp_path, 1800) as (broker, influx, processes):
        fleet = Fleet(broker.port)
        for seq in range(1, 31):
            for station in ("a", "b"):
                if (station, seq) != ("b", 7):  # lost on the way to the broker
                    fleet.publish(*reading(station, seq, T0_MS + seq * 1000))
        fleet.publish(*reading("a", 3, T0_MS + 3000))  # once more
        fleet.publish("suuaba/1/a/reading/s1", b"nonsense")
        wrong = json.loads(reading("c", 1, T0_MS)[1])
        wrong["values"]["q0"]["value"] = 10**400  # a number that no database takes
        fleet.publish("suuaba/1/c/reading/s1", json.dumps(wrong).encode())
        text = json.dumps(wrong | {"values": {"q1_flag": wrong["values"]["q1"]}}).encode()
        fleet.publish("suuaba/1/c/reading/s1", text)  # a field that has another type
        for station in ("a", "b"):
            fleet.publish(*status(station, 30), retain=True)
        fleet.wait()
        expected = {"a": set(range(1, 31)), "b": set(range(1, 31)) - {7}}
        until("all points", lambda: points(influx) == expected)

        def told() -> bool:
            found = accounted(processes[0])
            return {"a", "b"} <= set(found) and found["a"][1] == 0 and found["b"] == (29, 1, [[7, 7]])

        until("the account", told, 60)
        topics = ["suuaba/1/a/reading/s1", *["suuaba/1/c/reading/s1"] * 2]
        until(
            "what is set aside",
            lambda: sorted(one["topic"] for p in processes for one in p.aside()) == topics,
        )
        page = fetch(f"http://127.0.0.1:{processes[0].port}/").decode()
        assert '<td data-label="Station" class="">b</td>' in page
        assert '<td data-label="Missing" class="bad">1</td>' in page
        metrics = [fetch(f"http://127.0.0.1:{p.port}/metrics").decode() for p in processes]
        taken = [int(re.findall(r"^suuaba_collect_records_total (\d+)$", text, re.M)[0]) for text in metrics]
        assert sum(taken) == 60  # with the one that came twice
        assert all(taken)  # both had a share
        said = processes[1].accounts()
        assert said.returncode == 1
        assert "b: 29 records, numbers 1 to 30; not there: 1 (7)" in said.stdout
        assert processes[0].end(signal.SIGTERM) == 0
        fleet.close()


STATIONS = 200
EACH = 40
LOOKS = 40
ALL = {f"st-{i}": set(range(1, EACH + 1)) for i in range(STATIONS)}


def answer(station: str, seq: int) -> tuple[str, bytes]:
    return reading(station, seq, T0_MS + seq * 1000)


def publish_under_kills(
    broker: Mosquitto, influx: InfluxDB, processes: list[Process], fleet: Fleet, victims: list[str]
) -> None:
    """Every station sends its readings; each victim is killed and started again, at a moment by chance."""
    dice = random.Random(len(victims))
    moments = dict(zip(dice.sample(range(STATIONS * EACH), len(victims)), victims, strict=True))
    for n in range(STATIONS * EACH):
        fleet.publish(*answer(f"st-{n % STATIONS}", n // STATIONS + 1))
        match moments.get(n):
            case "influx":
                influx.kill()
                influx.start()
            case "broker":
                broker.kill()
                broker.start()
            case "c1" | "c2" as name:
                process = processes[int(name[1]) - 1]
                process.end()
                process.start()
    if "broker" in victims:
        broker.kill()  # once more, when much has just been taken
        broker.start()
    fleet.wait(120)
    for station in ALL:
        fleet.publish(*status(station, EACH), retain=True)
    fleet.wait(120)


def anew(processes: list[Process], again: str) -> None:
    """Start the collectors again: what they know then comes from the database and the retained statuses."""
    for process in processes:
        assert process.end(signal.SIGTERM) == 0
        process.ask_again(again)
        process.start()
    for process in processes:
        until("a collector", process.healthy, 25)
    until("every status", lambda: len(accounted(processes[0])) == STATIONS, 60)


def account_is_exact(process: Process, there: dict[str, set[int]]) -> None:
    """The page says of each station what is there and which numbers are not."""

    def exact() -> bool:
        found = accounted(process)
        counts = {station: len(there.get(station, ())) for station in ALL}
        return all(found[station][:2] == (n, EACH - n) for station, n in counts.items())

    until("the account", exact, 60)
    for station, (_, _, holes) in accounted(process).items():
        seqs = there.get(station, set())
        absent = set(range(min(seqs), max(seqs))) - seqs if seqs else set()
        assert {seq for a, b in holes for seq in range(a, b + 1)} == absent


def test_collectors_and_database_are_killed_at_random_and_nothing_is_missing(tmp_path: Path) -> None:
    with centre(tmp_path, 1800) as (broker, influx, processes):
        fleet = Fleet(broker.port)
        publish_under_kills(broker, influx, processes, fleet, ["c1", "c2", "influx", "c1", "influx"])
        until("the last reading", lambda: points(influx) == ALL, 90)
        there = points(influx, at_rest=True)
        assert there == ALL
        anew(processes, "never")
        account_is_exact(processes[0], there)
        fleet.close()


def test_what_a_killed_broker_had_acknowledged_is_named_asked_for_and_comes(tmp_path: Path) -> None:
    """Kills of collectors, database and broker. What Mosquitto had taken and not yet kept is lost, and the
    account names it to the last number. Then the collectors may ask, the stations send it once more, and
    nothing is missing.
    """
    with centre(tmp_path, 1) as (broker, influx, processes):
        fleet = Fleet(broker.port, again=answer)
        publish_under_kills(broker, influx, processes, fleet, ["broker", "c1", "influx", "broker", "c2"])
        for process in processes:
            until("a collector", process.healthy, 25)
        before: list[int] = []

        def settled() -> bool:  # whether still more comes can only be told by looking again, and again
            before.append(sum(map(len, points(influx).values())))
            return len(before) > LOOKS and len(set(before[-LOOKS:])) == 1

        until("the last reading", settled, 90)
        there = points(influx, at_rest=True)
        lost = STATIONS * EACH - before[-1]
        assert lost > 0
        assert not fleet.asked
        account_is_exact(processes[0], there)
        anew(processes, "1 s")
        until("what was asked for", lambda: points(influx) == ALL, 90)
        assert points(influx, at_rest=True) == ALL
        asked = {
            (station, seq)
            for station, numbers in fleet.asked
            for first, last in numbers
            for seq in range(first, last + 1)
        }
        missing = {(station, seq) for station in ALL for seq in ALL[station] - there.get(station, set())}
        assert missing <= asked
        assert len(missing) == lost
        said = processes[1].accounts()
        assert (said.returncode, said.stdout.count(f": {EACH} records, numbers 1 to {EACH}\n")) == (
            0,
            STATIONS,
        )
        fleet.close()


def test_a_name_taken_twice_is_said(tmp_path: Path) -> None:
    with centre(tmp_path, 1800) as (broker, influx, _):
        twin = Process(tmp_path / "twin", "c1", broker, influx)
        twin.start()
        try:
            logs = [tmp_path / "c1" / "log", tmp_path / "twin" / "log"]
            said = "it looks as if another collector were called 'c1' too"
            until("the word", lambda: any(log.exists() and said in log.read_text() for log in logs))
        finally:
            twin.end()


def test_the_command_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gateway.cli", "collect", str(tmp_path / "none.toml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=dict(os.environ))
    assert done.returncode == 2
    assert "there is no such file; copy deploy/collector.example.toml" in done.stderr
    assert done.stderr.count("\n") == 1
