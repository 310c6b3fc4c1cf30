"""Environments of the contenders that are no dependencies of ours, made once in ``.bench``."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import httpx

CACHE = Path(__file__).parents[1] / ".bench"
FLINK = "apache-flink==2.2.1"
QUIX = "quixstreams==3.28.1"
PY_SPY = "py-spy==0.4.3"
CONNECTOR = (
    "https://repo1.maven.org/maven2/org/apache/flink/flink-sql-connector-kafka/5.0.0-2.2/"
    "flink-sql-connector-kafka-5.0.0-2.2.jar"
)


class Missing(Exception):
    """A contender cannot take part; the text says what is missing."""


def flink_python() -> str:
    """The Python that has Flink. Raises ``Missing``."""
    if shutil.which("java") is None:
        raise Missing("no Java on this machine (Flink 2.2 needs Java 17)")
    return _python_with(FLINK)


def quix_python() -> str:
    """The Python that has Quix Streams. Raises ``Missing``."""
    return _python_with(QUIX)


def py_spy() -> str:
    """The sampling profiler. Raises ``Missing``."""
    return str(Path(_python_with(PY_SPY)).parent / "py-spy")


def connector() -> Path:
    """Flink's Kafka connector. Raises ``Missing``."""
    jar = CACHE / CONNECTOR.rpartition("/")[2]
    if not jar.exists():
        CACHE.mkdir(exist_ok=True)
        try:
            answer = httpx.get(CONNECTOR, timeout=120)
            answer.raise_for_status()
        except httpx.HTTPError as exc:
            raise Missing(f"{CONNECTOR}: {exc}") from None
        jar.write_bytes(answer.content)
    return jar


def _python_with(requirement: str) -> str:
    name = hashlib.sha256(f"{requirement} {sys.base_prefix} {sys.version}".encode()).hexdigest()
    folder = CACHE / f"{requirement.partition('=')[0]}-{name[:12]}"
    if not folder.exists():
        print(f"installing {requirement} into {folder.relative_to(CACHE.parent)}", file=sys.stderr)
        _run(sys.executable, "-m", "venv", "--copies", str(folder))
        try:
            _run(str(folder / "bin/python"), "-m", "pip", "install", "--quiet", requirement)
        except Missing:
            shutil.rmtree(folder)
            raise
    return str(folder / "bin/python")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing(f"{' '.join(command[1:])}: {done.stderr[-500:].strip()}")
