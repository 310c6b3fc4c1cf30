"""A broker and a database from wheels, for trying and testing. Production is a real Kafka."""

from types import TracebackType
from typing import Self


class Embedded:
    """Something that runs until it is stopped, at the end of its ``with`` at the latest."""

    def __enter__(self) -> Self:
        return self

    def stop(self) -> object:
        """Stop it, and wait until it has stopped."""
        raise NotImplementedError

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
