"""The error family. Every error that a user can cause says what to do about it.

MarketLagError
├── SettingsError        a setting or markets.toml is wrong
├── TopicsError          topics are missing or have another shape
├── BrokerError          Kafka cannot be reached or refuses us
├── DatabaseError        Postgres cannot be used as it is
├── InputError           a file given to a command cannot be read
├── FetchError           a server did not answer, or not with what was asked for
├── ReplayError          a replay could not be brought to its end
└── EngineError          the worker must stop, or it would break a guarantee
    ├── SendFailed       a record was not accepted by Kafka
    └── LogTruncated     records were deleted before they were read
"""


class MarketLagError(Exception):
    """Base of all errors that MarketLag raises on purpose."""


class SettingsError(MarketLagError):
    """A setting or markets.toml is wrong; the message names it."""


class TopicsError(MarketLagError):
    """Topics are missing or differ from their declaration."""


class BrokerError(MarketLagError):
    """Kafka cannot be reached at the given address, or refuses the connection."""


class DatabaseError(MarketLagError):
    """Postgres refuses the connection for good, or its schema is not MarketLag's."""


class InputError(MarketLagError):
    """A file given to a command is missing or has no known format."""


class FetchError(MarketLagError):
    """A server did not answer, or not with what was asked for; the text is the reason."""


class ReplayError(MarketLagError):
    """A replay did not reach its end: the worker died, or the log lost records."""


class EngineError(MarketLagError):
    """The worker has to stop, because going on would break a guarantee."""


class SendFailed(EngineError):
    """Kafka did not accept a record. Nothing after it may be committed."""


class LogTruncated(EngineError):
    """Kafka deleted records of a partition before they were read."""
