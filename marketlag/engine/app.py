"""The Faust app with our transport, tables and settings."""

import asyncio
import gc
import logging
import os
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any

import faust
import uvloop
from faust.app import BootStrategy as FaustBootStrategy
from faust.transport.base import Transport as TransportBase
from faust.types import StreamT
from mode import CrashingSupervisor, ServiceT

from marketlag import logs
from marketlag.engine.chunk import Chunk, ChunkSchema, ChunkStream
from marketlag.engine.consumer import PARTITION_FETCH_BYTES, Consumer
from marketlag.engine.flow import Part
from marketlag.engine.membership import Membership
from marketlag.engine.producer import Producer
from marketlag.engine.readings import Readings
from marketlag.engine.tables import TableManager
from marketlag.engine.transport import Transport
from marketlag.engine.worker import Worker
from marketlag.errors import SettingsError
from marketlag.health import Health
from marketlag.settings import PREFIX, Settings, milliseconds
from marketlag.topics import DLQ_MAX_BYTES, RECORD_OVERHEAD
from marketlag.web import WebServer

#: Kafka wants several heartbeats within a session.
HEARTBEATS_PER_SESSION = 10
GC_THRESHOLD = (50_000, 20, 50)
PRODUCER_TIMEOUT = 60.0
#: aiokafka sends and commits for ever while the broker is away. A worker that shall stop does not
#: wait longer than this for it; what was not committed is done again.
STOP_DEADLINE = 9.0


#: What an agent does with its chunks.
Work = Callable[[StreamT[Chunk]], Awaitable[None]]


class BootStrategy(FaustBootStrategy):
    """Health is looked after from the first moment; the web server is ours."""

    app: "App"

    def server(self) -> Iterable[ServiceT]:
        return [self.app.health, *super().server()]

    def web_server(self) -> Iterable[ServiceT]:
        return [self.app.web_service] if self._should_enable_web() else []


