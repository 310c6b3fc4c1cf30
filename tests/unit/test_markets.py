"""markets.toml: which feeds are read for which markets, and how much a source counts."""

from pathlib import Path

import pytest

from marketlag.commands.markets import with_entry
from marketlag.errors import SettingsError
from marketlag.markets import Markets, load_markets
from producers.matching import Matcher, records
from producers.polymarket import PolymarketMarket
from producers.rss import FeedArticle


def test_a_source_counts_by_its_name_else_by_its_host() -> None:
    markets = Markets.model_validate({"sources": {"Reuters": 1.0, "ft.com": 0.9, "x.ft.com": 0.1}})
    assert markets.source_weight("REUTERS", "www.ft.com") == 1.0
    assert markets.source_weight("Financial Times", "www.ft.com") == 0.9
    assert markets.source_weight("", "x.ft.com") == 0.1
    assert markets.source_weight("Blog", "notft.com") == 0.7
    assert markets.source_weight("Blog") == 0.7


def test_feeds_and_the_markets_that_they_are_read_for() -> None:
    a, b = "https://a/", "https://b/"
    markets = Markets.model_validate(
        {"market": [{"slug": "x", "feeds": [a, b, a]}, {"slug": "y", "feeds": [b]}]}
    )
    assert markets.feeds == {a: ["x"], b: ["x", "y"]}


def test_a_feed_that_is_no_url_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "markets.toml"
    path.write_text('[[market]]\nslug = "x"\nfeeds = ["feeds.xml"]\n')
    with pytest.raises(SettingsError, match=r"MARKETLAG_MARKETS: .*market.0.feeds.0: "):
        load_markets(path)


def test_keywords_are_whole_words_in_any_case_in_title_and_summary() -> None:
    """Negative weights count, and an article whose weights cancel still concerns its market."""
    markets = Markets.model_validate(
        {"market": [{"slug": "fed", "keywords": {"Fed": 1.5, "dovish": -1.5, "rate hike": 2.0}}]}
    )
    article = FeedArticle(
        article_id="1",
        title="FED: dovish",
        link="https://a.org/1",
        summary="Federal. dovish-ish, no rate  hikes",
        source="A",
        published_at=0,
    )
    outbox = Matcher(markets).match(article, ["fed"], 0)
    assert outbox is not None
    [record] = records(outbox)
    assert record.keyword_scores == {"Fed": 1.5, "dovish": -3.0}
    assert record.keyword_score == -1.5


def test_an_entry_is_added_behind_the_others() -> None:
    text = '# mine\n[[market]]\nslug = "a" # first\n\n[sources]\nReuters = 1.0\n'
    found = PolymarketMarket(
        market_slug="b",
        question='Will "b"?',
        outcomes=["Up", "Down"],
        token_ids=["1", "2"],
        closed=False,
    )
    written = with_entry(text, found)
    assert written.startswith('# mine\n[[market]]\nslug = "a" # first\n')
    assert with_entry("", found).startswith('[[market]]\nslug = "b"\n')
    import tomllib

    entries = tomllib.loads(written)["market"]
    assert [entry["slug"] for entry in entries] == ["a", "b"]
    assert entries[1] == {
        "slug": "b",
        "question": 'Will "b"?',
        "outcomes": ["Up", "Down"],
        "outcome": "Up",
        "feeds": [],
        "keywords": {},
    }
