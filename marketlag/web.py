"""The web server: ``/metrics``, ``/healthz`` and ``/readyz``, in a thread of its own.

So it answers while the event loop is blocked, and says so. It gives away no row, no record and no
setting. ``MARKETLAG_WEB_HOST`` and ``MARKETLAG_WEB_PORT`` say where it listens, and Faust's options
``--web-bind``, ``--web-port`` and ``--without-web``.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import msgspec
from mode import Service
from prometheus_client import make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from marketlag import metrics
from marketlag.errors import SettingsError
from marketlag.settings import PREFIX

PAGES = "/metrics /healthz /readyz"

#: Says why the process is not as it should be; nothing if it is.
Complaints = Callable[[], list[str]]
StartResponse = Callable[..., Any]


def make_app(
    sick: Complaints, unready: Complaints
) -> Callable[[dict[str, Any], StartResponse], Iterable[bytes]]:
    """The WSGI application. *sick* decides on ``/healthz``, *unready* on ``/readyz``."""
    expose = make_wsgi_app(metrics.REGISTRY)

    def respond(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            exposed: Iterable[bytes] = expose(environ, start)
            return exposed
        if path in ("/healthz", "/readyz"):
            reasons = sick() if path == "/healthz" else unready()
            body = msgspec.json.encode({"ok": not reasons, "reasons": reasons})
            start(
                "503 Service Unavailable" if reasons else "200 OK",
                [("Content-Type", "application/json"), ("Cache-Control", "no-store")],
            )
            return [body + b"\n"]
        start("404 Not Found", [("Content-Type", "text/plain")])
        return [f"there are {PAGES}\n".encode()]

    return respond


class _Quiet(WSGIRequestHandler):
    #: A client that says nothing is not waited for.
    timeout = 10

    def log_message(self, *args: Any) -> None:
        """A scrape every few seconds is no news."""


class WebServer(Service):
    """Serves from ``bind`` on, until the worker stops. Faust takes it for its own web server."""

    driver_version = "wsgiref"

    def __init__(self, conf: Any, sick: Complaints, unready: Complaints, **options: Any) -> None:
        super().__init__(**options)
        self._conf = conf
        self._app = make_app(sick, unready)
        self._server: Any = None

    @property
    def web_url(self) -> str:
        """For Faust's banner."""
        return f"http://{self._conf.web_bind}:{self._conf.web_port}"

    def bind(self) -> None:
        """Take the port. Raises ``SettingsError`` if somebody else has it."""
        host, port = self._conf.web_bind, self._conf.web_port
        try:
            self._server = make_server(
                host, port, self._app, server_class=ThreadingWSGIServer, handler_class=_Quiet
            )
        except OSError as exc:
            raise SettingsError(
                f"{PREFIX}WEB_HOST={host}, {PREFIX}WEB_PORT={port}: {exc.strerror or exc}; choose "
                "another port, or start with --without-web"
            ) from None

    async def on_start(self) -> None:
        if self._server is None:
            self.bind()
        serve = threading.Thread(target=self._server.serve_forever, name="web", daemon=True)
        serve.start()

    async def on_stop(self) -> None:
        await asyncio.to_thread(self._server.shutdown)
        self._server.server_close()
