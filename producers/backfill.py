"""Prices of past hours, from the CLOB's history."""

from pathlib import Path
from typing import Protocol

import msgspec

from marketlag.errors import FetchError, InputError
from marketlag.event_time import HOUR
from producers.hours import history_of
from producers.polymarket import history_windows
from producers.prices import Polymarket, send_price
from producers.state import Outlet


class Report(Protocol):
    """Is told how many of all windows are done."""

    def __call__(self, *, completed: int, total: int) -> None: ...


class Entry(msgspec.Struct):
    """How far an outcome is: published from and through these hours (ms), and the last price."""

    since: int
    through: int
    price: float | None


class Journal:
    """What was published, in a file that is replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._entries = msgspec.json.decode(path.read_bytes(), type=dict[str, Entry])
        except FileNotFoundError:
            self._entries = {}
        except (OSError, msgspec.DecodeError) as exc:
            raise InputError(f"{path} cannot be read ({exc}); remove it to begin anew") from None

    def entry(self, token: str, since: int) -> Entry:
        """Where to go on from; one that began later than *since* does not help."""
        found = self._entries.get(token)
        if found is None or found.since > since or found.through < since - HOUR:
            return Entry(since, since - HOUR, None)
        return found

    def write(self, token: str, entry: Entry) -> None:
        self._entries[token] = entry
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(".new")
        draft.write_bytes(msgspec.json.encode(self._entries))
        draft.replace(self._path)


class Backfill:
    """Fetches and publishes, window by window, each remembered when Kafka has it."""

    def __init__(self, api: Polymarket, outlet: Outlet, journal: Journal) -> None:
        self._api, self._outlet, self._journal = api, outlet, journal

    async def market(
        self, slug: str, start: int, end: int, report: Report
    ) -> tuple[int, FetchError | None]:
        """All outcomes of a market, hours *start* to *end* (ms, both included).

        Returns how many prices were published, and why it stopped if it did.
        """
        published = 0
        try:
            market = await self._api.market(slug)
            work = [
                (outcome, token, window)
                for outcome, token in market.tokens.items()
                for window in history_windows(self._journal.entry(token, start).through + HOUR, end)
            ]
            for done, (outcome, token, window) in enumerate(work):
                report(completed=done, total=len(work))
                published += await self._window(slug, outcome, token, (start, end), window)
            report(completed=len(work), total=len(work))
        except FetchError as exc:
            return published, exc
        return published, None

    async def _window(
        self, slug: str, outcome: str, token: str, hours: tuple[int, int], window: tuple[int, int]
    ) -> int:
        since, end = hours
        first, last = window
        before = self._journal.entry(token, since)
        prices = await self._api.history(token, first, last)
        records = history_of(slug, outcome, prices, before.price)
        for record in records:
            await send_price(self._outlet, record)
        await self._outlet.flush()
        price = records[-1].price if records else before.price
        # The newest hours may not be there yet: what has no price at the end is asked for again.
        through = last if last < end else max(prices, default=first - HOUR)
        self._journal.write(token, Entry(before.since, through, price))
        return len(records)
