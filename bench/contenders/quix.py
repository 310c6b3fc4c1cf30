"""The same job in Quix Streams: a tumbling window per key, state in RocksDB, with changelog.

Runs in an environment of its own (quixstreams).
"""

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from quixstreams import Application
from quixstreams.dataframe.windows import Count, Sum


def event_time(value: Any, _headers: Any, _timestamp: float, _kind: Any) -> int:
    """In ms, as Quix wants it."""
    return int(datetime.fromisoformat(value["published_at"]).timestamp() * 1000)


def weighted(article: dict[str, Any]) -> dict[str, Any]:
    return {
        "score": article["keyword_score"],
        "weighted": article["keyword_score"] * article["source_weight"],
        "weight": article["source_weight"],
    }


def to_signal(window: dict[str, Any], key: bytes, _timestamp: int, _headers: Any) -> dict[str, Any]:
    return {
        "market_slug": key.decode(),
        "window_start": datetime.fromtimestamp(window["start"] / 1000, UTC).isoformat(),
        "mention_count": window["count"],
        "keyword_score": window["score"],
        "source_weighted_signal": window["weighted"] / window["count"],
        "source_weight_avg": window["weight"] / window["count"],
    }


def main() -> None:
    app = Application(
        broker_address=os.environ["BROKER"],
        consumer_group=os.environ["GROUP"],
        auto_offset_reset="earliest",
        state_dir=os.environ["FOLDER"],
        commit_interval=1.0,
        loglevel="WARNING",
    )
    articles = app.topic(
        os.environ["TOPIC"], value_deserializer="json", timestamp_extractor=event_time
    )
    signals = app.topic(os.environ["OUTPUT"], value_serializer="json")
    frame = app.dataframe(articles).apply(weighted)
    frame = frame.tumbling_window(
        timedelta(hours=1), grace_ms=timedelta(minutes=5), on_late=lambda *_: False
    ).agg(count=Count(), score=Sum("score"), weighted=Sum("weighted"), weight=Sum("weight"))
    frame = frame.final(closing_strategy="partition").apply(to_signal, metadata=True)
    frame.to_topic(signals)
    app.run()


if __name__ == "__main__":
    main()
