"""The picture of a replay: signal and price over time, the flagged hours marked."""

from collections.abc import Sequence
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from marketlag.errors import InputError
from marketlag.flags import price_state

SIGNAL = "#5b7a99"
PRICE = "#222222"
FLAG = "#d9534f"


def draw(rows: Sequence[asyncpg.Record], path: Path, *, title: str, note: str) -> None:
    """Draw one panel a market from rows of ``lag_signals_history`` into a PNG at *path*."""
    try:
        import matplotlib as mpl
    except ImportError:
        raise InputError("the picture needs matplotlib: install marketlag[embedded]") from None
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    markets = sorted({row["market"] for row in rows})
    figure, panels = plt.subplots(
        len(markets), 1, figsize=(12, 1.0 + 2.5 * len(markets)), sharex=True, squeeze=False
    )
    for market, panel in zip(markets, panels[:, 0], strict=True):
        _panel(panel, market, [row for row in rows if row["market"] == market])
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    figure.text(0.01, 0.008, note, fontsize=8, color="#666666")
    figure.tight_layout(rect=(0, 0.025, 1, 0.98))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _panel(panel: Any, market: str, rows: Sequence[asyncpg.Record]) -> None:
    from matplotlib import dates

    untyped: Any = dates
    hour = timedelta(hours=1)
    windows = [row["window"].astimezone(UTC) for row in rows]
    for row, window in zip(rows, windows, strict=True):
        if row["lag_flag"]:
            # Without a fresh price nothing is known to have stood still.
            alpha = 0.18 if price_state(row) == "fresh" else 0.07
            panel.axvspan(window - hour, window + 2 * hour, color=FLAG, alpha=alpha, linewidth=0)
    colours = [FLAG if row["lag_flag"] else SIGNAL for row in rows]
    panel.bar(
        windows,
        [row["rss_signal"] for row in rows],
        width=1 / 24,
        align="edge",
        color=colours,
        linewidth=0,
    )
    panel.set_ylabel("signal", color=SIGNAL)
    panel.set_title(market, loc="left", fontsize=10)
    panel.xaxis.set_major_locator(untyped.DayLocator(tz=UTC))
    panel.xaxis.set_major_formatter(untyped.DateFormatter("%a %d %b", tz=UTC))
    prices = panel.twinx()
    prices.plot(
        windows,
        [float("nan") if row["price"] is None else row["price"] for row in rows],
        color=PRICE,
        linewidth=1.3,
    )
    prices.set_ylabel("price", color=PRICE)
    prices.set_ylim(0, 1)
    for axes in (panel, prices):
        axes.spines[["top"]].set_visible(False)
        axes.tick_params(labelsize=8)
