"""What is usual for a market: the signals of the 24 hours before a window.

A baseline is the hopping window of 24 h, by the length of a window, that ends where the window
begins. It is made of the closed windows' facts, never counted up: computing it again, whenever and
wherever, gives the same one.
"""

import math
from collections.abc import Sequence

import msgspec

from marketlag.event_time import DAY

#: Length of the hopping window (ms).
BASELINE_MS = DAY
#: With fewer windows a deviation says nothing.
MIN_WINDOWS = 3


class Baseline(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A market's signals over 24 hours.

    Attributes:
        count: windows with articles.
        mean: of their signals; 0 without any.
        deviation: population standard deviation; 0 exactly if all are equal.
        mentions: articles so far at the window it is for, that one's included: as long as the
            window's fact has as many, the baseline is made of what the fact is made of.
    """

    count: int
    mean: float
    deviation: float
    mentions: int = 0


def baseline_of(signals: Sequence[float], mentions: int = 0) -> Baseline:
    """The baseline of these signals."""
    if not signals:
        return Baseline(0, 0.0, 0.0, mentions)
    if min(signals) == max(signals):
        # The mean of three times 0.1 is not 0.1, and would leave a deviation to divide by.
        return Baseline(len(signals), signals[0], 0.0, mentions)
    mean = math.fsum(signals) / len(signals)
    variance = math.fsum((signal - mean) ** 2 for signal in signals) / len(signals)
    return Baseline(len(signals), mean, math.sqrt(variance), mentions)


def zscore(signal: float, baseline: Baseline) -> float | None:
    """How many standard deviations a signal lies above what is usual.

    ``None`` below three windows or without deviation.
    """
    if baseline.count < MIN_WINDOWS or not baseline.deviation:
        return None
    return (signal - baseline.mean) / baseline.deviation
