"""One partition of the pipeline in memory: logs, commits, tables, crashes, an upserting database.

The rules are the real ones; Kafka and RocksDB are lists and dicts, so that thousands of histories
can be tried.
"""

import copy
from collections.abc import Sequence
from typing import Any

import msgspec

from marketlag.event_time import BEGINNING, MINUTE
from marketlag.records import SOURCE_CLOCK, SOURCE_OFFSET, LagRow
from marketlag.rules.facts import LagState, expire
from marketlag.rules.lags import LagRules, Tracked, fold_prices, fold_signals
from marketlag.rules.prices import check_all
from marketlag.rules.signals import RecoveryPoint, SignalState, fold
from tests.support.logs import Record

AS_THE_ORIGINAL = LagRules()
TABLES = ("hours", "baselines", "prices")


class Job1:
    """Articles to signals; the state is in the log."""

    def __init__(self, rss: list[Record], size: int, lateness: int) -> None:
        self.rss = rss
        self.size = size
        self.lateness = lateness
        self.signals: list[Record] = []
        self.late: set[int] = set()
        self.refused: set[int] = set()
        self.commits = [(0, RecoveryPoint())]
        self.restart(0)

    def restart(self, commit: int) -> None:
        """Go on from one of the recovery points that were committed."""
        self.position, point = self.commits[commit]
        self.state = SignalState(
            size=self.size, delay=5 * MINUTE, lateness=self.lateness, point=point
        )
        self.declared = self.commits[commit]

    def step(self, count: int) -> None:
        chunk = self.rss[self.position : self.position + count]
        if not chunk:
            return
        out = fold(self.state, chunk)
        self.signals += [
            Record(
                len(self.signals) + index,
                msgspec.json.encode(each.signal),
                timestamp=each.timestamp,
            )
            for index, each in enumerate(out.signals)
        ]
        self.late |= {each.offset for each in out.late}
        self.refused |= {each.record.offset for each in out.refused}
        self.position += len(chunk)
        self.declared = self.state.recovery_point(self.position)
        held = [window.first_offset for window in self.state.windows.values()]
        assert self.declared[0] <= min(held, default=self.position), "skips a held window's record"

    def commit(self) -> None:
        self.commits.append(self.declared)


class Job2:
    """Prices checked; no state."""

    def __init__(self, prices: list[Record]) -> None:
        self.prices = prices
        self.normalized: list[Record] = []
        self.position = self.committed = 0
        self.clock = self.committed_clock = BEGINNING

    def step(self, count: int) -> None:
        chunk = self.prices[self.position : self.position + count]
        out = check_all(chunk, self.clock)
        for checked in out.prices:
            source = checked.record
            self.normalized.append(
                Record(
                    len(self.normalized),
                    msgspec.json.encode(checked.price),
                    timestamp=source.timestamp,
                    headers=(
                        (SOURCE_OFFSET, str(source.offset).encode()),
                        (SOURCE_CLOCK, str(checked.clock).encode()),
                    ),
                )
            )
        self.position += len(chunk)
        self.clock = out.clock

    def commit(self) -> None:
        self.committed, self.committed_clock = self.position, self.clock

    def restart(self) -> None:
        self.position, self.clock = self.committed, self.committed_clock


class Tables(msgspec.Struct):
    hours: dict[tuple[str, int], Any] = msgspec.field(default_factory=dict)
    baselines: dict[tuple[str, int], Any] = msgspec.field(default_factory=dict)
    prices: dict[tuple[str, int], Any] = msgspec.field(default_factory=dict)

    def copy(self) -> "Tables":
        return copy.deepcopy(self)


Write = tuple[tuple[str, int], Any]


