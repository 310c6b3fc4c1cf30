"""The whole pipeline as a plain model: one record at a time, from the rules' text alone.

Shares no code with the engine or the rules. It keeps everything it ever saw and computes each row
from scratch, which is slow and easy to believe.
"""

import itertools
import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from statistics import fmean, pstdev
from typing import Any, NamedTuple

HOUR = 3_600_000
DAY = 24 * HOUR


def ms(text: str) -> int:
    """Milliseconds of an ISO time, finer digits cut."""
    moment = datetime.fromisoformat(text)
    return int(moment.replace(microsecond=0).timestamp()) * 1000 + moment.microsecond // 1000


class ModelSignal(NamedTuple):
    market: str
    start: int
    count: int
    score: float
    signal: float
    weight: float
    closed_at: int


class Cut(NamedTuple):
    """A log whose records before *offset* were deleted; the job had dealt with *done* of them."""

    offset: int
    done: int = 0


class Signals(NamedTuple):
    """Signals in order of emission (a corrected one again), offsets of late articles."""

    emitted: list[ModelSignal]
    late: list[int]


def signals_of(  # noqa: C901  # one loop, as a person would do it by hand
    log: Sequence[Any],
    *,
    size: int = HOUR,
    delay: int = 300_000,
    lateness: int = 0,
    cut: Cut | None = None,
) -> Signals:
    """Job 1 over one partition's good articles and heartbeats.

    Where the log was cut, windows that began before its first record are not emitted, unless they
    had been.
    """
    watermark = -(10**18)
    windows: dict[int, dict[str, list[dict[str, Any]]]] = {}
    closed: dict[int, int] = {}
    out = Signals([], [])
    whole_from: int | None = None
    for entry in log:
        if cut and cut.done <= entry.offset < cut.offset:
            continue
        value = json.loads(entry.value)
        time = ms(value["published_at"])
        if cut and entry.offset >= cut.offset and whole_from is None:
            # What was cut may have held articles of a window ahead of the watermark.
            seen = (watermark + 1 - lateness) // size * size + lateness + delay + size
            whole_from = -(-max(time, seen) // size) * size
            windows = {}
        if value["market_slug"] != "__heartbeat__":
            start = time // size * size
            if watermark >= start + size - 1 + lateness:
                out.late.append(entry.offset)
            elif whole_from is None or start >= whole_from:
                articles = windows.setdefault(start, {}).setdefault(value["market_slug"], [])
                if _is_new(value, articles):
                    articles.append(value)
                    if watermark >= start + size - 1:
                        closed.setdefault(start, entry.timestamp)
                        out.emitted.append(
                            _signal(value["market_slug"], start, articles, closed[start])
                        )
        watermark = max(watermark, time - delay)
        for start in sorted(windows):
            if start not in closed and watermark >= start + size - 1:
                closed[start] = entry.timestamp
                out.emitted.extend(
                    _signal(market, start, articles, entry.timestamp)
                    for market, articles in sorted(windows[start].items())
                )
    return out


def _is_new(article: dict[str, Any], known: list[dict[str, Any]]) -> bool:
    identity = article.get("article_id")
    return not identity or identity not in [each.get("article_id") for each in known]


def _signal(market: str, start: int, articles: list[dict[str, Any]], closed_at: int) -> ModelSignal:
    count = len(articles)
    score = weighted = weight = 0.0
    for each in articles:
        score += each["keyword_score"]
        weighted += each["keyword_score"] * each["source_weight"]
        weight += each["source_weight"]
    return ModelSignal(market, start, count, score, weighted / count, weight / count, closed_at)


class Rules(NamedTuple):
    """What the settings say, in their own words."""

    size: int = HOUR
    ttl: int = 7 * DAY
    price_at: str = "window_start"
    signal_rule: str = "absolute"
    threshold: float = 1.0
    zscore_threshold: float = 3.0
    still: float = 0.02


AS_THE_ORIGINAL = Rules()


def rows_of(
    signals: Iterable[ModelSignal], *prices: Sequence[Any], rules: Rules = AS_THE_ORIGINAL
) -> dict[tuple[str, int], dict[str, Any]]:
    """Job 3: the final row of every (market, window).

    From all signals of one partition, and all good prices, those of each source partition apart.
    """
    ttl = rules.ttl
    newest = _newest_signals(signals, ttl)
    best = {key: price for log in prices for key, price in _best_prices(log, ttl).items()}
    rows = {}
    for market in {market for market, _ in newest}:
        run: list[ModelSignal] = []
        windows = [newest[key] for key in sorted(newest) if key[0] == market]
        for signal in windows:
            if run and signal.start - run[-1].start > ttl:
                run = []
            run.append(signal)
            since = signal.start - min(DAY, ttl)
            baseline = [w.signal for w in windows if since <= w.start < signal.start]
            joined_at = signal.start + (rules.size if rules.price_at == "window_end" else 0)
            price = best.get((market, joined_at // HOUR * HOUR))
            rows[market, signal.start] = _row(run, baseline, price, rules)
    return rows


def _newest_signals(signals: Iterable[ModelSignal], ttl: int) -> dict[tuple[str, int], ModelSignal]:
    clock = -(10**18)
    newest: dict[tuple[str, int], ModelSignal] = {}
    for signal in signals:
        clock = max(clock, signal.start)
        key = signal.market, signal.start
        if signal.start >= clock - ttl and (key not in newest or signal.count > newest[key].count):
            newest[key] = signal
    return newest


def price_rows(*logs: Sequence[Any]) -> dict[tuple[str, str, int], dict[str, Any]]:
    """``price_hourly``: the best price of each market, outcome and hour, whatever its age."""
    best: dict[tuple[str, str, int], dict[str, Any]] = {}
    for partition, log in enumerate(logs):
        for entry in log:
            value = json.loads(entry.value) | {"place": (entry.offset, partition)}
            if value["market_slug"] == "__heartbeat__":
                continue
            key = value["market_slug"], value["outcome"].lower(), ms(value["event_time"])
            rank = *_rank(value), value["place"]
            if key not in best or rank > (*_rank(best[key]), best[key]["place"]):
                best[key] = value
    return {key: _price_row(value) for key, value in best.items()}


def _price_row(price: dict[str, Any]) -> dict[str, Any]:
    return {
        "outcome": price["outcome"],
        "price": _clamped(price["price"]),
        "prev_price": price.get("prev_price"),
        "price_delta": price.get("price_delta") or 0.0,
        "stale": price.get("stale", False),
        "fetched_at": ms(price["fetched_at"]),
        "version": (1 + _rank(price)[0], _rank(price)[1], *price["place"]),
    }


def _best_prices(prices: Sequence[Any], ttl: int) -> dict[tuple[str, int], dict[str, Any]]:
    clock = -(10**18)
    best: dict[tuple[str, int], dict[str, Any]] = {}
    for entry in prices:
        value = json.loads(entry.value)
        hour = ms(value["event_time"])
        clock = max(clock, hour)
        if value["market_slug"] == "__heartbeat__":
            continue
        if value["outcome"].lower() != "yes" or hour < clock - ttl:
            continue
        value |= {"arrived": entry.timestamp, "tie": 0, "offset": entry.offset}
        held = best.get((value["market_slug"], hour))
        if held and _is_other_of_same_rank(value, held):
            value["tie"] = held["tie"] + 1
        if held is None or _rank(value) > _rank(held) or value["tie"]:
            best[value["market_slug"], hour] = value
    return best


def _rank(price: dict[str, Any]) -> tuple[bool, int]:
    return not price.get("stale"), ms(price["fetched_at"])


def _is_other_of_same_rank(new: dict[str, Any], held: dict[str, Any]) -> bool:
    later = new["offset"] > held["offset"]
    return later and _rank(new) == _rank(held) and _content(new) != _content(held)


def _content(price: dict[str, Any]) -> tuple[float, float, float | None]:
    return _clamped(price["price"]), price.get("price_delta") or 0.0, price.get("prev_price")


def _clamped(price: float) -> float:
    return min(1.0, max(0.0, price))


def _freshness(price: dict[str, Any] | None) -> tuple[int, int, int]:
    """The part of a row's version that is the price's."""
    return (1 + _rank(price)[0], _rank(price)[1], price["tie"]) if price else (0, 0, 0)


def _row(
    run: list[ModelSignal],
    baseline: list[float],
    price: dict[str, Any] | None,
    rules: Rules,
) -> dict[str, Any]:
    signal = run[-1]
    deltas = [b.signal - a.signal for a, b in itertools.pairwise(run)]
    delta = deltas[-1] if deltas else None
    largest = max([0.0, *deltas])
    move = (price["price_delta"] or 0.0) if price else 0.0
    jump = max(0.0, delta) / largest if delta is not None and largest else 0.0
    detected = max(each.closed_at for each in run)
    usual = pstdev(baseline) if len(baseline) >= 3 else 0.0
    unusual = (signal.signal - fmean(baseline)) / usual if usual else None
    jumped = {
        "absolute": delta is not None and delta > rules.threshold,
        "relative": unusual is not None and unusual > rules.zscore_threshold,
    }
    jumped["either"] = jumped["absolute"] or jumped["relative"]
    return {
        "signal_delta": delta,
        "price_delta": move,
        "lag_flag": jumped[rules.signal_rule] and abs(move) < rules.still,
        "confidence": 0.5 * jump
        + 0.3 * max(0.0, 1 - abs(move))
        + 0.2 * min(1.0, max(0.0, signal.weight)),
        "rss_signal": signal.signal,
        "prev_rss_signal": run[-2].signal if delta is not None else None,
        "max_signal_delta": largest,
        "signal_zscore": unusual,
        "price": _clamped(price["price"]) if price else None,
        "prev_price": price.get("prev_price") if price else None,
        "stale": price.get("stale", False) if price else None,
        "mention_count": signal.count,
        "keyword_score": signal.score,
        "source_weight_avg": signal.weight,
        "detected_at": max(detected, price["arrived"]) if price else detected,
        "version": (sum(each.count for each in run), *_freshness(price)),
    }
