"""Every expression of the panels and of the alerts, on a Prometheus that scrapes a worker."""

import re
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml

from tests.operations.conftest import tool
from tests.operations.test_alerts import ALERTS
from tests.operations.test_alerts import FOLDER as CONFIGURED
from tests.support import grafana
from tests.support.busy import HOURS, busy_worker
from tests.support.grafana import Query
from tests.support.kafka.cluster import free_port
from tests.support.services import new_database

PANELS = grafana.promql_queries()


class Prometheus:
    """Its API, of a server that scrapes one worker every second."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1"

    def query(self, expr: str) -> list[Any]:
        """An instant query's series. Raises ``AssertionError`` if Prometheus refuses it."""
        answer = httpx.get(f"{self._url}/query", params={"query": expr}, timeout=10).json()
        assert answer["status"] == "success", answer
        found: list[Any] = answer["data"]["result"]
        return found

    def alerts(self) -> dict[str, str]:
        """The health of each rule."""
        answer = httpx.get(f"{self._url}/rules", timeout=10).json()
        rules = [rule for group in answer["data"]["groups"] for rule in group["rules"]]
        return {rule["name"]: rule["health"] for rule in rules}


@pytest.fixture(scope="module")
def prometheus(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """After a load of everything that a worker can be given, and half a minute of scrapes."""
    program, folder = tool("prometheus"), tmp_path_factory.mktemp("prometheus")
    with busy_worker(new_database(postgres, "prometheus"), folder) as busy:
        config = yaml.safe_load((CONFIGURED / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(CONFIGURED / "alerts.yml")]
        [job] = config["scrape_configs"]
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{busy.settings.web_port}"]}]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        port = free_port()
        command = [
            program,
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            found = Prometheus(port)
            scraped(busy, found)
            load(busy)
            busy.wait_for(lambda: found.query('marketlag_notifications_total{outcome="sent"} >= 3'))
            # Rates need two scrapes after what they are the rate of.
            now = time.time()
            busy.wait_for(lambda: found.query(f"timestamp(up) > {now + 3}"))
            yield found
        finally:
            server.terminate()
            server.wait(30)


def scraped(busy: Any, prometheus: Prometheus) -> None:
    """Wait for the first scrapes of a worker that has not begun: rises need a value before."""

    def seen() -> bool:
        try:
            return bool(prometheus.query("marketlag_ready == 1"))
        except httpx.HTTPError:
            return False

    busy.wait_for(seen)


def load(busy: Any) -> None:
    busy.send_prices()
    busy.send_articles()
    busy.close_hours(HOURS)
    busy.wait_for(lambda: busy.scrape().so_far("marketlag_sink_rows_total") > 0)
    busy.send_trouble()


def expression(panel: Query) -> str:
    """With Grafana's interval put in."""
    text = panel.text.replace("$__rate_interval", "1m")
    assert "$" not in text
    return text


@pytest.mark.parametrize("panel", PANELS, ids=[f"{each.name}: {each.text}" for each in PANELS])
def test_a_panel_has_series(prometheus: Prometheus, panel: Query) -> None:
    """Under load there is something to draw, and each label of its legend is there."""
    series = prometheus.query(expression(panel))
    assert series, panel.text
    for name in re.findall(r"\{\{(\w+)\}\}", panel.legend):
        assert all(name in each["metric"] for each in series), name


def test_every_alert_is_evaluated(prometheus: Prometheus) -> None:
    """On the worker's own series, without an error."""
    assert prometheus.alerts() == dict.fromkeys(ALERTS, "ok")
