"""Feeds with bytes cut out, doubled, swapped and spliced: articles or refusals, nothing else."""

import json
import random

from tests.support.feeds import FeedItem, rss
from tests.unit.test_rss import NOW, is_in_order, read

SEEDS = [
    rss([FeedItem("Fed holds & waits", NOW, "1", summary="<p>x</p>"), FeedItem("B", None, "2")]),
    b"""<?xml version="1.0" encoding="iso-8859-1"?><feed xmlns="http://www.w3.org/2005/Atom">
    <title>A</title><entry><id>urn:1</id><title type="html">&lt;b&gt;T&lt;/b&gt;</title>
    <link href="/x"/><updated>2026-07-01T00:00:00Z</updated><content>c</content></entry></feed>""",
    b"""<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
    xmlns="http://purl.org/rss/1.0/"><item rdf:about="u"><title>T</title><link>http://a/b</link>
    </item></rdf:RDF>""",
    json.dumps(
        {"version": "x", "items": [{"id": 1, "title": "t", "content_html": "<p>"}]}
    ).encode(),
]


def mutated(rng: random.Random, body: bytes) -> bytes:
    """Bytes cut out, doubled, swapped for others, or spliced with another feed's."""
    data = bytearray(body)
    for _ in range(rng.randrange(1, 6)):
        place, length = rng.randrange(len(data) + 1), rng.randrange(1, 40)
        match rng.randrange(5):
            case 0:
                del data[place : place + length]
            case 1:
                data[place:place] = data[place : place + length]
            case 2:
                data[place : place + length] = rng.randbytes(min(length, 6))
            case 3:
                data[place:place] = rng.choice(
                    [b"<![CDATA[", b"&#x0;", b"]]>", b"<item>", b"\xff\xfe", b"&x;"]
                )
            case 4:
                data[place:] = rng.choice(SEEDS)[rng.randrange(60) :]
    return bytes(data)


def test_ten_thousand_mutated_feeds_are_articles_or_refusals() -> None:
    rng = random.Random(4)
    ended = {"articles": 0, "refusals": 0}
    for _ in range(10_000):
        parsed = read(mutated(rng, rng.choice(SEEDS)))
        is_in_order(parsed)
        ended["articles"] += bool(parsed.articles)
        ended["refusals"] += bool(parsed.refusals)
    assert min(ended.values()) > 1_000
