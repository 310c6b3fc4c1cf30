"""A test's own hands in Kafka: it sends, reads whole logs, resets and deletes. Blocking calls."""

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any, Self, TypeVar

import stamina
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import CommitFailedError
from aiokafka.structs import OffsetAndMetadata

from marketlag import kafka
from marketlag.settings import Settings
from marketlag.topics import topic_specs

Result = TypeVar("Result")
#: A broker may be away for a while; what a test sends has to arrive, once.
PATIENCE_MS = 120_000


class Client:
    """Runs its coroutines in a thread of its own; usable from several threads."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._producer: AIOKafkaProducer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._producer is not None:
            producer = self._producer
            self.run(asyncio.wait_for(producer.stop(), 10))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, coroutine: Coroutine[Any, Any, Result], timeout: float = 150) -> Result:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout)

    # --- writing

    def send(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Send records (arguments of aiokafka's ``send``) in order; return when all are there."""
        self.run(self._send(list(records)))

    def send_again(self, logs: Mapping[str, Mapping[int, Sequence[ConsumerRecord]]]) -> None:
        """Send whole logs as they are, to topics that were made anew."""
        self.send(
            {
                "topic": topic,
                "partition": partition,
                "key": record.key,
                "value": record.value,
                "timestamp_ms": record.timestamp,
                "headers": list(record.headers),
            }
            for topic, partitions in logs.items()
            for partition, log in partitions.items()
            for record in log
        )

    async def _send(self, records: list[Mapping[str, Any]]) -> None:
        if self._producer is None:
            self._producer = AIOKafkaProducer(
                **{**kafka.client_options(self.settings), "request_timeout_ms": PATIENCE_MS},
                acks="all",
                enable_idempotence=True,
                max_request_size=8 * 1024 * 1024,
            )
            await self._producer.start()
        sent = [await self._producer.send(**record) for record in records]
        await asyncio.gather(*sent)

    # --- reading

    def logs(
        self, topics: Sequence[str], partitions: int
    ) -> dict[str, dict[int, list[ConsumerRecord]]]:
        """Everything in these topics, by topic and partition."""
        return self.run(self._logs(topics, partitions))

    async def _logs(
        self, topics: Sequence[str], partitions: int
    ) -> dict[str, dict[int, list[ConsumerRecord]]]:
        found: dict[str, dict[int, list[ConsumerRecord]]] = {
            topic: {partition: [] for partition in range(partitions)} for topic in topics
        }
        async with kafka.consumer(self.settings) as consumer:
            tps = [TopicPartition(topic, p) for topic in topics for p in range(partitions)]
            consumer.assign(tps)
            ends = await consumer.end_offsets(tps)
            await consumer.seek_to_beginning()
            while any([await consumer.position(tp) < ends[tp] for tp in tps]):
                for tp, records in (await consumer.getmany(timeout_ms=200)).items():
                    found[tp.topic][tp.partition] += records
        return found

    def ends(self, topics: Sequence[str], partitions: int) -> dict[TopicPartition, int]:
        async def ends() -> dict[TopicPartition, int]:
            async with kafka.consumer(self.settings) as consumer:
                tps = [TopicPartition(topic, p) for topic in topics for p in range(partitions)]
                return dict(await consumer.end_offsets(tps))

        return self.run(ends())

    # --- administration

    def create_topics(self) -> None:
        """What ``marketlag topics`` does."""
        self.run(kafka.create_topics(self.settings))

    def committed(self, tps: list[TopicPartition]) -> dict[TopicPartition, OffsetAndMetadata]:
        async def ask(admin: AIOKafkaAdminClient) -> Any:
            return await admin.list_consumer_group_offsets(self.settings.app_id, partitions=tps)

        return dict(self._administer(ask))

    def reset_offsets(self, topics: Sequence[str], partitions: int) -> None:
        """What ``kafka-consumer-groups --reset-offsets --to-earliest`` does.

        Waits until nobody is in the group: a member that is told to stop while it joins does not
        say that it leaves (aiokafka 0.14), and is in until its session is over.
        """

        async def reset() -> None:
            tps = [TopicPartition(topic, p) for topic in topics for p in range(partitions)]
            async with AIOKafkaConsumer(
                **kafka.client_options(self.settings),
                group_id=self.settings.app_id,
                enable_auto_commit=False,
            ) as consumer:
                consumer.assign(tps)
                begins = await consumer.beginning_offsets(tps)
                wanted = {tp: OffsetAndMetadata(begins[tp], "") for tp in tps}
                async for attempt in stamina.retry_context(
                    on=CommitFailedError, attempts=None, timeout=30
                ):
                    with attempt:
                        await consumer.commit(wanted)

        self.run(reset())

    def existing(self) -> list[str]:
        """Every topic of the pipeline, and every changelog, that is there."""
        wanted = {spec.name for spec in topic_specs(self.settings)}

        async def ask(admin: AIOKafkaAdminClient) -> list[str]:
            names = await admin.list_topics()
            return [name for name in names if name in wanted or name.endswith("-changelog")]

        return list(self._administer(ask))

    def topic_config(self, topic: str) -> dict[str, str]:
        async def ask(admin: AIOKafkaAdminClient) -> dict[str, str]:
            resource = ConfigResource(ConfigResourceType.TOPIC, topic)
            (answer,) = await admin.describe_configs([resource])
            return {entry[0]: entry[1] for entry in answer.resources[0][4]}

        return dict(self._administer(ask))

    def delete_topics(self, topics: Sequence[str]) -> None:
        """Delete topics, and wait until they are gone."""

        async def delete(admin: AIOKafkaAdminClient) -> None:
            if not topics:
                return
            await admin.delete_topics(list(topics))
            while set(topics) & set(await admin.list_topics()):
                await asyncio.sleep(0.1)

        self._administer(delete)

    def delete_records(self, before: Mapping[TopicPartition, int]) -> None:
        """Cut the start of logs, as retention does."""

        async def delete(admin: AIOKafkaAdminClient) -> None:
            await admin.delete_records(
                {tp: RecordsToDelete(before_offset=offset) for tp, offset in before.items()}
            )

        self._administer(delete)

    def create(self, topic: str, partitions: int, config: Mapping[str, str]) -> None:
        async def create(admin: AIOKafkaAdminClient) -> None:
            await admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=dict(config))])

        self._administer(create)

    def _administer(self, work: Any) -> Any:
        async def with_admin() -> Any:
            async with kafka.admin(self.settings) as admin:
                return await work(admin)

        return self.run(with_admin())