class Job3:
    """Signals and prices to rows; facts in tables, rows upserted by version."""

    def __init__(self, signals: list[Record], normalized: list[Record], rules: LagRules) -> None:
        self.logs = [signals, normalized]
        self.rows: dict[tuple[str, str], LagRow] = {}
        self.rules = rules
        self.reset()

    def reset(self) -> None:
        """Begin anew: no commits, no tables. The database stays."""
        self.tables = Tables()
        self.confirmed = Tables()
        self.unconfirmed: dict[str, list[Write]] = {name: [] for name in TABLES}
        self.committed: list[tuple[int, dict[int, int]]] = [(0, {}), (0, {})]
        self.restart(keep_local=True)

    def restart(self, *, keep_local: bool, arrived: Sequence[int] = (0, 0, 0)) -> None:
        """After a crash: with RocksDB as it was, or rebuilt from the changelogs.

        These have what was confirmed, and each, for itself, so many of the writes since: their
        brokers may differ. What has not arrived is in no changelog, also where RocksDB has it.
        """
        for (name, writes), count in zip(self.unconfirmed.items(), arrived, strict=True):
            _apply(getattr(self.confirmed, name), writes[:count])
        self.unconfirmed = {name: [] for name in TABLES}
        if not keep_local:
            self.tables = self.confirmed.copy()
        self.positions = [offset for offset, _ in self.committed]
        signals, prices = (clocks for _, clocks in self.committed)
        self.state = LagState(signals.get(0, BEGINNING), prices)
        for (market, _), fact in self.tables.hours.items():
            self.state.load_hour(market, copy.copy(fact))
        for (market, start), fact in self.tables.baselines.items():
            self.state.load_baseline(market, start, fact)
        for (market, hour), fact in self.tables.prices.items():
            self.state.load_price(market, hour, fact)

    def step(self, topic: int, count: int) -> None:
        position = self.positions[topic]
        chunk = self.logs[topic][position : position + count]
        clocks = [min(known.values(), default=BEGINNING) for _, known in self.committed]
        expired = expire(self.state, min(clocks), self.rules.ttl)
        for name in TABLES:
            self._write(name, [(key, None) for key in getattr(expired, name)])
        rule: Any = (fold_signals, fold_prices)[topic]
        out = rule(self.state, chunk, self.rules, Tracked())
        for name in TABLES:
            facts = getattr(out, name).items()
            self._write(name, [(key, copy.copy(fact)) for key, fact in facts])
        for timed in out.rows:
            key = timed.row.market, timed.row.window
            if key not in self.rows or timed.row.version > self.rows[key].version:
                self.rows[key] = timed.row
        self.positions[topic] += len(chunk)

    def _write(self, name: str, writes: list[Write]) -> None:
        _apply(getattr(self.tables, name), writes)
        self.unconfirmed[name] += writes

    def commit(self) -> None:
        """A strict flush goes before it, so the changelogs have all that was written."""
        for name, writes in self.unconfirmed.items():
            _apply(getattr(self.confirmed, name), writes)
        self.unconfirmed = {name: [] for name in TABLES}
        self.committed = [
            (self.positions[0], {0: self.state.signal_clock}),
            (self.positions[1], dict(self.state.price_clocks)),
        ]


def _apply(table: dict[tuple[str, int], Any], writes: Sequence[Write]) -> None:
    for key, fact in writes:
        if fact is None:
            table.pop(key, None)
        else:
            table[key] = fact


class Simulation:
    """The three jobs of one partition."""

    def __init__(
        self,
        rss: list[Record],
        prices: list[Record],
        rules: LagRules = AS_THE_ORIGINAL,
        lateness: int = 0,
    ) -> None:
        self.job1 = Job1(rss, rules.window, lateness)
        self.job2 = Job2(prices)
        self.job3 = Job3(self.job1.signals, self.job2.normalized, rules)

    def finish(self) -> None:
        """Let everything run to its end."""
        self.job1.step(len(self.job1.rss))
        self.job2.step(len(self.job2.prices))
        for topic in (0, 1):
            self.job3.step(topic, len(self.job3.logs[topic]))
