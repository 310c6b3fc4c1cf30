"""A real Apache Kafka of the test's own: KRaft, one node or several, in a folder that goes with it.

Each node is broker and controller, with three listeners: ``PLAINTEXT`` for the test itself,
``PROXIED`` for workers behind a proxy of the test's, and ``CONTROLLER``. With ``users``, a
``SASL_SSL`` listener as well, with a CA of the test's own.
"""

import base64
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from marketlag.embedded import Embedded
from tests.support.kafka.jars import jars, java

START_SECONDS = 90.0
#: Small, quick JVMs: a test's broker lives for minutes and holds megabytes.
JAVA_OPTIONS = ("-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")

#: Segments roll and compaction runs while a test watches; the group does not wait for members.
BROKER = {
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "message.max.bytes": str(4 * 1024 * 1024),
    "offsets.topic.num.partitions": "4",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "log.roll.ms": "2000",
    "log.cleaner.min.cleanable.ratio": "0.01",
    "log.cleaner.backoff.ms": "1000",
    "log.cleaner.delete.retention.ms": "1000",
    "log.cleaner.dedupe.buffer.size": str(8 * 1024 * 1024),
    "log.cleaner.io.buffer.size": str(256 * 1024),
    # Records of January 2025 are old; what a test deletes, it deletes by itself.
    "log.retention.check.interval.ms": "3600000",
    "log.segment.delete.delay.ms": "1000",
    # A node that a test has killed is missed soon.
    "broker.session.timeout.ms": "4000",
    "broker.heartbeat.interval.ms": "500",
    "controller.quorum.election.timeout.ms": "1000",
    "controller.quorum.fetch.timeout.ms": "1500",
    "replica.lag.time.max.ms": "3000",
}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Node:
    """One broker process. ``proxied_port`` is what it tells clients of the ``PROXIED`` listener."""

    def __init__(self, number: int, folder: Path) -> None:
        self.number = number
        self.folder = folder
        self.port, self.sasl_port, self.behind_proxy, self.controller = (
            free_port() for _ in range(4)
        )
        self.proxied_port = self.behind_proxy
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [*_java_command(), "kafka.Kafka", str(self.folder / "server.properties")],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def kill(self) -> None:
        """SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and wait."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait()
            self.process = None

    def accepts(self) -> bool:
        """Whether it answers; raises ``RuntimeError`` with the end of its log if it has ended."""
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"Kafka ended:\n{self.log.read_text()[-3000:]}")
        # The socket opens before the broker serves.
        return "Kafka Server started" in self.log.read_text(errors="replace")


class KafkaCluster(Embedded):
    """A cluster that runs until ``stop``.

    Args:
        nodes: how many.
        users: names and passwords for the ``SASL_SSL`` listener.
        proxied: ports that the nodes tell clients of the ``PROXIED`` listener.
        settings: broker settings beside, or instead of, those above.
    """

    def __init__(
        self,
        nodes: int = 1,
        *,
        users: Mapping[str, str] | None = None,
        proxied: Mapping[int, int] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="marketlag-kafka-"))
        self.nodes = [Node(number, self._make(f"node-{number}")) for number in range(1, nodes + 1)]
        for node in self.nodes:
            node.proxied_port = (proxied or {}).get(node.number, node.proxied_port)
        self._users = dict(users or {})
        self._settings = {**BROKER, **(settings or {})}
        #: CA of the ``SASL_SSL`` listener.
        self.ca = self.folder / "ca.pem"
        try:
            self._prepare_tls()
            self._format()
            for node in self.nodes:
                node.start()
            self.wait()
        except BaseException:
            self.stop()
            raise

    @property
    def url(self) -> str:
        """``MARKETLAG_BROKER_URL`` of the plain listener."""
        return _url(node.port for node in self.nodes)

    @property
    def proxied_url(self) -> str:
        return _url(node.proxied_port for node in self.nodes)

    @property
    def sasl_url(self) -> str:
        # By name: certificates for addresses are rare, and so are clients that check them.
        return _url((node.sasl_port for node in self.nodes), host="localhost")

    def wait(self) -> None:
        """Wait until every started node serves."""
        deadline = time.monotonic() + START_SECONDS
        waiting = [node for node in self.nodes if node.process is not None]
        while waiting:
            waiting = [node for node in waiting if not node.accepts()]
            if time.monotonic() > deadline:
                raise RuntimeError(f"Kafka did not start:\n{waiting[0].log.read_text()[-3000:]}")
            time.sleep(0.1)

    def restart(self, node: Node) -> None:
        """Start a node that was killed, and wait until it serves."""
        node.log.rename(node.log.with_suffix(f".{uuid.uuid4().hex[:6]}.log"))
        node.start()
        self.wait()

    def stop(self) -> None:
        for node in self.nodes:
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _make(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        return folder

    def _prepare_tls(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca)
        certificate = authority.issue_cert("localhost", "127.0.0.1")
        chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
        # Java reads keys in PKCS #8 only.
        key = load_pem_private_key(certificate.private_key_pem.bytes(), password=None)
        pkcs8 = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self.folder / "server.pem").write_bytes(pkcs8 + chain)

    def _format(self) -> None:
        # Not a random first character: an option's value may not begin with a dash.
        cluster_id = "M" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[:21]
        formatting = []
        for node in self.nodes:
            config = node.folder / "server.properties"
            lines = (f"{name}={value}" for name, value in self._properties(node).items())
            config.write_text("\n".join(lines))
            command = [*_java_command(), "kafka.tools.StorageTool", "format", "-t", cluster_id]
            formatting.append(
                subprocess.Popen(
                    [*command, "-c", str(config)],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
        for process in formatting:
            said, _ = process.communicate()
            if process.returncode:
                raise RuntimeError(f"Kafka's folder could not be formatted:\n{said[-3000:]}")

    def _properties(self, node: Node) -> dict[str, str]:
        replicas = str(len(self.nodes))
        listeners = {
            "PLAINTEXT": node.port,
            "PROXIED": node.behind_proxy,
            "SASL_SSL": node.sasl_port,
        }
        told = {**listeners, "PROXIED": node.proxied_port}
        users = " ".join(f'user_{name}="{word}"' for name, word in self._users.items())
        return {
            **self._settings,
            "process.roles": "broker,controller",
            "node.id": str(node.number),
            "controller.quorum.voters": ",".join(
                f"{each.number}@127.0.0.1:{each.controller}" for each in self.nodes
            ),
            "listeners": ",".join(
                f"{name}://127.0.0.1:{port}"
                for name, port in {**listeners, "CONTROLLER": node.controller}.items()
            ),
            "advertised.listeners": ",".join(
                f"{name}://{'localhost' if name == 'SASL_SSL' else '127.0.0.1'}:{port}"
                for name, port in told.items()
            ),
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,"
            "CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL",
            "inter.broker.listener.name": "PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(node.folder / "data"),
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": "1",
            "min.insync.replicas": "2" if len(self.nodes) > 2 else "1",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.folder / "server.pem"),
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl_ssl.plain.sasl.jaas.config": (
                f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};"
            ),
        }


def _url(ports: object, host: str = "127.0.0.1") -> str:
    assert hasattr(ports, "__iter__")
    return "kafka://" + ",".join(f"{host}:{port}" for port in ports)


def _java_command() -> list[str]:
    return [java(), *JAVA_OPTIONS, "-cp", f"{jars()}/*"]
