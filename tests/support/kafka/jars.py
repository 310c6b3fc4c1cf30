"""The server's jars: resolved by Maven, once, into a folder beside the checkout's environment."""

import hashlib
import shutil
import subprocess
from pathlib import Path

POM = Path(__file__).with_name("pom.xml")
CACHE = Path(__file__).parents[3] / ".kafka"


class KafkaMissing(Exception):
    """No real Kafka can be started here; the text says what is missing."""


def java() -> str:
    """The path of Java. Raises ``KafkaMissing``."""
    found = shutil.which("java")
    if found is None:
        raise KafkaMissing("no Java on this machine (Kafka 4 needs Java 17 or later)")
    return found


def jars() -> Path:
    """The folder of this ``pom.xml``'s jars; fetched at the first call. Raises ``KafkaMissing``."""
    digest = hashlib.sha256(POM.read_bytes()).hexdigest()[:12]
    folder = CACHE / digest
    if folder.exists():
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise KafkaMissing("no Maven on this machine to fetch Kafka's jars with")
    fetched = CACHE / f"{digest}.partial"
    shutil.rmtree(fetched, ignore_errors=True)
    command = [maven, "-B", "-q", "-f", str(POM), "dependency:copy-dependencies"]
    done = subprocess.run(
        [*command, f"-DoutputDirectory={fetched}"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise KafkaMissing(f"Maven could not fetch Kafka's jars: {done.stdout[-500:].strip()}")
    fetched.rename(folder)
    return folder
