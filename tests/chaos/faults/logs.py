"""Logs that are read again, made anew, or cut, and a worker that was away for long."""

import shutil
import time

from aiokafka import TopicPartition

from marketlag.replay.progress import STAGES
from marketlag.topics import RSS_EVENTS, TABLES, changelog, topic_specs
from tests.chaos import audit
from tests.chaos.arena import Arena
from tests.chaos.faults import fault
from tests.support.model import Cut
from tests.support.services import table


@fault("read-again")
def read_again(arena: Arena) -> None:
    """The same log consumed again from the beginning into a full database"""
    arena.feed()
    arena.finish()
    before, writes = tables(arena.database.dsn), audit.writes(arena.database.dsn)
    arena.stop_workers()
    for worker in arena.workers:
        shutil.rmtree(worker.state)
    changelogs = [changelog(arena.settings, name) for name in TABLES]
    arena.client.delete_topics(changelogs)
    arena.client.create_topics()
    arena.client.reset_offsets(
        [topic for stage in STAGES for topic in stage], arena.plan.partitions
    )
    arena.start_workers()
    arena.finish()
    if tables(arena.database.dsn) != before or audit.writes(arena.database.dsn) != writes:
        arena.problems.append("the second reading wrote rows")


def tables(dsn: str) -> list[object]:
    return [table(dsn), table(dsn, "price_hourly")]


@fault("topics-anew")
def topics_anew(arena: Arena) -> None:
    """All topics but the changelogs deleted and created again, state and database kept"""
    arena.feed(arena.rng.uniform(0.3, 0.6), seconds=6)
    arena.finish()
    if arena.rng.random() < 0.7:
        arena.stop_workers()
    topics = [
        spec.name for spec in topic_specs(arena.settings) if not spec.name.endswith("-changelog")
    ]
    arena.turn_epoch()
    arena.strike()
    arena.client.delete_topics(topics)
    arena.client.create_topics()
    arena.start_workers()
    arena.feed(seconds=6)


@fault("everything-anew")
def everything_anew(arena: Arena) -> None:
    """All topics deleted and created again, changelogs too; local state and database kept"""
    arena.feed(arena.rng.uniform(0.3, 0.6), seconds=6)
    arena.finish()
    arena.stop_workers()
    kept = arena.inputs()
    arena.strike()
    arena.client.delete_topics([spec.name for spec in topic_specs(arena.settings)])
    arena.client.create_topics()
    # The same records as before, from the producers' own archive, and then the rest.
    arena.client.send_again(kept)
    arena.start_workers()
    arena.feed(seconds=6)


@fault("tombstones", workers=1, settings={"state_ttl": "12h"})
def tombstones(arena: Arena) -> None:
    """A worker away for longer than tombstones live, then back with its old folder"""
    arena.feed(0.4, seconds=5)
    arena.finish()
    (away,) = arena.workers
    away.stop()
    other = arena.add_worker()
    arena.feed(0.85, seconds=8)
    arena.finish()
    # Tombstones live for a second, in segments that roll every two.
    time.sleep(4)
    arena.strike()
    other.kill(for_good=True)
    away.start()
    arena.feed(seconds=4)


@fault("log-cut")
def log_cut(arena: Arena) -> None:
    """The start of the log deleted before it was read"""
    arena.feed(arena.rng.uniform(0.3, 0.5), seconds=5)
    arena.finish()
    arena.stop_workers()
    done = arena.done()
    arena.feed(arena.rng.uniform(0.6, 0.8), seconds=2)
    arena.wait_sent()
    ends = arena.client.ends([RSS_EVENTS], arena.plan.partitions)
    arena.cuts = {
        tp.partition: Cut(arena.rng.randrange(done[tp.partition] + 1, end), done[tp.partition])
        for tp, end in ends.items()
        if end > done[tp.partition] + 1
    }
    arena.before_cut = arena.inputs()
    arena.client.delete_records(
        {TopicPartition(RSS_EVENTS, p): cut.offset for p, cut in arena.cuts.items()}
    )
    arena.strike()
    arena.start_workers()
    arena.feed(seconds=4)
