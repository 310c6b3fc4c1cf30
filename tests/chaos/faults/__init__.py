"""The faults. Each is a script over an ``Arena``: it lets the workload flow and breaks something.

When it returns, everything that it broke is whole again, and the run goes on to its end by itself.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.chaos.arena import Arena

Script = Callable[[Arena], None]


class Impossible(Exception):
    """This machine cannot do it; the text says why."""


@dataclass(frozen=True)
class Fault:
    """A script, and the arena that it needs."""

    name: str
    about: str
    script: Script
    workers: int = 2
    nodes: int = 1
    proxied: bool = False
    chaos: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)


FAULTS: dict[str, Fault] = {}


def fault(
    name: str,
    *,
    workers: int = 2,
    nodes: int = 1,
    proxied: bool = False,
    chaos: dict[str, str] | None = None,
    settings: dict[str, str] | None = None,
) -> Callable[[Script], Script]:
    """Register a script; the first line of its docstring is what the reports say."""

    def register(script: Script) -> Script:
        about = (script.__doc__ or "").strip().splitlines()[0].rstrip(".")
        FAULTS[name] = Fault(
            name, about, script, workers, nodes, proxied, chaos or {}, settings or {}
        )
        return script

    return register


def choose(names: Iterable[str]) -> list[Fault]:
    """The faults of these names; all for none. Raises ``SystemExit`` with the names there are."""
    from tests.chaos.faults import broker, database, logs, processes, state

    assert all((broker, database, logs, processes, state))
    chosen = list(names) or list(FAULTS)
    unknown = [name for name in chosen if name not in FAULTS]
    if unknown:
        raise SystemExit(f"no fault {', '.join(unknown)}; there are: {', '.join(FAULTS)}")
    return [FAULTS[name] for name in chosen]
