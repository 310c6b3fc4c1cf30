"""Running one contender over a log, and measuring it from its first signal to its last."""

import math
import os
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Self

import msgspec
import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition

from bench.workload import START, Load, is_closing, records
from marketlag import kafka
from marketlag.event_time import HOUR, parse_ms
from tests.support.kafka.client import Client

LOOK_SECONDS = 0.05
#: Without a further signal for so long a run is given up.
PATIENCE_SECONDS = 180.0


class Signal(msgspec.Struct, frozen=True):
    """What every contender publishes for a window."""

    market_slug: str
    window_start: str
    mention_count: int
    keyword_score: float
    source_weighted_signal: float
    source_weight_avg: float


Signals = dict[tuple[str, int], tuple[int, float, float, float]]


class Job(NamedTuple):
    """A contender started on a log.

    ``output``: its topic of signals; ``None`` for rows on the standard output.
    """

    command: list[str]
    env: Mapping[str, str]
    output: str | None
    partitions: int


class Run(NamedTuple):
    """One run: articles per second, CPU seconds per million articles, peak resident set (MB)."""

    rate: float
    cpu: float
    rss: float


class RunFailed(Exception):
    """A contender ended, stood still or gave other signals; the text says what."""


def expected_signals(load: Load) -> Signals:
    """What every contender has to give: sums in order of arrival, late articles left out."""
    sums: dict[tuple[str, int], list[float]] = {}
    decode = msgspec.json.Decoder(_Article).decode
    for record in records(load):
        article = decode(record.value)
        published = parse_ms(article.published_at)
        if published < START or is_closing(article.market_slug):
            continue
        row = sums.setdefault((article.market_slug, published // HOUR), [0, 0.0, 0.0, 0.0])
        row[0] += 1
        row[1] += article.keyword_score
        row[2] += article.keyword_score * article.source_weight
        row[3] += article.source_weight
    return {
        key: (int(count), score, weighted / count, weight / count)
        for key, (count, score, weighted, weight) in sums.items()
    }


class _Article(msgspec.Struct):
    market_slug: str
    published_at: str
    source_weight: float
    keyword_score: float


def measure(job: Job, events: int, expected: Signals, client: Client, log: Path) -> Run:
    """Run a contender to its end. Raises ``RunFailed``."""
    with Watched(client, job) as count:
        with started(job, log) as process:
            run = _watch(process, log, count if job.output else None, events, len(expected))
        found = count.signals() if job.output else _printed(log)
    differing = sum(not _agree(found.get(key), row) for key, row in expected.items())
    if differing or len(found) > len(expected):
        raise RunFailed(f"{differing} of {len(expected)} signals differ; it gave {len(found)}")
    return run


def _agree(found: tuple[int, float, float, float] | None, row: tuple[float, ...]) -> bool:
    """To twelve digits: Flink adds sums of parts, and so in another order."""
    return found is not None and all(
        math.isclose(mine, its, rel_tol=1e-12) for mine, its in zip(found, row, strict=True)
    )


@contextmanager
def started(job: Job, log: Path) -> Iterator[psutil.Process]:
    """The contender's process, its output in *log*; killed at the end, with its children."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            job.command,
            env={**os.environ, **job.env},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    tree = psutil.Process(process.pid)
    try:
        yield tree
    finally:
        for each in [*_children(tree), tree]:
            each.kill()
        process.communicate()


def _watch(
    process: psutil.Process, log: Path, count: "Watched | None", events: int, wanted: int
) -> Run:
    began: tuple[float, float] | None = None
    seen, moved, peak = 0, time.monotonic(), 0.0
    while True:
        done = count.new() if count else _marks(log, wanted)
        now, cpu, rss = time.monotonic(), *_used(process)
        peak = max(peak, rss)
        if done and began is None:
            began = now, cpu
        if done >= wanted and began is not None:
            seconds, used = now - began[0], cpu - began[1]
            return Run(events / seconds, used / events * 1e6, peak)
        if done > seen:
            seen, moved = done, now
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            raise RunFailed(f"it ended:\n{log.read_text(errors='replace')[-2_000:]}")
        if now - moved > PATIENCE_SECONDS:
            raise RunFailed(f"it stands still at {seen} of {wanted} signals: {log}")
        time.sleep(LOOK_SECONDS)


def _used(process: psutil.Process) -> tuple[float, float]:
    """CPU seconds, user and system, and resident set (MB) of a process and its children."""
    cpu = rss = 0.0
    for each in [process, *_children(process)]:
        try:
            times = each.cpu_times()
            cpu += times.user + times.system
            rss += each.memory_info().rss / 2**20
        except psutil.NoSuchProcess:
            continue
    return cpu, rss


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def _marks(log: Path, wanted: int) -> int:
    """Of a contender that prints: as if it had one signal when it began, and all when it ended."""
    text = log.read_bytes()
    if text.endswith(b"ended\n"):
        return wanted
    return int(text.startswith(b"began\n"))


def _printed(log: Path) -> Signals:
    lines = log.read_text().splitlines()
    return _signals(line.encode() for line in lines if line.startswith("{"))


def _signals(values: Iterable[bytes]) -> Signals:
    decode = msgspec.json.Decoder(Signal).decode
    found: Signals = {}
    for value in values:
        row = decode(value)
        start = parse_ms(row.window_start)
        if start >= START and not is_closing(row.market_slug):
            found[row.market_slug, start // HOUR] = (
                row.mention_count,
                row.keyword_score,
                row.source_weighted_signal,
                row.source_weight_avg,
            )
    return found


class Watched:
    """Counts and reads what is new in a job's topic, by one consumer that stays."""

    def __init__(self, client: Client, job: Job) -> None:
        topic, numbers = job.output, range(job.partitions)
        self._client = client
        self._tps = [] if topic is None else [TopicPartition(topic, number) for number in numbers]
        self._before: dict[TopicPartition, int] = {}

    def __enter__(self) -> Self:
        self._before = self._client.run(self._start())
        return self

    async def _start(self) -> dict[TopicPartition, int]:
        self._consumer = AIOKafkaConsumer(**kafka.client_options(self._client.settings))
        await self._consumer.start()
        self._consumer.assign(self._tps)
        return dict(await self._consumer.end_offsets(self._tps))

    def new(self) -> int:
        """Records since this began."""
        ends = self._client.run(self._consumer.end_offsets(self._tps))
        return sum(ends[tp] - before for tp, before in self._before.items())

    def signals(self) -> Signals:
        return _signals(self._client.run(self._read()))

    async def _read(self) -> list[bytes]:
        consumer, values = self._consumer, []
        ends = await consumer.end_offsets(self._tps)
        for tp, offset in self._before.items():
            consumer.seek(tp, offset)
        while any([await consumer.position(tp) < ends[tp] for tp in self._tps]):
            for fetched in (await consumer.getmany(timeout_ms=500)).values():
                values += [record.value for record in fetched if record.value is not None]
        return values

    def __exit__(self, *_: object) -> None:
        self._client.run(self._consumer.stop())
