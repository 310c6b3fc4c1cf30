"""``faust -A tests.support.fast_worker worker``: a worker whose producers live in a faster time.

``FAST_CLOCK=<begin>:<origin>:<speed>``: at *begin* (real time, ms) it is *origin* (ms), and from
then on time passes *speed* times as fast. Kafka's and the agents' time stays what it is.
``DIE_WHEN=read|published`` kills it at that moment of its first articles.
"""

import os
import signal
import time
from collections.abc import Callable

import producers.service
from marketlag.application import app
from producers.state import SeenFact
from tables.rss_seen import rss_seen

assert app


def fast_clock(begin: int, origin: int, speed: int) -> Callable[[], int]:
    return lambda: origin + (int(time.time() * 1_000) - begin) * speed


if chosen := os.environ.get("FAST_CLOCK"):
    producers.service.now_ms = fast_clock(*map(int, chosen.split(":")))


def die(when: str) -> None:
    """SIGKILL this process: ``read``, with articles noted and not published, or ``published``."""
    put = rss_seen.put

    def putting(partition: int, *key: str, fact: SeenFact) -> None:
        before = rss_seen.fact(partition, *key)
        if when == "published" and before is not None and before.outbox and not fact.outbox:
            os.kill(os.getpid(), signal.SIGKILL)
        put(partition, *key, fact=fact)
        if when == "read" and fact.outbox:
            os.kill(os.getpid(), signal.SIGKILL)

    rss_seen.put = putting  # type: ignore[method-assign]


if chosen := os.environ.get("DIE_WHEN"):
    die(chosen)
