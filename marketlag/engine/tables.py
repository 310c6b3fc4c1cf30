"""Tables of facts: RocksDB, a changelog topic, and nothing that counts.

Stock Faust expires windows by the wall clock, gives each partition's database up to 2 GiB of cache
and never closes it (``tables/base.py``, ``stores/rocksdb.py``). Here the jobs say what is written
and deleted, by event time.
"""

import asyncio
import math
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import faust
import msgspec
import rocksdict
from faust.stores import rocksdb
from faust.tables.manager import TableManager as FaustTableManager
from faust.tables.recovery import Recovery as FaustRecovery
from faust.types import TP, CollectionT, EventT
from faust.types.windows import WindowT
from mode import Service, get_logger

from marketlag.engine.chunk import ChunkSchema
from marketlag.errors import EngineError

Fact = TypeVar("Fact", bound=msgspec.Struct)
logger = get_logger(__name__)

PROGRESS_SECONDS = 5.0
#: Key of the changelog record's timestamp (ms) that goes with Faust's persisted offset.
_TIMESTAMP_KEY = b"__marketlag\0timestamp__"

_WRITE_BUFFER = 4 * 1024 * 1024
_BLOCK_CACHE = 8 * 1024 * 1024
_MAX_OPEN_FILES = 64


def _rocksdb_options() -> rocksdict.Options:
    """A partition holds a few days of facts: megabytes, not gigabytes."""
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_max_open_files(_MAX_OPEN_FILES)
    options.set_write_buffer_size(_WRITE_BUFFER)
    options.set_max_write_buffer_number(2)
    options.set_max_total_wal_size(4 * _WRITE_BUFFER)
    options.set_keep_log_file_num(2)
    blocks = rocksdict.BlockBasedOptions()
    blocks.set_block_cache(rocksdict.Cache(_BLOCK_CACHE))
    options.set_block_based_table_factory(blocks)
    return options


