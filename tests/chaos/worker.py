"""``faust -A tests.chaos.worker worker``: the worker, with failpoints and breakable guarantees.

Both are wrapped around the real code from outside, so that production has none of it:

- ``CHAOS_FAILPOINT=name:n``: SIGKILL itself at the n-th time it comes by.
- ``CHAOS_WITHOUT=name``: one guarantee is switched off, to see the suite notice.
- ``CHAOS_LOSE=n``, ``CHAOS_DROP=n``: chunks are lost on their way, as stock Faust's queues lose
  some: half of every n-th between Kafka and our consumer; the n-th between it and its agent.
- ``CHAOS_SLOW_SENDS=seconds``: so long does every batch of records wait before it is sent.
"""

import asyncio
import contextlib
import itertools
import os
import signal
from collections.abc import Callable, Iterable
from typing import Any

import marketlag.history
import marketlag.rules.signals
from marketlag.engine import chunk, consumer, membership, positions, producer
from marketlag.engine.tables import Store
from marketlag.engine.thread import ConsumerThread
from marketlag.history import History, VersionedRow
from marketlag.postgres import Database
from marketlag.rules.signals import RecoveryPoint, SignalState


def wrap(owner: Any, name: str, wrapper: Callable[[Any], Any]) -> None:
    setattr(owner, name, wrapper(getattr(owner, name)))


# --- dying at a point


class Failpoint:
    """Kills this process at the n-th time that somebody passes."""

    def __init__(self, nth: int) -> None:
        self._left = nth

    def passes(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def before(self, function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.passes()
            return function(*args, **kwargs)

        return call

    def after(self, function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            # Of a fold, only one that closed a window counts.
            if getattr(result, "signals", True):
                self.passes()
            return result

        return call

    def after_awaiting(self, function: Any) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            result = await function(*args, **kwargs)
            if result is not False:  # a commit that did not happen
                self.passes()
            return result

        return call


#: Name -> where it is, and what is wrapped there.
FAILPOINTS: dict[str, Callable[[Failpoint], None]] = {
    # Between the Postgres commit and the offset commit.
    "after-upsert": lambda point: wrap(History, "upsert", point.after_awaiting),
    # Between the changelog's flush and the offset commit.
    "before-commit": lambda point: wrap(ConsumerThread, "commit_points", point.before),
    # Right after an offset commit.
    "after-commit": lambda point: wrap(ConsumerThread, "commit_points", point.after_awaiting),
    # Between closing a window and sending its row.
    "before-send": lambda point: wrap(marketlag.rules.signals, "fold", point.after),
    # Between writing a fact to RocksDB and anything that follows.
    "before-facts": lambda point: wrap(Store, "write", point.after),
}


# --- going without a guarantee


def without_strict_flush() -> None:
    async def flush(self: producer.Producer) -> None:
        """As stock Faust's: gives up when nothing moves for 100 ms."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.confirmations.wait(), 0.1)

    producer.Producer.flush = flush  # type: ignore[method-assign]


def without_recovery_point() -> None:
    def recovery_point(self: SignalState, position: int) -> tuple[int, RecoveryPoint]:
        through = max(self.emitted_through, self._final_through())
        return position, RecoveryPoint(self.watermark, through, position)

    SignalState.recovery_point = recovery_point  # type: ignore[method-assign]


def without_emitted_through() -> None:
    def forgetful(recovery_point: Any) -> Any:
        def call(self: SignalState, position: int) -> tuple[int, RecoveryPoint]:
            offset, point = recovery_point(self, position)
            return offset, RecoveryPoint(point.watermark, done=point.done)

        return call

    wrap(SignalState, "recovery_point", forgetful)


def without_place_check() -> None:
    def judge(
        self: positions.Positions, tp: Any, generation: int, first: int, last: int
    ) -> positions.Verdict:
        if tp in self._next:
            self._next[tp] = last + 1
        return positions.Verdict.DELIVER if tp in self._leases else positions.Verdict.DROP

    def begin_work(self: consumer.Consumer, at_work: chunk.Chunk) -> None:
        self._at_work[at_work] = 0.0

    positions.Positions.judge = judge  # type: ignore[method-assign]
    consumer.Consumer.begin_work = begin_work  # type: ignore[method-assign]


def without_version_rule() -> None:
    rule = "WHERE excluded.version > held.version"
    execute = Database.execute

    async def without_rule(self: Database, statement: str, *args: object) -> int:
        assert rule in statement
        return await execute(self, statement.replace(rule, ""), *args)

    def last(rows: Iterable[VersionedRow]) -> list[VersionedRow]:
        kept = {row.key: row for row in rows}
        return [kept[key] for key in sorted(kept)]

    Database.execute = without_rule  # type: ignore[method-assign]
    marketlag.history.newest = last  # type: ignore[assignment]


WITHOUT = {
    "strict-flush": without_strict_flush,
    "recovery-point": without_recovery_point,
    "emitted-through": without_emitted_through,
    "place-check": without_place_check,
    "version-rule": without_version_rule,
}


# --- losing chunks


def lose_every(nth: int) -> None:
    """Lose the first half of every n-th fetch before our consumer sees it, each place once."""
    fetched = itertools.count(1)
    lost: set[tuple[Any, int]] = set()

    def losing(getmany: Any) -> Any:
        async def call(self: consumer.Consumer, *args: Any, **kwargs: Any) -> Any:
            found = dict(await getmany(self, *args, **kwargs))
            for tp, packed in found.items():
                place = tp, packed.first
                if not self._is_changelog_tp(tp) and next(fetched) % nth == 0 and place not in lost:
                    lost.add(place)
                    packed.first += (packed.end - packed.first) // 2
            return found

        return call

    wrap(consumer.Consumer, "_getmany", losing)


def drop_the(nth: int) -> None:
    """Lose the n-th chunk after our consumer has handed it to Faust."""
    handed = itertools.count(1)

    def dropping(deliver: Any) -> Any:
        async def call(
            self: consumer.Consumer, tp: Any, packed: Any, value: Any, generation: int
        ) -> None:
            if self._is_changelog_tp(tp) or next(handed) != nth:
                await deliver(self, tp, packed, value, generation)

        return call

    wrap(consumer.Consumer, "_deliver", dropping)


# --- a Kafka that is slow to take records


def send_after(seconds: float) -> None:
    """What is confirmed lags behind what was handed over; commits are as fast as ever."""

    def slow(sending: Any) -> Any:
        def guarded(self: membership.Membership, send: Any) -> Any:
            in_time = sending(self, send)

            async def late(*args: Any) -> None:
                await asyncio.sleep(seconds)
                await in_time(*args)

            return late

        return guarded

    wrap(membership.Membership, "sending", slow)


if chosen := os.environ.get("CHAOS_FAILPOINT"):
    point, _, count = chosen.partition(":")
    FAILPOINTS[point](Failpoint(int(count)))
if chosen := os.environ.get("CHAOS_WITHOUT"):
    WITHOUT[chosen]()
if chosen := os.environ.get("CHAOS_LOSE"):
    lose_every(int(chosen))
if chosen := os.environ.get("CHAOS_DROP"):
    drop_the(int(chosen))
if chosen := os.environ.get("CHAOS_SLOW_SENDS"):
    send_after(float(chosen))

from marketlag.application import app  # noqa: E402, F401  # what it imports is wrapped by now
