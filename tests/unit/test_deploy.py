"""The compose file and the Dockerfile, as far as they can be judged without a container engine."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from marketlag.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "deploy" / "compose.yaml"
OURS = ("topics", "migrate", "worker")


def composed() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


def test_compose_file_is_one_by_the_specification() -> None:
    """By the Compose Specification's own schema."""
    check = shutil.which("check-jsonschema", path=Path(sys.executable).parent)
    assert check is not None
    done = subprocess.run(
        [check, "--builtin-schema", "vendor.compose-spec", str(COMPOSE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("service", OURS)
def test_every_setting_reaches_our_containers(service: str) -> None:
    """And no variable of ours that is no setting."""
    wanted = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    assert set(composed()[service]["environment"]) == wanted


def test_values_in_the_compose_file_are_good_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read as the settings class reads them, where Compose has nothing to put in."""
    given = composed()["worker"]["environment"]
    for name, value in given.items():
        if value is not None and "$" not in value:
            monkeypatch.setenv(name, value)
    assert Settings().web_host == "0.0.0.0"


def test_files_that_are_mounted_are_there() -> None:
    """Beside the compose file, or where a variable's default says."""
    for service in composed().values():
        for volume in service.get("volumes", []):
            source = volume.rpartition("}")[0].partition(":-")[2] or volume.partition(":")[0]
            if source.startswith("."):
                assert (COMPOSE.parent / source).exists(), source


def test_the_worker_waits_for_what_it_needs() -> None:
    """Topics and schema are there before it starts, Kafka and Postgres before those."""
    services = composed()
    done = "service_completed_successfully"
    assert services["worker"]["depends_on"] == {
        "topics": {"condition": done},
        "migrate": {"condition": done},
    }
    for service, needed in (("topics", "kafka"), ("migrate", "postgres")):
        assert services[service]["depends_on"] == {needed: {"condition": "service_healthy"}}
        assert services[needed]["healthcheck"]["test"]
    # One folder for each: several of them cannot share a volume.
    assert not any("/var/lib/marketlag" in each for each in services["worker"]["volumes"])


def test_grafana_is_given_what_its_data_sources_name() -> None:
    """Every variable in the provisioning files is in Grafana's environment."""
    import re

    environment = composed()["grafana"]["environment"]
    for path in (ROOT / "deploy/grafana/provisioning").rglob("*.yml"):
        text = "\n".join(line for line in path.read_text().splitlines() if line[:1] != "#")
        assert set(re.findall(r"\$(\w+)", text)) <= set(environment), path.name


def test_the_dockerfile_has_no_complaints() -> None:
    """By hadolint, whose wheel is for Linux on x86-64."""
    hadolint = shutil.which("hadolint", path=Path(sys.executable).parent)
    if hadolint is None:
        pytest.skip("NOT LINTED: there is no hadolint for this machine")
    done = subprocess.run(
        [hadolint, "--format", "json", str(ROOT / "Dockerfile")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert json.loads(done.stdout) == []
