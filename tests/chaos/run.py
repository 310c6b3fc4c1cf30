"""One run: a seed and a fault in, a result out."""

import logging
import shutil
import subprocess
import time
import traceback
from collections.abc import Mapping
from pathlib import Path

import msgspec

from tests.chaos.arena import ROOT, Arena, Stuck
from tests.chaos.faults import Fault, Impossible, choose
from tests.chaos.judge import judge


class Result(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a run showed. ``recovery``: seconds from each strike to the first new row."""

    fault: str
    seed: int
    holds: bool
    revision: str = ""
    without: str = ""
    rows: int = 0
    lost: int = 0
    duplicated: int = 0
    wrong: int = 0
    restarts: int = 0
    compacted: bool = False
    seconds: float = 0.0
    recovery: list[float] = []
    problems: list[str] = []
    skipped: str = ""


def run(fault: Fault, seed: int, *, without: str = "", keep: Path | None = None) -> Result:
    """Run a fault over a seed's workload and judge it.

    Args:
        without: a guarantee to switch off (``tests.chaos.worker.WITHOUT``).
        keep: folder for the workers' logs of a run that does not hold.
    """
    began = time.monotonic()
    chaos: Mapping[str, str] = fault.chaos | ({"CHAOS_WITHOUT": without} if without else {})
    with Arena(
        seed,
        fault.name,
        workers=fault.workers,
        nodes=fault.nodes,
        proxied=fault.proxied,
        chaos=chaos,
        settings=fault.settings,
    ) as arena:
        result = Result(fault=fault.name, seed=seed, holds=False, without=without)
        try:
            fault.script(arena)
            arena.finish()
            verdict = judge(arena)
        except Impossible as exc:
            result.skipped = str(exc)
            return result
        except Stuck as exc:
            result.problems = [str(exc)]
        except Exception:  # noqa: BLE001  # a fault that fell over is a result, too
            result.problems = [traceback.format_exc()]
        else:
            result.holds = verdict.holds
            result.rows, result.problems = verdict.rows, verdict.problems
            result.lost, result.duplicated = verdict.lost, verdict.duplicated
            result.wrong, result.compacted = verdict.wrong, verdict.compacted
            result.recovery = [round(seconds, 2) for seconds in verdict.recoveries]
        result.restarts = sum(worker.restarts for worker in arena.workers)
        result.seconds = round(time.monotonic() - began, 1)
        if keep is not None and not result.holds:
            _keep_logs(arena, keep / f"{fault.name}-{seed}{without and '-without-' + without}")
    return result


def run_named(name: str, seed: int, without: str, keep: Path | None) -> Result:
    """``run`` for another process; the result says what it is of."""
    # Faults make Kafka's clients complain, as they should; what counts is in the result.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    (fault,) = choose([name])
    result = run(fault, seed, without=without, keep=keep)
    result.revision = revision()
    return result


def revision() -> str:
    """The commit that is checked out; empty outside of git."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--short=7", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _keep_logs(arena: Arena, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for worker in arena.workers:
        log = worker.folder / "worker.log"
        if log.exists():
            shutil.copy(log, folder / f"{worker.name}.log")
    for node in arena.kafka.nodes:
        shutil.copy(node.log, folder / f"kafka-{node.number}.log")
