"""The commands in README and in `docs/operations.md` run as they stand there.

On embedded services, so with their addresses in place of those that are only shown. What needs
a container engine is compared with the compose file; `docs/learn.md` has a test of its own.
"""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from faust.cli.base import cli

from marketlag.application import app
from marketlag.embedded.worker import WorkerProcess
from marketlag.replay.services import worker_env
from marketlag.settings import PREFIX, Settings
from tests.support import golden
from tests.support.feeds import FeedItem, clob, gamma_market, rss
from tests.support.services import marketlag, pipeline, wait_for_log
from tests.support.web import WebServer

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "docs/operations.md")
MARKET = "some-market"


def lines(document: str) -> list[str]:
    """The lines of its indented blocks, without comments."""
    text = re.sub(r"^```.*?^```", "", (ROOT / document).read_text(), flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE)
    return [re.sub(r"\s+#.*", "", line) for line in found]


def commands(*programs: str) -> list[str]:
    return [
        line for document in DOCUMENTS for line in lines(document) if line.split()[0] in programs
    ]


@pytest.fixture
def env(database: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    """What the exported variables of the README would be here; articles and prices at hand."""
    for name in ("rss", "prices"):
        (tmp_path / f"{name}.jsonl").write_bytes(golden.raw("flush-1", name))
    with WebServer() as server:
        feed = server.serve("/feed", rss([FeedItem("Fed holds", 1_760_000_000_000, "a")]))
        server.serve(f"/markets/slug/{MARKET}", gamma_market(MARKET, ["1", "2"]))
        server.answer("/prices", clob({"1": "0.45", "2": "0.55"}))
        with pipeline(
            database,
            markets=Path("markets.toml"),
            datadir=tmp_path / "data",
            gamma_url=server.url,
            clob_url=server.url,
        ) as settings:
            yield worker_env(settings) | {"FEED": feed}


def test_the_readme_is_followed(env: dict[str, str], tmp_path: Path) -> None:
    """From the first export to a worker that is ready, in the order of the page."""
    shown = {line.split("=")[0].split()[1] for line in lines("README.md") if "export " in line}
    unshown = {name: value for name, value in env.items() if name not in shown}
    exported: list[str] = []
    for line in lines("README.md"):
        program, *args = shlex.split(line)
        # A file that is named and not there yet would be an error: only what was exported counts.
        given = {name: env[name] for name in exported} | unshown
        if program == "$EDITOR":
            edit(tmp_path / args[0], env["FEED"])
        elif program == "marketlag":
            # A replay comes before the exports, and brings its own services.
            done = marketlag(*args, env={} if args[0] == "replay" else given, cwd=tmp_path)
            assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
        elif program == "faust":
            assert args == ["-A", "marketlag", "worker", "-l", "info"]
            with WorkerProcess(
                given,
                tmp_path / "worker.log",
            ) as running:
                wait_for_log(running, "Worker ready")
                assert running.stop() == 0
        elif program == "export":
            exported.append(args[0].partition("=")[0])
        else:
            assert program in ("make", "SELECT", "FROM"), line
    assert (tmp_path / "result" / "lags.jsonl").exists()


def edit(path: Path, feed: str) -> None:
    """What a reader does who gives the market a feed and keywords."""
    text = path.read_text()
    assert f'slug = "{MARKET}"' in text
    text = re.sub(r"^feeds = .*$", f'feeds = ["{feed}"]', text, flags=re.MULTILINE)
    text = re.sub(r"^keywords = .*$", "keywords = { Fed = 2.0 }", text, flags=re.MULTILINE)
    assert feed in text
    path.write_text(text)


def test_every_make_target_is_one() -> None:
    """In blocks and in the text, of all documents."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        named = re.findall(r"(?:`|^ {4})make ([a-z-]+)", path.read_text(), re.MULTILINE)
        assert set(named) <= targets, path.name


def test_every_command_that_is_mentioned_exists() -> None:
    """`marketlag ...` in blocks and in the text, of all documents, with its options."""
    app.discover()
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        text = path.read_text()
        for words in re.findall(r"(?:`|^ {4})marketlag ([^`\n]+)", text, re.MULTILINE):
            name, *rest = words.split()
            if name in ("...", "marketlag"):
                continue
            command = cli.commands[name]
            if isinstance(command, click.Group) and rest:
                command = command.commands[re.split(r"[|,]", rest[0])[0]]
            known = {option for each in command.params for option in each.opts}
            for option in re.findall(r"(?<= )--[a-z-]+", words):
                assert option in known, f"{path.name}: marketlag {words}"


def test_every_variable_that_is_shown_is_a_setting() -> None:
    """In whatever document."""
    wanted = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        named = set(re.findall(rf"{PREFIX}[A-Z_]+[A-Z]", path.read_text()))
        assert named - wanted <= {"MARKETLAG_TEST_BROKER"}, path.name


@pytest.mark.parametrize("line", commands("docker"))
def test_compose_is_asked_for_what_it_has(line: str) -> None:
    """Nothing here can run it: the file and the services are there, options are Compose's own."""
    words = shlex.split(line)
    assert words[:3] == ["docker", "compose", "-f"]
    services = yaml.safe_load((ROOT / words[3]).read_text())["services"]
    options = {"--build", "--detach", "--scale", "--no-deps", "--rm"}
    for word in words[5:]:
        assert word in options or word.split("=")[0] in services, word


def test_make_knows_the_two_commands() -> None:
    """They would install and run; both are said in the README."""
    for target in ("demo", "test"):
        assert f"make {target}" in lines("README.md")
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, check=False)
        assert done.returncode == 0
