"""Writes ``dashboards/*.json``; with ``--check`` writes nothing and fails if one is another."""

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana import history, lag_signals, system_health

FOLDER = Path(__file__).parent / "dashboards"
BOARDS = {
    "lag-signals": lag_signals.build,
    "system-health": system_health.build,
    "history": history.build,
}


def rendered() -> dict[Path, str]:
    """The JSON of each dashboard, by its file."""
    return {
        FOLDER / f"{name}.json": json.dumps(build().build(), cls=JSONEncoder, indent=1) + "\n"
        for name, build in BOARDS.items()
    }


def main() -> int:
    found = rendered()
    if "--check" in sys.argv[1:]:
        old = [path.name for path, text in found.items() if path.read_text() != text]
        if old:
            sys.stderr.write(f"{', '.join(old)}: run `make dashboards`\n")
        return bool(old)
    for path, text in found.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
