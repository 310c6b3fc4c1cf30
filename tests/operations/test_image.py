"""The image: its steps give a worker that does its work. No container engine is needed."""

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from marketlag.embedded.broker import MockBroker
from marketlag.event_time import from_datetime
from marketlag.replay.run import Replay, rows_of
from marketlag.replay.services import worker_env
from marketlag.sample import make_sample
from marketlag.settings import load_settings
from marketlag.topics import topic_specs
from tests.operations.clean_root import Image, Stage
from tests.operations.conftest import tool
from tests.operations.postgres import TlsPostgres
from tests.support.kafka.cluster import free_port
from tests.support.services import QUICK, query

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Every step of the Dockerfile, run in clean roots."""
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: only root can change its root")
    made = Image(ROOT, tmp_path_factory.mktemp("image"), tool("debootstrap"))
    try:
        yield made.build()
    finally:
        made.remove()


def test_what_is_in_it(image: Stage) -> None:
    """A user of its own, a folder that is his, the locked packages, and nothing to install more."""
    assert image.user == "10001"
    assert (image.root / "var/lib/marketlag").stat().st_uid == 10001
    assert image.command[:4] == ["faust", "-A", "marketlag", "worker"]
    assert not (image.root / "opt/marketlag/bin/pip").exists()
    installed = image.run(
        [
            "python3",
            "-c",
            "import importlib.metadata as m\nfor d in m.distributions(): print(d.name, d.version)",
        ]
    )
    locked = (ROOT / "requirements/worker.txt").read_text()
    for line in installed.splitlines():
        name, version = line.split()
        if name != "marketlag":
            assert f"\n{name.lower().replace('_', '-')}=={version} " in f"\n{locked}", line


def test_it_processes_the_sample(image: Stage, tls_postgres: TlsPostgres, tmp_path: Path) -> None:
    """Topics, schema and worker by the image's commands; the flagged hours are the sample's."""
    query(tls_postgres.dsn(), "DROP SCHEMA public CASCADE")
    query(tls_postgres.dsn(), "CREATE SCHEMA public")
    authority = image.root / "run/ca.pem"
    authority.write_bytes(tls_postgres.ca.read_bytes())
    chosen = {**QUICK, "poll_in_worker": False, "web_port": free_port()}
    with MockBroker(topic_specs(load_settings())) as broker:
        inside = load_settings(
            **chosen,
            broker_url=broker.url,
            postgres_dsn=tls_postgres.dsn(sslrootcert="/run/ca.pem"),
        )
        env = worker_env(inside)
        image.run(["marketlag", "topics", "--check"], env)
        assert image.run(["marketlag", "migrate"], env).count("applied ") > 0
        with (tmp_path / "log").open("wb") as log:
            worker = image.process(image.command, env, stdout=log, stderr=subprocess.STDOUT)
            try:
                wait_healthy(image, env, worker)
                settings = inside.model_copy(
                    update={
                        "postgres_dsn": load_settings(postgres_dsn=tls_postgres.dsn()).postgres_dsn
                    }
                )
                sample = make_sample()
                replay = Replay(settings)
                asyncio.run(replay.run(sample.articles, sample.prices, flush=True))
                rows = asyncio.run(rows_of(settings, list(replay.signals.values())))
            finally:
                worker.terminate()
                code = worker.wait(30)
    found = {(row["market"], from_datetime(row["window"])) for row in rows if row["lag_flag"]}
    assert found == sample.flagged
    assert code == 0, (tmp_path / "log").read_text()[-3_000:]
    assert image.process(image.healthcheck, env, stderr=subprocess.DEVNULL).wait(30) != 0


def wait_healthy(image: Stage, env: dict[str, str], worker: subprocess.Popen[bytes]) -> None:
    """By the image's own health check."""
    deadline = time.monotonic() + 60
    while image.process(image.healthcheck, env, stderr=subprocess.DEVNULL).wait(30) != 0:
        assert worker.poll() is None, "the worker has ended"
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.5)
