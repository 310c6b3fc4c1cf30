"""Where Job 1 spends its time: docs/performance.svg, and the shares of its parts.

py-spy samples the worker from its first signal on, twice: for the picture and for the shares. It
needs the right to read another process (root, or ``kernel.yama.ptrace_scope=0``).

    python -m bench.flame [--events 3000000]
"""

import argparse
import re
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

from bench.contest import Watched, started
from bench.environments import py_spy
from bench.pipeline import services
from bench.speed import EVENTS, Ring, ours
from bench.workload import Load, fill
from marketlag.topics import RSS_EVENTS

PICTURE = Path(__file__).parents[1] / "docs" / "performance.svg"
SECONDS = 6
#: A stack belongs to the first of these whose text is in one of its frames.
PARTS = {
    "the loop (decoding included)": "(marketlag/rules/signals.py",
    "making records of batches, checking CRCs": "Packed.unpack",
    "sending signals and late articles": "/producer/",
    "receiving: sockets, copies, aiokafka's fetcher": "Thread-1",
    "Faust, event loops, the rest": "",
}


def record(pid: int, form: str, to: Path) -> None:
    """Sample a process for ``SECONDS``."""
    command = [py_spy(), "record", "-r", "300", "-d", str(SECONDS), "-f", form, "-o", str(to)]
    done = subprocess.run(
        [*command, "--threads", "-p", str(pid)], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"py-spy: {done.stderr.strip()}")


def shares(raw: Path) -> Counter[str]:
    """Samples by part."""
    found: Counter[str] = Counter()
    for line in raw.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        part = next(name for name, text in PARTS.items() if text in stack)
        found[part] += int(count)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--events", type=int, default=EVENTS)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        services(Path(name), partitions=6, startup_delay="100ms") as here,
    ):
        here.client.run(fill(here.settings, RSS_EVENTS, Load(options.events)), timeout=3_600)
        for number, (form, to) in enumerate(
            {"flamegraph": PICTURE, "raw": Path(name) / "samples"}.items()
        ):
            folder = here.folder / form
            folder.mkdir()
            job = ours(Ring(here, folder), number)
            with Watched(here.client, job) as count, started(job, folder / "log") as process:
                while not count.new():
                    time.sleep(0.05)
                record(process.pid, form, to)
        # py-spy's title is its command line, with the paths of this machine.
        title = re.compile("[^<>]*py-spy record[^<>]*")
        PICTURE.write_text(title.sub("Job 1 over the log", PICTURE.read_text()))
        found = shares(Path(name) / "samples")
    for part, samples in found.most_common():
        print(f"{samples / found.total():4.0%}  {part}")


if __name__ == "__main__":
    main()
