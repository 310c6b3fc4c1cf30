"""A real HTTP server on loopback, whose answers a test writes."""

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Self

from aiohttp import web

Handler = Callable[[web.Request], web.StreamResponse | Awaitable[web.StreamResponse]]


class WebServer:
    """Answers by path; what has no answer is 404. Runs in a thread of its own.

    Attributes:
        asked: how often each path was asked for.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._host = host
        self.asked: Counter[str] = Counter()
        self.requests: list[web.Request] = []
        self._answers: dict[str, Handler] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._port = 0

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def answer(self, path: str, handler: Handler) -> str:
        """Answer *path* by a function of the request. Returns its URL."""
        self._answers[path] = handler
        return self.url + path

    def serve(self, path: str, body: bytes | str, *, status: int = 200, **headers: str) -> str:
        """Answer *path* with a body; headers as ``content_type="text/xml"``."""
        data = body.encode() if isinstance(body, str) else body
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.answer(path, lambda _: web.Response(body=data, status=status, headers=named))

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(30)
        return self

    async def _start(self) -> None:
        app = web.Application(client_max_size=10 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, 0)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.asked[request.path] += 1
        self.requests.append(request)
        handler = self._answers.get(request.path)
        if handler is None:
            return web.Response(status=404)
        found = handler(request)
        return found if isinstance(found, web.StreamResponse) else await found

    async def _stop(self) -> None:
        await self._runner.cleanup()
        # Answers that a test lets hang.
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
