"""A database as a managed one is: TLS, a password, and a pooler before it."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import asyncpg
import trustme

from marketlag.embedded import Embedded
from tests.support.kafka.cluster import free_port
from tests.support.services import query

USER, PASSWORD = "marketlag", "a-secret-of-the-test"
START_SECONDS = 30.0
#: Neither server runs as root.
UNPRIVILEGED = "postgres"


class Server(Embedded):
    """A process of its own in a folder of its own, with a certificate for 127.0.0.1."""

    def __init__(self) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="marketlag-tls-"))
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        self.ca = self.folder / "ca.pem"
        authority.cert_pem.write_to_path(self.ca)
        issued.private_key_pem.write_to_path(self.folder / "key.pem")
        for blob in issued.cert_chain_pems:
            blob.write_to_path(self.folder / "cert.pem", append=True)
        (self.folder / "key.pem").chmod(0o600)

    def dsn(self, **options: str) -> str:
        """With the server's certificate checked, unless *options* say otherwise."""
        chosen = {"sslmode": "verify-full", "sslrootcert": str(self.ca), **options}
        query_string = "&".join(f"{name}={value}" for name, value in chosen.items())
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/marketlag?{query_string}"

    def start(self, *command: str) -> None:
        if os.geteuid() == 0:
            self.folder.chmod(0o755)
            for path in [self.folder, *self.folder.rglob("*")]:
                shutil.chown(path, UNPRIVILEGED)
        self._log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(
            [*_as_nobody_special(), *command], stdout=self._log, stderr=self._log, cwd=self.folder
        )

    def wait_until(self, dsn: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                query(dsn, "SELECT 1")
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise
                time.sleep(0.1)
            else:
                return

    def __enter__(self) -> Self:
        return self

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self._log.close()
        shutil.rmtree(self.folder)


def _as_nobody_special() -> list[str]:
    return ["runuser", "--user", UNPRIVILEGED, "--"] if os.geteuid() == 0 else []


class TlsPostgres(Server):
    """PostgreSQL from *programs*, with a database ``marketlag``."""

    def __init__(self, programs: Path) -> None:
        super().__init__()
        data = self.folder / "data"
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        if os.geteuid() == 0:
            self.folder.chmod(0o755)
            for path in (self.folder, secret):
                shutil.chown(path, UNPRIVILEGED)
        subprocess.run(
            [
                *_as_nobody_special(),
                *(str(programs / "initdb"), "--pgdata", str(data), "--username", USER),
                *("--pwfile", str(secret), "--auth", "scram-sha-256", "--no-sync"),
            ],
            check=True,
            capture_output=True,
            cwd=self.folder,
        )
        (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
        self.start(
            *(str(programs / "postgres"), "-D", str(data), "-p", str(self.port)),
            *("-h", "127.0.0.1", "-c", "unix_socket_directories=", "-c", "ssl=on"),
            *("-c", f"ssl_cert_file={self.folder}/cert.pem"),
            *("-c", f"ssl_key_file={self.folder}/key.pem"),
        )
        superuser = self.dsn().replace("/marketlag?", "/postgres?")
        self.wait_until(superuser)
        query(superuser, "CREATE DATABASE marketlag")


class Pooler(Server):
    """PgBouncer in transaction mode: a client keeps a connection for a transaction only."""

    def __init__(self, program: str, server: TlsPostgres) -> None:
        super().__init__()
        (self.folder / "users.txt").write_text(f'"{USER}" "{PASSWORD}"\n')
        config = self.folder / "pgbouncer.ini"
        config.write_text(f"""
[databases]
marketlag = host=127.0.0.1 port={server.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
pool_mode = transaction
default_pool_size = 2
auth_type = scram-sha-256
auth_file = {self.folder}/users.txt
client_tls_sslmode = require
client_tls_key_file = {self.folder}/key.pem
client_tls_cert_file = {self.folder}/cert.pem
server_tls_sslmode = require
""")
        self.start(program, str(config))
        self.wait_until(self.dsn())
