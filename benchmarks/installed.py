"""ciflow as a user has it: installed from its wheel.

The checkout's own environment starts slower: an editable installation asks the finder of setuptools at every import.
"""

import functools
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import click

REPO = Path(__file__).resolve().parent.parent


@functools.cache
def program() -> str:
    """The path of `ciflow`, installed anew from this checkout's files; its requirements are those that lie here."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ciflow" / "bench"
    venv.create(home, clear=True, symlinks=True)
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(home / "bin/python")]
        subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(_wheel(Path(folder)))], check=True)
    site = next((home / "lib").glob("python*/site-packages"))
    (site / "requirements.pth").write_text(f"{Path(click.__file__).parents[1]}\n")
    return str(home / "bin/ciflow")


def _wheel(folder: Path) -> Path:
    """Built from a copy: what setuptools leaves beside the sources would go into the next one."""
    listed = ["git", "-C", str(REPO), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, capture_output=True, text=True, check=True).stdout.rstrip("\0").split("\0"):
        if (REPO / name).is_file():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "source" / name).write_bytes((REPO / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--wheel-dir", str(folder), str(folder / "source")], check=True)
    return next(folder.glob("*.whl"))


if __name__ == "__main__":
    print(program())
