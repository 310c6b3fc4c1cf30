"""Feeds to articles: what is in a body comes out, or a reason why not."""

import json

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from marketlag.event_time import DAY, MINUTE, parse_ms
from producers.rss import FeedArticle, FeedRefusal, Parsed, parse
from producers.text import clean_link, plain, without_suffix
from tests.support.feeds import FeedItem, rss
from tests.support.realdata import needs_realdata, recorded

NOW = parse_ms("2026-08-01T12:00:00Z")
URL = "https://news.example.org/feed"


def read(body: bytes | str, content_type: str = "", **options: object) -> Parsed:
    data = body.encode() if isinstance(body, str) else body
    return parse(data, content_type, URL, NOW, **options)  # type: ignore[arg-type]


def only(parsed: Parsed) -> FeedArticle:
    assert parsed.refusals == []
    [article] = parsed.articles
    return article


def reasons(parsed: Parsed) -> list[str]:
    return [refusal.reason for refusal in parsed.refusals]


# --- the recorded bodies


@needs_realdata
def test_a_press_feed_with_a_bom_cdata_and_padding() -> None:
    article = only(read(recorded("feeds/fed_press_all_trimmed.xml"), "text/xml"))
    link = "https://www.federalreserve.gov/newsevents/pressreleases/bcreg20260716a.htm"
    assert article == FeedArticle(
        article_id=link,
        title="Agencies issue joint statement on sensitive information",
        link=link,
        summary="Agencies issue joint statement.",
        source="FRB: Press Release - All Releases",
        published_at=parse_ms("2026-07-16T18:00:00Z"),
    )


@needs_realdata
def test_an_aggregator_names_the_publisher_in_the_title() -> None:
    """The suffix is the source, not the title; escaped HTML is text."""
    article = only(read(recorded("feeds/google_news_trimmed.xml"), "application/xml"))
    assert article.article_id == "CBMibEFVX3lxTE5kR3lXVW0"
    assert article.title == "Federal Reserve is likely to hold interest rates steady"
    assert article.source == "CNBC"
    assert article.summary == "Federal Reserve is likely to hold interest rates steady CNBC"


@needs_realdata
def test_links_lose_their_tracking_parameters() -> None:
    article = only(read(recorded("feeds/bbc_world_trimmed.xml"), "text/xml"))
    assert article.link == "https://www.bbc.co.uk/news/articles/cj638jx0l53o"
    assert article.published_at == parse_ms("2026-07-27T14:21:32Z")


@needs_realdata
def test_an_html_page_with_status_200_is_one_refusal() -> None:
    parsed = read(recorded("feeds/access_denied_200.html"), "text/html")
    assert parsed.articles == []
    [reason] = reasons(parsed)
    assert reason.startswith("an HTML page, not a feed: Access Denied")


@needs_realdata
def test_rss_apps_json_feed() -> None:
    parsed = read(recorded("api/rssapp/sample_rssapp_v1.1.json"), "application/json")
    assert parsed.refusals == []
    assert [(a.article_id, a.published_at) for a in parsed.articles] == [
        ("884aac3ebda0c73be65a0e8a778b870b", parse_ms("2025-10-23T17:00:00Z")),
        ("f90e21f1db9a67f263db44ea390e28d3", parse_ms("2025-10-23T16:00:00Z")),
    ]
    assert parsed.articles[0].title == "Que faire à Paris ce week-end ? (24-26 octobre)"
    assert parsed.articles[0].summary.startswith("De l")


# --- times


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("Mon, 27 Jul 2026 12:15:01 GMT", "2026-07-27T12:15:01Z"),
        ("Mon, 27 Jul 2026 08:15:01 -0400", "2026-07-27T12:15:01Z"),
        ("Mon, 27 Jul 2026 08:15:01 EDT", "2026-07-27T12:15:01Z"),
        ("2026-07-27T14:15:01+02:00", "2026-07-27T12:15:01Z"),
        ("  27 Jul 26 12:15 Z ", "2026-07-27T12:15:00Z"),
    ],
)
def test_published_times_become_utc(text: str, time: str) -> None:
    body = rss([FeedItem("T", NOW, "g")]).replace(b"Sat, 01 Aug 2026 12:00:00 GMT", text.encode())
    assert only(read(body)).published_at == parse_ms(time)
    feed = {"items": [{"id": "1", "title": "T", "url": URL, "date_published": text}]}
    assert only(read(json.dumps(feed))).published_at == parse_ms(time)


@pytest.mark.parametrize("time", [None, NOW + DAY, 0, parse_ms("1989-12-31T00:00:00Z")])
def test_a_missing_or_impossible_time_is_replaced_and_marked_or_refused(time: int | None) -> None:
    body = rss([FeedItem("T", time, "g")])
    article = only(read(body))
    assert (article.published_at, article.time_replaced) == (NOW, True)
    refused = read(body, on_bad_time="refuse")
    assert refused.articles == []
    [reason] = reasons(refused)
    assert reason == (
        "an item with no time" if time is None else "an item with a time that cannot be"
    )


def test_a_clock_that_is_a_little_ahead_is_believed() -> None:
    assert not only(read(rss([FeedItem("T", NOW + 4 * MINUTE, "g")]))).time_replaced


# --- identity


