"""What a replay reads."""

import json
from pathlib import Path

import pytest

from marketlag.errors import InputError
from marketlag.event_time import format_ms
from marketlag.markets import Markets
from marketlag.replay.inputs import Outgoing, read_articles, read_prices
from tests.support.logs import article, at, price

PRICES = """event,bracket,hour,open,close,low,high,n,vol
fed,up,2025-01-01 10:00:00+00:00,0.1,0.25,0.1,0.3,2,1.0
fed,up,2025-01-01 13:00:00+00:00,0.3,0.5,0.1,0.5,2,1.0
fed,no,2025-01-01 10:00:00+00:00,0.9,0.75,0.1,0.9,2,1.0
"""
HEADLINES = """first_seen_unix,source,url
{seen},reuters,https://example.com/2025/01/01/fed-weighs-rate-hike/index.html
{seen},blog,https://example.com/cats-and-dogs
{later},reuters,https://example.com/fed-after-the-last-price
"""
MARKETS = Markets.model_validate(
    {"sources": {"Reuters": 1.0}, "defaults": {"keywords": {"Fed": 2.0, "rate hike": 2.5}}}
)


def test_json_lines_are_sent_as_they_are(tmp_path: Path) -> None:
    """Keyed as their producers key them; a bad line goes on to be refused by the pipeline."""
    good = json.dumps(article(at("10:00")))
    (tmp_path / "a.jsonl").write_text(f"{good}\nnot json\n\n")
    (tmp_path / "p.jsonl").write_text(json.dumps(price(at("10:00"))))
    assert read_articles(tmp_path / "a.jsonl", Markets(), []) == [
        Outgoing(b"m", good.encode(), at("10:00")),
        Outgoing(None, b"not json", None),
    ]
    [sent] = read_prices(tmp_path / "p.jsonl")
    assert (sent.key, sent.time) == (b"m|YES", at("10:00"))


def test_each_bracket_of_a_price_csv_is_a_market(tmp_path: Path) -> None:
    """The price is the hour's last trade, the delta that to the last hour with one."""
    (tmp_path / "p.csv").write_text(PRICES)
    sent = [json.loads(each.value) for each in read_prices(tmp_path / "p.csv")]
    assert [(s["market_slug"], s["event_time"], s["price"], s["price_delta"]) for s in sent] == [
        ("fed-up", format_ms(at("10:00")), 0.25, 0.0),
        ("fed-no", format_ms(at("10:00")), 0.75, 0.0),
        ("fed-up", format_ms(at("13:00")), 0.5, 0.25),
    ]


def test_headlines_are_matched_by_the_words_of_their_url(tmp_path: Path) -> None:
    """With each market that has prices around that time."""
    (tmp_path / "p.csv").write_text(PRICES)
    seen = at("11:30") // 1000
    (tmp_path / "h.csv").write_text(HEADLINES.format(seen=seen, later=seen + 86_400))
    prices = read_prices(tmp_path / "p.csv")
    sent = [json.loads(each.value) for each in read_articles(tmp_path / "h.csv", MARKETS, prices)]
    assert [s["market_slug"] for s in sent] == ["fed-up"]
    assert sent[0]["keyword_scores"] == {"Fed": 2.0, "rate hike": 2.5}
    assert (sent[0]["keyword_score"], sent[0]["source_weight"]) == (4.5, 1.0)
    assert sent[0]["published_at"] == format_ms(at("11:30"))


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """Missing, without its columns, or with a broken figure."""
    with pytest.raises(InputError, match="cannot be read"):
        read_prices(tmp_path / "none.jsonl")
    (tmp_path / "p.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no column bracket, close, event, hour"):
        read_prices(tmp_path / "p.csv")
    (tmp_path / "p.csv").write_text("event,bracket,hour,close\nfed,up,noon,0.5\n")
    with pytest.raises(InputError, match="price of fed-up at 'noon'"):
        read_prices(tmp_path / "p.csv")
