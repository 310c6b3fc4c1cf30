"""The demo's week flags what it was built to flag, and its traps are real."""

import json

import msgspec

from marketlag.event_time import DAY, HOUR, MINUTE, parse_ms
from marketlag.replay.inputs import Outgoing
from marketlag.rules.facts import LagState
from marketlag.rules.lags import LagRules, Tracked, fold_prices, fold_signals
from marketlag.rules.prices import check_all
from marketlag.rules.signals import SignalState, fold
from marketlag.sample import SCRIPTS, START, make_sample
from tests.support.logs import Record, heartbeat, record

#: All of it arrives when the week is over.
ARRIVED = START + 30 * DAY


def to_log(sent: list[Outgoing]) -> list[Record]:
    return [
        record(i, json.loads(each.value), key=each.key, timestamp=ARRIVED)
        for i, each in enumerate(sent)
    ]


def flagged(articles: list[Record], *, delay: int = 5 * MINUTE) -> set[tuple[str, int]]:
    newest = max(parse_ms(json.loads(each.value or b"")["published_at"]) for each in articles)
    closing = record(len(articles), heartbeat(newest + 2 * DAY), timestamp=ARRIVED)
    signals = fold(SignalState(size=HOUR, delay=delay), [*articles, closing]).signals
    prices = check_all(to_log(make_sample().prices)).prices
    state, rules, tracked = LagState(), LagRules(), Tracked()
    fold_prices(
        state,
        [Record(i, msgspec.json.encode(each.price)) for i, each in enumerate(prices)],
        rules,
        tracked,
    )
    encoded = [Record(i, msgspec.json.encode(each.signal)) for i, each in enumerate(signals)]
    rows = [timed.row for timed in fold_signals(state, encoded, rules, tracked).rows]
    return {(row.market, parse_ms(row.window)) for row in rows if row.lag_flag}


def test_exactly_the_built_hours_are_flagged() -> None:
    """Five lags; the hours in which the price moved along are not among them."""
    sample = make_sample()
    assert flagged(to_log(sample.articles)) == sample.flagged
    assert len(sample.flagged) == 5
    assert sum(len(script.moves) for script in SCRIPTS) == 4


def test_the_week_is_the_same_at_every_run() -> None:
    """To the byte."""
    assert make_sample() == make_sample()


def test_counting_duplicates_would_flag_more() -> None:
    """So the sample shows that they are not counted."""
    sample = make_sample()
    anonymous = [
        record(
            i,
            {k: v for k, v in json.loads(each.value).items() if k != "article_id"},
            timestamp=ARRIVED,
        )
        for i, each in enumerate(sample.articles)
    ]
    assert flagged(anonymous) > sample.flagged


def test_counting_late_articles_would_flag_more() -> None:
    """So the sample shows that they are not counted either."""
    sample = make_sample()
    assert flagged(to_log(sample.articles), delay=DAY) > sample.flagged


def test_some_hours_have_no_price_and_some_no_articles() -> None:
    """Missing prices and quiet nights are part of the week."""
    sample = make_sample()
    hours = {(each.key, (each.time or 0) // HOUR) for each in sample.articles}
    assert len(sample.prices) < 3 * 7 * 24
    assert len(hours) < 3 * 7 * 24
