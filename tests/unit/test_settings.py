"""A wrong setting is one line that names it."""

from datetime import timedelta
from pathlib import Path

import pytest

from marketlag.engine.app import credentials
from marketlag.errors import SettingsError
from marketlag.markets import KeywordMatcher, Markets, load_markets
from marketlag.replay.services import worker_env
from marketlag.settings import load_settings

EXAMPLE = Path(__file__).parents[2] / "markets.example.toml"


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("WINDOW", "7m", "a window is 1m, 5m, 15m or 1h long"),
        ("WINDOW", "soon", "not a duration: write a number and a unit, as in 30s, 5m, 1h or 7d"),
        ("WATERMARK_DELAY", "-5m", "not a duration"),
        ("PARTITIONS", "0", "greater than or equal to 1"),
        ("PARTITIONS", "many", "valid integer"),
        ("BROKER_URL", "localhost:9092", "write kafka://host:port, further brokers after a comma"),
        ("BROKER_URL", "kafka://a:1,b:x", "write kafka://host:port"),
        ("POSTGRES_DSN", "mysql://db", "write postgresql://user:password@host:port/database"),
        ("PRICE_AT", "noon", "Input should be 'window_start' or 'window_end'"),
        ("WATERMARK_DELAY", "99999999999999d", "too long a duration"),
        ("SESSION_TIMEOUT", "0", "greater than or equal to 1 second"),
        ("COMMIT_INTERVAL", "0", "greater than 0 seconds"),
        ("STATE_TTL", "1s", "greater than or equal to 1 hour"),
        ("SIGNAL_THRESHOLD", "nan", "finite number"),
        ("APP_ID", "my app", "String should match pattern"),
        ("POSTGRES_DSN", "postgresql://u:s3cr/et@h/db", "write / @ : ? # and % as %2F"),
        ("POSTGRES_DSN", "postgresql://a,b/db", "one host"),
        ("WEB_PORT", "70000", "less than or equal to 65535"),
    ],
)
def test_a_wrong_setting_is_named(
    name: str, value: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line, with what to write instead."""
    monkeypatch.setenv(f"MARKETLAG_{name}", value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"MARKETLAG_{name}: ")
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "s3cr" not in str(caught.value)


def test_a_wrong_dsn_does_not_show_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor do the settings when they are printed."""
    monkeypatch.setenv("MARKETLAG_POSTGRES_DSN", "mysql://me:hush@db")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "hush" not in str(caught.value)
    assert "hush" not in repr(load_settings(postgres_dsn="postgresql://me:hush@db/x"))


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_ca_file_has_to_be_one(tmp_path: Path, content: str | None) -> None:
    """The line names the setting and the file."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    settings = load_settings(
        broker_security="sasl_ssl", broker_user="u", broker_password="p", broker_ca=path
    )
    with pytest.raises(SettingsError, match=f"MARKETLAG_BROKER_CA: {path}: "):
        credentials(settings)


def test_sasl_ssl_needs_a_user_and_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything connects."""
    monkeypatch.setenv("MARKETLAG_BROKER_SECURITY", "sasl_ssl")
    with pytest.raises(SettingsError, match="also needs MARKETLAG_BROKER_USER"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7200", timedelta(hours=2)),
        ("3600000ms", timedelta(hours=1)),
        ("90m", timedelta(minutes=90)),
        ("7d", timedelta(days=7)),
    ],
)
def test_durations_have_units(
    text: str, expected: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bare number is seconds."""
    monkeypatch.setenv("MARKETLAG_STATE_TTL", text)
    assert load_settings().state_ttl == expected


def test_a_dotenv_file_counts_less_than_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file lies in the working folder; other programs' lines in it are passed over."""
    (tmp_path / ".env").write_text("MARKETLAG_PARTITIONS=6\nMARKETLAG_REPLICATION=3\nOTHER=1\n")
    monkeypatch.setenv("MARKETLAG_PARTITIONS", "12")
    settings = load_settings()
    assert (settings.partitions, settings.replication) == (12, 3)


def test_settings_survive_the_way_to_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """worker_env gives another process the same settings."""
    settings = load_settings(
        window="15m", state_ttl="8d", postgres_dsn="postgresql://a:b@c/d", partitions=5
    )
    for name, value in worker_env(settings).items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings


def test_the_example_market_file_is_right() -> None:
    """It names the Fed market and its keywords, negative ones too."""
    markets = load_markets(EXAMPLE)
    [market] = markets.market
    assert market.tracked == "Yes"
    assert markets.tracked_outcomes == {"fed-rate-hike-december-2026": "Yes"}
    assert markets.keywords(market.slug)["dovish"] == -1.5
    assert markets.keywords("not-listed")["FOMC"] == 2.0
    assert [markets.source_weight(s) for s in ("reuters", "Bloomberg", "blog")] == [1.0, 0.9, 0.7]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[[market]]\nslug = ''", "market.0.slug"),
        ("[[market]]\nslug = 'a'\nkeyword = {}", "market.0.keyword"),
        ("[sources]\nReuters = 'high'", "sources.Reuters"),
        ("not toml", "is not TOML"),
    ],
)
def test_a_wrong_market_file_is_named(text: str, problem: str, tmp_path: Path) -> None:
    """With the place in it."""
    path = tmp_path / "markets.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=f"MARKETLAG_MARKETS: .*{problem}"):
        load_markets(path)
    with pytest.raises(SettingsError, match="there is no file"):
        load_markets(tmp_path / "missing.toml")


def test_the_first_outcome_is_tracked_by_default() -> None:
    """Unless the market says otherwise."""
    markets = Markets.model_validate(
        {"market": [{"slug": "a", "outcomes": ["Up", "Down"]}, {"slug": "b"}]}
    )
    assert markets.tracked_outcomes == {"a": "Up", "b": "YES"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Fed raises; the FED waits", {"Fed": 4.0}),
        ("Federal fedora", {}),
        ("Dovish Fed's rate hike", {"Fed": 2.0, "dovish": -1.5, "rate hike": 2.5}),
        ("", {}),
    ],
)
def test_keywords_are_whole_words_in_any_case(text: str, expected: dict[str, float]) -> None:
    """The score is weight times occurrences."""
    matcher = KeywordMatcher({"Fed": 2.0, "dovish": -1.5, "rate hike": 2.5})
    assert matcher.scores(text, "") == expected
