"""``notify.toml``: where flagged hours are told, and which of them."""

import os
import string
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from marketlag.errors import SettingsError
from marketlag.settings import PREFIX


class Channel(BaseModel):
    """One ``[[channel]]``.

    Attributes:
        name: of the channel, in the table ``notifications`` and in the metrics.
        url: Apprise's, https://github.com/caronc/apprise/wiki; it holds tokens. ``${NAME}`` is
            taken from the environment.
        markets: slugs, or patterns of them such as ``fed-*``; all markets if there are none.
        min_confidence: hours with less are not told.
        stale: whether to tell of hours whose price was only carried on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=100)
    url: SecretStr
    markets: list[str] = []
    min_confidence: float = Field(0.0, ge=0.0, le=1.0)
    stale: bool = False

    @field_validator("url")
    @classmethod
    def _from_environment(cls, value: SecretStr) -> SecretStr:
        try:
            return SecretStr(string.Template(value.get_secret_value()).substitute(os.environ))
        except KeyError as exc:
            raise ValueError(f"there is no environment variable {exc}") from None
        except ValueError:
            raise ValueError("write $$ for a dollar sign") from None

    def wants(self, market: str) -> bool:
        return not self.markets or any(fnmatchcase(market, each) for each in self.markets)


class Channels(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channel: list[Channel] = []

    @field_validator("channel")
    @classmethod
    def _named_apart(cls, value: list[Channel]) -> list[Channel]:
        names = [channel.name for channel in value]
        if len(set(names)) < len(names):
            raise ValueError("two channels have the same name")
        return value


def load_channels(path: Path | None) -> list[Channel]:
    """Read *path*; no path is no channel. Raises ``SettingsError``, which holds no token."""
    if path is None:
        return []
    where = f"{PREFIX}NOTIFY: {path}"
    try:
        return Channels.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).channel
    except FileNotFoundError:
        raise SettingsError(f"{PREFIX}NOTIFY: there is no file {path}") from None
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{where} cannot be read: {exc}") from None
    except tomllib.TOMLDecodeError as exc:
        raise SettingsError(f"{where} is not TOML: {exc}") from None
    except ValidationError as exc:
        problem = exc.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        said = problem["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{where}: {place}: {said}") from None
