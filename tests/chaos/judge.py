"""The one judgement: what a run left behind, against what the plain model expects."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from marketlag.settings import milliseconds
from marketlag.topics import REFUSING, RSS_LATE, RSS_SIGNALS, TABLES, changelog, dlq
from tests.chaos import audit
from tests.chaos.arena import Arena
from tests.chaos.oracle import Coordinates, Expected, expected, signal_of
from tests.support import model

#: Summing in another order may differ in the last digits.
INEXACT = {"signal_zscore"}
SHOWN = 5


class Verdict(NamedTuple):
    """How far a run is from what had to come out. All zero and empty is what must hold."""

    rows: int
    lost: int
    duplicated: int
    wrong: int
    problems: list[str]
    #: Seconds from each strike to the first row written after it.
    recoveries: list[float]
    compacted: bool

    @property
    def holds(self) -> bool:
        return not (self.lost or self.duplicated or self.wrong or self.problems)


def judge(arena: Arena) -> Verdict:
    """Compare rows, every write on the way, signals, DLQs and late articles."""
    settings = arena.settings
    want = expected(
        *arena.epochs,
        arena.whole_inputs(),
        lateness=milliseconds(settings.allowed_lateness),
        rules=model.Rules(
            size=milliseconds(settings.window),
            ttl=milliseconds(settings.state_ttl),
            price_at=settings.price_at,
            signal_rule=settings.signal_rule,
        ),
        cuts=arena.cuts,
    )
    topics = [RSS_SIGNALS, RSS_LATE, *(dlq(topic) for topic in REFUSING)]
    changelogs = [changelog(settings, name) for name in TABLES]
    left = arena.client.logs([*topics, *changelogs], arena.plan.partitions)
    rows, writes = audit.rows(arena.database.dsn), audit.writes(arena.database.dsn)
    prices = audit.prices(arena.database.dsn)

    findings = Findings()
    findings.rows("rows", want.rows, rows)
    findings.rows("prices", want.prices, prices)
    findings.writes(want, writes)
    if not arena.epochs:  # what deleted topics held is not known any more
        findings.signals(want, left[RSS_SIGNALS].values())
        findings.coordinates("late", want.late, left[RSS_LATE].values())
        refused = [log for topic in topics[2:] for log in left[topic].values()]
        findings.coordinates("refused", want.refused, refused)
    findings.problems += arena.problems
    ends = arena.client.ends(changelogs, arena.plan.partitions)
    held = sum(len(log) for topic in changelogs for log in left[topic].values())
    return Verdict(
        len(want.rows),
        findings.lost,
        findings.duplicated,
        findings.wrong,
        findings.problems,
        recoveries(arena, writes),
        compacted=held < sum(ends.values()),
    )


def recoveries(arena: Arena, writes: list[audit.Write]) -> list[float]:
    return [
        (after - strike).total_seconds()
        for strike in arena.strikes
        if (after := next((write.at for write in writes if write.at > strike), None))
    ]


class Findings:
    """Collects what differs."""

    def __init__(self) -> None:
        self.lost = self.duplicated = self.wrong = 0
        self.problems: list[str] = []

    def say(self, what: str, items: Iterable[Any]) -> None:
        found = list(items)
        if found:
            self.problems.append(f"{len(found)} {what}: {found[:SHOWN]}")

    def rows(
        self, what: str, want: Mapping[Any, dict[str, Any]], rows: Mapping[Any, dict[str, Any]]
    ) -> None:
        missing = want.keys() - rows.keys()
        added = rows.keys() - want.keys()
        self.lost += len(missing)
        self.duplicated += len(added)
        self.say(f"{what} missing", sorted(missing))
        self.say(f"{what} that nothing gives", sorted(added))
        differing = []
        for key in want.keys() & rows.keys():
            expected_row, row = want[key], rows[key]
            columns = sorted(name for name in row if not _same(name, expected_row, row))
            if columns:
                differing.append((key, {c: (expected_row.get(c), row[c]) for c in columns}))
                if row["version"] < expected_row["version"]:
                    self.lost += 1
                else:
                    self.wrong += 1
        self.say(f"{what} differ (expected, found)", differing)

    def writes(self, want: Expected, writes: list[audit.Write]) -> None:
        """No row ever showed more than what it ends with, and none ever went back."""
        above, back = [], []
        newest: dict[Any, tuple[int, ...]] = {}
        for write in writes:
            key = write.market, write.window
            end = want.rows.get(key)
            if end is not None:
                count = end["mention_count"]
                too_many = write.mention_count > count or (
                    want.final_counts and write.mention_count != count
                )
                if too_many or write.version > end["version"]:
                    above.append(write)
            if key in newest and write.version <= newest[key]:
                back.append(write)
            newest[key] = write.version
        self.duplicated += len(above)
        self.wrong += len(back)
        self.say("writes above the expected", above)
        self.say("writes that went back", back)

    def signals(self, want: Expected, logs: Iterable[list[Any]]) -> None:
        found = {signal_of(record) for log in logs for record in log}
        false, missing = found - want.signals, want.signals - found
        if want.final_counts:
            self.lost += len(missing)
            self.say("signals missing", missing)
        self.duplicated += len(false)
        self.say("signals that no log gives", false)

    def coordinates(self, what: str, want: set[Coordinates], logs: Iterable[list[Any]]) -> None:
        found = {_coordinates(record) for log in logs for record in log}
        self.lost += len(want - found)
        self.wrong += len(found - want)
        self.say(f"{what} records missing", sorted(want - found))
        self.say(f"{what} records that should not be", sorted(found - want))


def _same(name: str, want: dict[str, Any], row: dict[str, Any]) -> bool:
    if name in INEXACT and None not in (want[name], row[name]):
        return math.isclose(want[name], row[name], rel_tol=1e-6, abs_tol=1e-9)
    return bool(want[name] == row[name])


def _coordinates(record: Any) -> Coordinates:
    headers = {name: value.decode() for name, value in record.headers}
    return headers["topic"], int(headers["partition"]), int(headers["offset"])
