"""``marketlag dlq`` beside a running worker."""

import json
from pathlib import Path

import pytest

from marketlag.topics import LAG_SIGNALS, RSS_EVENTS, dlq
from tests.acceptance.test_pipeline import replay
from tests.support import workload
from tests.support.kafka.client import Client
from tests.support.logs import article, at
from tests.support.services import marketlag, pipeline, query, table, worker

CLOCK = ("created_at", "updated_at")


def test_rows_that_postgres_refused_arrive_after_the_fix(database: str, tmp_path: Path) -> None:
    """Listed with the reason, shown in full, published again once, and then in their table."""
    query(database, "ALTER TABLE lag_signals_history ADD CONSTRAINT no3 CHECK (market <> 'm-3')")
    articles = [
        workload.outgoing(article(at("00:30") + hour * 3_600_000, f"m-{number}"))
        for hour in range(3)
        for number in range(5)
    ]
    with pipeline(database) as settings, worker(settings, tmp_path / "w") as running:
        env = {"MARKETLAG_BROKER_URL": settings.broker_url}
        refused = replay(settings, running, articles, []).refused
        assert {source[0] for source in refused} == {LAG_SIGNALS}
        assert len(refused) == 3

        listed = marketlag("dlq", "list", env=env)
        assert listed.returncode == 0, listed.stderr
        assert "23514 new row for relation" in listed.stdout
        each = marketlag("dlq", "list", "--each", "--topic", LAG_SIGNALS, env=env)
        names = [json.loads(line)["record"] for line in each.stdout.splitlines()]
        assert names == sorted(f"{t}/{p}/{o}" for t, p, o in refused)

        shown = marketlag("dlq", "show", names[0], env=env)
        assert f"record: {names[0]}\nreason: 23514 new row" in shown.stdout
        assert "key: m-3" in shown.stdout
        value = marketlag("dlq", "show", names[0], "--value", env=env)
        assert json.loads(value.stdout)["market"] == "m-3"

        would = marketlag("dlq", "replay", "--all", "--dry-run", env=env)
        assert would.stdout == "would be published again: 3\n"
        query(database, "ALTER TABLE lag_signals_history DROP CONSTRAINT no3")
        assert marketlag("dlq", "replay", names[0], env=env).stdout == "published again: 1\n"
        rest = marketlag("dlq", "replay", "--reason", "VIOLATES check", env=env)
        assert rest.stdout == "published again: 2\npublished again before: 1\n"
        replay(settings, running, [], [])
        found = table(database)
        assert [row["market"] for row in found].count("m-3") == 3
        again = marketlag("dlq", "replay", "--all", env=env)
        assert again.stdout == "published again: 0\npublished again before: 3\n"
        assert "published" in marketlag("dlq", "show", names[0], env=env).stdout
        with Client(settings) as client:
            ends = client.ends([LAG_SIGNALS], settings.partitions)
        assert sum(ends.values()) == 15 + 3
        assert table(database) == found


def test_an_article_that_a_fix_makes_good_is_counted(database: str, tmp_path: Path) -> None:
    """One that was ahead of the clock: its time has come, so the same bytes are good now."""
    early = article(at("01:10"), "m", keyword_score=8.0)
    with pipeline(database, partitions=1) as settings, Client(settings) as client:
        env = {"MARKETLAG_BROKER_URL": settings.broker_url, "MARKETLAG_PARTITIONS": "1"}
        client.send(
            {
                "topic": RSS_EVENTS,
                "key": b"m",
                "value": workload.outgoing(value).value,
                "timestamp_ms": at("01:00"),
            }
            for value in (article(at("00:59"), "m"), early)
        )
        with worker(settings, tmp_path / "w") as running:
            assert list(replay(settings, running, [], []).refused) == [(RSS_EVENTS, 0, 1)]
            done = marketlag("dlq", "replay", "rss.events/0/1", env=env)
            assert done.stdout == "published again: 1\n"
            closing = workload.outgoing(article(at("05:00"), "m"))
            replay(settings, running, [closing], [])
    signals = [row["rss_signal"] for row in table(database)]
    assert signals == [1.0, 8.0, 1.0]


def test_a_record_cannot_write_on_the_terminal(database: str) -> None:
    """Neither by markup nor by control characters in what is quoted of it."""
    reason = b"not an ISO-8601 time: '\"[/a]\x1b[2J"
    headers = [
        ("error", reason),
        ("topic", RSS_EVENTS.encode()),
        ("partition", b"0"),
        ("offset", b"3"),
    ]
    with pipeline(database) as settings, Client(settings) as client:
        record = {"key": b"m", "value": b"\x1b]0;title\x07", "partition": 0, "headers": headers}
        client.send([{"topic": dlq(RSS_EVENTS), **record}])
        env = {"MARKETLAG_BROKER_URL": settings.broker_url}
        listed = marketlag("dlq", "list", env=env)
        shown = marketlag("dlq", "show", "rss.events/0/3", env=env)
    assert (listed.returncode, shown.returncode) == (0, 0)
    assert "[/a]\\x1b[2J" in listed.stdout
    assert "\x1b" not in listed.stdout + shown.stdout
    assert shown.stdout.endswith("\n\\x1b]0;title\\x07\n")


def test_nothing_refused_is_said(database: str) -> None:
    """And a record that is not there is one line, as is a choice that is none."""
    with pipeline(database) as settings:
        env = {"MARKETLAG_BROKER_URL": settings.broker_url}
        assert marketlag("dlq", "list", env=env).stdout == "nothing was refused\n"
        for arguments, said in (
            (["show", "rss.events/0/7"], "no refused record rss.events/0/7"),
            (["replay", "rss.events/0/7"], "no refused record rss.events/0/7"),
            (["show", "seven"], "seven: write topic/partition/offset, as `dlq list` shows it"),
            (["replay"], "name records, or give --topic, --reason or --all"),
        ):
            failed = marketlag("dlq", *arguments, env=env)
            assert (failed.returncode, failed.stderr) == (1, f"Error: {said}\n")


@pytest.mark.parametrize("command", [["list"], ["show", "rss.events/0/1"], ["replay", "--all"]])
def test_a_broker_that_is_not_there_is_one_line(command: list[str]) -> None:
    """As everywhere."""
    failed = marketlag("dlq", *command, env={"MARKETLAG_BROKER_URL": "kafka://127.0.0.1:1"})
    assert failed.returncode == 1
    assert "MARKETLAG_BROKER_URL=kafka://127.0.0.1:1" in failed.stderr
    assert "Traceback" not in failed.stderr
