"""``faust -A tests.support.breakable_worker worker``: a worker that can be told to stand still.

On ``BLOCK_AGENTS`` the agents' event loop is blocked, on ``BLOCK_KAFKA`` the one that talks to
Kafka, for as long as the file exists that ``BLOCK_WHILE`` names.
"""

import os
import signal
import time
from pathlib import Path
from types import FrameType

#: Faust has uses of its own for SIGUSR1 and SIGUSR2.
BLOCK_AGENTS, BLOCK_KAFKA = signal.SIGRTMIN, signal.SIGRTMIN + 1
BLOCK_WHILE = Path(os.environ.get("BLOCK_WHILE", "/nonexistent"))


def block() -> None:
    while BLOCK_WHILE.exists():
        time.sleep(0.05)


def block_agents(_signal: int, _frame: FrameType | None) -> None:
    """Python's handlers run in the main thread, which has the agents' loop."""
    block()


def block_kafka(_signal: int, _frame: FrameType | None) -> None:
    from marketlag.application import app

    loop = app.reader.thread_loop
    assert loop is not None
    loop.call_soon_threadsafe(block)


def install() -> None:
    signal.signal(BLOCK_AGENTS, block_agents)
    signal.signal(BLOCK_KAFKA, block_kafka)


if "BLOCK_WHILE" in os.environ:
    from marketlag.application import app

    assert app
    install()
