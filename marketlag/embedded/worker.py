"""A worker as its own process, as in production."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from marketlag.embedded import Embedded
from marketlag.errors import ReplayError

#: SIGTERM lets the worker finish its chunk, write its rows and commit.
STOP_TIMEOUT = 20.0
OPTIONS = ("--loglevel", "info", "--without-web")


class WorkerProcess(Embedded):
    """``faust -A marketlag worker``, with its log in a file.

    Args:
        module: where Faust looks for the app.
        web: whether it has its web server.
    """

    def __init__(
        self, env: Mapping[str, str], log: Path, *, module: str = "marketlag", web: bool = False
    ) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "faust", "-A", module, "worker", *OPTIONS),
                    *(["--with-web"] if web else []),
                ],
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def check(self) -> None:
        """Raise ``ReplayError`` with the end of the log if the worker has ended."""
        code = self.process.poll()
        if code is not None:
            lines = self.log.read_text(errors="replace").splitlines()
            tail = "\n".join([line for line in lines if "[INFO]" not in line][-30:])
            raise ReplayError(f"the worker ended with code {code}; the end of its log:\n{tail}")

    def stop(self, timeout: float = STOP_TIMEOUT) -> int:
        """SIGTERM, and wait; SIGKILL after *timeout* s. Returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                return self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
        return int(self.process.returncode)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()
