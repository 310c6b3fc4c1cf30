"""What each part of the dataflow reads, writes and keeps, as it declares it beside its code.

A test holds the declarations against what a worker at work sends, by its metrics.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Part(NamedTuple):
    """An agent, or the producers.

    Attributes:
        reads, writes: topics.
        tables: its tables, which it alone writes.
        sources, stores: what is outside of Kafka: feeds and APIs, and tables of Postgres.
    """

    name: str
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    stores: tuple[str, ...] = ()


def mermaid(parts: Iterable[Part], *, hidden: Iterable[str] = ()) -> str:
    """The dataflow as a Mermaid flowchart; *hidden* topics are left out."""
    out_of_sight = set(hidden)
    lines = ["flowchart LR"]
    # What comes from outside stands first.
    for part in sorted(parts, key=lambda part: not part.sources):
        lines += _edges(part, out_of_sight)
    # A node is drawn in the shape of its first mention.
    return "\n".join(dict.fromkeys(lines))


def _edges(part: Part, hidden: set[str]) -> Iterator[str]:
    agent = f"{_id('agent', part.name)}[{part.name}]"
    for source in part.sources:
        yield f"    {_id('source', source)}([{source}]) --> {agent}"
    for topic in part.reads:
        if topic not in hidden:
            yield f"    {_topic(topic)} --> {agent}"
    for table in part.tables:
        yield f"    {agent} <-.-> {_id('table', table)}[({table})]"
    for topic in part.writes:
        if topic not in hidden:
            yield f"    {agent} --> {_topic(topic)}"
    for store in part.stores:
        yield f"    {agent} --> {_id('store', store)}[(Postgres {store})]"


def _topic(name: str) -> str:
    return f"{_id('topic', name)}[/{name}/]"


def _id(kind: str, name: str) -> str:
    return f"{kind}_{''.join(c if c.isalnum() else '_' for c in name)}"
