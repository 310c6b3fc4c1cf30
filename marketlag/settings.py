"""Settings: environment variables ``MARKETLAG_*``, or a ``.env`` file in the working folder.

A wrong setting is one line that names it, raised as ``SettingsError`` before anything connects.
"""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from marketlag import __version__
from marketlag.errors import SettingsError
from marketlag.rules.lags import LagRules

PREFIX = "MARKETLAG_"
_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(\d+)\s*(ms|s|m|h|d)?", re.ASCII)


def parse_duration(value: Any) -> Any:
    """``"5m"`` to a ``timedelta``; a bare number is seconds; units ms, s, m, h, d."""
    if isinstance(value, int | str):
        match = _DURATION.fullmatch(str(value).strip())
        if match is None:
            raise ValueError("not a duration: write a number and a unit, as in 30s, 5m, 1h or 7d")
        try:
            return timedelta(milliseconds=int(match[1]) * _UNITS[match[2] or "s"])
        except OverflowError:
            raise ValueError("too long a duration") from None
    return value


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]


class Settings(BaseSettings):
    """Every setting, with its default. Shown by ``docs/settings.md``."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", env_file_encoding="utf-8", extra="ignore"
    )

    broker_url: str = Field("kafka://localhost:9092", description="Kafka: kafka://host:port,...")
    broker_security: Literal["plaintext", "sasl_ssl"] = Field(
        "plaintext", description="plaintext, or sasl_ssl for a managed Kafka"
    )
    broker_user: str | None = Field(None, description="user name for sasl_ssl")
    broker_password: SecretStr | None = Field(None, description="password for sasl_ssl")
    broker_ca: Path | None = Field(
        None, description="CA file for sasl_ssl, if the system does not know it"
    )
    postgres_dsn: SecretStr = Field(
        SecretStr("postgresql://localhost/marketlag"), description="Postgres: a libpq URL"
    )
    datadir: Path = Field(
        Path("marketlag-data"), description="folder of the local RocksDB state; one per worker"
    )
    markets: Path | None = Field(
        None, description="path of markets.toml; without it every market tracks YES"
    )
    app_id: str = Field(
        "marketlag",
        pattern=r"^[A-Za-z0-9._-]{1,100}$",
        description="Kafka consumer group, and prefix of changelogs",
    )
    partitions: int = Field(3, ge=1, description="partitions of every topic of the pipeline")
    replication: int = Field(1, ge=1, description="replication factor of every topic")
    window: Duration = Field(timedelta(hours=1), description="window: 1m, 5m, 15m or 1h")
    watermark_delay: Duration = Field(
        timedelta(minutes=5), description="how far the watermark stays behind the newest article"
    )
    allowed_lateness: Duration = Field(
        timedelta(0), description="how long a closed window still takes corrections"
    )
    signal_rule: Literal["absolute", "relative", "either"] = Field(
        "absolute",
        description="what a jump is: a signal delta above its threshold, a z-score above its own, "
        "or either of them",
    )
    signal_threshold: float = Field(
        1.0, allow_inf_nan=False, description="a larger signal delta is a jump"
    )
    zscore_threshold: float = Field(
        3.0,
        allow_inf_nan=False,
        description="a larger z-score is a jump: standard deviations above the 24 hours before",
    )
    price_threshold: float = Field(
        0.02, ge=0, allow_inf_nan=False, description="a smaller price delta is no move"
    )
    state_ttl: Duration = Field(
        timedelta(days=7),
        ge=timedelta(hours=1),
        description="event time after which state expires and LAG starts anew",
    )
    price_at: Literal["window_start", "window_end"] = Field(
        "window_start", description="the hour whose price joins a window"
    )
    sink_max_rows: int = Field(100, ge=1, le=10_000, description="rows of one upsert at the most")
    sink_max_wait: Duration = Field(
        timedelta(seconds=10), description="a row waits this long for its batch to fill"
    )
    history_retention: Duration = Field(
        timedelta(days=90),
        ge=timedelta(days=1),
        le=timedelta(days=36_500),
        description="`marketlag prune` deletes lag rows and prices of older windows",
    )
    health_retention: Duration = Field(
        timedelta(days=30),
        ge=timedelta(days=1),
        le=timedelta(days=36_500),
        description="`marketlag prune` deletes older rows of `api_health_log`",
    )
    on_truncated_log: Literal["continue", "fail"] = Field(
        "continue",
        description="when Kafka deleted records before they were read: go on without the windows "
        "that they belonged to, or stop the worker",
    )
    session_timeout: Duration = Field(
        timedelta(seconds=30),
        ge=timedelta(seconds=1),
        description="Kafka gives a silent worker's partitions away after it",
    )
    commit_interval: Duration = Field(
        timedelta(seconds=1), gt=timedelta(0), description="time between commits"
    )
    fetch_max_records: int = Field(
        4_000,
        ge=1,
        description="records of one chunk; one batch of a producer may hold more",
    )
    fetch_max_wait: Duration = Field(
        timedelta(milliseconds=500), description="how long Kafka may hold a fetch without news"
    )
    startup_delay: Duration = Field(
        timedelta(seconds=2), description="wait after a rebalance for further workers to join"
    )
    poll_in_worker: bool = Field(
        True, description="workers poll feeds and prices; false if cron runs `marketlag produce`"
    )
    rss_poll: Duration = Field(
        timedelta(minutes=15),
        ge=timedelta(seconds=1),
        le=timedelta(hours=1),
        description="time between two polls of a feed, counted from the full hour",
    )
    feed_delay: Duration = Field(
        timedelta(0), description="how long after their publication articles reach the feeds"
    )
    feed_idle_after: Duration = Field(
        timedelta(minutes=30),
        gt=timedelta(0),
        description="a feed without an answer for so long no longer holds the heartbeats back",
    )
    feed_bad_time: Literal["fetched", "refuse"] = Field(
        "fetched",
        description="an article without a possible time: take the time of the fetch, or refuse it",
    )
    price_kind: Literal["bid", "midpoint"] = Field(
        "bid",
        description="the price of an hour: the best bid, or the middle of bid and ask",
    )
    fetch_timeout: Duration = Field(
        timedelta(seconds=20), gt=timedelta(0), description="time for one whole answer of a server"
    )
    user_agent: str = Field(
        f"marketlag/{__version__}",
        pattern=r"^[\x20-\x7e]+$",
        description="how the producers present themselves; add an address to reach you",
    )
    gamma_url: str = Field(
        "https://gamma-api.polymarket.com",
        pattern=r"^https?://\S+$",
        description="Polymarket's API of markets",
    )
    clob_url: str = Field(
        "https://clob.polymarket.com",
        pattern=r"^https?://\S+$",
        description="Polymarket's API of prices",
    )
    notify: Path | None = Field(
        None, description="path of notify.toml; without it nobody is told of flagged hours"
    )
    notify_grace: Duration = Field(
        timedelta(minutes=5),
        description="how long a flagged hour without a price waits for one before it is told",
    )
    notify_max_age: Duration = Field(
        timedelta(hours=6),
        gt=timedelta(0),
        description="windows that began longer ago are not told: replayed history is no news",
    )
    web_host: str = Field("127.0.0.1", description="address of the web server")
    web_port: int = Field(6066, ge=1, le=65_535, description="port of the web server")
    log_format: Literal["text", "json"] = Field(
        "text", description="a worker's log: lines for people, or an object of JSON a line"
    )
    watermark_stall: Duration = Field(
        timedelta(minutes=10),
        gt=timedelta(0),
        description="a watermark that should have moved so long ago makes the worker unready",
    )
    stuck_after: Duration = Field(
        timedelta(seconds=60),
        ge=timedelta(seconds=2),
        description="a worker whose event loop has not turned for so long ends",
    )

    @field_validator("window")
    @classmethod
    def _whole_part_of_an_hour(cls, value: timedelta) -> timedelta:
        if value not in [timedelta(minutes=minutes) for minutes in (1, 5, 15, 60)]:
            raise ValueError("a window is 1m, 5m, 15m or 1h long")
        return value

    @field_validator("broker_url")
    @classmethod
    def _kafka_url(cls, value: str) -> str:
        hosts = value.removeprefix("kafka://").split(",")
        if not value.startswith("kafka://") or not all(
            re.fullmatch(r"[^\s/:@]+(:\d+)?|\[[0-9a-fA-F:]+\](:\d+)?", host) for host in hosts
        ):
            raise ValueError("write kafka://host:port, further brokers after a comma")
        return value

    @field_validator("postgres_dsn")
    @classmethod
    def _postgres_url(cls, value: SecretStr) -> SecretStr:
        # The message is fixed: whatever is wrong may be a piece of the password.
        wrong = ValueError(
            "write postgresql://user:password@host:port/database, one host; in the password, "
            "write / @ : ? # and % as %2F %40 %3A %3F %23 %25"
        )
        url = value.get_secret_value()
        if not url.startswith(("postgresql://", "postgres://")) or "," in url.partition("?")[0]:
            raise wrong
        try:
            _ = urlsplit(url).port
        except ValueError:
            raise wrong from None
        return value

    def model_post_init(self, context: Any) -> None:
        if self.broker_security == "sasl_ssl" and not (self.broker_user and self.broker_password):
            raise SettingsError(
                f"{PREFIX}BROKER_SECURITY=sasl_ssl also needs {PREFIX}BROKER_USER and "
                f"{PREFIX}BROKER_PASSWORD"
            )
        if self.history_retention <= self.state_ttl:
            raise SettingsError(
                f"{PREFIX}HISTORY_RETENTION has to be longer than {PREFIX}STATE_TTL: until then "
                "rows can still change, and would come back"
            )

    @property
    def bootstrap_servers(self) -> list[str]:
        return self.broker_url.removeprefix("kafka://").split(",")

    @property
    def lag_rules(self) -> LagRules:
        return LagRules(
            window=milliseconds(self.window),
            signal_rule=self.signal_rule,
            signal_threshold=self.signal_threshold,
            zscore_threshold=self.zscore_threshold,
            price_threshold=self.price_threshold,
            ttl=milliseconds(self.state_ttl),
            price_at_window_end=self.price_at == "window_end",
        )


def milliseconds(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)


def load_settings(**overrides: Any) -> Settings:
    """Read the settings. Raises ``SettingsError`` with one line that names the wrong one."""
    try:
        return Settings(**overrides)
    except ValidationError as exc:
        problem = exc.errors(include_url=False, include_input=False)[0]
        name = PREFIX + "_".join(str(part) for part in problem["loc"]).upper()
        raise SettingsError(f"{name}: {problem['msg'].removeprefix('Value error, ')}") from None
