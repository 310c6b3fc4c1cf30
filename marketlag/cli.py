"""The command ``marketlag``: the same program as ``faust -A marketlag``."""

import sys


def main() -> None:
    """Run Faust's command line on our app, with our commands in it."""
    # Faust's group looks for the app in sys.argv before it parses it, to know the app's commands.
    sys.argv[1:1] = ["-A", "marketlag"]
    from faust.cli.faust import cli

    cli(prog_name="marketlag")
