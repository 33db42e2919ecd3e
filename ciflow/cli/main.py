"""The entry point. `--version` answers before anything heavy is imported; commands are loaded by name."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and exit with one of `diagnostics.ExitCode`."""
    if sys.argv[1:] == ["--version"]:
        from ciflow import __version__

        print(f"ciflow {__version__}")
        sys.exit(0)
    from ciflow.cli.app import run

    sys.exit(run(sys.argv[1:]))
