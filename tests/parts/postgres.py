"""A real PostgreSQL on loopback, with trust for all who come there, and a database for each who asks."""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.parts import process

_SETTINGS = {
    "listen_addresses": "127.0.0.1", "fsync": "off", "max_connections": "60", "shared_buffers": "32MB",
    "jit": "off", "autovacuum_naptime": "10min",
}  # fmt: skip


@dataclass
class Postgres:
    folder: Path
    port: int
    running: process.Running
    argv: list[str]
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"t{next(self.numbers)}"
        self.say(f"CREATE DATABASE {name}")
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def say(self, statement: str, database: str = "postgres") -> str:
        argv = [_program("psql"), "-XAtq", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-c", statement]
        return subprocess.run([*argv, database], check=True, capture_output=True, text=True).stdout

    def stop(self) -> None:
        """As its operator does: connections are cut (pg_ctl stop -m fast)."""
        self.running.process.send_signal(signal.SIGINT)
        self.running.process.wait()

    def start_again(self) -> None:
        self.running = process.start("postgres", self.argv, self.folder)
        process.wait_until(lambda: _ready(self.port), self.running)


def _program(name: str) -> str:
    """Debian keeps the server's programs in a folder for each version."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: path.parts[-3])
    return str(versions[-1]) if versions else process.find(name, "postgres")


def _ready(port: int) -> bool:
    argv = [_program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    return subprocess.run(argv, check=False).returncode == 0


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[Postgres]:
    """Its server refuses to run as root: then it runs as nobody (initdb wants an account with a name)."""
    port, data = process.free_port(), folder / "data"
    as_user = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            raise process.MissingPart("setpriv is not here, and PostgreSQL does not run as root")
        as_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        folder.chmod(0o755)
        data.mkdir(0o700)
        shutil.chown(data, "nobody", "nogroup")
    env = {**os.environ, "LC_ALL": "C"}
    initdb = [_program("initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8"]
    subprocess.run([*as_user, *initdb], check=True, capture_output=True, env=env, cwd="/")
    settings = [f"-c{name}={value}" for name, value in {**_SETTINGS, "unix_socket_directories": str(data)}.items()]
    argv = [*as_user, _program("postgres"), "-D", str(data), "-p", str(port), *settings]
    postgres = Postgres(folder, port, process.start("postgres", argv, folder), argv)
    try:
        process.wait_until(lambda: _ready(port), postgres.running)
        yield postgres
    finally:
        postgres.running.process.send_signal(signal.SIGQUIT)  # at once: nothing of it is kept
        process.end(postgres.running)
