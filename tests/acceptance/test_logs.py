"""A worker's log, as people and as programs read it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from marketlag.topics import RSS_EVENTS
from tests.support.kafka.client import Client
from tests.support.services import pipeline, ready_worker, wait_for_log


def refusing(database: str, folder: Path, **chosen: Any) -> str:
    """The log of a worker that has refused a record and ended."""
    with pipeline(database, partitions=1, poll_in_worker=False, **chosen) as settings:
        running = ready_worker(settings, folder)
        with Client(settings) as client:
            client.send([{"topic": RSS_EVENTS, "key": b"m", "value": b"not JSON"}])
        wait_for_log(running, "refused: ")
        assert running.stop() == 0
        return running.log.read_text()


def test_json_is_an_object_a_line(database: str, tmp_path: Path) -> None:
    """From the first line to the last; a line about a record says which one."""
    events = [
        json.loads(line) for line in refusing(database, tmp_path, log_format="json").splitlines()
    ]
    for event in events:
        assert list(event)[:3] == ["time", "level", "logger"]
        assert event["message"]
    [refused] = [event for event in events if event["message"].startswith("refused: ")]
    assert refused["level"] == "info"
    assert refused["logger"] == "marketlag.engine.outputs"
    place = (refused["topic"], refused["partition"], refused["offset"])
    assert place == (RSS_EVENTS, 0, 0)


def test_text_is_a_line_an_event(database: str, tmp_path: Path) -> None:
    """After Faust's banner there are no tables and no broken lines."""
    log = refusing(database, tmp_path)
    _, events = re.split(r"(?m)^[└+][-─┴+]+[┘+]$", log)
    for line in events.strip().splitlines():
        assert re.match(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}\] \[\d+\] \[[A-Z]+\] ", line), line


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_secret_is_in_it(tmp_path: Path, log_format: str) -> None:
    """Not while Postgres refuses the password either."""
    secret = "not-to-be-seen"
    wrong = f"postgresql://nobody:{secret}@127.0.0.1:1/none"
    log = refusing(wrong, tmp_path, log_format=log_format)
    assert secret not in log
