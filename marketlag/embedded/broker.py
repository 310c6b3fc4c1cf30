"""librdkafka's mock cluster: the real Kafka protocol, in this process, from a wheel.

It is reached through librdkafka's C interface (``rdkafka_mock.h``), since only that can create a
topic with a chosen number of partitions. It keeps about 5 MB per partition and drops the oldest
records beyond it; it forgets everything when the process ends.
"""

import ctypes
from pathlib import Path
from typing import Any

from marketlag.embedded import Embedded
from marketlag.errors import BrokerError
from marketlag.topics import TopicSpec

_RD_KAFKA_PRODUCER = 0
#: Keep less than this unread in a partition.
SAFE_UNREAD_BYTES = 2 * 1024 * 1024


class MockBroker(Embedded):
    """A running mock cluster with one broker.

    Attributes:
        url: ``kafka://127.0.0.1:port``.
    """

    def __init__(self, topics: list[TopicSpec]) -> None:
        self._lib = _librdkafka()
        error = ctypes.create_string_buffer(512)
        config = self._lib.rd_kafka_conf_new()
        # The client only carries the cluster; that it has no broker itself is not worth a warning.
        self._lib.rd_kafka_conf_set(config, b"log_level", b"0", error, len(error))
        self._client = self._lib.rd_kafka_new(_RD_KAFKA_PRODUCER, config, error, len(error))
        if not self._client:
            raise BrokerError(f"the embedded broker did not start: {error.value.decode()}")
        self._cluster = self._lib.rd_kafka_mock_cluster_new(self._client, 1)
        # A group of one worker need not wait for others to join.
        self._lib.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 200)
        for topic in topics:
            self._lib.rd_kafka_mock_topic_create(
                self._cluster, topic.name.encode(), topic.partitions, 1
            )
        bootstraps: bytes = self._lib.rd_kafka_mock_cluster_bootstraps(self._cluster)
        self.url = f"kafka://{bootstraps.decode()}"

    def slow_down(self, milliseconds: int) -> None:
        """Let every answer take so long."""
        self._lib.rd_kafka_mock_broker_set_rtt(self._cluster, -1, milliseconds)

    def stop(self) -> None:
        self._lib.rd_kafka_mock_cluster_destroy(self._cluster)
        self._lib.rd_kafka_destroy(self._client)


def _librdkafka() -> Any:
    try:
        import confluent_kafka
    except ImportError:
        raise BrokerError(
            "the embedded broker needs the package confluent-kafka: install marketlag[embedded], "
            "or name a Kafka in MARKETLAG_BROKER_URL"
        ) from None
    package = Path(confluent_kafka.__file__).parent
    found = [
        *package.parent.glob("confluent_kafka.libs/librdkafka*"),
        *package.glob(".dylibs/librdkafka*"),
    ]
    if not found:
        raise BrokerError(f"no librdkafka beside {package}: install confluent-kafka from a wheel")
    lib = ctypes.CDLL(str(found[0]))
    lib.rd_kafka_conf_new.restype = ctypes.c_void_p
    lib.rd_kafka_conf_set.argtypes = [
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_size_t,
    ]
    lib.rd_kafka_new.restype = ctypes.c_void_p
    lib.rd_kafka_new.argtypes = [
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_size_t,
    ]
    lib.rd_kafka_mock_cluster_new.restype = ctypes.c_void_p
    lib.rd_kafka_mock_cluster_new.argtypes = [ctypes.c_void_p, ctypes.c_int]
    lib.rd_kafka_mock_topic_create.argtypes = [
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_int,
    ]
    lib.rd_kafka_mock_group_initial_rebalance_delay_ms.argtypes = [ctypes.c_void_p, ctypes.c_int32]
    lib.rd_kafka_mock_broker_set_rtt.argtypes = [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int]
    lib.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    lib.rd_kafka_mock_cluster_bootstraps.argtypes = [ctypes.c_void_p]
    lib.rd_kafka_mock_cluster_destroy.argtypes = [ctypes.c_void_p]
    lib.rd_kafka_destroy.argtypes = [ctypes.c_void_p]
    return lib
