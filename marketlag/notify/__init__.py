"""Tells people of flagged hours, once each, through the channels of ``notify.toml``.

``channels`` says who wants to know what, ``outbox`` what is still to be told, ``articles`` finds
what was behind an hour, ``message`` puts it into words, ``notifier`` carries it out, and
``service`` runs it inside of workers.
"""
