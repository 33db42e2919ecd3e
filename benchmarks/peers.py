"""The programs that ciflow is measured against, in a virtual environment of their own."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PINNED = ("ansible-core==2.19.*", "mitogen==0.3.54", "pyinfra==3.10.*")


@dataclass(frozen=True)
class Peers:
    """Where the peers are installed."""

    venv: Path

    def program(self, name: str) -> str:
        return str(self.venv / "bin" / name)

    @property
    def mitogen_strategies(self) -> Path:
        """Folder that Ansible's `strategy_plugins` must name to run over mitogen."""
        return next(self.venv.glob("lib/python3*/site-packages/ansible_mitogen/plugins/strategy"))


def install() -> Peers:
    """Make the environment once per set of versions; it lies in the cache, outside the project."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    peers = Peers(cache / "ciflow" / "peers")
    stamp = peers.venv / "pinned"
    if stamp.exists() and stamp.read_text() == "\n".join(PINNED):
        return peers
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(peers.venv)], check=True)
    subprocess.run([peers.program("pip"), "install", "--quiet", *PINNED], check=True)
    stamp.write_text("\n".join(PINNED))
    return peers


if __name__ == "__main__":
    print(install().venv)
