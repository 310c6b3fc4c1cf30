"""What is known of a feed: when it was polled, when it answered, its validators.

=========  ==========================================================================
key        ``[feed]``, its URL
value      ``producers.state.FeedFact``
partition  that of the feed's URL as a key; its owner polls the feed
written    by ``producers/feeds.py``, after each poll
retention  none: one fact a feed
changelog  ``<APP_ID>-rss_feeds-changelog``, compacted
=========  ==========================================================================
"""

from marketlag.application import app
from marketlag.engine.tables import KeyedTable
from producers.state import FeedFact

rss_feeds = KeyedTable(app, "rss_feeds", FeedFact)
app.tables.add(rss_feeds)
