"""The floor: aiokafka, msgspec and a dict. No state, no commit, no group, no output before the end.

What a Python program costs that reads the articles and adds them up, and does nothing for it to be
right after a crash. Late articles count; the windows are printed at the end.
"""

import asyncio
import os
import sys
from collections import defaultdict

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition


class Row(msgspec.Struct):
    """What the others publish as a signal."""

    market_slug: str
    window_start: str
    mention_count: int
    keyword_score: float
    source_weighted_signal: float
    source_weight_avg: float


class Article(msgspec.Struct, gc=False):
    """The fields that count."""

    market_slug: str
    published_at: str
    source_weight: float
    keyword_score: float


async def main(broker: str, topic: str, partitions: int) -> None:
    decode = msgspec.json.Decoder(Article).decode
    hours: defaultdict[tuple[str, str], list[float]] = defaultdict(lambda: [0, 0.0, 0.0, 0.0])
    tps = [TopicPartition(topic, partition) for partition in range(partitions)]
    async with AIOKafkaConsumer(bootstrap_servers=broker, auto_offset_reset="earliest") as consumer:
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        sys.stdout.write("began\n")
        sys.stdout.flush()
        while any([await consumer.position(tp) < ends[tp] for tp in tps]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    article = decode(record.value)
                    hour = hours[article.market_slug, article.published_at[:13]]
                    hour[0] += 1
                    hour[1] += article.keyword_score
                    hour[2] += article.keyword_score * article.source_weight
                    hour[3] += article.source_weight
    for (market, hour), (count, score, weighted, weight) in hours.items():
        row = Row(market, f"{hour}:00:00Z", int(count), score, weighted / count, weight / count)
        sys.stdout.write(msgspec.json.encode(row).decode() + "\n")
    sys.stdout.write("ended\n")
    sys.stdout.flush()
    sys.stdin.read()  # whoever measures it ends it


if __name__ == "__main__":
    asyncio.run(main(os.environ["BROKER"], os.environ["TOPIC"], int(os.environ["PARTITIONS"])))
