"""The services of a replay: those configured, embedded ones for the rest, and a worker."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from marketlag.embedded.broker import MockBroker
from marketlag.embedded.postgres import EmbeddedPostgres
from marketlag.embedded.worker import WorkerProcess
from marketlag.migrate import migrate
from marketlag.settings import PREFIX, Settings
from marketlag.topics import topic_specs

#: On services that are ours alone nothing has to be waited for.
_EMBEDDED = {
    "startup_delay": timedelta(milliseconds=100),
    "sink_max_wait": timedelta(milliseconds=500),
    "commit_interval": timedelta(milliseconds=200),
    "fetch_max_wait": timedelta(milliseconds=50),
}


class Services(NamedTuple):
    """Where the pipeline runs, and the worker that runs it."""

    settings: Settings
    worker: WorkerProcess


@contextmanager
def services(settings: Settings, folder: Path | None = None) -> Iterator[Services]:
    """Start what is not configured, bring the schema up, start a worker; stop all at the end.

    *folder* takes the worker's state and log; a temporary one if not given.
    """
    with ExitStack() as stack:
        if folder is None:
            folder = Path(
                stack.enter_context(
                    tempfile.TemporaryDirectory(prefix="marketlag-", ignore_cleanup_errors=True)
                )
            )
        # History is what is replayed; nothing of today belongs into it.
        chosen: dict[str, object] = {"datadir": folder / "state", "poll_in_worker": False}
        if "postgres_dsn" not in settings.model_fields_set:
            chosen["postgres_dsn"] = stack.enter_context(EmbeddedPostgres()).dsn
        if "broker_url" not in settings.model_fields_set:
            broker = stack.enter_context(MockBroker(topic_specs(settings)))
            chosen |= {"broker_url": broker.url, "on_truncated_log": "fail"}
            chosen |= {
                name: value
                for name, value in _EMBEDDED.items()
                if name not in settings.model_fields_set
            }
        used = Settings(**{**settings.model_dump(exclude_unset=True), **chosen})
        migrate(used.postgres_dsn.get_secret_value())
        worker = stack.enter_context(WorkerProcess(worker_env(used), folder / "worker.log"))
        yield Services(used, worker)


def worker_env(settings: Settings) -> dict[str, str]:
    """The environment that gives a process these settings."""
    env = {}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if value is None:
            continue
        if isinstance(value, timedelta):
            value = f"{value // timedelta(milliseconds=1)}ms"
        elif hasattr(value, "get_secret_value"):
            value = value.get_secret_value()
        env[PREFIX + name.upper()] = str(value)
    return env
