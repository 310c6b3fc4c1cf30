"""``markets.toml``: which markets there are, what they track, and which words concern them."""

import re
import tomllib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from marketlag.errors import SettingsError

#: Weight of a source that markets.toml does not name.
DEFAULT_SOURCE_WEIGHT = 0.7


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Market(_Table):
    """One ``[[market]]``."""

    slug: str = Field(min_length=1)
    question: str = ""
    outcomes: list[str] = Field(default=["YES", "NO"], min_length=1)
    outcome: str | None = None
    #: When it is to end, for the reader.
    end: str | None = None
    feeds: list[Annotated[str, Field(pattern=r"^https?://\S+$")]] = []
    keywords: dict[str, float] = {}

    @property
    def tracked(self) -> str:
        return self.outcome or self.outcomes[0]


class Defaults(_Table):
    """``[defaults]``: for a market that has no ``[[market]]`` of its own, or no keywords in it."""

    keywords: dict[str, float] = {}


class Markets(_Table):
    """The whole file."""

    market: list[Market] = []
    sources: dict[str, float] = {}
    defaults: Defaults = Defaults()

    @cached_property
    def _by_slug(self) -> Mapping[str, Market]:
        return {market.slug: market for market in self.market}

    @cached_property
    def _weights(self) -> Mapping[str, float]:
        return {source.casefold(): weight for source, weight in self.sources.items()}

    @property
    def tracked_outcomes(self) -> dict[str, str]:
        return {market.slug: market.tracked for market in self.market}

    def source_weight(self, source: str, host: str = "") -> float:
        """By the source's name, else by its host: ``www.ft.com``, then ``ft.com``."""
        labels = host.casefold().split(".")
        hosts = [".".join(labels[first:]) for first in range(len(labels) - 1)]
        for name in (source.casefold(), *hosts):
            if name in self._weights:
                return self._weights[name]
        return DEFAULT_SOURCE_WEIGHT

    @property
    def feeds(self) -> dict[str, list[str]]:
        """The feeds, and the slugs of the markets that each is read for."""
        found: dict[str, list[str]] = {}
        for market in self.market:
            for feed in dict.fromkeys(market.feeds):
                found.setdefault(feed, []).append(market.slug)
        return found

    def keywords(self, slug: str) -> Mapping[str, float]:
        market = self._by_slug.get(slug)
        return (market and market.keywords) or self.defaults.keywords


def load_markets(path: Path | None) -> Markets:
    """Read *path*; no path is an empty file. Raises ``SettingsError``."""
    if path is None:
        return Markets()
    try:
        return Markets.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise SettingsError(f"MARKETLAG_MARKETS: there is no file {path}") from None
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"MARKETLAG_MARKETS: {path} cannot be read: {exc}") from None
    except tomllib.TOMLDecodeError as exc:
        raise SettingsError(f"MARKETLAG_MARKETS: {path} is not TOML: {exc}") from None
    except ValidationError as exc:
        problem = exc.errors(include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise SettingsError(f"MARKETLAG_MARKETS: {path}: {where}: {problem['msg']}") from None


class KeywordMatcher:
    """Scores texts by weighted keywords: whole words, any case."""

    def __init__(self, keywords: Mapping[str, float]) -> None:
        self._patterns = [
            (word, weight, re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", re.IGNORECASE))
            for word, weight in keywords.items()
        ]

    def scores(self, *texts: str) -> dict[str, float]:
        """``weight * occurrences`` of every keyword that occurs."""
        found = {}
        for word, weight, pattern in self._patterns:
            occurrences = sum(len(pattern.findall(text)) for text in texts)
            if occurrences:
                found[word] = weight * occurrences
        return found
