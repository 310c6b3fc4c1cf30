"""A Dockerfile's steps, run as written in clean roots instead of by a container engine.

What an engine would do around them is done here: a root for each stage, ``COPY`` out of the context
and other stages, ``ENV``, ``WORKDIR`` and ``USER`` for what follows. From outside come the name
servers and the certificates by which this machine reaches its package registries.
"""

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dockerfile_parse import DockerfileParser

#: What debootstrap makes of an image that is nothing but Debian.
SUITES = {"debian:bookworm-slim": "bookworm"}
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
LENT = "/run/lent-ca.crt"


@dataclass
class Stage:
    """A root, and what the instructions so far have set."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = "0"
    command: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)

    def process(
        self, command: Sequence[str], env: dict[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[bytes]:
        """Start *command* in the root, as its user, with nothing of this environment."""
        group = self._group()
        return subprocess.Popen(
            [
                *("chroot", f"--userspec={self.user}:{group}", str(self.root)),
                *("/usr/bin/env", "-i", "-C", self.workdir),
                *(f"{name}={value}" for name, value in {**self.env, **(env or {})}.items()),
                *command,
            ],
            stdin=subprocess.DEVNULL,
            **options,
        )

    def run(self, command: Sequence[str], env: dict[str, str] | None = None) -> str:
        """Run it to its end; returns what it said. Raises ``AssertionError`` if it failed."""
        process = self.process(command, env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said = process.communicate(timeout=900)[0].decode(errors="replace")
        assert process.returncode == 0, f"{shlex.join(command)}:\n{said[-3_000:]}"
        return said

    def _group(self) -> str:
        """The user's own, as an engine would take it from the image's passwd."""
        for line in (self.root / "etc/passwd").read_text().splitlines():
            _, _, uid, gid, *_ = line.split(":")
            if uid == self.user:
                return gid
        return self.user


class Image:
    """The last stage of a Dockerfile in *context*, built below *folder*."""

    def __init__(self, context: Path, folder: Path, debootstrap: str) -> None:
        self._context, self._folder, self._debootstrap = context, folder, debootstrap
        self._stages: dict[str, Stage] = {}
        self.mounted: list[Path] = []

    def build(self) -> Stage:
        parser = DockerfileParser(path=str(self._context / "Dockerfile"), env_replace=False)
        stage: Stage | None = None
        for step in parser.structure:
            name, value = step["instruction"], step["value"]
            if name == "COMMENT":
                continue
            if name == "FROM":
                stage = self._from(value)
                continue
            assert stage is not None
            self._apply(stage, name, value)
        assert stage is not None
        return stage

    def _from(self, value: str) -> Stage:
        image, *alias = value.split(" AS ")
        base = self._folder / "base"
        if not base.exists():
            command = [self._debootstrap, "--variant=minbase", SUITES[image], str(base)]
            subprocess.run(command, check=True, capture_output=True)
        root = self._folder / (alias[0] if alias else "final")
        subprocess.run(["cp", "--archive", "--reflink=auto", str(base), str(root)], check=True)
        shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
        if CERTIFICATES.exists():
            shutil.copy(CERTIFICATES, root / LENT[1:])
        subprocess.run(["mount", "-t", "proc", "proc", str(root / "proc")], check=True)
        self.mounted.append(root / "proc")
        stage = self._stages[root.name] = Stage(root, {"PATH": os.defpath + ":/sbin:/usr/sbin"})
        return stage

    def _apply(self, stage: Stage, name: str, value: str) -> None:
        if name == "RUN":
            stage.run(["/bin/sh", "-c", value], _reaching_registries())
        elif name == "WORKDIR":
            stage.workdir = value
            (stage.root / value[1:]).mkdir(parents=True, exist_ok=True)
        elif name == "COPY":
            self._copy(stage, value)
        elif name == "ENV":
            stage.env |= dict(pair.split("=", 1) for pair in shlex.split(value))
        elif name == "USER":
            stage.user = value
        elif name == "CMD":
            stage.command = json.loads(value)
        elif name == "HEALTHCHECK":
            stage.healthcheck = json.loads(value.partition("CMD ")[2])
        else:
            assert name in ("VOLUME", "EXPOSE"), f"{name} is not known here"

    def _copy(self, stage: Stage, value: str) -> None:
        *sources, target = value.split()
        origin = self._context
        if sources[0].startswith("--from="):
            origin = self._stages[sources.pop(0).partition("=")[2]].root
        below = stage.root / str(Path(stage.workdir, target))[1:]
        for source in sources:
            path = origin / source.lstrip("/")
            if origin == self._context:
                assert self._is_in_context(source), f"{source} is in .dockerignore"
            if path.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(path, below, symlinks=True, dirs_exist_ok=True, ignore=ignored)
            else:
                into = below / path.name if target.endswith("/") else below
                into.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, into)

    def _is_in_context(self, source: str) -> bool:
        first, *readmitted = (self._context / ".dockerignore").read_text().split()
        assert first == "*"
        return any(f"!{part}" in readmitted for part in (source, *map(str, Path(source).parents)))

    def remove(self) -> None:
        for path in self.mounted:
            subprocess.run(["umount", str(path)], check=True)
        shutil.rmtree(self._folder)


def _reaching_registries() -> dict[str, str]:
    """How this machine reaches PyPI and Debian; on most it is nothing."""
    names = ("http_proxy", "https_proxy", "no_proxy", "PIP_INDEX_URL")
    found = {
        each: os.environ[each]
        for name in names
        for each in (name, name.upper())
        if each in os.environ
    }
    return found | ({"PIP_CERT": LENT} if CERTIFICATES.exists() else {})
