"""Our commands, beside Faust's own in ``faust -A marketlag``."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import click
from aiokafka.errors import KafkaError
from faust.cli.base import cli

from marketlag.errors import MarketLagError

P = ParamSpec("P")
R = TypeVar("R")


def command(group: click.Group = cli, **options: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A command whose ``MarketLagError`` is one line and exit code 1."""

    def register(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except MarketLagError as exc:
                raise click.ClickException(str(exc)) from None
            except KafkaError as exc:
                raise click.ClickException(f"Kafka: {exc}") from None

        # Click makes the examples in a docstring a paragraph; \b keeps their lines.
        group.command(**options)(run)
        return function

    return register
