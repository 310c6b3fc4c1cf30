"""Logs: a line an event, for people; or an object of JSON a line, for whoever collects them."""

import re
from typing import Any

from mode.utils.logging import (
    DEFAULT_COLOR_FORMAT,
    DEFAULT_COLORS,
    DEFAULT_FORMAT,
    DefaultFormatter,
    ExtensionFormatter,
)
from pythonjsonlogger.msgspec import MsgspecFormatter

#: mode's loggers begin their messages with the service: ``[^--Consumer]: fetching again``.
_SERVICE = re.compile(r"\[\^-*([\w.]+)[^\]]*\]: ")
_TABLE = re.compile(r":?\n\+.*", re.DOTALL)


def config(kind: str) -> dict[str, Any]:
    """Faust's logging configuration with our formatters; *kind* is ``text`` or ``json``."""
    name = "marketlag.logs"
    if kind == "json":
        formatter = {"()": f"{name}.JsonFormatter"}
        return {"merge": True, "formatters": {"default": formatter, "colored": formatter}}
    return {
        "merge": True,
        "formatters": {
            "default": {"()": f"{name}.FileFormatter", "format": DEFAULT_FORMAT},
            "colored": {
                "()": f"{name}.StreamFormatter",
                "format": DEFAULT_COLOR_FORMAT,
                "log_colors": DEFAULT_COLORS,
            },
        },
    }


def one_line(message: str) -> str:
    """Faust draws tables of partitions and offsets into its log; these go."""
    return " | ".join(_TABLE.sub("", message).splitlines())


class FileFormatter(DefaultFormatter):
    """A line a message; a traceback, which only a bug or a crash has, stays as it is."""

    def formatMessage(self, record: Any) -> str:  # noqa: N802 - logging's own name
        record.message = one_line(record.message)
        return super().formatMessage(record)


class StreamFormatter(ExtensionFormatter):
    """The same, in colours on a terminal."""

    def formatMessage(self, record: Any) -> str:  # noqa: N802
        record.message = one_line(record.message)
        return str(super().formatMessage(record))


class JsonFormatter(MsgspecFormatter):
    """``time``, ``level``, ``logger``, ``service``, ``message``, then what ``extra`` has.

    A traceback is a field like any other: an event is a line.
    """

    def __init__(self) -> None:
        super().__init__("%(levelname)s%(name)s%(message)s", style="%", timestamp="time")

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        log_data = super().process_log_record(log_data)
        message = one_line(str(log_data.pop("message", "")))
        service = _SERVICE.match(message)
        found = {
            "time": log_data.pop("time"),
            "level": log_data.pop("levelname").lower(),
            "logger": log_data.pop("name"),
        }
        if service is not None:
            found["service"] = service[1]
            message = message[service.end() :]
        found["message"] = message
        # mode's own convention for what a line is about: extra={"data": {"partition": 0}}.
        found |= log_data.pop("data", {})
        return found | log_data
