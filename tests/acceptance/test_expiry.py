"""What event time has passed is gone from RocksDB and from the changelogs."""

import asyncio
from pathlib import Path

import msgspec
import rocksdict

from marketlag.event_time import DAY, HOUR, MINUTE
from marketlag.replay.inputs import Outgoing
from marketlag.replay.run import Replay
from marketlag.settings import Settings
from marketlag.topics import changelog
from tests.support import workload
from tests.support.kafka.client import Client
from tests.support.logs import article, at, price
from tests.support.services import pipeline, worker

TABLES = ("rss_hours", "rss_baseline", "price_hours")
MARKETS = ("a", "b", "c")


def day(number: int) -> tuple[list[Outgoing], list[Outgoing]]:
    """An article and a price an hour and market."""
    starts = [at("00:00") + number * DAY + hour * HOUR for hour in range(24)]
    articles = [article(start + MINUTE, market) for start in starts for market in MARKETS]
    prices = [price(start, market_slug=market) for start in starts for market in MARKETS]
    return [workload.outgoing(each) for each in articles], [
        workload.outgoing(each) for each in prices
    ]


def in_changelogs(settings: Settings) -> dict[str, set[bytes]]:
    """Keys whose newest record is no tombstone: what compaction leaves."""
    names = {table: changelog(settings, table) for table in TABLES}
    with Client(settings) as client:
        logs = client.logs(list(names.values()), settings.partitions)
    return {
        table: {
            key
            for key, value in {
                record.key: record.value for log in logs[name].values() for record in log
            }.items()
            if value is not None
        }
        for table, name in names.items()
    }


def in_rocksdb(folder: Path) -> dict[str, set[bytes]]:
    """The keys of a worker that has stopped."""
    found: dict[str, set[bytes]] = {}
    for table in TABLES:
        found[table] = set()
        for path in folder.rglob(f"{table}-*.db"):
            local = rocksdict.Rdict(str(path), rocksdict.Options(raw_mode=True))
            # An Rdict is no dict, and cannot be iterated over in raw mode.
            found[table] |= {key for key in local.keys() if key.startswith(b"[")}  # noqa: SIM118
            local.close()
    return found


def starts(keys: set[bytes]) -> set[int]:
    """Starts of the windows in the keys (ms)."""
    return {round(msgspec.json.decode(key)[1][0] * 1000) for key in keys}


def test_state_stays_as_small_as_its_ttl(database: str, tmp_path: Path) -> None:
    """Two weeks with a TTL of two days.

    Two days are kept, of windows a third for the baseline, and what came since the last chunk but
    one: expiry follows the committed clocks.
    """
    a_day = 24 * len(MARKETS)
    with pipeline(database, state_ttl="2d") as settings:
        with worker(settings, tmp_path) as running:
            for number in range(14):
                replaying = Replay(settings, check=running.check)
                asyncio.run(replaying.run(*day(number), flush=False))
                kept = in_changelogs(settings)
                assert len(kept["rss_hours"]) <= 5 * a_day
                assert len(kept["rss_baseline"]) <= 4 * a_day
                assert len(kept["price_hours"]) <= 4 * a_day
            assert running.stop() == 0
        assert in_rocksdb(tmp_path) == kept
    end = at("00:00") + 14 * DAY
    assert end - 5 * DAY <= min(starts(kept["rss_hours"])) <= end - 3 * DAY
    # A baseline begins a day before the window that it is for.
    assert end - 5 * DAY <= min(starts(kept["rss_baseline"])) <= end - 3 * DAY
    assert end - 4 * DAY <= min(starts(kept["price_hours"])) <= end - 2 * DAY
