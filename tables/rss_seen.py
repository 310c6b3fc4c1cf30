"""Articles that were seen in a feed, so that each is published once.

=========  ==========================================================================
key        ``[feed, article_id]``
value      ``producers.state.SeenFact``: when it was there last, and its records until Kafka has
           confirmed them
partition  that of the feed's URL as a key; its owner polls the feed
written    by ``producers/feeds.py``, before and after publishing
retention  7 days and one more after the article left its feed
changelog  ``<APP_ID>-rss_seen-changelog``, compacted
=========  ==========================================================================
"""

from marketlag.application import app
from marketlag.engine.tables import KeyedTable
from producers.state import SeenFact

rss_seen = KeyedTable(app, "rss_seen", SeenFact)
app.tables.add(rss_seen)