def test_identity_is_the_id_else_the_link_else_a_hash() -> None:
    """The hash does not hang on the time of the fetch."""
    items = [
        FeedItem("A", NOW, "guid-1", "https://example.org/a"),
        FeedItem("B", NOW, "", "https://example.org/b?utm_source=x"),
    ]
    ids = [article.article_id for article in read(rss(items)).articles]
    assert ids == ["guid-1", "https://example.org/b"]
    bare = (
        b"<rss version='2.0'><channel><title>S</title><item><title>C</title></item></channel></rss>"
    )
    first = only(parse(bare, "", URL, NOW))
    later = only(parse(bare, "", URL, NOW + DAY))
    assert first.article_id == later.article_id
    assert len(first.article_id) == 32
    assert first.link == URL


def test_an_item_without_a_title_takes_the_beginning_of_its_text() -> None:
    body = rss([FeedItem("", NOW, "1", summary="<p>The Fed</p> " + "waits " * 50)])
    assert only(read(body)).title == ("The Fed " + "waits " * 50)[:120].strip()
    feed = {"items": [{"id": "1", "content_html": "<b>Fed</b> waits"}]}
    assert only(read(json.dumps(feed))).title == "Fed waits"


def test_the_same_id_twice_in_a_body_is_one_article() -> None:
    parsed = read(rss([FeedItem("A", NOW, "x"), FeedItem("A again", NOW, "x")]))
    assert only(parsed).title == "A"


# --- broken bodies


def test_an_item_that_cannot_be_used_is_one_refusal_and_the_others_go_on() -> None:
    feed = {
        "items": [
            7,
            {"id": "1"},
            {"id": "2", "title": "T", "date_published": "2026-07-01T00:00:00Z"},
        ]
    }
    parsed = read(json.dumps(feed), "application/json")
    assert [article.article_id for article in parsed.articles] == ["2"]
    assert reasons(parsed) == [
        "not an item of a JSON feed: Expected `object`, got `int`",
        "an item without a title",
    ]


def test_of_a_feed_that_was_cut_off_the_whole_items_are_taken() -> None:
    """Half a title would be remembered for good."""
    body = rss([FeedItem("First title", NOW, "1"), FeedItem("Second title", NOW, "2")])
    parsed = read(body[: body.index(b"Second") + 3])
    assert [article.title for article in parsed.articles] == ["First title"]
    [reason] = reasons(parsed)
    assert reason.startswith("breaks off: ")
    assert not parsed.is_complete


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "empty body"),
        ("  \n", "empty body"),
        ("{}", "not a JSON feed: Object missing required field `items`"),
        ('{"items": [', "not a JSON feed: Input data was truncated"),
        ("plain words", "not a feed: <unknown>:2:0: syntax error"),
    ],
)
def test_what_is_no_feed_is_one_refusal(body: str, reason: str) -> None:
    parsed = read(body)
    assert parsed.articles == []
    assert reasons(parsed) == [reason]


def test_a_wrong_charset_does_not_stop_a_feed() -> None:
    body = rss([FeedItem("Zürich", NOW, "1")]).decode().encode("latin-1")
    assert only(read(body, "text/xml; charset=utf-8")).article_id == "1"


# --- texts


def test_html_becomes_text() -> None:
    assert plain("<p>Fed&nbsp;<b>holds</b></p><p>rates &amp; waits<script>x()</script></p>") == (
        "Fed holds rates & waits"
    )
    assert plain("a\n b\t\0c \ud800") == "a b c ?"


def test_links_that_are_none_are_empty() -> None:
    assert clean_link("https://a.org/x?id=3&utm_source=y#part") == "https://a.org/x?id=3#part"
    assert [clean_link(text) for text in ("", "javascript:x", "/relative", "http://[")] == [""] * 4


@pytest.mark.parametrize(
    ("title", "publisher", "cleaned"),
    [
        ("Rates held - CNBC", "CNBC", "Rates held"),
        ("Rates held | cnbc", "CNBC", "Rates held"),
        ("Rates held - live", "CNBC", "Rates held - live"),
        (" - CNBC", "CNBC", " - CNBC"),
    ],
)
def test_the_publisher_goes_from_the_title(title: str, publisher: str, cleaned: str) -> None:
    assert without_suffix(title, publisher) == cleaned


# --- anything


def is_in_order(parsed: Parsed) -> None:
    for article in parsed.articles:
        assert article.article_id
        assert article.title
        assert article.link
        assert 0 < article.published_at <= NOW + 5 * MINUTE
        msgspec.json.encode(article)
    for refusal in parsed.refusals:
        assert refusal.reason
        msgspec.json.encode(refusal)


@given(st.binary(max_size=2_000), st.sampled_from(["", "application/json", "text/xml", "x/\ud800"]))
@settings(max_examples=500, deadline=None)
@example(b"<rss version='2.0'><channel><item><title>&#xD800;</title></item></channel></rss>", "")
def test_no_exception_escapes_from_any_bytes(body: bytes, content_type: str) -> None:
    is_in_order(parse(body, content_type, URL, NOW))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(
                ["id", "url", "title", "content_text", "content_html", "date_published"]
            ),
            json_values,
        ),
        max_size=4,
    )
)
@settings(max_examples=500, deadline=None)
def test_json_items_of_any_shape_are_articles_or_refusals(items: list[dict[str, object]]) -> None:
    parsed = read(json.dumps({"items": items}), "application/json")
    is_in_order(parsed)
    assert len(parsed.articles) + len(parsed.refusals) <= len(items)


def test_refusals_keep_the_beginning_of_what_was_refused() -> None:
    assert read("x" * 10_000).refusals[0].excerpt == "x" * 2_000
    assert isinstance(read("").refusals[0], FeedRefusal)
