"""Event time as integers: milliseconds since 1970-01-01T00:00:00Z.

Windows and watermarks compare times millions of times, so inside MarketLag a time is an
``int``; ISO-8601 is for the wire. Digits finer than a millisecond are truncated, as Flink's
``TIMESTAMP(3)`` does.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

#: Before every time that a record can carry: the watermark of a partition that was not read yet.
BEGINNING = -(2**62)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:[.,](\d+))?([Zz]|[+-]\d\d:?\d\d)?", re.ASCII
)
# Nearly every time on the wire looks like 2025-01-01T06:24:34[.397]Z. That shape is two dictionary
# look-ups once its minute, and its place in the minute, have been parsed.
_MINUTES: dict[str, int] = {}
_MAX_MINUTES = 100_000
_IN_MINUTE: dict[str, int] = {}  # 60,060 at the most
_USUAL = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{3})?Z", re.ASCII)


def parse_ms(text: str) -> int:
    """Parse an ISO-8601 time with a zone into milliseconds since the epoch.

    Raises ``ValueError`` for anything else, also for a time without a zone: guessing the zone
    would move an article to another hour.
    """
    try:
        return _MINUTES[text[:16]] + _IN_MINUTE[text[16:]]
    except KeyError:
        time = _parse_any(text)
        if _USUAL.fullmatch(text):
            if len(_MINUTES) >= _MAX_MINUTES:
                _MINUTES.clear()
            _MINUTES[text[:16]] = time - time % MINUTE
            _IN_MINUTE[text[16:]] = time % MINUTE
        return time


def _parse_any(text: str) -> int:
    match = _ISO.fullmatch(text)
    if match is None:
        raise ValueError(f"not an ISO-8601 time: {text[:40]!r}")
    day, clock, fraction, zone = match.groups()
    if zone is None:
        raise ValueError(f"a time without a zone: {text[:40]!r}")
    if not "1970" <= day < "2200":
        raise ValueError(f"not a time between 1970 and 2200: {text[:40]!r}")
    moment = datetime.fromisoformat(f"{day}T{clock}{'+00:00' if zone in 'Zz' else zone}")
    return (moment - _EPOCH) // _MILLISECOND + int(f"{fraction or ''}000"[:3])


def format_ms(ms: int) -> str:
    """ISO-8601 in UTC with ``Z``; milliseconds only where there are some."""
    days, rest = divmod(ms, DAY)
    seconds, fraction = divmod(rest, SECOND)
    text = f"{_date(days)}T{seconds // 3_600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{text}.{fraction:03d}Z" if fraction else f"{text}Z"


@lru_cache(maxsize=10_000)
def _date(days: int) -> str:
    return (_EPOCH + timedelta(days=days)).strftime("%Y-%m-%d")


def from_datetime(moment: datetime) -> int:
    """Milliseconds since the epoch of an aware ``datetime``."""
    return (moment - _EPOCH) // _MILLISECOND
