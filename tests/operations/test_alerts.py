"""The alerts: each fires on series that should fire it, and stays quiet on others."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.operations.conftest import tool

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
ALERTS = [
    rule["alert"]
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]


def promtool(*args: str) -> None:
    done = subprocess.run([tool("promtool"), *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_fires_when_it_should_and_is_quiet_when_it_should() -> None:
    """By the series in alerts.test.yml."""
    promtool("test", "rules", str(FOLDER / "alerts.test.yml"))


def test_the_configuration_is_one_that_prometheus_takes() -> None:
    """With the alerts that it names."""
    promtool("check", "config", str(FOLDER / "prometheus.yml"))


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_both_kinds_of_series(alert: str) -> None:
    """One on which it fires and one on which it does not."""
    cases = [
        case
        for test in yaml.safe_load((FOLDER / "alerts.test.yml").read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["alertname"] == alert
    ]
    assert {bool(case["exp_alerts"]) for case in cases} == {True, False}


def test_every_alert_has_its_place_in_the_documentation() -> None:
    """With what to do about it."""
    text = (FOLDER.parents[1] / "docs" / "operations.md").read_text()
    assert re.findall(r"^\| `(MarketLag\w+)` \|", text, re.MULTILINE) == ALERTS
