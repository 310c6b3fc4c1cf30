"""Local state that is gone, damaged, or has no room."""

import os
import random
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

from tests.chaos.arena import Arena
from tests.chaos.faults import Impossible, fault

DISK_BYTES = 24 * 1024 * 1024
DAMAGED_BYTES = 64


@fault("state-deleted")
def state_deleted(arena: Arena) -> None:
    """SIGKILL, and the local state folder deleted"""
    arena.feed(seconds=14)
    for _ in range(2):
        arena.pause(2, 5)
        worker = arena.rng.choice(arena.alive())
        arena.strike()
        ready = worker.log.count("Worker ready")
        arena.restart(worker, lambda state: shutil.rmtree(state, ignore_errors=True))
        arena.wait_for_log(worker, "Worker ready", times=ready + 1)
        if "restoring tables from their changelogs" not in worker.log:
            arena.problems.append(f"{worker.name} was rebuilt without a progress line")


@fault("state-corrupted")
def state_corrupted(arena: Arena) -> None:
    """SIGKILL, and bytes of the local state overwritten"""
    arena.feed(seconds=14)
    for _ in range(2):
        arena.pause(2, 5)
        worker = arena.rng.choice(arena.alive())
        arena.strike()
        arena.restart(worker, lambda state: _damage(state, arena.rng))


def _damage(state: Path, rng: random.Random) -> None:
    """Overwrite a piece in one of three files that RocksDB reads."""
    files = [
        path
        for path in sorted(state.rglob("*"))
        if path.is_file() and path.stat().st_size and not path.name.startswith("LOG")
    ]
    for path in files:
        if rng.random() < 0.3:
            with path.open("r+b") as damaged:
                damaged.seek(rng.randrange(path.stat().st_size))
                damaged.write(rng.randbytes(DAMAGED_BYTES))


@fault("disk-full", workers=0)
def disk_full(arena: Arena) -> None:
    """The disk of the local state full for some seconds"""
    if os.geteuid() != 0:
        raise Impossible("only root may mount a small disk")
    with ExitStack() as stack:
        disks = []
        for _ in range(2):
            disk = arena.folder / f"disk-{len(disks)}"
            disk.mkdir()
            _run("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk))
            stack.callback(_run, "umount", "--lazy", str(disk))
            disks.append(disk)
            arena.add_worker(MARKETLAG_DATADIR=str(disk / "state"))
        arena.feed(seconds=14)
        for _ in range(2):
            arena.pause(1, 4)
            disk = arena.rng.choice(disks)
            arena.strike()
            _fill(disk / "ballast")
            arena.pause(2, 4)
            (disk / "ballast").unlink()
        arena.finish()
        arena.end_workers()


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        for size in (65_536, 4_096, 512):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
