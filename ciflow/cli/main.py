"""The entry point. `--version` answers before anything heavy is imported; commands are loaded by name."""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn

YOUNG = 100_000  # values that are made before any is looked at for cycles: more than a start makes, some 10 MB


def main() -> NoReturn:
    """Run the command line and exit with one of `diagnostics.ExitCode`."""
    _open_streams()
    gc.set_threshold(YOUNG, 10, 10)
    if sys.argv[1:] == ["--version"]:
        from ciflow import __version__

        try:
            os.write(1, f"ciflow {__version__}\n".encode())
            sys.exit(0)
        except OSError:
            pass  # the long way says what is wrong with the output
    code = _code()
    gc.freeze()  # the interpreter looks for cycles once more at its end, through all that was ever imported
    sys.exit(code)


def _code() -> int:
    if "_CIFLOW_COMPLETE" in os.environ:  # by a shell whose user pressed TAB
        from ciflow.cli.completions import answer

        return answer()
    from ciflow.cli.app import run

    return run(sys.argv[1:])


def _open_streams() -> None:
    """Standard streams that whoever started us has closed lead nowhere, and to no file that is opened later."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdin = sys.stdin or os.fdopen(0)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")
