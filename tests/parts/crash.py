"""ciflow, killed between the effect of a request to an API and its record: nobody wrote down that it was done."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_DIES = """
import os, signal, sys
from ciflow.cli.main import main
from ciflow.targets import APIS

kind, word = sys.argv[1:3]
ask = APIS[kind]

def asked(request, stop):
    reply = ask(request, stop)
    if word in " ".join(str(request.get(name, "")) for name in ("method", "path", "verb")):
        os.kill(os.getpid(), signal.SIGKILL)
    return reply

APIS[kind] = asked
sys.argv = ["ciflow", *sys.argv[3:]]
main()
"""


def dies_after(kind: str, word: str, *args: str, folder: Path, env: Mapping[str, str]) -> int:
    """`ciflow args`, killed (-9) once the first request of an API has been answered in whose method, path and verb
    `word` stands. Gives what it ended with: -9, or something else where there was no such request."""
    argv = [sys.executable, "-c", _DIES, kind, word, *args]
    return subprocess.run(argv, cwd=folder, env=dict(env), capture_output=True, timeout=120, check=False).returncode
