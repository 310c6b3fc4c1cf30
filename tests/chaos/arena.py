"""The services of one run, and hands to break them with: Kafka, Postgres, workers, the feed."""

import random
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from marketlag.embedded.worker import WorkerProcess
from marketlag.replay.progress import STAGES, Progress
from marketlag.replay.services import worker_env
from marketlag.settings import Settings, load_settings
from marketlag.topics import PRICE_HOURLY, RSS_EVENTS
from tests.chaos import audit, workload
from tests.chaos.database import Database
from tests.chaos.oracle import Logs
from tests.chaos.proxy import Proxy
from tests.support.kafka.client import Client
from tests.support.kafka.cluster import KafkaCluster, free_port
from tests.support.model import Cut
from tests.support.services import QUICK

ROOT = Path(__file__).parents[2]
SESSION = 6.0
#: The feed takes this long, in real time (s).
FEED_SECONDS = 10.0
BURST_SECONDS = 0.1
#: Without a change of any position for this long, a run is stuck (s).
STUCK_SECONDS = 90.0


class Stuck(AssertionError):
    """The positions do not reach their ends."""


class Worker:
    """A worker that is started again, like any service, when it ends without being told to."""

    def __init__(self, name: str, folder: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.folder = folder
        self.environment = dict(environment)
        self.module = "marketlag"
        self.restarts = 0
        self.wanted = False
        self.process: WorkerProcess | None = None

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def log(self) -> str:
        path = self.folder / "worker.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        self.wanted = True
        self.process = WorkerProcess(
            self.environment, self.folder / "worker.log", module=self.module
        )

    def has_ended(self) -> bool:
        return self.process is not None and self.process.process.poll() is not None

    def signal(self, which: signal.Signals) -> None:
        if self.process is not None and not self.has_ended():
            self.process.process.send_signal(which)

    def kill(self, *, for_good: bool = False) -> None:
        """SIGKILL. It comes back by itself, unless for good."""
        self.wanted = not for_good
        if self.process is not None:
            self.process.kill()

    def stop(self) -> int:
        """SIGTERM, and wait. Returns its exit code."""
        self.wanted = False
        return self.process.stop() if self.process is not None else 0


class Arena:
    """Everything that a run needs; broken by a fault, mended by ``calm``.

    Args:
        workers: how many are started.
        chaos: environment of ``tests.chaos.worker``, for all workers; without it they are plain.
    """

    def __init__(
        self,
        seed: int,
        fault: str,
        *,
        workers: int,
        nodes: int = 1,
        proxied: bool = False,
        chaos: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.rng = random.Random(f"{fault} {seed}")
        self.plan = workload.plan(seed)
        self.records = workload.records(seed, self.plan)
        self.strikes: list[datetime] = []
        #: What a fault saw going wrong beside the rows.
        self.problems: list[str] = []
        #: Logs of topics that were deleted since.
        self.epochs: list[Logs] = []
        #: By partition of ``rss.events``, what was deleted unread; and the logs before that.
        self.cuts: dict[int, Cut] = {}
        self.before_cut: Logs | None = None
        self.workers: list[Worker] = []
        self.fed = 0
        self._chaos = dict(chaos or {})
        self._nodes, self._proxied, self._first_workers = nodes, proxied, workers
        self._chosen = {**QUICK, **self.plan.settings, **(settings or {})}
        self._feeder: threading.Thread | None = None
        self._feed_error: BaseException | None = None
        self._supervising = threading.Event()
        self._lock = threading.RLock()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.folder = Path(tempfile.mkdtemp(prefix="marketlag-chaos-"))
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            ports = {number: free_port() for number in range(1, self._nodes + 1)}
            self.kafka = stack.enter_context(
                KafkaCluster(self._nodes, proxied=ports if self._proxied else None)
            )
            self.proxy = Proxy()
            if self._proxied:
                stack.enter_context(self.proxy)
                for node in self.kafka.nodes:
                    self.proxy.forward(node.proxied_port, node.behind_proxy)
            self.database = stack.enter_context(Database())
            self.settings = self._settings()
            self.client = stack.enter_context(Client(self.settings))
            self.client.create_topics()
            audit.install(self.database.dsn)
            for _ in range(self._first_workers):
                self.add_worker()
            stack.callback(self.end_workers)
            supervisor = threading.Thread(target=self._supervise, daemon=True)
            supervisor.start()
            stack.callback(supervisor.join)
            stack.callback(self._supervising.set)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _settings(self) -> Settings:
        return load_settings(
            **self._chosen,
            broker_url=self.kafka.url,
            postgres_dsn=self.database.dsn,
            partitions=self.plan.partitions,
            replication=min(3, self._nodes),
            session_timeout=f"{SESSION}s".replace(".0", ""),
        )

    # --- workers

    def add_worker(self, **chaos: str) -> Worker:
        """Start one more, with a state folder of its own."""
        name = f"worker-{len(self.workers)}"
        folder = self.folder / name
        folder.mkdir()
        environment = worker_env(self.settings) | {"MARKETLAG_DATADIR": str(folder / "state")}
        if self._proxied:
            environment["MARKETLAG_BROKER_URL"] = self.kafka.proxied_url
        worker = Worker(name, folder, environment)
        if self._chaos or chaos:
            worker.module = "tests.chaos.worker"
            worker.environment |= {**self._chaos, **chaos, "PYTHONPATH": str(ROOT)}
        with self._lock:
            self.workers.append(worker)
            worker.start()
        return worker

    def remove_worker(self, worker: Worker) -> None:
        """SIGTERM; it does not come back."""
        with self._lock:
            worker.stop()

    def restart(self, worker: Worker, between: Callable[[Path], object]) -> None:
        """SIGKILL a worker and start it again; its state folder is handed over in between."""
        with self._lock:
            worker.kill()
            between(worker.state)
            worker.start()

    def stop_workers(self) -> None:
        """SIGTERM to all, and wait."""
        with self._lock:
            for worker in self.workers:
                worker.wanted = False
                worker.signal(signal.SIGTERM)
            for worker in self.workers:
                worker.stop()

    def start_workers(self) -> None:
        with self._lock:
            for worker in self.workers:
                if worker.process is None or worker.has_ended():
                    worker.start()

    def alive(self) -> list[Worker]:
        with self._lock:
            return [worker for worker in self.workers if worker.wanted]

    def _supervise(self) -> None:
        while not self._supervising.wait(0.2):
            with self._lock:
                for worker in self.workers:
                    if worker.wanted and worker.has_ended():
                        worker.restarts += 1
                        # These strike once.
                        worker.environment.pop("CHAOS_DROP", None)
                        if worker.environment.pop("CHAOS_FAILPOINT", None):
                            self.strike()
                        worker.start()

    def end_workers(self) -> None:
        for worker in self.workers:
            worker.signal(signal.SIGCONT)
            worker.kill(for_good=True)

    def wait_for_log(self, worker: Worker, text: str, *, times: int = 1) -> None:
        self.wait_until(lambda: worker.log.count(text) >= times, f"{worker.name}: {text}")

    # --- the feed

    def feed(self, share: float = 1.0, seconds: float = FEED_SECONDS) -> None:
        """Begin to send, up to this *share* of all records, in about so many seconds.

        Waits for the workers first, so that what is broken then is at work.
        """
        for worker in self.alive():
            self.wait_for_log(worker, "Worker ready")
        self._feeder = threading.Thread(target=self._feed, args=(share, seconds), daemon=True)
        self._feeder.start()

    def _feed(self, share: float, seconds: float) -> None:
        last = round(len(self.records) * share)
        burst = max(1, round((last - self.fed) * BURST_SECONDS / seconds))
        try:
            while self.fed < last:
                began = time.monotonic()
                chosen = self.records[self.fed : min(self.fed + burst, last)]
                self.client.send(_arguments(sent) for sent in chosen)
                self.fed += len(chosen)
                time.sleep(max(0.0, began + BURST_SECONDS - time.monotonic()))
        except Exception as exc:  # noqa: BLE001  # raised again by whoever waits for the feed
            self._feed_error = exc

    def wait_fed(self, share: float) -> None:
        """Wait until this share of the records is in Kafka."""
        wanted = round(len(self.records) * share)
        self.wait_until(lambda: self.fed >= wanted or self._feed_error is not None, "the feed")

    def wait_until(self, done: Callable[[], bool], what: str, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                raise Stuck(f"waited {seconds:.0f} s in vain for {what}")
            time.sleep(0.05)

    # --- striking

    def strike(self) -> None:
        """Remember the moment of a fault's act: what is written after it has recovered from it."""
        self.strikes.append(datetime.now(UTC))

    def pause(self, low: float, high: float) -> None:
        """Let a random time pass; the workload flows on."""
        time.sleep(self.rng.uniform(low, high))

    # --- the end

    def wait_sent(self) -> None:
        """Wait until the feed is over."""
        if self._feeder is not None:
            self._feeder.join()
        if self._feed_error is not None:
            raise self._feed_error

    def finish(self) -> None:
        """Wait until everything is sent, and every position is at its end."""
        self.wait_sent()
        self.wait_finished()

    def wait_finished(self) -> None:
        seen: object = None
        changed = time.monotonic()
        while True:
            try:
                finished, sight = self.client.run(self._positions(), timeout=30)
            except (OSError, TimeoutError) as exc:
                finished, sight = False, repr(exc)
            if finished:
                return
            if sight != seen:
                seen, changed = sight, time.monotonic()
            if time.monotonic() - changed > STUCK_SECONDS:
                raise Stuck(f"positions stand still: {sight}")
            time.sleep(0.3)

    async def _positions(self) -> tuple[bool, object]:
        from marketlag import kafka

        async with kafka.admin(self.settings) as admin, kafka.consumer(self.settings) as consumer:
            progress = Progress(self.settings, admin, consumer)
            sight = {topics: await progress.unread(*topics) for topics in STAGES}
            return not any(sight.values()) and await progress.is_finished(), sight

    def done(self) -> dict[int, int]:
        """How far Job 1 has dealt with each partition of its log."""

        async def ask() -> dict[int, int]:
            from marketlag import kafka

            async with (
                kafka.admin(self.settings) as admin,
                kafka.consumer(self.settings) as consumer,
            ):
                extents = await Progress(self.settings, admin, consumer).extents(RSS_EVENTS)
                return {tp.partition: extent.done for tp, extent in extents.items()}

        return self.client.run(ask())

    def turn_epoch(self) -> None:
        """The topics are about to be deleted: keep what they hold."""
        self.epochs.append(self.inputs())

    def whole_inputs(self) -> Logs:
        """The inputs, with what was deleted from their start."""
        logs = self.inputs()
        for topic, partitions in (self.before_cut or {}).items():
            for partition, log in partitions.items():
                known = log[-1].offset if log else -1
                newer = [each for each in logs[topic][partition] if each.offset > known]
                logs[topic][partition] = [*log, *newer]
        return logs

    def inputs(self) -> dict[str, dict[int, list[Any]]]:
        return self.client.logs([RSS_EVENTS, PRICE_HOURLY], self.plan.partitions)


def _arguments(sent: workload.Sent) -> dict[str, Any]:
    return {
        "topic": sent.topic,
        "key": sent.key,
        "value": sent.value,
        "partition": sent.partition,
        "headers": [(workload.BAD, b"")] if sent.bad else [],
    }
