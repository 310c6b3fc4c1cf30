"""MarketLag's own Job 1, alone: the agent as it ships, in the worker as it ships.

The other agents stay away, as the other contenders do nothing else either.
"""

from marketlag.application import app

app.conf.autodiscover = ["agents.rss_signals"]
