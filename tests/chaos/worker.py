"""``faust -A tests.chaos.worker worker``: the worker, with failpoints and breakable guarantees.

Both are wrapped around the real code from outside, so that production has none of it:

- ``CHAOS_FAILPOINT=name:n``: SIGKILL itself at the n-th time it comes by.
- ``CHAOS_WITHOUT=name``: one guarantee is switched off, to see the suite notice.
- ``CHAOS_LOSE=n``: every n-th chunk is lost on its way, as stock Faust's queues lose some.
"""

import asyncio
import itertools
import os
import signal
from collections.abc import Callable
from typing import Any

import marketlag.postgres
import marketlag.rules.signals
import marketlag.sink
from marketlag.engine import chunk, consumer, positions, producer
from marketlag.postgres import LagHistory
from marketlag.records import LagRow
from marketlag.rules.signals import RecoveryPoint, SignalState

FAILPOINTS = {
    "after-upsert": "between the Postgres commit and the offset commit",
    "before-commit": "between the changelog's flush and the offset commit",
    "after-commit": "right after an offset commit",
    "before-send": "between closing a window and sending its row",
    "before-facts": "between writing a fact to RocksDB and anything that follows",
}


def wrap(owner: Any, name: str, wrapper: Callable[[Any], Any]) -> None:
    setattr(owner, name, wrapper(getattr(owner, name)))


# --- dying at a point


def die_at(failpoint: str, nth: int) -> None:
    hits = itertools.count(1)

    def passing() -> None:
        if next(hits) == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    def after(function: Any) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            result = await function(*args, **kwargs)
            if result is not False:  # a commit that did not happen
                passing()
            return result

        return call

    def before(function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            passing()
            return function(*args, **kwargs)

        return call

    def when_closed(fold: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            out = fold(*args, **kwargs)
            if out.signals:
                passing()
            return out

        return call

    def after_put(put: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            put(*args, **kwargs)
            passing()

        return call

    match failpoint:
        case "after-upsert":
            wrap(LagHistory, "upsert", after)
        case "before-commit":
            wrap(consumer.ConsumerThread, "commit_points", before)
        case "after-commit":
            wrap(consumer.ConsumerThread, "commit_points", after)
        case "before-send":
            wrap(marketlag.rules.signals, "fold", when_closed)
        case "before-facts":
            from marketlag.engine.tables import Store

            wrap(Store, "_set", after_put)
        case _:
            raise ValueError(f"no failpoint {failpoint}")


# --- going without a guarantee


def without_strict_flush() -> None:
    async def flush(self: producer.Producer) -> None:
        """As stock Faust's: gives up when nothing moves for 100 ms."""
        try:
            await asyncio.wait_for(self.confirmations.wait(), 0.1)
        except TimeoutError:
            pass

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
        self._at_work.add(at_work)

    positions.Positions.judge = judge  # type: ignore[method-assign]
    consumer.Consumer.begin_work = begin_work  # type: ignore[method-assign]


def without_version_rule() -> None:
    sql = marketlag.postgres._UPSERT
    rule = "WHERE excluded.version > held.version"
    assert rule in sql
    marketlag.postgres._UPSERT = sql.replace(rule, "")  # type: ignore[misc]

    def last(rows: list[LagRow]) -> list[LagRow]:
        kept = {(row.market, row.window): row for row in rows}
        return [kept[key] for key in sorted(kept)]

    marketlag.postgres.newest = last  # type: ignore[assignment]


WITHOUT = {
    "strict-flush": without_strict_flush,
    "recovery-point": without_recovery_point,
    "emitted-through": without_emitted_through,
    "place-check": without_place_check,
    "version-rule": without_version_rule,
}


# --- losing chunks


def lose_every(nth: int) -> None:
    """Alternately before our consumer sees a chunk, and after it has handed one to Faust."""
    fetched, handed = itertools.count(1), itertools.count(1)

    def losing_fetches(getmany: Any) -> Any:
        async def call(self: consumer.Consumer, *args: Any, **kwargs: Any) -> Any:
            found = await getmany(self, *args, **kwargs)
            return {
                tp: records
                for tp, records in found.items()
                if self._is_changelog_tp(tp) or next(fetched) % nth
            }

        return call

    def losing_deliveries(deliver: Any) -> Any:
        async def call(
            self: consumer.Consumer, tp: Any, records: Any, value: Any, generation: int
        ) -> None:
            if self._is_changelog_tp(tp) or next(handed) % (5 * nth):
                await deliver(self, tp, records, value, generation)

        return call

    wrap(consumer.Consumer, "_getmany", losing_fetches)
    wrap(consumer.Consumer, "_deliver", losing_deliveries)


if chosen := os.environ.get("CHAOS_FAILPOINT"):
    point, _, count = chosen.partition(":")
    die_at(point, int(count))
if chosen := os.environ.get("CHAOS_WITHOUT"):
    WITHOUT[chosen]()
if chosen := os.environ.get("CHAOS_LOSE"):
    lose_every(int(chosen))

from marketlag.application import app  # noqa: E402, F401  # what it imports is wrapped by now
