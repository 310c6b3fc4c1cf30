"""Plain aiokafka clients for commands: the same address and credentials as the worker's."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from marketlag.engine.app import credentials
from marketlag.errors import BrokerError, TopicsError
from marketlag.settings import PREFIX, Settings
from marketlag.topics import DLQ_MAX_BYTES, RECORD_OVERHEAD, TopicSpec, topic_specs

REQUEST_TIMEOUT_MS = 30_000
#: Just below the broker's default limit; the embedded broker gives one batch a fetch.
MAX_BATCH_BYTES = 900 * 1024


def client_options(settings: Settings) -> dict[str, Any]:
    """Options that every aiokafka client takes."""
    return {
        "bootstrap_servers": settings.bootstrap_servers,
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
        **credentials_to_aiokafka_auth(credentials(settings)),
    }


class _Complaints(logging.Handler):
    """Keeps what aiokafka only logs: its errors do not say why a broker could not be reached."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.reasons: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.reasons.append(" ".join(record.getMessage().split()))


def why_not_reached(settings: Settings, reasons: list[str]) -> str:
    """One line that names the setting to look at."""
    reason = reasons[-1]
    if "SaslAuthenticationFailed" in reason:
        return (
            f"{PREFIX}BROKER_USER and {PREFIX}BROKER_PASSWORD: {settings.broker_url} does not "
            f"accept them"
        )
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return (
            f"{PREFIX}BROKER_CA: the certificate of {settings.broker_url} is not signed by an "
            f"authority that is known here ({reason})"
        )
    return (
        f"{PREFIX}BROKER_URL={settings.broker_url} with {PREFIX}BROKER_SECURITY="
        f"{settings.broker_security}: {reason}"
    )


@asynccontextmanager
async def _started(client: Any, settings: Settings, stop: str = "stop") -> AsyncIterator[Any]:
    complaints = _Complaints()
    logger = logging.getLogger("aiokafka")
    logger.addHandler(complaints)
    try:
        await client.start()
    except (KafkaError, OSError) as exc:
        await getattr(client, stop)()
        raise BrokerError(why_not_reached(settings, complaints.reasons or [str(exc)])) from None
    finally:
        logger.removeHandler(complaints)
    try:
        yield client
    finally:
        await getattr(client, stop)()


@asynccontextmanager
async def admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    async with _started(
        AIOKafkaAdminClient(**client_options(settings)), settings, "close"
    ) as client:
        yield client


@asynccontextmanager
async def producer(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    client = AIOKafkaProducer(
        **client_options(settings),
        acks="all",
        enable_idempotence=True,
        linger_ms=5,
        max_batch_size=MAX_BATCH_BYTES,
        max_request_size=2 * DLQ_MAX_BYTES + RECORD_OVERHEAD,
    )
    async with _started(client, settings) as started:
        yield started


@asynccontextmanager
async def consumer(settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer outside any group."""
    client = AIOKafkaConsumer(
        **client_options(settings),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        # Commands read to an end that is known. What they ask next stands behind a fetch that
        # waits for more.
        fetch_max_wait_ms=50,
    )
    async with _started(client, settings) as started:
        yield started


async def partition_counts(client: AIOKafkaAdminClient, names: list[str]) -> dict[str, int]:
    """Partitions of the topics that exist."""
    existing = set(await client.list_topics())
    described = await client.describe_topics([name for name in names if name in existing])
    return {
        topic["topic"]: len(topic["partitions"]) for topic in described if not topic["error_code"]
    }


async def check_topics(settings: Settings) -> None:
    """Raise ``TopicsError`` unless every topic exists with the partitions that it needs."""
    specs = topic_specs(settings)
    async with admin(settings) as client:
        found = await partition_counts(client, [spec.name for spec in specs])
    missing = [spec.name for spec in specs if spec.name not in found]
    if missing:
        raise TopicsError(f"missing topics: {', '.join(missing)}; run `marketlag topics`")
    _refuse_other_counts(specs, found)


def _refuse_other_counts(specs: list[TopicSpec], found: dict[str, int]) -> None:
    wrong = [
        f"{spec.name} has {found[spec.name]} partitions and not {spec.partitions}"
        for spec in specs
        if spec.name in found and found[spec.name] != spec.partitions
    ]
    if wrong:
        raise TopicsError(
            f"{'; '.join(wrong)}: set MARKETLAG_PARTITIONS to what the topics have, or make them "
            "anew (topics that are joined need the same count, and records do not move)"
        )


async def create_topics(settings: Settings) -> list[str]:
    """Create what is missing; returns the names created. Raises ``TopicsError``."""
    specs = topic_specs(settings)
    async with admin(settings) as client:
        found = await partition_counts(client, [spec.name for spec in specs])
        _refuse_other_counts(specs, found)
        missing = [spec for spec in specs if spec.name not in found]
        if not missing:
            return []
        response = await client.create_topics(
            [
                NewTopic(
                    spec.name, spec.partitions, settings.replication, topic_configs=spec.config()
                )
                for spec in missing
            ]
        )
    for name, code, *detail in response.topic_errors:
        if code not in (0, TopicAlreadyExistsError.errno):
            reason = detail[0] if detail and detail[0] else for_code(code).__name__
            raise TopicsError(f"{name} was not created: {reason}")
    return [spec.name for spec in missing]
