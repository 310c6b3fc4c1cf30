"""Makes the table in ``docs/reliability.md`` from the suite's results (``make reliability``)."""

import statistics
from collections import Counter, defaultdict
from pathlib import Path

import msgspec

from tests.chaos.faults import choose
from tests.chaos.run import Result

RESULTS = Path(__file__).with_name("results.jsonl")
DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- made by make reliability -->", "<!-- end -->"


def read_results() -> list[Result]:
    decode = msgspec.json.Decoder(Result).decode
    return [decode(line) for line in RESULTS.read_bytes().splitlines()]


def table(results: list[Result]) -> str:
    """The results by fault, as a Markdown table with a line of what it stands on."""
    by_fault: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        if not result.skipped:
            by_fault[result.fault].append(result)
    lines = [
        _summary(results),
        "",
        "| fault | seeds | rows | lost | duplicated | wrong | recovery, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for fault in sorted(choose([]), key=lambda fault: fault.name):
        runs = by_fault.get(fault.name, [])
        figures = (
            str(len(runs)),
            f"{sum(run.rows for run in runs):,}",
            *(str(sum(getattr(run, name) for run in runs)) for name in _FAILINGS),
            _recovery(runs),
        )
        lines.append(f"| `{fault.name}`: {fault.about} | {' | '.join(figures)} |")
    return "\n".join(lines)


_FAILINGS = ("lost", "duplicated", "wrong")


def _summary(results: list[Result]) -> str:
    revisions = Counter(result.revision for result in results)
    runs = ", ".join(f"{count} of `{name}`" for name, count in revisions.items())
    failed = [f"{each.fault} {each.seed}" for each in results if not each.holds]
    verdict = f"{len(results) - len(failed)} of {len(results)} runs hold"
    if failed:
        verdict += f" (not: {', '.join(failed)})"
    compacted = sum(result.compacted for result in results)
    return (
        f"{verdict}, over {len({result.seed for result in results})} seeds; by commit: {runs}. "
        f"Changelogs were compacted during {compacted} of them."
    )


def _recovery(runs: list[Result]) -> str:
    """Median and longest time from a strike to the first row written after it."""
    seconds = [each for run in runs for each in run.recovery]
    if not seconds:
        return ""
    return f"{statistics.median(seconds):.1f}, at most {max(seconds):.1f}"


def rewritten(document: str, results: list[Result]) -> str:
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table(results)}\n{END}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(rewritten(DOCUMENT.read_text(), read_results()))