class Store(rocksdb.Store):
    """One small RocksDB per partition: a cache of the changelog, thrown away when in doubt."""

    def _open_for_partition(self, partition: int) -> rocksdict.Rdict:
        path = self.partition_path(partition)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return rocksdict.Rdict(str(path), options=_rocksdb_options())
        except Exception as exc:
            if "/LOCK" in str(exc):
                raise  # another process has it open
            logger.warning("%s cannot be opened (%s); rebuilding it from the changelog", path, exc)
            shutil.rmtree(path, ignore_errors=True)
            return rocksdict.Rdict(str(path), options=_rocksdb_options())

    def wipe(self, partition: int) -> None:
        """Throw the local copy of a partition away."""
        self._close([partition])
        shutil.rmtree(self.partition_path(partition), ignore_errors=True)

    def apply_changelog_batch(
        self, batch: Iterable[EventT[Any]], to_key: Callable[..., Any], to_value: Callable[..., Any]
    ) -> None:
        """Write chunks of changelog records, the offset with them in the same write."""
        for event in batch:
            tp = event.message.tp
            write = rocksdict.WriteBatch(raw_mode=True)
            chunk: Any = event.message.value  # of a changelog: its records as they are
            for record in chunk:
                if record.value is None:
                    write.delete(record.key)
                else:
                    write.put(record.key, record.value)
            self._mark(write, chunk[-1].offset, chunk[-1].timestamp)
            try:
                self._db_for_partition(tp.partition).write(write)
            except Exception as exc:
                # Faust's recovery only logs what is raised here, and would go on with a hole.
                self._crashing = asyncio.ensure_future(self.app.crash(exc))
                raise
            consumer: Any = self.app.consumer
            consumer.make_room(tp)

    def _mark(self, write: rocksdict.WriteBatch, offset: int, timestamp: int) -> None:
        write.put(self.offset_key, str(offset).encode())
        write.put(_TIMESTAMP_KEY, str(timestamp).encode())

    def mark(self, partition: int, offset: int, timestamp: int) -> None:
        """Remember that everything up to this changelog record is in the database."""
        write = rocksdict.WriteBatch(raw_mode=True)
        self._mark(write, offset, timestamp)
        self._db_for_partition(partition).write(write)

    def persisted_timestamp(self, partition: int) -> int | None:
        """When the record at the persisted offset was written (ms)."""
        found = self._db_for_partition(partition).get(_TIMESTAMP_KEY)
        return int(found) if found is not None else None

    def write(self, partition: int, facts: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Put values, and delete keys that have none, all in one write."""
        write = rocksdict.WriteBatch(raw_mode=True)
        for key, value in facts:
            if value is None:
                write.delete(key)
            else:
                write.put(key, value)
        self._db_for_partition(partition).write(write)

    def value_of(self, partition: int, key: bytes) -> bytes | None:
        found: bytes | None = self._db_for_partition(partition).get(key)
        return found

    def is_open(self, partition: int) -> bool:
        return partition in self._dbs

    def items_of(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """Everything in a partition. Raises ``EngineError`` where it cannot be read to its end.

        RocksDB's iterator just ends at a damaged block; only its status tells.
        """
        items = self._db_for_partition(partition).iter()
        items.seek_to_first()
        while items.valid():
            if items.key() not in (self.offset_key, _TIMESTAMP_KEY):
                yield items.key(), items.value()
            items.next()
        try:
            items.status()
        except Exception as exc:
            path = self.partition_path(partition)
            del items
            self.wipe(partition)
            raise EngineError(
                f"{path} was damaged ({exc}) and is removed; the next start rebuilds it from the "
                "changelog"
            ) from exc

    def revoke_partitions(self, table: CollectionT, tps: set[TP]) -> None:
        topics = table.changelog_topic.topics
        self._close([tp.partition for tp in tps if tp.topic in topics])

    async def stop(self) -> None:
        self._close(list(self._dbs))
        await super().stop()

    def _close(self, partitions: Iterable[int]) -> None:
        for partition in partitions:
            db = self._dbs.pop(partition, None)
            if db is not None:
                db.close()


class RawTable(faust.Table[bytes, bytes], Generic[Fact]):
    """Facts under keys of bytes; the value is the fact as JSON."""

    def __init__(self, app: faust.App, name: str, fact: type[Fact], **options: Any) -> None:
        super().__init__(
            app,
            name=name,
            schema=ChunkSchema(
                key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
            ),
            key_type=bytes,
            value_type=bytes,
            # Recovery buffers this many chunks; 1 would make Faust go on tailing the changelog.
            recovery_buffer_size=2,
            **options,
        )
        self._decode_fact = msgspec.json.Decoder(fact).decode
        #: Offset and timestamp of the newest changelog record that Kafka has.
        self._confirmed: dict[TP, tuple[int, int]] = {}

    def clone(self, **kwargs: Any) -> Any:
        raise NotImplementedError("a table of facts is declared once")

    def _new_store(self) -> Store:
        return Store(
            "rocksdb:",
            self.app,
            self,
            table_name=self.name,
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            loop=self.loop,
        )

    def _should_expire_keys(self) -> bool:
        """Never by Faust's wall clock: the job deletes what event time has passed."""
        return False

    @property
    def _store_of_ours(self) -> Store:
        store = self.data
        assert isinstance(store, Store)
        return store

    def _write(self, partition: int, facts: Sequence[tuple[bytes, bytes | None]]) -> None:
        """To RocksDB, and to the changelog; ``None`` deletes.

        Not through Faust's dictionary, which makes several objects and a task of each key
        (``tables/base.py``, ``topics.py``).
        """
        if not facts:
            return
        self._store_of_ours.write(partition, facts)
        topic = self.changelog_topic.get_topic_name()
        # All of a write has one timestamp, and it has to be known exactly (``Recovery``): aiokafka
        # 0.14 reports for each record of a batch that of the first.
        now = int(time.time() * 1_000)
        app: Any = self.app
        for key, value in facts:
            app.sender.write(
                topic,
                value,
                key=key,
                partition=partition,
                timestamp_ms=now,
                on_confirmed=self._on_confirmed,
            )

    def _on_confirmed(self, tp: TP, offset: int, timestamp: int) -> None:
        self._confirmed[tp] = max((offset, timestamp), self._confirmed.get(tp, (-1, 0)))

    def persist_offsets(self) -> None:
        """Remember with the data how much of the changelog it holds. Called after each commit.

        Stock Faust writes this for each record; too old a figure only costs a longer recovery.
        """
        confirmed, self._confirmed = self._confirmed, {}
        store = self._store_of_ours
        for tp, (offset, timestamp) in confirmed.items():
            if store.is_open(tp.partition):
                store.mark(tp.partition, offset, timestamp)


class FactTable(RawTable[Fact]):
    """Facts at ``(market, window)``: an event-time window declared with Faust's own type.

    The key on disk and in the changelog is Faust's windowed key, ``[market, [start, end]]`` in
    seconds, as JSON.
    """

    def __init__(
        self, app: faust.App, name: str, fact: type[Fact], window: WindowT, **options: Any
    ) -> None:
        super().__init__(app, name, fact, window=window, **options)
        self._window = window

    def _key(self, market: str, start: int) -> bytes:
        return msgspec.json.encode((market, self._window.current(start / 1000)))

    def put_all(self, partition: int, facts: Mapping[tuple[str, int], Fact]) -> None:
        """Write facts to RocksDB and the changelog, by market and window start (ms)."""
        encode = msgspec.json.encode
        self._write(partition, [(self._key(*key), encode(fact)) for key, fact in facts.items()])

    def delete_all(self, partition: int, keys: Iterable[tuple[str, int]]) -> None:
        """Delete facts, from RocksDB at once and from the changelog by tombstones."""
        self._write(partition, [(self._key(*key), None) for key in keys])

    def facts(self, partition: int) -> Iterator[tuple[str, int, Fact]]:
        """All facts of a partition as (market, window start in ms, fact)."""
        for key, value in self._store_of_ours.items_of(partition):
            market, (start, _) = msgspec.json.decode(key)
            yield market, round(start * 1000), self._decode_fact(value)


class KeyedTable(RawTable[Fact]):
    """Facts under keys of strings, in a partition that the caller chooses and holds.

    The key on disk and in the changelog is a JSON array of the strings.
    """

    def fact(self, partition: int, *key: str) -> Fact | None:
        found = self._store_of_ours.value_of(partition, msgspec.json.encode(key))
        return None if found is None else self._decode_fact(found)

    def put(self, partition: int, *key: str, fact: Fact) -> None:
        self._write(partition, [(msgspec.json.encode(key), msgspec.json.encode(fact))])

    def delete(self, partition: int, *key: str) -> None:
        self._write(partition, [(msgspec.json.encode(key), None)])

    def facts(self, partition: int) -> Iterator[tuple[tuple[str, ...], Fact]]:
        """All facts of a partition with their keys."""
        for key, value in self._store_of_ours.items_of(partition):
            yield tuple(msgspec.json.decode(key)), self._decode_fact(value)


class Recovery(FaustRecovery):
    """Faust's recovery, that throws away a local copy which does not fit the changelog."""

    async def _build_offsets(
        self, consumer: Any, tps: set[TP], destination: Any, title: str
    ) -> None:
        earliest: Mapping[TP, int] = await consumer.earliest_offsets(*tps)
        held = [tp for tp in tps & self.active_highwaters.keys() if (destination[tp] or -1) >= 0]
        after = await self._offsets_after(consumer, held)
        for tp in held:
            persisted, highwater = destination[tp], self.active_highwaters[tp]
            reaches = earliest[tp] - 1 <= persisted <= highwater
            if not reaches or after[tp] <= persisted:
                self.log.warning(
                    "Local state of %s ends at offset %s of another log than this changelog, which "
                    "has %s to %s; rebuilding",
                    *(tp, persisted, earliest[tp], highwater),
                )
                self._store(tp).wipe(tp.partition)
                destination[tp] = None
        await super()._build_offsets(consumer, tps, destination, title)

    def _store(self, tp: TP) -> Store:
        table: Any = self.tp_to_table[tp]
        store = table.data
        assert isinstance(store, Store)
        return store

    async def _offsets_after(self, consumer: Any, held: list[TP]) -> dict[TP, float]:
        """The first record of each changelog that is younger than what the local state ends with.

        In a topic that was made anew it is the first of all, and offsets mean nothing there.
        Infinite where there is none.
        """
        stamps = {tp: self._store(tp).persisted_timestamp(tp.partition) for tp in held}
        found = await consumer.offsets_after(
            {tp: stamp for tp, stamp in stamps.items() if stamp is not None}
        )
        return {
            tp: -1 if stamp is None else found.get(tp, math.inf) for tp, stamp in stamps.items()
        }

    async def _seek_offsets(self, consumer: Any, tps: set[TP], offsets: Any, title: str) -> None:
        await super()._seek_offsets(consumer, tps, offsets, title)
        if self.active_remaining_total():
            self._report_progress()

    def _report_progress(self) -> None:
        self.log.info(
            "restoring tables from their changelogs: %s records to go",
            f"{self.active_remaining_total():,}",
        )

    @Service.task
    async def _watch_progress(self) -> None:
        while not self.should_stop:
            await self.sleep(PROGRESS_SECONDS)
            if self.in_recovery and self.active_remaining_total() > 0:
                self._report_progress()


class TableManager(FaustTableManager):
    """Makes Faust use our recovery."""

    @property
    def recovery(self) -> Recovery:
        if not isinstance(self._recovery, Recovery):
            self._recovery = Recovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery
