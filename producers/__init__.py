"""Where articles and prices come from: fetch, parse, match, publish, remember.

Reading and judging is pure (``rss``, ``text``, ``matching``, ``polymarket``, ``hours``). ``fetch``
is the only module that talks to servers. ``feeds`` and ``prices`` are the two jobs, ``schedule``
says when; ``service`` runs them inside of workers, ``standalone`` without one.
"""
