"""Accounts of nobody's: users, sudoers and doas.conf in a mount namespace where /etc and /home are copies.

What runs there sees the real sudo, su and doas, which read those copies; the machine itself is left as it was.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.parts import process
from tests.parts.sshd import User

_ENTER = """
cd "$1" && shift
for name in python source packages; do mount --bind "$1" "home/.$name"; shift; done
mount --bind etc /etc && mount --rbind home /home && echo ready && exec sleep infinity
"""
_ROOT = Path(__file__).resolve().parents[2]
# This Python, ciflow and its libraries, where everybody may look: the originals may lie in somebody's private home.
CIFLOW = (f"/home/.python/bin/python{sys.version_info[0]}.{sys.version_info[1]}", "-m", "ciflow")
CIFLOW_ENV = {
    "PYTHONPATH": "/home/.source:/home/.packages",
    "LD_LIBRARY_PATH": "/home/.python/lib",
    "PYTHONDONTWRITEBYTECODE": "1",
}


@dataclass
class Accounts:
    """A machine of the same programs with other people."""

    folder: Path
    holder: process.Running
    users: list[User] = field(default_factory=list)

    @property
    def clerk(self) -> User:
        """The first of its users: one without rights."""
        return self.users[0]

    @property
    def home(self) -> Path:
        """/home as it is inside, seen from outside."""
        return self.folder / "home"

    def inside(self, *argv: str, user: str = "root") -> list[str]:
        """A command line that runs `argv` there, as `user`."""
        enter = ["nsenter", "--mount", "--target", str(self.holder.pid), "--"]
        if user == "root":
            return [*enter, *argv]
        return [*enter, "setpriv", "--reuid", user, "--regid", user, "--init-groups", "--", *argv]

    def run(
        self, *argv: str, user: str = "root", input: str = "", env: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        home = "/root" if user == "root" else f"/home/{user}"
        return subprocess.run(
            self.inside(*argv, user=user), input=input, capture_output=True, text=True, timeout=120, check=False,
            env={**os.environ, "HOME": home, **(env or {})}, cwd="/",
        )  # fmt: skip

    def add(self, name: str, password: str) -> None:
        """A user with a home and a password."""
        self._must("useradd", "--create-home", "--shell", "/bin/sh", name)
        self.users.append(User(name, password))
        self._must("chpasswd", input=f"{name}:{password}\n")

    def sudoers(self, line: str) -> None:
        """What sudo allows; the lines before are gone."""
        path = self.folder / "etc" / "sudoers.d" / "test"
        path.write_text(line + "\n")
        path.chmod(0o440)

    def doas(self, line: str) -> None:
        """What doas allows; doas wants the file to belong to root and nobody else to write it."""
        path = self.folder / "etc" / "doas.conf"
        path.write_text(line + "\n")
        path.chmod(0o400)
        if not (pam := self.folder / "etc" / "pam.d" / "doas").exists():
            shutil.copy(pam.with_name("sudo"), pam)

    def _must(self, *argv: str, input: str = "") -> None:
        done = self.run(*argv, input=input)
        assert done.returncode == 0, done.stderr


def _copy_etc(folder: Path) -> None:
    subprocess.run(["cp", "--archive", "/etc", str(folder / "etc")], check=True)


@contextlib.contextmanager
def accounts(folder: Path, users: Sequence[tuple[str, str]] = ()) -> Iterator[Accounts]:
    """A namespace with `users` (name and password) beside those that the machine has."""
    for program in ("unshare", "nsenter", "setpriv", "useradd"):
        if shutil.which(program) is None:
            raise process.MissingPart(f"{program} is not installed")
    if os.geteuid() != 0:
        raise process.MissingPart("accounts in a namespace need root")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("", ".python", ".source", ".packages"):
        (folder / "home" / name).mkdir(mode=0o755)
    _copy_etc(folder)
    argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _ENTER, "sh", str(folder)]
    argv += [sys.base_prefix, str(_ROOT), sysconfig.get_path("purelib")]
    log = folder / "accounts.log"
    with process.run("accounts", argv, folder, lambda: "ready" in log.read_text(), 10.0) as holder:
        made = Accounts(folder, holder)
        for name, password in users:
            made.add(name, password)
        yield made
