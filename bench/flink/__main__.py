"""The golden cases made anew by real Flink, from the SQL in ``docs/flink``; ours beside them.

    python -m bench.flink [--only flush-1,seed-3] [--seeds 10] [--write]

Compares Flink's rows with the golden files and with our rules', to the last bit of each number.
"""

import argparse
import gzip
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench.environments import Missing
from bench.flink.differences import DIFFERENCES, Difference
from bench.flink.generated import generated
from bench.flink.ours import Rows, by_window, difference, ours
from bench.flink.runner import Flink, FlinkFailed, Row, flink
from bench.flink.traps import TRAPS, Trap
from tests.support import golden

SEEDS = 10
Check = Callable[[Flink, Path], list[str]]


class Case(NamedTuple):
    """Articles and prices, and the golden rows where there are some."""

    name: str
    rss: list[Row]
    prices: list[Row]
    stays_open: bool
    golden: Rows | None = None


def golden_case(name: str) -> Case:
    rss, prices, signals, lags = (
        [json.loads(line) for line in golden.lines(name, topic)]
        for topic in ("rss", "prices", "signals", "lags")
    )
    return Case(name, rss, prices, name.startswith("open"), Rows(signals, lags))


def cases(seeds: int) -> Iterator[Case]:
    for name in golden.CASES:
        yield golden_case(name)
    for seed in range(seeds):
        yield Case(f"seed-{seed}", *generated(seed), stays_open=bool(seed % 2))


def run(on: Flink, folder: Path, case: Case | Difference) -> Rows:
    """Flink's rows."""
    for name, rows in (("rss", case.rss), ("prices", case.prices)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    signals, lags = on.run(folder, stays_open=case.stays_open)
    return Rows(by_window(signals), lags)


def as_golden(found: Rows) -> Rows:
    """The golden files hold a lag row as Job 1's row with Job 3's columns."""
    own = ("price", "price_delta", "signal_delta", "max_signal_delta", "lag_flag", "confidence")
    lags = {(row["market"], row["window"]): row for row in found.lags}
    return Rows(
        found.signals,
        [
            row | {name: lags[row["market_slug"], row["window_start"]][name] for name in own}
            for row in found.signals
        ],
    )


def compare(case: Case, found: Rows) -> list[str]:
    """One line of what is equal, then the first row of each kind that is not."""
    others = {"ours": (found, ours(case.rss, case.prices, stays_open=case.stays_open))}
    if case.golden is not None:
        others["golden"] = as_golden(found), case.golden
    said, differing = [], []
    for name in Rows._fields:
        words = []
        for other, (mine, its) in others.items():
            wrong = difference(getattr(mine, name), getattr(its, name))
            words.append(f"{'DIFFER from' if wrong else 'equal'} {other}")
            if wrong:
                differing.append(f"{name}, {other}:\n{wrong}")
        said.append(f"{name} {len(getattr(found, name)):>5} {', '.join(words)}")
    return [f"{case.name:<10} {'   '.join(said)}", *differing]


def write(case: Case, found: Rows) -> None:
    """The golden files anew, where their rows are others."""
    for name, rows in as_golden(found)._asdict().items():
        path = golden.FOLDER / case.name / f"{name}.jsonl.gz"
        text = "".join(json.dumps(row) + "\n" for row in rows).encode()
        if gzip.decompress(path.read_bytes()) != text:
            path.write_bytes(gzip.compress(text, mtime=0))
            print(f"{case.name}: {name} written")


def check_case(on: Flink, folder: Path, case: Case, *, rewrite: bool) -> list[str]:
    found = run(on, folder, case)
    if rewrite and case.golden is not None:
        write(case, found)
    return compare(case, found)


def check_difference(on: Flink, folder: Path, each: Difference) -> list[str]:
    """Flink's rows and ours, which are known to differ."""
    found = each.columns_of(run(on, folder, each))
    mine = each.columns_of(ours(each.rss, each.prices, stays_open=each.stays_open))
    holds = found == each.flink and mine == each.ours
    lines = [f"{each.name:<24} {'differs as documented' if holds else 'NOT AS DOCUMENTED'}"]
    if not holds:
        lines += [f"  Flink  {found}", f"  wanted {each.flink}"]
        lines += [f"  ours   {mine}", f"  wanted {each.ours}"]
    return lines


def check_trap(on: Flink, folder: Path, trap: Trap) -> list[str]:
    trap.fill(folder)
    try:
        found: list[Row] | str = on.run_script(trap.script, folder)
    except FlinkFailed as exc:
        found = str(exc)
    holds = trap.is_as_documented(found)
    lines = [f"{trap.name:<24} {'as documented' if holds else 'NOT AS DOCUMENTED'}"]
    return lines if holds else [*lines, f"  found  {found}", f"  wanted {trap.outcome}"]


def checks(options: argparse.Namespace) -> Iterator[tuple[str, Check]]:
    for case in cases(options.seeds):
        yield case.name, partial(check_case, case=case, rewrite=options.write)
    for each in DIFFERENCES:
        yield each.name, partial(check_difference, each=each)
    for trap in TRAPS:
        yield trap.name, partial(check_trap, trap=trap)


def run_all(on: Flink, folder: Path, chosen: list[tuple[str, Check]]) -> Iterator[list[str]]:
    """The lines of each; a single one where all is as it should be."""
    for name, check in chosen:
        (folder / name).mkdir()
        try:
            yield check(on, folder / name)
        except FlinkFailed as exc:
            yield [f"{name:<24} FAILED", f"  {exc}"]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--only", default="", help="names, with commas between them")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--write", action="store_true", help="the golden files, from Flink's rows")
    options = parser.parse_args(arguments)
    everything = dict(checks(options))
    names = options.only.split(",") if options.only else list(everything)
    if unknown := [name for name in names if name not in everything]:
        parser.error(f"no such case: {', '.join(unknown)}")
    began, failed = time.monotonic(), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            with flink(folder) as on:
                for lines in run_all(on, folder, [(name, everything[name]) for name in names]):
                    print("\n".join(lines), flush=True)
                    failed += len(lines) > 1
        except Missing as exc:
            print(f"skipped: {exc}")
            return 0
    seconds = time.monotonic() - began
    print(f"{len(names) - failed} of {len(names)} as they should be, in {seconds:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
