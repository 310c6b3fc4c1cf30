"""A Postgres that is away, refuses, or has no connection to give."""

import time

from tests.chaos.arena import Arena
from tests.chaos.database import Crowd, Rival
from tests.chaos.faults import fault


@fault("postgres-killed")
def postgres_killed(arena: Arena) -> None:
    """Postgres killed, and back after 30 s"""
    arena.feed()
    arena.pause(2, 6)
    arena.strike()
    arena.database.kill()
    time.sleep(30)
    arena.database.resume()


@fault("postgres-flaps")
def postgres_flaps(arena: Arena) -> None:
    """Postgres killed and back at once, again and again, and a worker with it"""
    arena.feed()
    for _ in range(3):
        arena.pause(1, 3)
        arena.strike()
        arena.database.kill()
        arena.rng.choice(arena.alive()).kill()
        arena.pause(0.1, 1)
        arena.database.resume()


@fault("postgres-refuses")
def postgres_refuses(arena: Arena) -> None:
    """Serialisation failures, deadlocks, locks not got, and a rival for the same rows"""
    arena.database.isolate()
    rival = Rival(arena.database)
    rival.come()
    arena.strike()
    arena.database.refuse_some()
    arena.feed()
    arena.wait_fed(1.0)
    arena.pause(1, 3)
    arena.database.accept_all()
    rival.leave()


@fault("pool-exhausted")
def pool_exhausted(arena: Arena) -> None:
    """Every connection of Postgres taken by others for some seconds"""
    arena.feed()
    arena.pause(2, 4)
    crowd = Crowd(arena.database)
    arena.strike()
    crowd.come()
    arena.pause(4, 8)
    crowd.leave()
