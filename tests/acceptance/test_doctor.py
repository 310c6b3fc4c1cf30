"""`marketlag doctor`: a line for each thing that a worker needs, with the mend."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from marketlag.embedded.broker import MockBroker
from marketlag.replay.services import worker_env
from marketlag.settings import load_settings
from marketlag.topics import topic_specs
from tests.support.feeds import FeedItem, clob, gamma_market, markets_toml, rss
from tests.support.services import marketlag, pipeline, query
from tests.support.web import WebServer

PASSWORD = "not-to-be-seen"
ORDER = ["settings", "kafka", "topics", "postgres", "schema", "clock", "datadir", "notify"]


@pytest.fixture
def env(database: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The settings of a worker that has all it needs."""
    with WebServer() as server:
        feed = server.serve("/feed", rss([FeedItem("Fed holds", 1_760_000_000_000, "a")]))
        server.serve("/markets/slug/fed", gamma_market("fed", ["1", "2"]))
        server.answer("/prices", clob({"1": "0.45", "2": "0.55"}))
        market = {"slug": "fed", "feeds": [feed], "keywords": {"Fed": 2.0}}
        (tmp_path / "markets.toml").write_text(markets_toml([market]))
        (tmp_path / "notify.toml").write_text(
            f'[[channel]]\nname = "desk"\nurl = "json://user:{PASSWORD}@127.0.0.1/x"\n'
        )
        with pipeline(
            database,
            markets=tmp_path / "markets.toml",
            notify=tmp_path / "notify.toml",
            datadir=tmp_path / "data",
            gamma_url=server.url,
            clob_url=server.url,
        ) as settings:
            yield worker_env(settings)


def lines(env: dict[str, str], code: int) -> dict[str, str]:
    """What it said, by the thing looked at: ``ok`` or ``FAIL``, and the rest of the line."""
    done = marketlag("doctor", env=env)
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stderr == ""
    assert PASSWORD not in done.stdout
    found = {}
    for line in done.stdout.splitlines():
        mark, name, text = line.split(maxsplit=2)
        found[name.rstrip(":")] = f"{mark} {text}"
    return found


def failures(found: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in found.items() if text.startswith("FAIL")}


def test_all_is_well(env: dict[str, str]) -> None:
    """Everything is looked at, in the order in which it would be missed; the exit code is 0."""
    found = lines(env, 0)
    assert list(found) == [*ORDER, "market", "feed"]
    assert failures(found) == {}


def test_each_fault_is_told_with_its_mend(
    env: dict[str, str], database: str, tmp_path: Path
) -> None:
    """A folder that is a file, a schema that is behind, a feed that is gone; the rest is well."""
    query(database, "DELETE FROM _yoyo_migration WHERE migration_id = '0004.notifications'")
    text = (tmp_path / "markets.toml").read_text()
    (tmp_path / "markets.toml").write_text(text.replace("/feed", "/gone"))
    (tmp_path / "data").write_text("a file")
    found = failures(lines(env, 1))
    assert found.keys() == {"schema", "datadir", "feed"}
    assert found["schema"] == "FAIL 0004.notifications not applied: run `marketlag migrate`"
    assert "MARKETLAG_DATADIR" in found["datadir"]
    assert "404" in found["feed"]


def test_topics_of_another_shape(env: dict[str, str]) -> None:
    """Missing ones, and another number of partitions, name the command and the setting."""
    found = failures(lines({**env, "MARKETLAG_PARTITIONS": "4"}, 1))
    assert "MARKETLAG_PARTITIONS" in found["topics"]
    with MockBroker([*topic_specs(load_settings())][:3]) as broker:
        found = failures(lines({**env, "MARKETLAG_BROKER_URL": broker.url}, 1))
    assert "marketlag topics" in found["topics"]


def test_nobody_is_there(env: dict[str, str]) -> None:
    """Each line names the setting to look at, and no line a password."""
    away = {
        "MARKETLAG_BROKER_URL": "kafka://127.0.0.1:1",
        "MARKETLAG_POSTGRES_DSN": f"postgresql://me:{PASSWORD}@127.0.0.1:1/x",
        "MARKETLAG_REPLICATION": "3",
    }
    found = failures(lines({**env, **away}, 1))
    assert found.keys() == {"kafka", "topics", "postgres", "schema", "clock"}
    assert "MARKETLAG_BROKER_URL" in found["kafka"]
    assert "MARKETLAG_POSTGRES_DSN" in found["postgres"]
    found = failures(lines({**env, "MARKETLAG_REPLICATION": "3"}, 1))
    assert "MARKETLAG_REPLICATION" in found["kafka"]


def test_a_wrong_setting_is_one_line(env: dict[str, str]) -> None:
    """Before anything is looked at."""
    done = marketlag("doctor", env={**env, "MARKETLAG_WINDOW": "7m"})
    assert done.returncode != 0
    assert done.stderr.strip().splitlines()[-1].startswith("Error: MARKETLAG_WINDOW: ")
