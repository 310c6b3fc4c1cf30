"""Polymarket's bodies."""

import itertools
import json

import pytest

from marketlag.errors import FetchError
from marketlag.event_time import HOUR, parse_ms
from producers.polymarket import (
    MAX_HISTORY_MS,
    PolymarketMarket,
    history_windows,
    price_calls,
    read_event,
    read_history,
    read_market,
    read_prices,
    slug_of,
)
from tests.support.realdata import needs_realdata, recorded

YES = "101676997363687199724245607342877036148401850938023978421879460310389391082353"


@needs_realdata
@pytest.mark.parametrize(
    ("name", "slug", "outcomes", "closed"),
    [
        ("gamma_market", "btc-updown-5m-1773307200", ["Up", "Down"], False),
        (
            "gamma_market_closed_binary_accepting_true",
            "russia-x-ukraine-ceasefire-by-end-of-2027",
            ["Yes", "No"],
            True,
        ),
        (
            "gamma_market_closed_binary_accepting_false",
            "katana-fdv-above-1b-one-day-after-launch-395-996",
            ["Yes", "No"],
            True,
        ),
        (
            "gamma_market_closed_zero_zero_legacy",
            "will-joe-biden-get-coronavirus-before-the-election",
            ["Yes", "No"],
            True,
        ),
        (
            "gamma_market_closed_nonbinary_legacy",
            (
                "what-will-the-total-value-locked-tvl-in-defi-be-at-the-end-of-2020-according-to-"
                "defipulse"
            ),
            ["Long", "Short"],
            True,
        ),
    ],
)
def test_recorded_markets(name: str, slug: str, outcomes: list[str], closed: bool) -> None:
    """Lists come out of their strings; closed is what Gamma says, whatever the orders do."""
    market = read_market(recorded(f"api/nautilus/{name}.json"))
    assert (market.market_slug, market.outcomes, market.closed) == (slug, outcomes, closed)
    assert len(market.token_ids) == len(outcomes)
    assert all(token.isdigit() for token in market.token_ids)


@needs_realdata
def test_recorded_sports_markets() -> None:
    for name in ("map_handicap", "money_line"):
        market = read_market(recorded(f"api/nautilus/gamma_market_sports_market_{name}.json"))
        assert market.closed
        assert len(market.outcomes) == len(market.token_ids) == 2


@needs_realdata
def test_a_recorded_event_of_several_markets() -> None:
    """The slug chooses; an event's own slug does not, and the error names the choice."""
    body = recorded("api/nautilus/gamma_event.json")
    slug = "will-gretchen-whitmer-win-the-2028-democratic-presidential-nomination-676"
    assert read_event(body, slug).market_slug == slug
    with pytest.raises(FetchError, match=f"name one of them: .*{slug}"):
        read_event(body, "democratic-presidential-nominee-2028")


@needs_realdata
def test_the_market_recorded_in_2026() -> None:
    body = json.loads(recorded("api/recorded-2026-02/gamma.json"))
    item = body["endpoints"]["GET /markets?active=true&closed=false&limit=5"]["sample_item"]
    market = read_market(json.dumps(item).encode())
    assert market.tokens["Yes"] == YES
    assert market.end_date == "2025-12-31T12:00:00Z"


@needs_realdata
def test_recorded_bodies_of_the_clob() -> None:
    quoted = json.loads(recorded("api/clob_bodies_quoted.json"))
    bodies = quoted[
        "polyoxide SPEC-deviations file (find_string id 71402526003, observed 2026-10-02)"
    ]
    prices = bodies["POST /prices [{token_id,side}]"]
    assert read_prices(json.dumps(prices).encode(), "bid") == {"<token>": 0.999}
    history = quoted["id 71031216012 (tested 2026-09-26)"]["GET /prices-history"]
    hour = parse_ms("2024-11-01T00:00:00Z")
    assert read_history(json.dumps(history).encode(), hour, hour) == {hour: 0.6325}


@needs_realdata
@pytest.mark.parametrize(
    "path", ["nautilus/http_order_response_error_500", "nautilus/clob_book_response"]
)
def test_recorded_bodies_of_something_else_are_errors(path: str) -> None:
    body = recorded(f"api/{path}.json")
    with pytest.raises(FetchError):
        read_market(body)
    with pytest.raises(FetchError):
        read_history(body, 0, HOUR)