class App(faust.App):
    """A Faust app that keeps MarketLag's guarantees (see ``docs/decisions.md``).

    Args:
        check_before_start: run by the worker before anything else; raises ``MarketLagError``.
    """

    BootStrategy = BootStrategy

    def __init__(
        self,
        settings: Settings,
        *,
        check_before_start: Callable[[], Awaitable[None]],
        **options: Any,
    ) -> None:
        self._check_before_start = check_before_start
        #: What the agents and the producers have declared.
        self.parts: list[Part] = []
        session = settings.session_timeout / timedelta(seconds=1)
        self.membership = Membership(session, self._end_as_stranger)
        super().__init__(
            id=settings.app_id,
            broker=settings.broker_url.replace("kafka://", "aiokafka://"),
            broker_credentials=credentials(settings),
            broker_session_timeout=session,
            broker_heartbeat_interval=session / HEARTBEATS_PER_SESSION,
            broker_request_timeout=max(90.0, session),
            broker_commit_interval=settings.commit_interval / timedelta(seconds=1),
            broker_max_poll_records=settings.fetch_max_records,
            datadir=settings.datadir,
            consumer_max_fetch_size=PARTITION_FETCH_BYTES,
            store="rocksdb://",
            # Topics are made by `marketlag topics`, with their retention.
            topic_allow_declare=False,
            topic_disable_leader=True,
            topic_partitions=settings.partitions,
            topic_replication_factor=settings.replication,
            # Faust's exactly_once skips the producer's flush; ours is in the construction.
            processing_guarantee="at_least_once",
            agent_supervisor=CrashingSupervisor,
            TableManager=TableManager,
            Worker=Worker,
            logging_config=logs.config(settings.log_format),
            Stream=ChunkStream,
            table_standby_replicas=0,
            stream_wait_empty=True,
            stream_recovery_delay=settings.startup_delay / timedelta(seconds=1),
            producer_linger=0.0,
            producer_max_batch_size=256 * 1024,
            producer_max_request_size=DLQ_MAX_BYTES + 2 * RECORD_OVERHEAD,
            producer_request_timeout=PRODUCER_TIMEOUT,
            web_host=settings.web_host,
            web_bind=settings.web_host,
            web_port=settings.web_port,
            web_tables_enabled=False,
            **options,
        )
        self._settings = settings
        self.health = Health(self, settings, beacon=self.beacon)
        self.web_service = WebServer(
            self.conf, self.health.sick, self.health.unready, beacon=self.beacon
        )
        # Faust then leaves its own alone; ours starts before the tables are restored.
        self._web_server_service = self.web_service
        Readings(self).register()

    @property
    def prints_banner(self) -> bool:
        """A log of JSON has no place for it."""
        return self._settings.log_format == "text"

    async def check_before_start(self) -> None:
        """Raise ``MarketLagError`` if the worker would not come far."""
        if self.boot_strategy._should_enable_web():
            self.web_service.bind()
        await self._check_before_start()

    async def on_started_init_web_server(self) -> None:
        """It runs already."""

    def worker_init(self) -> None:
        """Called by Faust's command line before there is an event loop."""
        super().worker_init()
        # The consumer and the agents are two threads; most of what is left of the overhead is
        # their loops waking each other, which uvloop does at a fraction of the cost.
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        # A chunk is thousands of records without cycles that are gone a moment later; looking for
        # cycles among them every 700 allocations finds none.
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLD)

    def _end_as_stranger(self) -> None:
        """Others have the partitions: what waits here is stale, so nothing may be finished."""
        self.log.error("was out for longer than its Kafka session: others have its partitions")
        logging.shutdown()
        os._exit(1)

    async def on_stop(self) -> None:
        deadline = threading.Timer(STOP_DEADLINE, os._exit, (1,))
        deadline.daemon = True
        deadline.start()
        await super().on_stop()

    def _new_consumer(self) -> Any:
        consumer: Any = super()._new_consumer()
        consumer.fail_on_truncated_log = self._settings.on_truncated_log == "fail"
        consumer.fetch_max_wait_ms = milliseconds(self._settings.fetch_max_wait)
        return consumer

    def _new_transport(self) -> TransportBase:
        return Transport(self.conf.broker_consumer, self, loop=self.loop)

    def _new_producer_transport(self) -> TransportBase:
        return Transport(self.conf.broker_producer, self, loop=self.loop)

    def job(
        self,
        name: str,
        *,
        reads: Sequence[str],
        writes: Sequence[str] = (),
        tables: Sequence[Any] = (),
        stores: Sequence[str] = (),
    ) -> Callable[[Work], Any]:
        """Decorates an agent of chunks; says what it reads, writes and keeps (``flow.Part``)."""
        kept = tuple(table.name for table in tables)
        self.parts.append(Part(name, tuple(reads), tuple(writes), kept, stores=tuple(stores)))
        schema = ChunkSchema(
            key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )
        decorate: Callable[[Work], Any] = self.agent(self.topic(*reads, schema=schema), name=name)
        return decorate

    @property
    def has_sender(self) -> bool:
        """Whether there is a producer yet; asking for one makes it."""
        return self._producer is not None

    @property
    def has_reader(self) -> bool:
        """Whether there is a consumer yet; asking for one makes it."""
        return self._consumer is not None

    @property
    def sender(self) -> Producer:
        """The producer, with its strict ``publish``."""
        producer = self.producer
        assert isinstance(producer, Producer)
        return producer

    @property
    def reader(self) -> Consumer:
        """The consumer, with its positions."""
        consumer = self.consumer
        assert isinstance(consumer, Consumer)
        return consumer


def credentials(settings: Settings) -> faust.SASLCredentials | None:
    """What a managed Kafka asks for. Raises ``SettingsError`` for a CA file that is none."""
    if settings.broker_security == "plaintext":
        return None
    assert settings.broker_password is not None
    try:
        context = ssl.create_default_context(cafile=settings.broker_ca)
    except OSError as exc:  # ssl.SSLError is one
        reason = exc.strerror or "no certificates"
        raise SettingsError(f"{PREFIX}BROKER_CA: {settings.broker_ca}: {reason}") from None
    return faust.SASLCredentials(
        username=settings.broker_user,
        password=settings.broker_password.get_secret_value(),
        ssl_context=context,
        mechanism="PLAIN",
    )
