"""The hourly signal: ours against five others, on a real Kafka, over the same log.

Each round runs every contender once, in turn. A run is measured from its first signal to its last,
and counts only if all signals are right. Contenders that would need half an hour for the whole log
read the beginning of it; the table says how much.

    python -m bench.speed [--rounds 7] [--events 3000000] [--only ours,floor]
"""

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from bench import contenders
from bench.contest import Job, Run, RunFailed, Signals, expected_signals, measure
from bench.environments import Missing, connector, flink_python, quix_python
from bench.pipeline import Services, services
from bench.workload import HOURS, Load, fill
from marketlag import kafka
from marketlag.embedded.worker import OPTIONS
from marketlag.replay.services import worker_env
from marketlag.settings import Settings
from marketlag.topics import RSS_EVENTS, RSS_SIGNALS

FOLDER = Path(contenders.__file__).parent
EVENTS = 3_000_000
#: The most that a contender reads which is too slow for the whole log.
QUIX_EVENTS = 300_000
FAUST_EVENTS = 60_000
#: Nothing is deleted, though the articles are of January 2025.
KEEP = {"retention.ms": "-1"}


class Contender(NamedTuple):
    """``prepare`` makes a job that is ready to start, of a run's number and its log's topic."""

    name: str
    prepare: Callable[["Ring", int, str], Job]
    most_events: int = EVENTS


class Log(NamedTuple):
    topic: str
    load: Load
    expected: Signals


class Ring(NamedTuple):
    """Where they run: Kafka, and a folder of this run."""

    services: Services
    folder: Path

    @property
    def settings(self) -> Settings:
        return self.services.settings

    def env(self, topic: str, output: str, number: int) -> dict[str, str]:
        return {
            "BROKER": self.settings.broker_url.removeprefix("kafka://"),
            "TOPIC": topic,
            "OUTPUT": output,
            "PARTITIONS": str(self.settings.partitions),
            "GROUP": f"bench-{number}",
            "FOLDER": str(self.folder),
        }

    def job(self, command: list[str], topic: str, number: int, **more: str) -> Job:
        """A job with a topic of signals of its own."""
        output = f"signals-{number}"
        self.create(output)
        return Job(
            command,
            self.env(topic, output, number) | more,
            output,
            self.settings.partitions,
        )

    def create(self, topic: str) -> None:
        self.services.client.create(topic, self.settings.partitions, KEEP)


def ours(ring: Ring, number: int, _topic: str = RSS_EVENTS) -> Job:
    settings = ring.settings.model_copy(
        update={"app_id": f"bench-{number}", "datadir": ring.folder / "state"}
    )
    ring.services.client.run(kafka.create_topics(settings))
    command = [sys.executable, "-m", "faust", "-A", "bench.contenders.ours", "worker", *OPTIONS]
    return Job(command, worker_env(settings), RSS_SIGNALS, settings.partitions)


def floor(ring: Ring, number: int, topic: str) -> Job:
    command = [sys.executable, str(FOLDER / "floor.py")]
    return Job(command, ring.env(topic, "", number), None, ring.settings.partitions)


def flink(state: str) -> Callable[[Ring, int, str], Job]:
    def prepare(ring: Ring, number: int, topic: str) -> Job:
        command = [flink_python(), str(FOLDER / "flink.py")]
        jar = str(connector())
        return ring.job(command, topic, number, FLINK_CONNECTOR=jar, FLINK_STATE=state)

    return prepare


def quix(ring: Ring, number: int, topic: str) -> Job:
    return ring.job([quix_python(), str(FOLDER / "quix.py")], topic, number)


def plain_faust(ring: Ring, number: int, topic: str) -> Job:
    for name in (f"late-{number}", f"bench-{number}-hours-changelog"):
        ring.create(name)
    ring.create(f"bench-{number}-seen-changelog")
    command = [sys.executable, "-m", "faust", "-A", "bench.contenders.plain_faust", "worker"]
    return ring.job([*command, *OPTIONS], topic, number, LATE=f"late-{number}")


