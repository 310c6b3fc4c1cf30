import pytest
from faust.windows import TumblingWindow
from hypothesis import given
from hypothesis import strategies as st

from marketlag.event_time import HOUR, format_ms, parse_ms
from marketlag.windows import closes, tumbling
from tests.support.model import ms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:01.5Z", 1500),
        ("1970-01-01T00:00:00.1239999999Z", 123),
        ("1970-01-01T02:00:00.007+02:00", 7),
        ("1970-01-01T23:00:00-0100", 86_400_000),
        ("1970-01-01 00:00:59z", 59_000),
        ("1970-01-01T00:00:00.001+14:00", 1 - 14 * 3_600_000),
    ],
)
def test_a_time_is_milliseconds_and_finer_digits_are_cut(text: str, expected: int) -> None:
    """Any zone is read; digits finer than a millisecond are truncated, not rounded."""
    assert parse_ms(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2025-01-01",
        "2025-01-01T00:00:00",
        "2025-01-01T00:00Z",
        "2025-13-01T00:00:00Z",
        "2025-01-01T24:00:00Z",
        "2025-01-01T00:00:60Z",
        "2025-01-01T00:00: 1Z",
        "2025-01-01T00:00:01.Z",
        "2025-01-01T00:00:01.٣Z",
        "2025-01-01T00:00:00Zjunk",
        "1735689600",
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
    ],
)
def test_anything_else_is_not_a_time(text: str) -> None:
    """Also a time without a zone: guessing it would move an article to another hour."""
    with pytest.raises(ValueError):
        parse_ms(text)


@given(st.integers(0, 4_000_000_000_000))
def test_a_formatted_time_reads_back(time: int) -> None:
    """format and parse are each other's reverse, and agree with the standard library."""
    assert parse_ms(format_ms(time)) == time == ms(format_ms(time))


@given(st.integers(0, 4_000_000_000), st.sampled_from([60, 300, 900, 3600]))
def test_windows_are_those_of_faust(second: int, size: int) -> None:
    """Tumbling assignment is that of Faust's TumblingWindow, which the tables declare."""
    [(start, _)] = TumblingWindow(size).ranges(second)
    assert tumbling(second * 1000, size * 1000) == start * 1000


def test_a_window_is_complete_at_its_last_millisecond() -> None:
    """[10:00, 11:00) closes at watermark 10:59:59.999, not before."""
    assert closes(HOUR, HOUR - 1)
    assert not closes(HOUR, HOUR - 2)
