"""A TCP proxy between workers and brokers, that delays and cuts."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

Result = TypeVar("Result")


class Proxy:
    """Forwards ports of this machine. Runs in a thread of its own.

    Attributes:
        delay: each direction of a round trip takes half of this longer (s).
    """

    def __init__(self) -> None:
        self.delay = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._connections: set[asyncio.StreamWriter] = set()
        self._servers: list[asyncio.Server] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def forward(self, port: int, to: int) -> None:
        """Listen on *port* and pass everything to port *to*."""

        async def listen() -> None:
            async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await self._join(reader, writer, to)

            server = await asyncio.start_server(connected, "127.0.0.1", port)
            self._servers.append(server)

        self._run(listen())

    def cut(self) -> int:
        """Reset every connection; new ones are welcome. Returns how many."""

        async def cut() -> int:
            writers = list(self._connections)
            for writer in writers:
                writer.transport.abort()
            return len(writers)

        return self._run(cut())

    def _run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _join(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to: int
    ) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", to)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, there_writer}
        self._connections |= ends
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, there_writer))
                group.create_task(self._pump(there_reader, writer))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            self._connections -= ends
            for end in ends:
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass bytes on in order, each as late as the delay says."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def write() -> None:
            while True:
                due, data = await queue.get()
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                if not data:
                    raise ConnectionResetError
                writer.write(data)
                await writer.drain()

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            while True:
                data = await reader.read(64 * 1024)
                queue.put_nowait((self._loop.time() + self.delay / 2, data))
                if not data:
                    return

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for writer in list(self._connections):
            writer.transport.abort()
        await asyncio.sleep(0.1)
