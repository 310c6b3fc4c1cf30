"""Whether the suite would notice: each guarantee switched off has to make a run fail."""

from typing import NamedTuple

from tests.chaos.run import Result, run_named

#: For each guarantee, the faults that it is there for.
FAULTS_FOR = {
    "strict-flush": ("die-after-commit",),
    "recovery-point": ("die-after-commit", "sigkill-all"),
    "emitted-through": ("die-after-commit", "sigkill-all"),
    "place-check": ("lost-chunks",),
    "version-rule": ("read-again", "sigkill"),
}
#: Tried in turn until one fails. Whether a kill meets the moment that hurts is chance.
SEEDS = range(1, 11)


class Bite(NamedTuple):
    """The run that failed without a guarantee; ``None`` is a suite without this tooth."""

    without: str
    result: Result | None
    runs: int


def bite(without: str) -> Bite:
    """Run faults without a guarantee until rows, signals or coordinates are wrong."""
    runs = 0
    for seed in SEEDS:
        for fault in FAULTS_FOR[without]:
            runs += 1
            result = run_named(fault, seed, without, None)
            if result.lost or result.duplicated or result.wrong:
                return Bite(without, result, runs)
    return Bite(without, None, runs)
