"""A real HAProxy with the configuration that a test gives it."""

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.parts import process


@contextlib.contextmanager
def haproxy(folder: Path, config: str, ready: Sequence[tuple[str, int]]) -> Iterator[process.Running]:
    """Start HAProxy in the foreground with `config`; `ready` are the addresses that must accept connections.

    Raises NotReady with HAProxy's own words when it refuses the configuration.
    """
    program = process.find("haproxy", "haproxy")
    path = folder / "haproxy.cfg"
    path.write_text(config)
    check = subprocess.run([program, "-c", "-f", str(path)], capture_output=True, text=True, check=False)
    if check.returncode != 0:
        raise process.NotReady(f"haproxy refused its configuration:\n{check.stderr}")
    argv = [program, "-db", "-f", str(path)]
    with process.run("haproxy", argv, folder, lambda: all(process.answers(*at) for at in ready)) as running:
        yield running