CONTENDERS = (
    Contender("ours", ours),
    Contender("floor", floor),
    Contender("flink-heap", flink("hashmap")),
    Contender("flink-rocksdb", flink("rocksdb")),
    Contender("quix", quix, QUIX_EVENTS),
    Contender("plain-faust", plain_faust, FAUST_EVENTS),
)


def log_of(events: int, all_events: int) -> Load:
    """As many articles an hour as in the whole month, for fewer hours."""
    return Load(events, hours=math.ceil(HOURS * events / all_events))


@contextmanager
def logs(ring_services: Services, sizes: set[int], everything: int) -> Iterator[dict[int, Log]]:
    """A filled log for each size; the whole one is ``rss.events``."""
    found = {}
    for size in sorted(sizes, reverse=True):
        topic = RSS_EVENTS if size == max(sizes) else f"{RSS_EVENTS}.{size}"
        if topic != RSS_EVENTS:
            ring_services.client.create(topic, ring_services.settings.partitions, KEEP)
        load = log_of(size, everything)
        began = time.monotonic()
        written = ring_services.client.run(fill(ring_services.settings, topic, load), timeout=3_600)
        found[size] = Log(topic, load, expected_signals(load))
        print(
            f"{topic}: {size:,} articles of {written / size:.0f} bytes, "
            f"{len(found[size].expected):,} signals, in {time.monotonic() - began:.0f} s",
            file=sys.stderr,
        )
    yield found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--only", default=",".join(each.name for each in CONTENDERS))
    parser.add_argument("--results", type=Path, help="append each run, a JSON line")
    options = parser.parse_args()
    wanted = options.only.split(",")
    chosen = [each for each in CONTENDERS if each.name in wanted]
    sizes = {each.name: min(each.most_events, options.events) for each in chosen}
    runs: dict[str, list[Run]] = {each.name: [] for each in chosen}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            services(folder, partitions=6, startup_delay="100ms") as here,
            logs(here, {options.events, *sizes.values()}, options.events) as filled,
        ):
            for number in range(options.rounds):
                for place, each in enumerate(list(chosen)):
                    log = filled[sizes[each.name]]
                    run = run_once(here, each, log, number * len(CONTENDERS) + place)
                    if run is None:
                        chosen.remove(each)
                        continue
                    runs[each.name].append(run)
                    if options.results is not None:
                        row = {"name": each.name, "events": log.load.events, **run._asdict()}
                        with options.results.open("a") as output:
                            output.write(json.dumps(row) + "\n")
    report(runs, sizes)


def run_once(here: Services, contender: Contender, log: Log, number: int) -> Run | None:
    """One run; ``None``, and said why, of a contender that cannot take part."""
    folder = here.folder / f"{contender.name}-{number}"
    folder.mkdir()
    try:
        job = contender.prepare(Ring(here, folder), number, log.topic)
        run = measure(job, log.load.events, log.expected, here.client, folder / "log")
    except (Missing, RunFailed) as exc:
        print(f"{contender.name}: NOT MEASURED: {exc}", file=sys.stderr)
        return None
    print(
        f"{contender.name:>14}: {run.rate:>9,.0f} articles/s, {run.cpu:7.2f} CPU s per million, "
        f"{run.rss:5.0f} MB",
        file=sys.stderr,
    )
    return run


def report(runs: dict[str, list[Run]], sizes: dict[str, int]) -> None:
    """The table: medians, and what ours is better by."""
    table = Table("", "articles", "runs", "articles/s", "CPU s/million", "peak MB", "CPU", "rate")
    medians = {
        name: Run(*(statistics.median(figure) for figure in zip(*each, strict=True)))
        for name, each in runs.items()
        if each
    }
    base = medians.get("ours")
    for name, run in medians.items():
        table.add_row(
            name,
            f"{sizes[name]:,}",
            str(len(runs[name])),
            f"{run.rate:,.0f}",
            f"{run.cpu:.2f}",
            f"{run.rss:.0f}",
            f"{run.cpu / base.cpu:.2f}" if base else "",
            f"{base.rate / run.rate:.2f}" if base else "",
        )
    Console(width=110).print(table)
    print("CPU and rate: of ours, so many times as good as of this one")


if __name__ == "__main__":
    main()
