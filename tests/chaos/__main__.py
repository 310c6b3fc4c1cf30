"""Runs of the chaos suite, several at a time, their results as JSON lines.

python -m tests.chaos --seeds 8                      every fault, seeds 1 to 8
python -m tests.chaos --seeds 3 --faults sigkill,network
python -m tests.chaos --faults sigstop --seed 17     one run, a failing seed again
python -m tests.chaos --list                         the faults
"""

import argparse
import sys
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import msgspec

from tests.chaos.faults import choose
from tests.chaos.run import Result, run_named
from tests.chaos.teeth import FAULTS_FOR, bite
from tests.support.kafka.jars import KafkaMissing, jars, java

#: Runs mostly wait: for sessions to expire, for brokers to come back.
LANES = 2


def main() -> None:
    args = _arguments()
    faults = choose([name for name in args.faults.split(",") if name])
    if args.list:
        for fault in faults:
            print(f"{fault.name:18}{fault.about}")
        return
    try:
        java(), jars()
    except KafkaMissing as exc:
        print(f"SKIPPED: the chaos suite needs a real Kafka: {exc}", file=sys.stderr)
        return
    if args.teeth:
        sys.exit(_show_teeth(args.lanes))
    if args.seed is None:
        work = [
            (faults[seed % len(faults)].name, seed)
            for seed in range(args.first, args.first + (args.seeds or len(faults)))
        ]
    else:
        work = [(fault.name, args.seed) for fault in faults]
    print(f"{len(work)} runs over {len(faults)} faults", flush=True)
    failed = 0
    output: Any = args.results.open("ab") if args.results else nullcontext()
    with output as results, _lanes(args.lanes) as lanes:
        waiting: list[Future[Result]] = [
            lanes.submit(run_named, name, seed, args.without, args.keep) for name, seed in work
        ]
        for number, done in enumerate(as_completed(waiting), 1):
            result = done.result()
            failed += not (result.holds or result.skipped)
            print(f"{number:4}/{len(work)} {describe(result)}", flush=True)
            if results is not None:
                results.write(msgspec.json.encode(result) + b"\n")
                results.flush()
    print(f"{len(work) - failed} of {len(work)} hold", flush=True)
    sys.exit(1 if failed else 0)


def _show_teeth(lanes: int) -> int:
    """Returns how many guarantees could be switched off unnoticed."""
    toothless = 0
    with _lanes(lanes) as pool:
        for without, result, runs in pool.map(bite, FAULTS_FOR):
            if result is None:
                toothless += 1
                print(f"without {without:16} NOT NOTICED in {runs} runs", flush=True)
                continue
            seen = f"lost {result.lost}, duplicated {result.duplicated}, wrong {result.wrong}"
            print(f"without {without:16} {result.fault} seed {result.seed}: {seen}", flush=True)
    return toothless


def describe(result: Result) -> str:
    name = f"{result.fault:18} seed {result.seed:<4}"
    if result.skipped:
        return f"{name} SKIPPED: {result.skipped}"
    figures = (
        f"{result.rows:4} rows, lost {result.lost}, duplicated {result.duplicated}, "
        f"wrong {result.wrong}, restarts {result.restarts}, {result.seconds:.0f} s"
    )
    problems = "".join(f"\n      {problem}" for problem in result.problems)
    return f"{name} {'holds ' if result.holds else 'FAILED'} {figures}{problems}"


def _lanes(count: int) -> ProcessPoolExecutor:
    # A fresh process a run: nothing of one is left for the next.
    return ProcessPoolExecutor(count, mp_context=get_context("spawn"), max_tasks_per_child=1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, help="how many seeds; each has one fault")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--seed", type=int, help="this seed with each of the faults")
    parser.add_argument("--faults", default="", help="names, separated by commas; all without it")
    parser.add_argument("--without", default="", help="switch a guarantee off: the runs must fail")
    parser.add_argument("--teeth", action="store_true", help="see whether the suite notices")
    parser.add_argument("--lanes", type=int, default=LANES, help="runs at the same time")
    parser.add_argument("--results", type=Path, help="append results to this file, as JSON lines")
    parser.add_argument("--keep", type=Path, help="folder for the logs of runs that fail")
    parser.add_argument("--list", action="store_true", help="the faults, and nothing else")
    return parser.parse_args()


if __name__ == "__main__":
    main()
