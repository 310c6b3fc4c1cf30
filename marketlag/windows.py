"""Event-time windows, as Flink's TUMBLE and HOP assign them: aligned to the epoch, in UTC.

A window ``[start, end)`` is named by its start; all figures are milliseconds. Faust's
``TumblingWindow`` (the tables declare theirs with it) and ``HoppingWindow`` assign the same; a test
holds both equal.
"""


def tumbling(timestamp: int, size: int) -> int:
    """Start of the one tumbling window that holds *timestamp*."""
    return timestamp - timestamp % size


def hopping(timestamp: int, size: int, step: int) -> list[int]:
    """Starts of all hopping windows that hold *timestamp*, ascending."""
    newest = timestamp - timestamp % step
    oldest = newest - (size - 1 - timestamp % step) // step * step
    return list(range(oldest, newest + 1, step))


def closes(end: int, watermark: int) -> bool:
    """Whether a window that ends at *end* is complete at *watermark*.

    Flink's event-time trigger fires when the watermark passes the window's last millisecond.
    """
    return watermark >= end - 1
