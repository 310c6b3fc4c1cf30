"""Event-time windows, as Flink's TUMBLE assigns them: aligned to the epoch, in UTC.

A window ``[start, end)`` is named by its start; all figures are milliseconds. Faust's
``TumblingWindow``, which the tables declare theirs with, assigns the same; a test holds them equal.
"""


def tumbling(timestamp: int, size: int) -> int:
    """Start of the one tumbling window that holds *timestamp*."""
    return timestamp - timestamp % size


def closes(end: int, watermark: int) -> bool:
    """Whether a window that ends at *end* is complete at *watermark*.

    Flink's event-time trigger fires when the watermark passes the window's last millisecond.
    """
    return watermark >= end - 1
