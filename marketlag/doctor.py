"""What a worker needs, looked at one by one: a line each, with what to do about it."""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple

import asyncpg
import httpx
from aiokafka.errors import KafkaError

from marketlag import kafka
from marketlag.errors import DatabaseError, InputError, MarketLagError
from marketlag.migrate import pending
from marketlag.notify.channels import Channel
from marketlag.notify.notifier import sender
from marketlag.postgres import connected
from marketlag.settings import PREFIX, Settings
from marketlag.topics import topic_specs

#: Articles that are stamped five minutes ahead of their arrival are refused.
MAX_SKEW_SECONDS = 30.0
MIN_FREE_BYTES = 1024**3
HTTP_TIMEOUT = 10.0


class Finding(NamedTuple):
    """What a check found; ``is_well`` if nothing has to be done."""

    name: str
    text: str
    is_well: bool


#: Says what is well; raises ``MarketLagError`` with what is not, and the mend.
Check = Callable[[Settings], Awaitable[str]]


async def broker(settings: Settings) -> str:
    async with kafka.admin(settings) as client:
        cluster = await client.describe_cluster()
    count = len(cluster["brokers"])
    if count < settings.replication:
        raise InputError(
            f"{count} brokers, and topics shall have {settings.replication} copies: lower "
            f"{PREFIX}REPLICATION or add brokers"
        )
    return f"{settings.broker_url} answers, {count} broker{'s' if count > 1 else ''}"


async def topics(settings: Settings) -> str:
    await kafka.check_topics(settings)
    specs = topic_specs(settings)
    return f"{len(specs)} topics, {settings.partitions} partitions each"


async def postgres(settings: Settings) -> str:
    async with connected(settings.postgres_dsn.get_secret_value()) as connection:
        version = await connection.fetchval("SHOW server_version")
    return f"answers, version {version}"


async def schema(settings: Settings) -> str:
    missing = await asyncio.to_thread(pending, settings.postgres_dsn.get_secret_value())
    if missing:
        raise DatabaseError(f"{', '.join(missing)} not applied: run `marketlag migrate`")
    return "all migrations are applied"


async def clock(settings: Settings) -> str:
    """Against Postgres, and whatever Gamma's server says, even if it refuses the question."""
    skews = {}
    async with connected(settings.postgres_dsn.get_secret_value()) as connection:
        before = time.time()
        theirs = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
        skews["Postgres"] = (before + time.time()) / 2 - theirs
    try:
        async with httpx.AsyncClient(timeout=HTTP_TIMEOUT) as client:
            told = (await client.head(settings.gamma_url)).headers.get("Date")
        if told is not None:
            skews["Polymarket"] = time.time() - parsedate_to_datetime(told).timestamp()
    except (httpx.HTTPError, ValueError):
        pass  # that it does not answer is another check's finding
    said = ", ".join(f"{skew:+.1f} s to {name}" for name, skew in skews.items())
    if max(map(abs, skews.values())) > MAX_SKEW_SECONDS:
        raise InputError(f"{said}: synchronise the machines' clocks (NTP); articles from the "
                         "future are refused")  # fmt: skip
    return said


async def datadir(settings: Settings) -> str:
    folder = settings.datadir.absolute()
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if not os.access(there, os.W_OK | os.X_OK) or not there.is_dir():
        raise InputError(f"{there} cannot be written: change {PREFIX}DATADIR or its owner")
    free = shutil.disk_usage(there).free
    if free < MIN_FREE_BYTES:
        raise InputError(f"{_gigabytes(free)} left on the disk of {there}: make room")
    return f"{folder} can be written, {_gigabytes(free)} free"


def _gigabytes(count: int) -> str:
    return f"{count / 1024**3:.1f} GB"


def channel_check(channels: Sequence[Channel]) -> Check:
    async def notifications(_: Settings) -> str:
        for channel in channels:
            sender(channel)
        return f"{', '.join(channel.name for channel in channels)} (try: marketlag notify test)"

    return notifications


async def examine(settings: Settings, channels: Sequence[Channel]) -> AsyncIterator[Finding]:
    """Look at everything but the sources, which ``marketlag markets check`` knows about."""
    checks: dict[str, Check] = {
        "kafka": broker,
        "topics": topics,
        "postgres": postgres,
        "schema": schema,
        "clock": clock,
        "datadir": datadir,
    }
    if channels:
        checks["notify"] = channel_check(channels)
    yield Finding("settings", settings_line(settings), is_well=True)
    for name, check in checks.items():
        yield await _made(name, check, settings)


async def _made(name: str, check: Check, settings: Settings) -> Finding:
    try:
        return Finding(name, await check(settings), is_well=True)
    except (MarketLagError, KafkaError, OSError, asyncpg.PostgresError) as exc:
        text = str(exc).removeprefix("Postgres: ") or type(exc).__name__
        return Finding(name, " ".join(text.split()), is_well=False)


def settings_line(settings: Settings) -> str:
    chosen = len(settings.model_fields_set)
    source = "the environment and .env" if Path(".env").exists() else "the environment"
    return f"{chosen} from {source}, the others as documented"
