"""When to look again. Rings as soon as the system tells that something happened in a folder (`watchfiles`, which this
file owns), or, where it tells nothing, by the clock.

What rings says nothing of what happened: whoever hears it looks. So an event that was lost or came twice is no harm.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

EVERY = 0.5  # seconds between looks by the clock
# File systems whose other machines' changes the kernel doesn't tell (mount(8), inotify(7)).
_REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "vboxsf", "prl_fs", "drvfs"})
_MISSING = (
    "the package `watchfiles` is not installed, so files are looked at twice a second: pip install 'ciflow[watch]'"
)


class Bell:
    """Calls `ring` from a thread of its own, between `hang` and `stop`."""

    def __init__(self, ring: Callable[[], None], *, by_clock: bool = False) -> None:
        self._ring = ring
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self.why = "asked for" if by_clock else ""  # it rings by the clock; "" where the system tells

    def hang(self, folders: Mapping[str, int]) -> None:
        """In these folders, and in no others any more."""
        self.stop()
        self._over = over = threading.Event()
        self.why = self.why or _blind(folders)
        told = self._clock if self.why else self._events
        self._thread = threading.Thread(target=told, args=(tuple(folders), over), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _clock(self, _folders: tuple[str, ...], over: threading.Event) -> None:
        while not over.wait(EVERY):
            self._ring()

    def _events(self, folders: tuple[str, ...], over: threading.Event) -> None:
        from watchfiles import watch

        try:
            for _ in watch(
                *folders, watch_filter=None, debounce=50, step=10, rust_timeout=200, stop_event=over, recursive=False,
                raise_interrupt=False,
            ):  # fmt: skip
                self._ring()
        except FileNotFoundError:
            over.wait(EVERY)
            self._ring()  # a folder went meanwhile: whoever looks finds others
        except OSError as error:
            self.why = _full(error)
            self._ring()
            self._clock(folders, over)


def _blind(folders: Mapping[str, int]) -> str:
    """Why the system would tell nothing of these folders; "" where it does."""
    try:
        import watchfiles  # noqa: F401
    except ImportError:
        return _MISSING
    mounts = _mounts()
    for folder in folders:
        kind = next((kind for point, kind in mounts if folder == point or folder.startswith(point + "/")), "")
        if kind in _REMOTE or kind.startswith("fuse."):
            return f"{folder} lies on {kind}, which doesn't tell what other machines write"
    return ""


def _mounts() -> list[tuple[str, str]]:
    """Where each file system begins, the innermost first, and of what kind it is (proc_pid_mountinfo(5))."""
    try:
        text = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    except OSError:
        return []
    found: list[tuple[str, str]] = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        point = before.split(" ")[4].encode("utf-8", "surrogateescape").decode("unicode_escape")
        found.append((point.rstrip("/"), after.split(" ")[0]))
    return sorted(found, key=lambda one: len(one[0]), reverse=True)


def _full(error: OSError) -> str:
    """inotify has a limit for each account."""
    limits = "fs.inotify.max_user_watches and max_user_instances (sysctl) say how many"
    said = os.strerror(error.errno) if error.errno else str(error)
    return f"the system watches no more files for this account ({said}; {limits}), so they are looked at twice a second"
