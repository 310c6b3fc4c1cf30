"""The pipeline on a real Apache Kafka: topics as declared, golden rows, SASL_SSL."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import trustme

from marketlag.settings import load_settings
from marketlag.topics import RSS_EVENTS, RSS_LATE, dlq, topic_specs
from tests.kafka.conftest import PASSWORD, USER
from tests.support import golden
from tests.support.kafka.client import Client
from tests.support.kafka.cluster import KafkaCluster, free_port
from tests.support.services import QUICK, faust, marketlag, worker

CASE = "flush-501"


def replayed(case: str, folder: Path, env: dict[str, str]) -> None:
    """Replay a golden case with the real command; its rows have to be Flink's."""
    for name in ("rss", "prices"):
        (folder / f"{name}.jsonl").write_bytes(golden.raw(case, name))
    files = ["--articles", str(folder / "rss.jsonl"), "--prices", str(folder / "prices.jsonl")]
    done = marketlag("replay", *files, "--out", str(folder / "out"), env=env)
    assert done.returncode == 0, done.stderr
    for name in ("signals", "lags"):
        lines = (folder / "out" / f"{name}.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        found = {(row["market_slug"], row["window_start"]): row for row in rows}
        assert found == golden.expected(case, name)


def test_topics_are_made_as_they_are_declared(broker_url: str) -> None:
    """With their partitions, retention and limits; a second time there is nothing to do."""
    env = {"MARKETLAG_BROKER_URL": broker_url, "MARKETLAG_PARTITIONS": "2"}
    settings = load_settings(broker_url=broker_url, partitions=2)
    made = marketlag("topics", env=env)
    assert made.returncode == 0, made.stderr
    assert made.stdout.count("created ") == len(topic_specs(settings))
    with Client(settings) as client:
        for spec in topic_specs(settings):
            config = client.topic_config(spec.name)
            assert config.items() >= spec.config().items(), spec.name
        assert len(client.logs([RSS_LATE], 2)[RSS_LATE]) == 2
    assert marketlag("topics", env=env).stdout == "all topics were there already\n"
    assert marketlag("topics", "--check", env=env).returncode == 0


def test_a_golden_case_comes_out_of_a_real_kafka(
    broker_url: str, tmp_path: Path, database: str
) -> None:
    """Topics, replay and worker on it, to Flink's last bit."""
    env = {
        "MARKETLAG_BROKER_URL": broker_url,
        "MARKETLAG_PARTITIONS": "1",
        "MARKETLAG_POSTGRES_DSN": database,
    }
    assert marketlag("topics", env=env).returncode == 0
    replayed(CASE, tmp_path, env)


def test_a_worker_in_reserve_is_ready_and_takes_over(
    broker_url: str, tmp_path: Path, database: str
) -> None:
    """Two workers share one partition's topics: one holds them, and then the other."""
    settings = load_settings(
        **QUICK,
        broker_url=broker_url,
        postgres_dsn=database,
        partitions=1,
        app_id="reserve",
        poll_in_worker=False,
    )
    with Client(settings) as client:
        client.create_topics()
    ports = [free_port(), free_port()]
    first, second = (
        worker(settings, tmp_path / str(port), web=True, web_port=port) for port in ports
    )
    with second, first:
        wait_until(lambda: all(is_ready(port) for port in ports))
        wait_until(lambda: sorted(map(held, ports)) == [0, 1])
        leaver, heir = (first, ports[1]) if held(ports[0]) else (second, ports[0])
        assert leaver.stop() == 0
        wait_until(lambda: held(heir) == 1 and is_ready(heir))


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def held(port: int) -> int:
    """Partitions of rss.events that the worker at this port holds."""
    page = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    found = re.search(
        r'^marketlag_partitions_assigned\{topic="rss.events"\} (\d)', page, re.MULTILINE
    )
    return int(found[1]) if found else 0


def test_refused_records_are_published_again_once(broker_url: str) -> None:
    """The notes in a real DLQ are read back: a second run finds nothing to do."""
    env = {"MARKETLAG_BROKER_URL": broker_url, "MARKETLAG_PARTITIONS": "1"}
    assert marketlag("topics", env=env).returncode == 0
    with Client(load_settings(broker_url=broker_url, partitions=1)) as client:
        client.send(
            {
                "topic": dlq(RSS_EVENTS),
                "key": b"m",
                "value": f"value {offset}".encode(),
                "headers": [
                    ("error", b"not JSON"),
                    ("topic", RSS_EVENTS.encode()),
                    ("partition", b"0"),
                    ("offset", str(offset).encode()),
                ],
            }
            for offset in range(600)
        )
        first = marketlag("dlq", "replay", "--all", env=env)
        assert first.stdout == "published again: 600\n", first.stderr
        again = marketlag("dlq", "replay", "--all", env=env)
        assert again.stdout == "published again: 0\npublished again before: 600\n", again.stderr
        log = client.logs([RSS_EVENTS], 1)[RSS_EVENTS][0]
    assert [record.value for record in log] == [f"value {n}".encode() for n in range(600)]


def sasl(cluster: KafkaCluster, **changed: str) -> dict[str, str]:
    return {
        "MARKETLAG_BROKER_URL": cluster.sasl_url,
        "MARKETLAG_BROKER_SECURITY": "sasl_ssl",
        "MARKETLAG_BROKER_USER": USER,
        "MARKETLAG_BROKER_PASSWORD": PASSWORD,
        "MARKETLAG_BROKER_CA": str(cluster.ca),
        "MARKETLAG_PARTITIONS": "1",
        **changed,
    }


def test_a_managed_kafka_is_reached_with_sasl_ssl(
    own_kafka: KafkaCluster, tmp_path: Path, database: str
) -> None:
    """Commands, replay and worker, with a CA that the system does not know."""
    env = sasl(own_kafka, MARKETLAG_POSTGRES_DSN=database, MARKETLAG_APP_ID="over-sasl")
    with Client(load_settings(broker_url=own_kafka.url)) as client:
        client.delete_topics(client.existing())
        assert marketlag("topics", env=env).returncode == 0
        replayed(CASE, tmp_path, env)
        client.delete_topics(client.existing())


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"MARKETLAG_BROKER_PASSWORD": "wrong"}, "MARKETLAG_BROKER_USER"),
        ({"MARKETLAG_BROKER_USER": "nobody"}, "MARKETLAG_BROKER_USER"),
        ({"MARKETLAG_BROKER_CA": "other-ca.pem"}, "MARKETLAG_BROKER_CA"),
        ({"MARKETLAG_BROKER_CA": "no-such-file.pem"}, "MARKETLAG_BROKER_CA"),
    ],
)
@pytest.mark.parametrize("command", ["topics", "worker"])
def test_wrong_credentials_are_one_clear_line(
    own_kafka: KafkaCluster, changed: dict[str, str], says: str, command: str, tmp_path: Path
) -> None:
    """It names the setting, and never the password."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "other-ca.pem")
    program = marketlag if command == "topics" else faust
    done = program(command, env=sasl(own_kafka, **changed), cwd=tmp_path)
    assert done.returncode != 0
    (line,) = done.stderr.strip().splitlines()
    assert says in line
    assert "wrong" not in line
    assert PASSWORD not in line
