"""Event time as integers: milliseconds since 1970-01-01T00:00:00Z.

Windows and watermarks compare times millions of times, so inside MarketLag a time is an
``int``; ISO-8601 is for the wire. Digits finer than a millisecond are truncated, as Flink's
``TIMESTAMP(3)`` does.
"""

import re
from datetime import UTC, datetime, timedelta

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
# Nearly every time on the wire looks like 2025-01-01T06:24:34[.397]Z. That shape is three
# dictionary look-ups: the hour is remembered once it was parsed, the rest is known beforehand.
_HOURS: dict[str, int] = {}
_MAX_HOURS = 10_000
_IN_HOUR = {
    f"{minute:02d}:{second:02d}": minute * MINUTE + second * SECOND
    for minute in range(60)
    for second in range(60)
}
_FRACTIONS = {"Z": 0, **{f".{ms:03d}Z": ms for ms in range(SECOND)}}


def parse_ms(text: str) -> int:
    """Parse an ISO-8601 time with a zone into milliseconds since the epoch.

    Raises ``ValueError`` for anything else, also for a time without a zone: guessing the zone
    would move an article to another hour.
    """
    try:
        return _HOURS[text[:14]] + _IN_HOUR[text[14:19]] + _FRACTIONS[text[19:]]
    except KeyError:
        time = _parse_any(text)
        if text[10] == "T" and text[19:] in _FRACTIONS:
            if len(_HOURS) >= _MAX_HOURS:
                _HOURS.clear()
            _HOURS[text[:14]] = time - time % HOUR
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
    moment = _EPOCH + timedelta(milliseconds=ms)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{ms % SECOND:03d}Z" if ms % SECOND else f"{text}Z"


def from_datetime(moment: datetime) -> int:
    """Milliseconds since the epoch of an aware ``datetime``."""
    return (moment - _EPOCH) // _MILLISECOND
