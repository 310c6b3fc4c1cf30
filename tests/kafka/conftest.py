"""A real Kafka for these tests: one of their own, or the one that ``MARKETLAG_TEST_BROKER`` names.

On a given broker the pipeline's topics are deleted before and after: name one that is for tests.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from marketlag.settings import load_settings
from tests.support.kafka.client import Client
from tests.support.kafka.cluster import KafkaCluster
from tests.support.kafka.jars import KafkaMissing

USER, PASSWORD = "marketlag", "a secret of the test"
GIVEN = os.environ.get("MARKETLAG_TEST_BROKER")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.kafka)


@pytest.fixture(scope="session")
def own_kafka() -> Iterator[KafkaCluster]:
    """A cluster of the tests' own, with a SASL_SSL listener."""
    try:
        cluster = KafkaCluster(users={USER: PASSWORD})
    except KafkaMissing as exc:
        pytest.skip(f"NOT TESTED ON A REAL KAFKA: {exc}")
    with cluster:
        yield cluster


@pytest.fixture
def broker_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A broker without any topic of the pipeline."""
    url = GIVEN or request.getfixturevalue("own_kafka").url
    with Client(load_settings(broker_url=url)) as client:
        client.delete_topics(client.existing())
        yield url
        client.delete_topics(client.existing())
