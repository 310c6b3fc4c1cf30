"""A managed Postgres, as ``docs/operations.md`` sets it up: TLS, a password, a pooler."""

import threading
from pathlib import Path

import pytest
import trustme

from marketlag.embedded.broker import MockBroker
from marketlag.settings import load_settings
from marketlag.topics import topic_specs
from tests.operations.postgres import PASSWORD, Pooler, Server, TlsPostgres
from tests.support import golden
from tests.support.services import marketlag, query

CASE = "flush-1"


@pytest.fixture(params=["direct", "pooler"])
def managed(request: pytest.FixtureRequest) -> Server:
    """The database itself, or through the pooler."""
    fixture = "tls_postgres" if request.param == "direct" else "pooler"
    found: Server = request.getfixturevalue(fixture)
    return found


@pytest.fixture(autouse=True)
def _empty(tls_postgres: TlsPostgres) -> None:
    query(tls_postgres.dsn(), "DROP SCHEMA public CASCADE")
    query(tls_postgres.dsn(), "CREATE SCHEMA public")


def test_a_golden_case_arrives(managed: Server, tmp_path: Path) -> None:
    """Schema, worker and rows over TLS with the server's certificate checked."""
    for name in ("rss", "prices"):
        (tmp_path / f"{name}.jsonl").write_bytes(golden.raw(CASE, name))
    settings = load_settings(partitions=1)
    with MockBroker(topic_specs(settings)) as broker:
        done = marketlag(
            *("replay", "--articles", str(tmp_path / "rss.jsonl")),
            *("--prices", str(tmp_path / "prices.jsonl"), "--out", str(tmp_path / "out")),
            env={
                "MARKETLAG_BROKER_URL": broker.url,
                "MARKETLAG_POSTGRES_DSN": managed.dsn(),
                "MARKETLAG_PARTITIONS": "1",
                "MARKETLAG_STARTUP_DELAY": "100ms",
                "MARKETLAG_SINK_MAX_WAIT": "200ms",
            },
        )
    assert done.returncode == 0, done.stderr
    rows = query(managed.dsn(), "SELECT market FROM lag_signals_history")
    assert len(rows) == len(golden.lines(CASE, "lags"))


def test_migrations_take_turns(managed: Server) -> None:
    """Also through a pooler, whose connections are somebody else's in the next transaction."""
    env = {"MARKETLAG_POSTGRES_DSN": managed.dsn()}
    said: list[str] = []

    def run() -> None:
        done = marketlag("migrate", env=env)
        said.append(done.stdout if done.returncode == 0 else done.stderr)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(text.count("applied ") for text in said) == [0, 0, 0, 4], said
    assert marketlag("migrate", env=env).returncode == 0
    held = query(managed.dsn(), "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
    assert held[0][0] == 0


@pytest.mark.parametrize(
    "options",
    [{"sslmode": "disable"}, {"sslrootcert": "other-ca.pem"}],
    ids=["without TLS", "of an unknown authority"],
)
def test_a_wrong_dsn_is_one_line(
    tls_postgres: TlsPostgres, options: dict[str, str], tmp_path: Path
) -> None:
    """It names the setting, or Postgres, and never the password."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "other-ca.pem")
    env = {"MARKETLAG_POSTGRES_DSN": tls_postgres.dsn(**options)}
    done = marketlag("migrate", env=env, cwd=tmp_path)
    assert done.returncode == 1
    [line] = done.stderr.strip().splitlines()
    assert "Postgres" in line
    assert PASSWORD not in line


def test_the_pooler_is_in_transaction_mode(pooler: Pooler) -> None:
    """Or the tests above would prove nothing: a session's setting is gone, or another's."""
    import asyncio

    import asyncpg

    async def ask() -> set[int]:
        connections = [
            await asyncpg.connect(pooler.dsn(), statement_cache_size=0) for _ in range(4)
        ]
        pids = {await each.fetchval("SELECT pg_backend_pid()") for each in connections}
        for each in connections:
            await each.close()
        return pids

    assert len(asyncio.run(ask())) <= 2
