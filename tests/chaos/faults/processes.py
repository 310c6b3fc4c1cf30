"""Workers that die, stop, hang, come and go."""

import signal
import time

from tests.chaos.arena import SESSION, Arena
from tests.chaos.faults import fault


@fault("calm")
def calm(arena: Arena) -> None:
    """Nothing happens: two workers share the work"""
    arena.feed()


@fault("sigkill")
def sigkill(arena: Arena) -> None:
    """SIGKILL at random moments, again and again"""
    arena.feed()
    for _ in range(arena.rng.randrange(2, 6)):
        arena.pause(0.3, 4)
        arena.strike()
        arena.rng.choice(arena.alive()).kill()


@fault("sigkill-all")
def sigkill_all(arena: Arena) -> None:
    """SIGKILL to all workers at once, twice"""
    arena.feed()
    for _ in range(2):
        arena.pause(1, 7)
        arena.strike()
        for worker in arena.alive():
            worker.kill()


@fault("sigterm")
def sigterm(arena: Arena) -> None:
    """SIGTERM at random moments, again and again"""
    arena.feed()
    for _ in range(arena.rng.randrange(2, 6)):
        arena.pause(0.3, 4)
        arena.strike()
        arena.rng.choice(arena.alive()).signal(signal.SIGTERM)


def _die_at(arena: Arena, failpoint: str, **chaos: str) -> None:
    """Two workers that die at their n-th time of coming by; the run ends after both have."""
    for _ in range(2):
        arena.add_worker(CHAOS_FAILPOINT=f"{failpoint}:{arena.rng.randrange(1, 7)}", **chaos)
    arena.feed()
    arena.wait_until(lambda: len(arena.strikes) == 2, f"both workers to die {failpoint}")


@fault("die-after-upsert", workers=0)
def die_after_upsert(arena: Arena) -> None:
    """SIGKILL between the Postgres commit and the offset commit"""
    _die_at(arena, "after-upsert")


@fault("die-before-commit", workers=0)
def die_before_commit(arena: Arena) -> None:
    """SIGKILL between the changelog flush and the offset commit"""
    _die_at(arena, "before-commit")


@fault("die-after-commit", workers=0)
def die_after_commit(arena: Arena) -> None:
    """SIGKILL right after an offset commit, while every send takes a second"""
    _die_at(arena, "after-commit", CHAOS_SLOW_SENDS="1")


@fault("die-before-send", workers=0)
def die_before_send(arena: Arena) -> None:
    """SIGKILL between closing a window and sending its row"""
    _die_at(arena, "before-send")


@fault("die-before-facts", workers=0)
def die_before_facts(arena: Arena) -> None:
    """SIGKILL with a fact in RocksDB that is nowhere else yet"""
    _die_at(arena, "before-facts")


@fault("lost-chunks", workers=0)
def lost_chunks(arena: Arena) -> None:
    """Chunks vanish between Kafka and the agents, as in stock Faust's queues"""
    for _ in range(2):
        arena.add_worker(CHAOS_LOSE="5", CHAOS_DROP=str(arena.rng.randrange(5, 60)))
    arena.strike()
    arena.feed()


@fault("sigstop")
def sigstop(arena: Arena) -> None:
    """SIGSTOP for longer than the session, then SIGCONT: a zombie"""
    arena.feed(seconds=16)
    for _ in range(2):
        arena.pause(0.5, 4)
        worker = arena.rng.choice(arena.alive())
        arena.strike()
        worker.signal(signal.SIGSTOP)
        time.sleep(SESSION)
        arena.pause(0.2, 3)
        worker.signal(signal.SIGCONT)


@fault("churn", workers=1)
def churn(arena: Arena) -> None:
    """Workers join and leave every 2 s"""
    arena.feed(seconds=14)
    for _ in range(3):
        worker = arena.add_worker()
        time.sleep(2)
        arena.strike()
        arena.remove_worker(arena.rng.choice([worker, arena.alive()[0]]))
        if not arena.alive():
            arena.add_worker()
        time.sleep(2)


@fault("scale", workers=1)
def scale(arena: Arena) -> None:
    """1 to 3 to 1 workers under load"""
    arena.feed(seconds=16)
    arena.pause(1, 3)
    added = [arena.add_worker(), arena.add_worker()]
    arena.strike()
    arena.pause(4, 7)
    for worker in added:
        arena.strike()
        arena.remove_worker(worker)


@fault("rolling")
def rolling(arena: Arena) -> None:
    """A rolling restart of two workers under load, one after the other"""
    arena.feed(seconds=16)
    for worker in list(arena.workers):
        arena.wait_for_log(worker, "Worker ready")
        arena.pause(0.5, 2)
        ready = worker.log.count("Worker ready")
        arena.strike()
        code = worker.stop()
        if code:
            arena.problems.append(f"{worker.name} ended with code {code} at SIGTERM")
        worker.start()
        arena.wait_for_log(worker, "Worker ready", times=ready + 1)