def market(**fields: object) -> bytes:
    return json.dumps(
        {"slug": "s", "outcomes": '["Yes", "No"]', "clobTokenIds": '["1", "2"]', **fields}
    ).encode()


def test_a_market() -> None:
    assert read_market(market(question="Q?", endDate="2027-01-01T00:00:00Z", conditionId="c")) == (
        PolymarketMarket(
            market_slug="s",
            question="Q?",
            outcomes=["Yes", "No"],
            token_ids=["1", "2"],
            closed=False,
            end_date="2027-01-01T00:00:00Z",
            condition_id="c",
        )
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not a market: Input data was truncated"),
        (b"<html>", "not a market: JSON is malformed.*begins with '<html>'"),
        (market(clobTokenIds=None), "market s: 2 outcomes with 0 tokens"),
        (market(outcomes='["Yes"]'), "market s: 1 outcomes with 2 tokens"),
        (b"[" * 5_000, "not a market"),
        (market(outcomes="Yes"), "not the outcomes of market s"),
    ],
)
def test_a_market_that_cannot_be_used(body: bytes, reason: str) -> None:
    with pytest.raises(FetchError, match=reason):
        read_market(body)


def test_an_event_of_one_market_stands_for_it() -> None:
    body = b'[{"slug": "e", "markets": [' + market() + b"]}]"
    assert read_event(body, "e").market_slug == "s"
    with pytest.raises(FetchError, match="knows no market and no event 'e'"):
        read_event(b"[]", "e")


def test_slugs_come_out_of_addresses() -> None:
    assert slug_of("https://polymarket.com/event/e/some-market?tid=1") == "some-market"
    assert slug_of("https://polymarket.com/event/e/") == "e"
    assert slug_of(" some-market ") == "some-market"
    with pytest.raises(FetchError):
        slug_of("https://polymarket.com/")


def test_prices_are_strings_and_what_is_missing_is_missing() -> None:
    body = b'{"1": {"BUY": "0.999"}, "2": {"SELL": "0.1"}, "3": {"BUY": "nan"}, "4": {"BUY": "7"}}'
    assert read_prices(b'{"1": ' + b"9" * 400 + b"}", "midpoint") == {}
    assert read_prices(body, "bid") == {"1": 0.999}
    assert read_prices(b'{"1": "0.0455", "2": null}', "midpoint") == {"1": 0.0455}
    assert read_prices(b"{}", "bid") == {}
    with pytest.raises(FetchError, match="the CLOB says: Invalid payload"):
        read_prices(b'{"error": "Invalid payload"}', "bid")


def test_at_most_500_tokens_a_call() -> None:
    path, calls = price_calls([str(number) for number in range(501)], "bid")
    assert path == "/prices"
    assert [len(call) for call in calls] == [500, 1]
    assert calls[1] == [{"token_id": "500", "side": "BUY"}]
    assert price_calls(["1"], "midpoint") == ("/midpoints", [[{"token_id": "1"}]])
    assert price_calls([], "bid") == ("/prices", [])


def test_windows_of_history_are_at_most_15_days_and_leave_no_hour_out() -> None:
    start, end = parse_ms("2026-01-01T00:00:00Z"), parse_ms("2026-02-10T05:00:00Z")
    windows = history_windows(start, end)
    assert all(last - first + HOUR <= MAX_HISTORY_MS for first, last in windows)
    assert [windows[0][0], windows[-1][1]] == [start, end]
    assert all(a[1] + HOUR == b[0] for a, b in itertools.pairwise(windows))


def test_the_point_of_now_is_dropped_and_the_first_of_an_hour_counts() -> None:
    start = parse_ms("2026-01-01T00:00:00Z")
    points = [(3, 0.5), (3_000, 0.6), (7_300, 0.7), (900_000, 0.9)]
    body = json.dumps({"history": [{"t": start // 1_000 + t, "p": p} for t, p in points]}).encode()
    assert read_history(body, start, start + 2 * HOUR) == {start: 0.5, start + 2 * HOUR: 0.7}
    with pytest.raises(FetchError, match="not a history of prices"):
        read_history(b"\"'startTs' and 'endTs' interval is too long\"", start, start)
