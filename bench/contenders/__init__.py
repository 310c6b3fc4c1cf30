"""The same job, hourly signals of ``rss.events``, by several engines: one readable file each."""
