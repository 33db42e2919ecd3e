"""The agent: executes operations on a host, journals each, and goes on with the one in hand when its controller dies.

One file of the standard library (Python >= 3.7), sent down the pipe; nothing is installed. Sections:
frames, the pipe | the journal | small helpers | files | text edits | processes | network | detached work | lanes, main.
Operations and replies are JSON as ciflow/encoding.py makes them: bytes are text in UTF-8 with surrogateescape, and
fields at their default are left out. Threads: the main one drains the pipe and never executes; each lane has one.
"""

# pathlib, f-strings of nested quotes, and the like: not worth their start-up time here, or not in Python 3.7.
# ruff: noqa: ARG001, ARG002, B904, B905, F821, RUF005, SIM102, SIM105, UP031, UP041
# ruff: noqa: PTH101, PTH102, PTH103, PTH104, PTH106, PTH108, PTH110, PTH111, PTH112, PTH113, PTH114, PTH115, PTH116
# ruff: noqa: PTH118, PTH119, PTH120, PTH121, PTH123
from __future__ import annotations

import _thread
import errno
import fcntl
import grp
import os
import pwd
import select
import stat
import struct
import sys
import time

TYPE_CHECKING = False  # typing's own would have to be imported, and the agent's start counts
if TYPE_CHECKING:
    import glob
    import re
    import shutil
    import signal
    import subprocess
    from collections import deque
    from collections.abc import Callable, Iterable, Iterator
    from hashlib import sha256
    from re import Pattern
    from typing import Any

    Op = dict[str, Any]  # an operation as ciflow/encoding.py writes it
    Reply = dict[str, Any]  # likewise; an executor may leave stdout and stderr as bytes
    Message = dict[str, Any]
    Edited = tuple[bytes, str, dict[str, Any]]  # new content, Ansible's words for what was done, more data

try:
    from _blake2 import blake2b  # hashlib loads OpenSSL, which takes longer than all else at start-up
except ImportError:
    from hashlib import blake2b
if not TYPE_CHECKING:
    try:
        from _sha256 import sha256
    except ImportError:
        try:
            from _sha2 import sha256  # since Python 3.12
        except ImportError:
            from hashlib import sha256
    try:
        from _collections import deque  # without the Python part of collections
    except ImportError:
        from collections import deque


class Late:
    """A module that is imported at its first use: each of these takes milliseconds that every start would pay."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        __import__(self._name)
        found = getattr(sys.modules[self._name], attribute)
        setattr(self, attribute, found)
        return found


if not TYPE_CHECKING:
    glob, re, shutil, subprocess = Late("glob"), Late("re"), Late("shutil"), Late("subprocess")
    try:
        import _signal as signal  # without enum
    except ImportError:
        import signal

CODE: Any  # this file, compiled: given by whoever starts it
PACKED_HASH: str

VERSION = 1
HEAD = struct.Struct(">IBBI")  # length of the payload, kind, flags, stream
MAX_PAYLOAD = 64 * 1024 - HEAD.size
BEAT, MESSAGE, CONTENT, OUTPUT, CREDIT = 1, 2, 3, 4, 5  # kinds
MORE, STDERR, QUIET = 1, 2, 4  # flags
WINDOW = 256 * 1024  # bytes of credit that a stream starts with
HEARTBEAT = 10.0
MISSED = 3
INLINE = 8 * 1024  # a reply's output up to here travels inside its message
KEEP = 512 * 1024  # bytes kept of each stream's head, and again of its tail; beyond, all of it is spilled to a file
LIVE = 0.1  # seconds between two portions of live output
GRACE = 2.0  # seconds from SIGTERM to SIGKILL when an operation is ended
SLOT = 4096  # bytes of an operation in the journal, set aside before it starts
SHORT = 250  # characters of an error that have room in a slot, whatever they are
NAME = 32  # characters of the hash that stands for an operation's key
EXPIRY = 7 * 86400
RUNS = "journal"  # the folder of journals in this form; agent.sh has another, in "runs"
NO_JOURNAL = "none"  # the identity of one that could not be written
LIST, LOG, END = "list", ".log", "end"  # what was started in a run, what an agent started, an end that is long
PORTION = NAME * 128  # bytes of the list that are read at once
LOOK = 0.02, 0.5  # seconds between two looks whether another agent's operation has ended: the first, and the longest
NOTE = "temp"  # what names of notes end with that say where a large file is being written
SWEEP = 86400.0  # seconds between two looks for records that have expired
LARGE = 1 << 20
DIFF_LIMIT = 104448  # bytes of a file beyond which no diff is given (Ansible's max_diff_size)
PROBES = frozenset(["stat", "read", "walk", "wait"])  # safe to run again: not journalled


class Condition:
    """threading's, of the interpreter's own locks: that module takes a fifth of the start. Waits are never nested."""

    def __init__(self) -> None:
        self.lock = _thread.RLock()
        self.waiting: list[Any] = []

    def __enter__(self) -> None:
        self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.lock.release()

    def wait(self, timeout: float) -> None:
        """Held on entry and return; given up in between, until somebody notifies or `timeout` seconds are over."""
        waiter = _thread.allocate_lock()
        waiter.acquire()
        self.waiting.append(waiter)
        self.lock.release()
        try:
            waiter.acquire(True, max(0.0, timeout))
        finally:
            self.lock.acquire()
            if waiter in self.waiting:
                self.waiting.remove(waiter)

    def notify_all(self) -> None:
        """To be called while it is held."""
        for waiter in self.waiting:
            waiter.release()
        self.waiting = []


class Event:
    """threading's: false until it is set."""

    def __init__(self) -> None:
        self.condition = Condition()
        self.happened = False

    def is_set(self) -> bool:
        return self.happened

    def set(self) -> None:
        with self.condition:
            self.happened = True
            self.condition.notify_all()

    def wait(self, timeout: float) -> None:
        with self.condition:
            if not self.happened:
                self.condition.wait(timeout)


class Failure(Exception):
    """An operation that did not go well: plain words with the path or address in them."""

    def __init__(self, text: str, code: str = "", **more: Any) -> None:
        super().__init__(text)
        self.reply = dict(more, ok=False, error=text, errno=code)


def raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def short_hash(value: str, key: bytes = b"") -> str:
    return blake2b(raw(value), key=key, digest_size=16).hexdigest()


def digester(name: str = "sha256", size: int = LARGE) -> Any:
    """A hash to feed. For little content the interpreter's own sha256: hashlib loads OpenSSL, faster only for much."""
    if name == "sha256" and size < LARGE:
        return sha256()
    import hashlib

    return hashlib.new(name)


def json_codec() -> tuple[Callable[[str], Any], Callable[[Any], str], Callable[[Any], str]]:
    """(read, write, write with sorted keys), by the C parts of json alone: the package itself imports re and enum."""
    try:
        return fast_json_codec()
    except (ImportError, AttributeError, TypeError):
        import json

        def write(value: Any) -> str:
            return json.dumps(value, separators=(",", ":"))

        def write_sorted(value: Any) -> str:
            return json.dumps(value, sort_keys=True)

        return json.loads, write, write_sorted


def fast_json_codec() -> tuple[Callable[[str], Any], Callable[[Any], str], Callable[[Any], str]]:
    import _json

    class Settings:
        strict, parse_float, parse_int, parse_constant = True, float, int, float
        object_hook = object_pairs_hook = array_hook = None

    def refuse(value: Any) -> Any:
        raise TypeError("%r is not JSON" % (value,))

    def encoder(colon: str, comma: str, ordered: bool) -> Callable[[Any], str]:
        make = _json.make_encoder
        encode = make(None, refuse, _json.encode_basestring_ascii, None, colon, comma, ordered, False, True)
        return lambda value: "".join(encode(value, 0))

    settings: Any = Settings
    scan = _json.make_scanner(settings)

    def read(words: str) -> Any:
        try:
            return scan(words, 0)[0]
        except StopIteration:
            raise ValueError("not JSON: %r" % words[:200])

    write, write_sorted = encoder(":", ",", False), encoder(": ", ", ", True)
    sample = {"b": [1, 1.5, "\u00e9\n", None, True], "a": {}}
    ordered = '{"a": {}, "b": [1, 1.5, "\\u00e9\\n", null, true]}'
    if write_sorted(sample) != ordered or read(write(sample)) != sample:
        raise TypeError("another kind of _json")
    return read, write, write_sorted


from_json, json_text, sorted_json_text = json_codec()


def to_json(value: Any) -> bytes:
    return json_text(value).encode("ascii")


# --- frames and the pipe ---------------------------------------------------------------------------------


def frame(kind: int, stream: int, payload: bytes = b"", flags: int = 0) -> bytes:
    return HEAD.pack(len(payload), kind, flags, stream) + payload


def message_frames(message: Message, stream: int = 0) -> bytes:
    payload = to_json(message)
    pieces = [payload[at : at + MAX_PAYLOAD] for at in range(0, len(payload), MAX_PAYLOAD)]
    return b"".join(frame(MESSAGE, stream, p, 0 if p is pieces[-1] else MORE) for p in pieces)


class Pipe:
    """Both ends of the pipe. `send` never blocks: what the controller can't take waits here, urgent frames first."""

    def __init__(self) -> None:
        self.source, self.sink = os.dup(0), os.dup(1)
        self.errors = os.dup(2)  # kept open: containerd ends an exec's standard input when one of its outputs ends
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        self.null = null
        os.set_blocking(self.source, False)
        os.set_blocking(self.sink, False)
        self.wake_read, self.wake_write = os.pipe()
        self.lock = _thread.allocate_lock()
        self.begun = b""  # rest of a portion that is partly written
        self.urgent: deque[bytes] = deque()
        self.waiting: deque[bytes] = deque()
        self.broken = False
        self.buffer = bytearray()
        self.parts: dict[int, bytes] = {}

    def send(self, data: bytes, urgent: bool = False) -> None:
        with self.lock:
            if self.broken:
                return
            idle = not (self.begun or self.urgent or self.waiting)
            (self.urgent if urgent else self.waiting).append(data)
            if not idle:
                return
            self._write()
            if self.broken or self.begun:
                os.write(self.wake_write, b"w")

    def message(self, message: Message, stream: int = 0) -> None:
        self.send(message_frames(message, stream))

    def flush(self) -> None:
        with self.lock:
            self._write()

    def backlog(self) -> bool:
        return bool(self.begun or self.urgent or self.waiting)

    def _write(self) -> None:
        try:
            while not self.broken:
                if not self.begun:
                    queue = self.urgent or self.waiting
                    if not queue:
                        return
                    self.begun = queue.popleft()
                written = os.write(self.sink, self.begun)
                self.begun = self.begun[written:]
        except BlockingIOError:
            return
        except OSError:
            self.broken = True
            self.begun = b""

    def read(self) -> list[tuple[int, int, int, bytes]] | None:
        """Frames that have come: (kind, flags, stream, payload). None at the end of the pipe."""
        try:
            data = os.read(self.source, 256 * 1024)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        self.buffer += data
        frames, at = [], 0
        while len(self.buffer) - at >= HEAD.size:
            length, kind, flags, stream = HEAD.unpack_from(self.buffer, at)
            if length > MAX_PAYLOAD or not BEAT <= kind <= CREDIT:
                return None
            if len(self.buffer) - at < HEAD.size + length:
                break
            at += HEAD.size + length
            frames.append((kind, flags, stream, bytes(self.buffer[at - length : at])))
        del self.buffer[:at]
        return frames

    def join(self, flags: int, stream: int, payload: bytes) -> Message | None:
        """The JSON message that this frame completes, or None."""
        whole = self.parts.pop(stream, b"") + payload
        if flags & MORE:
            self.parts[stream] = whole
            return None
        message: Message = from_json(whole.decode("ascii"))
        return message


# --- the journal -------------------------------------------------------------------------------------------


def read_text(path: str) -> str:
    try:
        with open(path, "rb") as f:
            return text(f.read())
    except OSError:
        return ""


def epoch() -> str:
    """Names this life of this machine or container: another one's records say nothing about what ran here."""
    init = read_text("/proc/1/stat").rpartition(")")[2].split()
    try:
        namespace = str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        namespace = ""
    started = init[19] if len(init) > 19 else ""
    boot = read_text("/proc/sys/kernel/random/boot_id").strip()
    return short_hash(
        "\n".join(
            [
                boot,
                namespace,
                started,
                read_text("/proc/1/cgroup"),
                os.environ.get("HOSTNAME", "") if os.path.exists("/var/run/secrets/kubernetes.io") else "",
            ]
        )
    )


def closed_folders(path: str) -> None:
    """Make what is missing of `path`; nobody else may write there, whatever the umask: who may, can replace what is
    below."""
    if not os.path.isdir(path):
        closed_folders(os.path.dirname(path))
        try:
            os.mkdir(path, 0o755)
        except FileExistsError:
            pass


def private_folder(path: str) -> bool:
    """Make `path` a folder of our own that nobody else may enter; False when it is not, or can't be."""
    try:
        closed_folders(os.path.dirname(path))
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError:
        return False
    found = os.lstat(path)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def home() -> str:
    """$HOME if it is ours (sudo may leave the caller's), else the password database's."""
    named = os.environ.get("HOME", "")
    try:
        if named and os.stat(named).st_uid == os.geteuid():
            return named
        return pwd.getpwuid(os.geteuid()).pw_dir
    except (OSError, KeyError):
        return ""


def state_folder() -> str:
    """Where the journal lives, or "" when there is no safe place."""
    places = [os.path.join(home(), ".local/state/ciflow")] if home() else []
    for place in places + ["/var/tmp/ciflow-%d" % os.geteuid()]:
        if private_folder(place) and os.access(place, os.W_OK | os.X_OK):
            return place
    return ""


def open_private(path: str, flags: int = 0) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)


def lasting(path: str, make: Callable[[], bytes]) -> bytes:
    """The content of a small file, made once, never half there."""
    if not os.path.exists(path):
        mine = "%s.%d.%d" % (path, os.getpid(), _thread.get_ident())
        fd = open_private(mine, os.O_TRUNC)
        os.write(fd, make())
        os.close(fd)
        try:
            os.link(mine, path)
        except FileExistsError:
            pass
        os.unlink(mine)
    with open(path, "rb") as f:
        return f.read()


class Superseded(Exception):
    """A run with a greater token has taken the project on this host."""


class Log:
    """What one agent has started in a run: an operation has a slot, with a line written before it and one after it.

    Its agent holds the file's lock for as long as it lives: a slot without an end is under way, or its agent died in
    it. A slot begins with the hash of the operation's key; one of zeros was taken back.
    """

    def __init__(self, path: str, flags: int = 0) -> None:
        """With O_CREAT and O_EXCL it is this agent's own."""
        self.path, self.mine = path, bool(flags)
        self.slots: dict[str, int] = {}  # where an operation's slot begins, by the hash of its key
        self.fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
        self.size = os.fstat(self.fd).st_size // SLOT * SLOT
        if self.mine:
            fcntl.flock(self.fd, fcntl.LOCK_EX)
        for at in range(0, self.size, SLOT):
            name = os.pread(self.fd, NAME, at)
            if name[:1] != b"\0":
                self.slots[text(name)] = at

    def close(self) -> None:
        if not self.mine:
            os.close(self.fd)

    def alive(self) -> bool:
        """Whether its agent lives."""
        if self.mine:
            return True
        try:
            fcntl.flock(self.fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self.fd, fcntl.LOCK_UN)
        return False

    def read(self, name: str) -> tuple[str, Reply | None] | None:
        """(digest, reply or None) of an operation; None when it was taken back."""
        slot = os.pread(self.fd, SLOT, self.slots[name])
        if slot[:1] in (b"", b"\0"):
            return None
        head, _, end = slot.partition(b"\n")
        end = end.rstrip(b"\0")
        if end == b"\n":
            end = raw(read_text(beside(self.path, name)))
        return text(head[NAME + 1 :]), (from_json(text(end)) if end.endswith(b"\n") else None)

    def begin(self, name: str, digest: str) -> Record:
        """OSError: no room for it, and for what is written at the end."""
        head = raw("%s %s\n" % (name, digest))
        at = self.size
        try:
            if os.pwrite(self.fd, head.ljust(SLOT, b"\0"), at) < SLOT:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.ftruncate(self.fd, at)
            raise
        self.size += SLOT
        self.slots[name] = at
        return Record(self, name, at + len(head))

    def take_back(self, name: str) -> None:
        """As if it had never been started."""
        os.pwrite(self.fd, bytes(SLOT), self.slots[name])


def beside(log: str, name: str) -> str:
    """Where the end of an operation lies that has no room in its slot."""
    return os.path.join(os.path.dirname(log), "%s.%s" % (name, END))


class Record:
    """One operation in this agent's log."""

    def __init__(self, log: Log, name: str, at: int) -> None:
        self.log, self.name, self.at = log, name, at
        self.room = SLOT - at % SLOT

    def withdraw(self) -> None:
        self.log.take_back(self.name)

    def end(self, reply: Reply) -> None:
        """Without room for all of it what matters is kept; without any, nobody will be able to say how it ended."""
        line = to_json(reply) + b"\n"
        if not (self._put(line) if len(line) <= self.room else self._put_beside(line)):
            kept = ("status", "ok", "changed", "rc", "signal", "errno", "started", "duration")
            short = dict(pick(reply, *kept), truncated=True, error=reply.get("error", "")[:SHORT])
            self._put(to_json(short) + b"\n")

    def _put(self, line: bytes) -> bool:
        try:
            return os.pwrite(self.log.fd, line, self.at) == len(line)
        except OSError:
            return False

    def _put_beside(self, line: bytes) -> bool:
        try:
            fd = open_private(beside(self.log.path, self.name), os.O_TRUNC)
            try:
                write_all(fd, line)
            finally:
                os.close(fd)
        except OSError:
            return False
        return self._put(b"\n")


class Journal:
    """What was started and what it came to, for one identity on one host. See "Journal on the host" in the design."""

    def __init__(self) -> None:
        self.folder = self.run_folder = self.identity = self.warning = ""
        self.secret = b""
        self.mutex = _thread.allocate_lock()
        self.own: Log | None = None
        self.list_fd, self.list_size = -1, 0
        self.listed: set[bytes] = set()  # hashes of the keys of all that was started
        self.project_fd, self.token, self.run = -1, 0, ""
        base = state_folder()
        self.base = base
        try:
            if base:
                self.folder = os.path.join(base, epoch())
                for name in ("", RUNS, "projects", "detached"):
                    os.makedirs(os.path.join(self.folder, name), 0o700, exist_ok=True)
                self.secret = lasting(os.path.join(self.folder, "secret"), lambda: os.urandom(32))
        except OSError as e:
            self.folder, self.warning = "", "%s: %s" % (base, e.strerror)
        if not self.folder:
            self.warning = "no place to write a journal (%s): lost operations will be unknown" % (
                self.warning or "neither ~/.local/state/ciflow nor /var/tmp"
            )

    def begin(self, project: str, run: str, token: int) -> tuple[bool, int, str]:
        """Take the project by compare-and-set. Returns (taken, greatest token, its run)."""
        self.run, self.token = run, token
        if not self.folder:
            return True, token, run
        try:
            self.project_fd = open_private(os.path.join(self.folder, "projects", short_hash(project)))
            with self._locked():
                known, holder = self._holder()
                if (known, holder) != (token, run):
                    if known > token or (known == token and holder != run):
                        return False, known, holder
                    os.pwrite(self.project_fd, to_json([token, run]).ljust(512), 0)
            self.run_folder = os.path.join(self.folder, RUNS, short_hash(run))
            os.makedirs(self.run_folder, 0o700, exist_ok=True)
            os.utime(self.run_folder)  # nobody sweeps it away as one that is over
            self.list_fd, self.list_size = open_private(os.path.join(self.run_folder, LIST)), 0
            self.own, self.listed = None, set()
            mark = lasting(os.path.join(self.run_folder, "id"), lambda: raw(os.urandom(8).hex()))
            self.identity = os.path.basename(self.folder) + ":" + text(mark)
        except OSError as e:
            self.warning = "%s: %s: lost operations will be unknown" % (self.folder, e.strerror)
            self.run_folder = self.identity = ""
            if self.project_fd >= 0 and self._holder() != (token, run):  # no room to say that the project is ours
                os.close(self.project_fd)
                self.project_fd = -1
        return True, token, run

    def _holder(self) -> tuple[int, str]:
        held = os.pread(self.project_fd, 4096, 0).strip(b"\0 ")
        return tuple(from_json(held.decode("ascii"))) if held else (0, "")

    def _locked(self) -> _Held:
        return _Held(self.mutex, self.project_fd)

    def digest(self, op: Op) -> str:
        return blake2b(sorted_json_text(op).encode("ascii"), key=self.secret, digest_size=16).hexdigest()

    def start(self, key: str, op: Op, again: bool = False) -> Record | None:
        """A record to end, or None where nothing can be written. FileExistsError: it was started before, unless it is
        to be done `again` where its agent died in it. OSError: nobody can say whether it was started."""
        if self.project_fd < 0:
            return None
        name, digest = short_hash(key), self.digest(op)
        with self._locked():
            if self._holder() != (self.token, self.run):
                raise Superseded("another run (%s, token %s) has taken this project on the host" % self._holder()[::-1])
            if not self.run_folder:
                return None
            before = self._found(name)
            try:
                if before and (not again or before.reply is not None or before.log.alive()):
                    raise FileExistsError
                record = self._begun(name, digest)
                if record and before:
                    before.log.take_back(name)
                return record
            finally:
                if before:
                    before.log.close()

    def _begun(self, name: str, digest: str) -> Record | None:
        try:
            if os.pwrite(self.list_fd, raw(name), self.list_size) < NAME:  # up to there it was read under this lock
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if self.own is None:
                mine = "%d-%s%s" % (os.getpid(), os.urandom(8).hex(), LOG)
                self.own = Log(os.path.join(self.run_folder, mine), os.O_CREAT | os.O_EXCL)
            return self.own.begin(name, digest)
        except OSError as e:
            self.give_up(e)
            return None

    def _listed(self, name: str) -> bool:
        """Whether an agent of this run has started that operation, or was about to. To be called with the project's
        lock: with it, one that is not listed was not started by anybody."""
        while True:
            news = os.pread(self.list_fd, PORTION, self.list_size)
            self.listed.update([news[at : at + NAME] for at in range(0, len(news) - NAME + 1, NAME)])
            self.list_size += len(news) // NAME * NAME
            if len(news) < PORTION:
                return raw(name) in self.listed

    def _found(self, name: str) -> Found | None:
        """What the run's logs have of an operation; its log is to be closed. To be called with the project's lock."""
        for log in self._logs() if self._listed(name) else ():
            found = log.read(name) if name in log.slots else None
            if found:
                return Found(log, *found)
            log.close()
        return None

    def _logs(self) -> Iterator[Log]:
        for entry in sorted(os.scandir(self.run_folder), key=lambda entry: entry.name):
            if self.own and entry.path == self.own.path:
                yield self.own
            elif entry.name.endswith(LOG):
                yield Log(entry.path)

    def give_up(self, error: OSError) -> None:
        """Without room for records "absent" would lie: forget the run's mark, so that it means "unknown" from now."""
        self.warning = "%s: %s: lost operations will be unknown" % (self.run_folder, error.strerror)
        try:
            os.unlink(os.path.join(self.run_folder, "id"))
        except OSError:
            pass
        self.run_folder = self.identity = ""

    def look(self, key: str, identity: str) -> tuple[str, Reply | None, str]:
        """(state, reply, digest): done, running, absent, or unknown."""
        if not self.run_folder:
            return "unknown", None, ""
        name = short_hash(key)
        try:
            with self._locked():
                found = self._found(name)
                if found is None:
                    other = identity and identity != self.identity
                    return ("absent" if not other and self._marked() else "unknown"), None, ""
                try:
                    return found.state(name)
                finally:
                    found.log.close()
        except OSError:
            return "unknown", None, ""

    def _marked(self) -> bool:
        """Whether the run's mark still lies there: it goes before any record does."""
        return self.identity.endswith(":" + read_text(os.path.join(self.run_folder, "id")))

    def wait(self, key: str) -> tuple[str, Reply | None]:
        """What has become of an operation that was under way, as soon as it is no more: (state, reply)."""
        pause, longest = LOOK
        while True:
            state, reply, _ = self.look(key, "")
            if state != "running":
                return state, reply
            time.sleep(pause)
            pause = min(pause * 1.5, longest)

    def forget(self, keys: Iterable[str]) -> None:
        """Nothing of these operations is left."""
        names = {short_hash(key) for key in keys}
        with self._locked():
            for log in list(self._logs()):
                if names.issuperset(log.slots) and (log.mine or not log.alive()):
                    os.unlink(log.path)
                    self.own = None if log.mine else self.own
                    os.close(log.fd)
                    continue
                for name in names.intersection(log.slots):
                    log.take_back(name)
                log.close()
            for entry in list(os.scandir(self.run_folder)):
                if entry.name.partition(".")[0] in names:  # output that was spilled, and long ends
                    os.unlink(entry.path)

    def sweep(self) -> None:
        """Once a day: remove runs that nobody has touched for a week, and detached work that ended so long ago; of this
        and of earlier lives of the machine."""
        mark = os.path.join(self.base, "swept")
        try:
            if time.time() - os.stat(mark).st_mtime < SWEEP:
                return
        except OSError:
            pass  # never swept
        os.close(open_private(mark))
        os.utime(mark)
        jobs = [f for f in glob.glob(os.path.join(self.base, "*/detached/*")) if not Place(f).alive()]
        earlier = glob.glob(os.path.join(self.base, "*/runs/*"))
        for folder in glob.glob(os.path.join(self.base, "*", RUNS, "*")) + earlier + jobs:
            try:
                if time.time() - os.stat(folder).st_mtime > EXPIRY and not in_use(folder):
                    for left in [read_text(note) for note in glob.glob(os.path.join(folder, "*." + NOTE))]:
                        if ".ciflow-" in os.path.basename(left) and os.path.lexists(left):
                            os.unlink(left)
                    if os.path.exists(os.path.join(folder, "id")):
                        os.unlink(os.path.join(folder, "id"))
                    shutil.rmtree(folder)
            except OSError:
                continue


def in_use(folder: str) -> bool:
    """Whether an agent lives that has a log in that run."""
    logs = [Log(entry.path) for entry in os.scandir(folder) if entry.name.endswith(LOG)]
    alive = [log.alive() for log in logs]
    for log in logs:
        log.close()
    return any(alive)


class Found:
    """An operation in one of the run's logs."""

    def __init__(self, log: Log, digest: str, reply: Reply | None) -> None:
        self.log, self.digest, self.reply = log, digest, reply

    def state(self, name: str) -> tuple[str, Reply | None, str]:
        if self.reply is None and self.log.alive():
            return "running", None, self.digest
        reply = self.reply or (self.log.read(name) or ("", None))[1]  # it may have ended just before its agent did
        return ("unknown" if reply is None else "done"), reply, self.digest


class _Held:
    """A file's lock together with the mutex of our own threads (flock knows no threads)."""

    def __init__(self, mutex: Any, fd: int) -> None:
        self.mutex, self.fd = mutex, fd

    def __enter__(self) -> None:
        self.mutex.acquire()
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX)
        except BaseException:
            self.mutex.release()
            raise

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self.fd, fcntl.LOCK_UN)
        self.mutex.release()


# --- small helpers -----------------------------------------------------------------------------------------


def pick(op: Op, *names: str) -> dict[str, Any]:
    return {name: op[name] for name in names if name in op}


def started_in() -> str:
    """Where this login begins, as a command without a folder of its own does."""
    try:
        return os.getcwd()  # noqa: PTH109
    except OSError:
        return home() or "/"


STARTED_IN = started_in()


def with_path(path: str) -> str:
    """Paths as a person writes them: ~ is the home folder, relative ones start where commands do."""
    return os.path.join(STARTED_IN, os.path.expanduser(path))


# --- files ---------------------------------------------------------------------------------------------------


KINDS = (
    (stat.S_ISREG, "file"),
    (stat.S_ISDIR, "directory"),
    (stat.S_ISLNK, "link"),
    (stat.S_ISFIFO, "fifo"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "char"),
    (stat.S_ISBLK, "block"),
)


def name_of(number: int, database: Callable[[Any], Any], field: str) -> str:
    try:
        return str(getattr(database(number), field))
    except KeyError:
        return ""


def describe(path: str, want_hash: str = "", follow: bool = False) -> dict[str, Any]:
    """What lies at `path`, as Stat's data."""
    try:
        found = os.stat(path) if follow else os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return {"exists": False}
    kind = next((name for test, name in KINDS if test(found.st_mode)), "")
    data = {
        "exists": True,
        "path": path,
        "kind": kind,
        "mode": "%04o" % stat.S_IMODE(found.st_mode),
        "uid": found.st_uid,
        "gid": found.st_gid,
        "owner": name_of(found.st_uid, pwd.getpwuid, "pw_name"),
        "group": name_of(found.st_gid, grp.getgrgid, "gr_name"),
        "size": found.st_size,
        "mtime": found.st_mtime,
        "atime": found.st_atime,
        "ctime": found.st_ctime,
        "inode": found.st_ino,
        "device": found.st_dev,
        "nlink": found.st_nlink,
        "readable": os.access(path, os.R_OK),
        "writable": os.access(path, os.W_OK),
        "executable": os.access(path, os.X_OK),
    }
    if kind == "link":
        data.update(target=os.readlink(path), source=os.path.realpath(path))
    if want_hash and want_hash != "none" and kind == "file" and data["readable"]:
        data["hash"] = hash_file(path, want_hash)
    return data


def attributes(op: Op, data: dict[str, Any]) -> dict[str, Any]:
    """Whose the file is that an operation left, and its mode and size; nothing where there is none."""
    path = data.get("path") or with_path(op.get("dest") or op["path"])
    now = describe(path, follow=op.get("follow", True))
    return {name: now[name] for name in ("mode", "owner", "group", "uid", "gid", "size") if name in now}


def hash_file(path: str, name: str = "sha256") -> str:
    with open(path, "rb") as f:
        digest = digester(name, os.fstat(f.fileno()).st_size)
        for portion in iter(lambda: f.read(1 << 20), b""):
            digest.update(portion)
    return str(digest.hexdigest())


def file_hash(path: str) -> str:
    """sha256 of a regular file, "" when nothing is there. Anything else can't be replaced by a file."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return ""
    if stat.S_ISDIR(mode):
        raise Failure("%s is a directory" % path, "EISDIR")
    return hash_file(path) if stat.S_ISREG(mode) else ""


def do_stat(op: Op, job: Work) -> Reply:
    return {"data": describe(with_path(op["path"]), op.get("hash", ""), op.get("follow", False))}


def do_read(op: Op, job: Work) -> Reply:
    path, limit = with_path(op["path"]), op.get("limit", 64 << 20)
    with open(path, "rb") as f:
        size = os.fstat(f.fileno()).st_size
        offset, length = op.get("offset", 0), op.get("length", 0)
        wanted = length or max(0, size - offset)
        if wanted > limit:
            raise Failure("%s: %d bytes are more than the limit of %d" % (path, wanted, limit), "EFBIG")
        f.seek(offset)
        content = f.read(length) if length else read_to(f, limit + 1)
    if len(content) > limit:
        raise Failure("%s: more than the limit of %d bytes" % (path, limit), "EFBIG")
    return {"stdout": content, "data": {"size": max(size, offset + len(content))}}


def read_to(f: Any, most: int) -> bytes:
    """To the end, but at most so much. Files in /proc say that they are empty, and take no large buffer."""
    content = bytearray()
    while len(content) < most:
        portion = f.read(min(1 << 20, most - len(content)))
        if not portion:
            break
        content += portion
    return bytes(content)


def do_walk(op: Op, job: Work) -> Reply:
    root = with_path(op["path"])
    if not os.path.isdir(root):
        raise Failure("%s is no directory" % root, "ENOENT" if not os.path.lexists(root) else "ENOTDIR")
    limit, chosen = op.get("limit", 100000), chooser(op["only"]) if op.get("only") else os.path.lexists
    entries: list[dict[str, Any]] = []
    unread: list[dict[str, str]] = []
    data: dict[str, Any] = {"entries": entries, "unread": unread, "examined": 0}
    for path in walk_paths(root, op.get("depth", 0), unread, op.get("follow", False)):
        data["examined"] += 1
        if not chosen(path):
            continue
        if len(entries) >= limit:
            return {"truncated": True, "data": data}
        entry = describe(path, op.get("hash", ""))
        if entry["exists"]:
            entries.append(entry)
    return {"data": data}


def walk_paths(
    root: str, depth: int, unread: list[Any], follow: bool = False, above: tuple[Any, ...] = ()
) -> Iterator[str]:
    """Paths below `root` in order. Folders that can't be read are added to `unread`; links are gone into only with
    `follow`, and then never to a folder that leads here (`above`)."""
    try:
        names = sorted(os.scandir(root), key=lambda e: e.name)
        found = os.stat(root) if follow else None
    except OSError as e:
        unread.append({"path": root, "error": e.strerror})
        return
    above += ((found.st_dev, found.st_ino),) if found else ()
    for entry in names:
        yield entry.path
        if depth != 1 and may_enter(entry, follow, above):
            yield from walk_paths(entry.path, depth - 1 if depth else 0, unread, follow, above)


def may_enter(entry: os.DirEntry[str], follow: bool, above: tuple[Any, ...]) -> bool:
    if not entry.is_symlink():
        return entry.is_dir(follow_symlinks=False)
    if not follow or not entry.is_dir():
        return False
    found = entry.stat()
    return (found.st_dev, found.st_ino) not in above


def chooser(only: dict[str, Any]) -> Callable[[str], bool]:
    """Whether a path is what `only` of a Walk asks for; the cheap questions come first."""
    try:
        names, without = (name_tests(only.get(key, ()), only.get("regex", False)) for key in ("names", "without"))
        content = re.compile(only["contains"]) if only.get("contains") is not None else None
    except re.error as e:
        raise Failure("the regular expression is wrong: %s" % e, "EINVAL")
    now = time.time()

    def chosen(path: str) -> bool:
        name = os.path.basename(path)
        if name.startswith(".") and not only.get("hidden", True):
            return False
        if (names and not any(test(name) for test in names)) or any(test(name) for test in without):
            return False
        try:
            found = os.lstat(path)
        except OSError:
            return False  # gone since
        if not fits(found, only, now):
            return False
        return content is None or (stat.S_ISREG(found.st_mode) and holds(path, content, only))

    return chosen


def name_tests(patterns: Iterable[str], regex: bool) -> list[Callable[[str], Any]]:
    import fnmatch

    return [re.compile(one if regex else fnmatch.translate(one)).match for one in patterns]


def fits(found: os.stat_result, only: dict[str, Any], now: float) -> bool:
    """Kind, age, size (of files alone) and mode of an entry."""
    kind = next((name for test, name in KINDS if test(found.st_mode)), "")
    if only.get("kind", kind) != kind:
        return False
    if only.get("age"):
        stamp, limit = only["age"]
        if not beyond(now - getattr(found, "st_" + stamp), limit):
            return False
    if only.get("size") is not None and kind == "file" and not beyond(found.st_size, only["size"]):
        return False
    if only.get("mode"):
        words, exact = only["mode"]
        wanted, mode = wanted_mode(words, 0), stat.S_IMODE(found.st_mode)
        return mode == wanted if exact else bool(mode & wanted)
    return True


def beyond(value: float, limit: float) -> bool:
    """At least `limit`; at most its amount where it is below zero."""
    return value >= limit if limit >= 0 else value <= -limit


def holds(path: str, pattern: Pattern[str], only: dict[str, Any]) -> bool:
    """Whether a file's text matches; what can't be read holds nothing."""
    try:
        with open(path, encoding=only.get("encoding") or "utf-8", errors="surrogateescape") as f:
            if only.get("whole"):
                return pattern.search(f.read()) is not None
            return any(pattern.match(line) for line in f)
    except OSError:
        return False
    except LookupError as e:
        raise Failure(str(e), "EINVAL")


def wanted_mode(words: str, now: int) -> int:
    """The mode that octal or symbolic `words` (u=rw,g+r,o-rwx,a=rX) make of the mode `now` (POSIX chmod)."""
    if re.match(r"^[0-7]{1,5}$", words):
        return int(words, 8)
    mode, is_dir = stat.S_IMODE(now), stat.S_ISDIR(now)
    for clause in words.split(","):
        found = re.match(r"^([ugoa]*)((?:[-+=][rwxXstugo]*)+)$", clause)
        if not found:
            raise Failure("mode %r is neither octal nor symbolic (u=rw,g=r)" % words, "EINVAL")
        who = set(found.group(1) or "a")
        who = set("ugo") if "a" in who else who
        for sign, what in re.findall(r"([-+=])([rwxXstugo]*)", found.group(2)):
            mode = change_bits(mode, who, sign, what, is_dir, not found.group(1))
    return mode


def change_bits(mode: int, who: set[str], sign: str, what: str, is_dir: bool, masked: bool) -> int:
    shifts = {"u": 6, "g": 3, "o": 0}
    bits = special = 0
    for letter in what:
        if letter in "rwx":
            bits |= {"r": 4, "w": 2, "x": 1}[letter]
        elif letter == "X":
            bits |= 1 if is_dir or mode & 0o111 else 0
        elif letter in shifts:
            bits |= mode >> shifts[letter] & 7
        elif letter == "s":
            special |= (0o4000 if "u" in who else 0) | (0o2000 if "g" in who else 0)
        elif letter == "t":
            special |= 0o1000
    value = special
    for one in who:
        value |= bits << shifts[one]
    if masked:
        value &= ~UMASK
    if sign == "+":
        return mode | value
    if sign == "-":
        return mode & ~value
    kept = mode
    for one in who:
        kept &= ~(7 << shifts[one]) & ~({"u": 0o4000, "g": 0o2000, "o": 0o1000}[one] if not is_dir or special else 0)
    return kept | value


UMASK = os.umask(0o022)
os.umask(UMASK)


def number_of(name: str, database: Callable[[str], Any], field: str, what: str) -> int:
    if name == "":
        return -1
    try:
        return int(getattr(database(name), field))
    except KeyError:
        if name.isdigit():
            return int(name)
        raise Failure("no %s named %s here" % (what, name), "EINVAL")


def ids_of(op: Op) -> tuple[int, int]:
    return (
        number_of(op.get("owner", ""), pwd.getpwnam, "pw_uid", "user"),
        number_of(op.get("group", ""), grp.getgrnam, "gr_gid", "group"),
    )


def set_attrs(path: str, op: Op, follow: bool = True, check: bool = False) -> bool:
    """Mode, owner and group as asked for; True when something had to be changed."""
    found = os.stat(path) if follow else os.lstat(path)
    uid, gid = ids_of(op)
    changed = False
    if (uid != -1 and uid != found.st_uid) or (gid != -1 and gid != found.st_gid):
        changed = True
        if not check:
            os.chown(path, uid, gid, follow_symlinks=follow)
            found = os.stat(path) if follow else os.lstat(path)  # chown may take setuid away
    if op.get("mode") and not stat.S_ISLNK(found.st_mode):
        mode = wanted_mode(op["mode"], found.st_mode)
        if mode != stat.S_IMODE(found.st_mode):
            changed = True
            if not check:
                os.chmod(path, mode)
    return changed


def set_times(path: str, op: Op, check: bool) -> bool:
    now = time.time()
    wanted = [now if op.get(k) == "now" else moment(op, k) if op.get(k) else None for k in ("atime", "mtime")]
    if wanted == [None, None]:
        return False
    found = os.stat(path)
    old = [found.st_atime, found.st_mtime]
    new = [o if w is None else w for o, w in zip(old, wanted)]
    if all(abs(o - n) < 1e-6 for o, n in zip(old, new)):
        return False
    if not check:
        os.utime(path, ns=(round(new[0] * 1e9), round(new[1] * 1e9)))
    return True


def moment(op: Op, name: str) -> float:
    """Unix seconds of a time in the form that the operation names, by the clock of this host's zone."""
    try:
        form = op.get(name + "_form")
        return time.mktime(time.strptime(op[name], form)) if form else float(op[name])
    except (ValueError, OverflowError) as e:
        raise Failure("%s of %s: %s" % (name, op["path"], e), "EINVAL")


def do_attrs(op: Op, job: Work) -> Reply:
    path, follow = with_path(op["path"]), op.get("follow", True)
    if not (os.path.exists(path) if follow else os.path.lexists(path)):
        raise Failure("%s is not there" % path, "ENOENT")
    changed = set_attrs(path, op, follow, job.check)
    if op.get("recurse") and os.path.isdir(path):
        for inner in list(walk_paths(path, 0, [])):
            changed |= set_attrs(inner, op, False, job.check)
    changed |= set_times(path, op, job.check)
    return {"changed": changed}


def backup_of(path: str) -> str:
    """A copy beside the file with its attributes, named as Ansible names it."""
    copy = "%s.%d.%s~" % (path, os.getpid(), time.strftime("%Y-%m-%d@%H:%M:%S"))
    shutil.copy2(path, copy)
    found = os.stat(path)
    os.chown(copy, found.st_uid, found.st_gid)
    return copy


def temporary_for(path: str, key: str, otherwise: str = "") -> tuple[int, str]:
    """An exclusive file beside `path`, 0600, that only we can have made: (descriptor, its path).

    It lies in the folder `otherwise` where one is named and that of `path` takes no file.
    """
    folder, name = os.path.split(path)
    name = ".%s.ciflow-%s" % (name[:200], short_hash(key)[:12])
    temp = os.path.join(folder, name)
    try:
        try:
            return open_private(temp, os.O_EXCL), temp
        except OSError as e:
            if not otherwise or e.errno not in UNMOVABLE:
                raise
            temp = os.path.join(otherwise, name)
            return open_private(temp, os.O_EXCL), temp
    except FileExistsError:
        fd = open_private(temp)
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink != 1:
            os.close(fd)
            raise Failure("%s is in the way and is not ours" % temp, "EEXIST")
        return fd, temp
    except FileNotFoundError:
        raise Failure("no directory %s" % folder, "ENOENT")


def install(path: str, op: Op, job: Work, fill: Callable[[int], Any]) -> dict[str, Any]:
    """Put what `fill(fd)` writes in the place of `path`, atomically, with its attributes. Returns reply's data."""
    fd, temp = temporary_for(path, job.key, job.folder if op.get("unsafe") else "")
    keep = False
    try:
        try:
            if job.sha256 or job.op.get("op") in ("copy", "http"):  # which may be large, and cut off
                job.noted(temp)
            fill(fd)
        finally:
            os.close(fd)
        old = os.stat(path) if os.path.exists(path) else None
        if old is not None:
            if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                try_to_own(temp, old)
            os.chmod(temp, stat.S_IMODE(old.st_mode))
        else:
            os.chmod(temp, 0o666 & ~UMASK)
        set_attrs(temp, op)
        validate(op, temp)
        data = {"backup": backup_of(path)} if op.get("backup") and old is not None else {}
        take_place(temp, path, op)
        return data
    except Withdrawn:
        keep = True  # the next connection goes on from here
        raise
    finally:
        if not keep and os.path.lexists(temp):
            os.unlink(temp)


# Why a file may be kept from its place: it is a mount of its own, or its folder may not be written to.
UNMOVABLE = (errno.EBUSY, errno.EPERM, errno.EACCES, errno.EROFS, errno.EXDEV)


def take_place(temp: str, path: str, op: Op) -> None:
    """In one step; or, where `unsafe` allows it and there is no other way, by writing into the file that is there."""
    try:
        os.rename(temp, path)
    except OSError as e:
        if not op.get("unsafe") or e.errno not in UNMOVABLE or not os.path.isfile(path):
            raise
        with open(temp, "rb") as new, open(path, "r+b") as file:
            shutil.copyfileobj(new, file)
            file.truncate()
        set_attrs(path, op)


def try_to_own(temp: str, old: os.stat_result) -> None:
    try:
        os.chown(temp, old.st_uid, old.st_gid)
    except PermissionError:
        return  # not root: the file becomes ours, as with any editor


class Withdrawn(Exception):
    """The connection was lost before a Write's content was here: nothing has changed, it counts as never started."""


def validate(op: Op, temp: str) -> None:
    if not op.get("validate"):
        return
    argv = [word.replace("%s", temp) for word in op["validate"]]
    rc, out, err = run_plain(argv)
    if rc != 0:
        raise Failure(
            "validation failed with exit code %d: %s" % (rc, " ".join(argv)), "EINVAL", rc=rc, stdout=out, stderr=err
        )


def target_of(op: Op) -> str:
    path = with_path(op["path"])
    if op.get("follow", True) and os.path.islink(path):
        return os.path.realpath(path)
    return path


def expect(op: Op, path: str, before: str) -> None:
    """Compare-and-set: refuse unless the file is what the controller last saw."""
    wanted = op["expect"]
    if wanted != (before or "absent"):
        raise Failure(
            "%s is not as expected: %s, not %s" % (path, before or "absent", wanted),
            "ESTALE",
            status="refused",
            data={"before": before},
        )


def do_write(op: Op, job: Work) -> Reply:
    """With `expect`, nobody may write between the look and the rename: the folder is locked, which leaves no file."""
    path = target_of(op)
    folder = os.path.dirname(path) or "."
    if not op.get("expect") or job.check or not os.path.isdir(folder):
        return write_whole(op, job, path)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        return write_whole(op, job, path)
    finally:
        os.close(fd)


def write_whole(op: Op, job: Work, path: str) -> Reply:
    before = file_hash(path) if op.get("follow", True) or not os.path.islink(path) else ""
    content = raw(op.get("content", ""))
    after = job.sha256 or sha256(content).hexdigest()
    if op.get("expect") and not (job.once_more and before == after):  # it was this very one that wrote it
        expect(op, path, file_hash(path))  # what whoever read it has seen, also through a link that is to be replaced
    data = {"before": before, "after": after, "path": path}
    if before and not op.get("force", True):
        return {"data": dict(data, after=before)}
    if before == after:
        changed = set_attrs(path, op, check=job.check)
        return {"changed": changed, "data": data}
    old = read_for_diff(path) if op.get("diff") else None
    if job.check:
        new = content if not job.sha256 else None
        return {"changed": True, "data": dict(data, **diff_of(old, new))}
    ids_of(op)
    data.update(install(path, op, job, job.fill(content)))
    new = read_for_diff(path) if op.get("diff") else None
    return {"changed": True, "data": dict(data, **diff_of(old, new))}


def read_for_diff(path: str) -> bytes | None:
    """The file's bytes; None where it is too large or binary."""
    try:
        with open(path, "rb") as f:
            content = f.read(DIFF_LIMIT + 1)
    except FileNotFoundError:
        return b""
    return None if len(content) > DIFF_LIMIT or b"\0" in content else content


def diff_of(old: bytes | None, new: bytes | None) -> dict[str, Any]:
    if old is None or new is None or len(new) > DIFF_LIMIT:
        return {}
    return {"diff": [text(old), text(new)]}


def do_copy(op: Op, job: Work) -> Reply:
    path, dest = with_path(op["path"]), with_path(op["dest"])
    if os.path.isdir(dest):
        dest = os.path.join(dest, os.path.basename(path))
    if not os.path.isfile(path):
        raise Failure("%s is no file" % path, "ENOENT")
    dest = os.path.realpath(dest) if os.path.islink(dest) else dest
    if op.get("mode") == "preserve":
        op = dict(op, mode="%o" % stat.S_IMODE(os.stat(path).st_mode))
    before, after = file_hash(dest), file_hash(path)
    data = {"before": before, "after": after, "path": dest}
    if before and not op.get("force", True):
        return {"data": dict(data, after=before)}
    if before == after:
        return {"changed": set_attrs(dest, op, check=job.check), "data": data}
    if job.check:
        return {"changed": True, "data": data}

    def fill(fd: int) -> None:
        """What is zeros for a whole portion stays a hole: a disk image of a terabyte takes what is in it."""
        os.ftruncate(fd, 0)
        zeros = bytes(1 << 20)
        with open(path, "rb") as source:
            for portion in iter(lambda: source.read(len(zeros)), b""):
                if portion == zeros:
                    os.lseek(fd, len(portion), os.SEEK_CUR)
                else:
                    write_all(fd, portion)
        os.ftruncate(fd, os.lseek(fd, 0, os.SEEK_CUR))

    data.update(install(dest, op, job, fill))
    return {"changed": True, "data": data}


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def do_remove(op: Op, job: Work) -> Reply:
    path = with_path(op["path"])
    if not os.path.lexists(path):
        return {"changed": False}
    if not job.check:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    return {"changed": True}


def do_mkdir(op: Op, job: Work) -> Reply:
    if op.get("temporary"):
        return make_temporary(op, job)
    path, made = with_path(op["path"]), []
    missing = path.rstrip("/") or "/"
    while not os.path.lexists(missing):
        made.append(missing)
        missing = os.path.dirname(missing)
    if not os.path.isdir(missing):
        raise Failure("%s is there and is no directory" % missing, "ENOTDIR")
    if job.check and made:
        return {"changed": True}
    for folder in reversed(made):
        try:
            os.mkdir(folder)
        except FileExistsError:  # another lane has made it since
            if not os.path.isdir(folder):
                raise
        set_attrs(folder, op)
    changed = bool(made) or set_attrs(path, op, check=job.check)
    if op.get("recurse"):
        for inner in list(walk_paths(path, 0, [])):
            changed |= set_attrs(inner, op, False, job.check)
    return {"changed": changed, "data": {"path": path}}


def make_temporary(op: Op, job: Work) -> Reply:
    import tempfile

    folder = with_path(op["path"]) if op.get("path") else tempfile.gettempdir()
    if job.check:
        return {"changed": True}
    if op["temporary"] == "directory":
        path = tempfile.mkdtemp(op.get("suffix", ""), op.get("prefix", ""), folder)
    else:
        fd, path = tempfile.mkstemp(op.get("suffix", ""), op.get("prefix", ""), folder)
        os.close(fd)
    set_attrs(path, op)
    return {"changed": True, "data": {"path": path}}


def do_link(op: Op, job: Work) -> Reply:
    path, target, hard = with_path(op["path"]), op["target"], op.get("hard", False)
    absolute = os.path.join(os.path.dirname(path), target)
    if not os.path.exists(absolute) and (hard or not op.get("force")):
        raise Failure("%s, which the link is to lead to, is not there" % absolute, "ENOENT")
    if os.path.lexists(path):
        if os.path.islink(path) and not hard:
            if os.readlink(path) == target:
                return {"changed": False}
        elif hard and os.path.samefile(path, absolute):
            return {"changed": False}
        elif not op.get("force"):
            raise Failure("%s is there already; force would replace it" % path, "EEXIST")
    if job.check:
        return {"changed": True}
    if os.path.isdir(path) and not os.path.islink(path):
        os.rmdir(path)  # a full one raises: it is never emptied for a link
    temp = "%s.ciflow-%s" % (path, short_hash(job.key)[:12])
    if os.path.islink(temp) or (hard and os.path.isfile(temp)):
        os.unlink(temp)  # left by an agent that was killed in this very operation
    (os.link if hard else os.symlink)(absolute if hard else target, temp)
    os.rename(temp, path)
    return {"changed": True}


# --- text edits: Ansible's lineinfile, blockinfile and replace -------------------------------------------------


def do_edit(op: Op, job: Work) -> Reply:
    path, spec = os.path.realpath(with_path(op["path"])), op["spec"]
    before = file_hash(path)
    absent = spec.get("state") == "absent"
    if not before and (absent or not op.get("create")):
        if absent:
            return {"data": {"msg": "file not present", "before": "", "after": "", "path": path}}
        raise Failure("%s is not there, and create is not set" % path, "ENOENT")
    old = b""
    if before:
        with open(path, "rb") as f:
            old = f.read()
    try:
        new, msg, more = EDITS[op["kind"]](old, bool(before), spec, absent)
    except re.error as e:
        raise Failure("the regular expression is wrong: %s" % e, "EINVAL")
    after = sha256(new).hexdigest()
    data = dict(more, msg=msg, before=before, after=after, path=path)
    if before == after:
        return {"changed": set_attrs(path, op, check=job.check), "data": data}
    if op.get("diff"):
        data.update(diff_of(old, new))
    if job.check:
        return {"changed": True, "data": data}
    ids_of(op)
    if not before and op["kind"] != "replace":
        os.makedirs(os.path.dirname(path), exist_ok=True)

    def fill(fd: int) -> None:
        os.ftruncate(fd, 0)
        write_all(fd, new)

    data.update(install(path, op, job, fill))
    return {"changed": True, "data": data}


def edit_line(old: bytes, there: bool, spec: dict[str, Any], absent: bool) -> Edited:
    """lineinfile. `old` keeps its own line ends; a new line ends in a newline."""
    lines = old.splitlines(True) if b"\r" not in old else old.split(b"\n")
    if b"\r" in old:  # only a newline ends a line here, as for file.readlines()
        lines = [line + b"\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
    regexp = re.compile(raw(spec["regexp"])) if spec.get("regexp") is not None else None
    search = raw(spec["search_string"]) if spec.get("search_string") is not None else None
    if absent:
        return remove_lines(lines, regexp, search, raw(spec["line"]) if spec.get("line") is not None else None)
    line = raw(spec["line"])
    at, match = find_line(lines, regexp, search, bool(spec.get("firstmatch")))
    after, before = spec.get("insertafter"), spec.get("insertbefore")
    if after is None and before is None:
        after = "EOF"
    place = -1
    if match is None:
        at, place = find_place(lines, line, after, before, bool(spec.get("firstmatch")))
    msg = ""
    if at != -1:
        new = match.expand(line) if spec.get("backrefs") and hasattr(match, "expand") else line
        new = new if new.endswith(b"\n") else new + b"\n"
        if lines[at] != new:
            lines[at], msg = new, "line replaced"
    elif not spec.get("backrefs"):
        msg = insert_line(lines, line, after, before, place)
    return b"".join(lines), msg, {}


def remove_lines(lines: list[bytes], regexp: Pattern[bytes] | None, search: bytes | None, line: bytes | None) -> Edited:
    def unwanted(one: bytes) -> Any:
        if regexp is not None:
            return regexp.search(one)
        return search in one if search is not None else line == one.rstrip(b"\r\n")

    kept = [one for one in lines if not unwanted(one)]
    found = len(lines) - len(kept)
    return b"".join(kept), "%d line(s) removed" % found if found else "", {"found": found}


def find_line(lines: list[bytes], regexp: Pattern[bytes] | None, search: bytes | None, first: bool) -> tuple[int, Any]:
    """(number of the line to replace or -1, its match): the last that matches, or the first."""
    at, match = -1, None
    for number, one in enumerate(lines):
        found = regexp.search(one) if regexp is not None else (search is not None and search in one) or None
        if found:
            at, match = number, found
            if first:
                break
    return at, match


def find_place(lines: list[bytes], line: bytes, after: str | None, before: str | None, first: bool) -> tuple[int, int]:
    """(number of a line that is there already or -1, where the anchor says to insert or -1)."""
    anchor = after if after not in (None, "BOF", "EOF") else before if before not in (None, "BOF") else None
    pattern = re.compile(raw(anchor)) if anchor is not None and after != "EOF" else None
    at = place = -1
    for number, one in enumerate(lines):
        if line == one.rstrip(b"\r\n"):
            at = number
        elif pattern is not None and pattern.search(one):
            place = number + 1 if after else number
            if first:
                break
    return at, place


def insert_line(lines: list[bytes], line: bytes, after: str | None, before: str | None, place: int) -> str:
    if "BOF" in (before, after):
        lines.insert(0, line + b"\n")
        return "line added"
    if place == -1 or after == "EOF":
        place = len(lines)
    if place == len(lines) and lines and lines[-1][-1:] not in (b"\n", b"\r"):
        lines[-1] += b"\n"
    lines.insert(place, line + b"\n")
    return "line added"


def edit_block(old: bytes, there: bool, spec: dict[str, Any], absent: bool) -> Edited:
    """blockinfile."""
    lines = old.splitlines(True)
    after, before = spec.get("insertafter"), spec.get("insertbefore")
    if after is None and before is None:
        after = "EOF"
    marker = raw(spec.get("marker") or "# {mark} ANSIBLE MANAGED BLOCK")
    begin = marker.replace(b"{mark}", raw(spec.get("marker_begin") or "BEGIN")) + b"\n"
    end = marker.replace(b"{mark}", raw(spec.get("marker_end") or "END")) + b"\n"
    block = b"" if absent else raw(spec.get("block") or spec.get("content") or "")
    if block and not block.endswith(b"\n"):
        block += b"\n"
    wanted = [begin, *block.splitlines(True), end] if block else []
    at = cut_block(lines, begin, end)
    if at is None:
        at = block_place(old, lines, after, before)
    if at > 0 and not lines[at - 1].endswith(b"\n"):
        lines[at - 1] += b"\n"
    if spec.get("prepend_newline") and not absent and at != 0 and lines[at - 1] != b"\n":
        lines.insert(at, b"\n")
        at += 1
    lines[at:at] = wanted
    behind = at + len(wanted)
    if spec.get("append_newline") and not absent and behind < len(lines) and lines[behind] != b"\n":
        lines.insert(behind, b"\n")
    new = b"".join(lines)
    if there and new == old:
        return new, "", {}
    return new, "File created" if not there else "Block inserted" if wanted else "Block removed", {}


def cut_block(lines: list[bytes], begin: bytes, end: bytes) -> int | None:
    """Take the old block out; where it stood, or None."""
    first = max((n for n, one in enumerate(lines) if one == begin), default=None)
    last = max((n for n, one in enumerate(lines) if one == end), default=None)
    if first is None or last is None:
        return None
    low, high = min(first, last), max(first, last)
    del lines[low : high + 1]
    return low


def block_place(old: bytes, lines: list[bytes], after: str | None, before: str | None) -> int:
    anchor = after if after not in (None, "EOF") else before if before not in (None, "BOF") else None
    if anchor is None:
        return 0 if before is not None else len(lines)
    pattern, at = re.compile(raw(anchor)), None
    if pattern.flags & re.MULTILINE:
        match = pattern.search(old)
        if match:
            at = old.count(b"\n", 0, match.end() if after else match.start())
    else:
        at = max((n for n, one in enumerate(lines) if pattern.search(one)), default=None)
    if at is None:
        return len(lines)
    return at + 1 if after is not None else at


def edit_replace(old: bytes, there: bool, spec: dict[str, Any], absent: bool) -> Edited:
    """replace: every match, between `after` and `before` where given."""
    content, after, before = text(old), spec.get("after"), spec.get("before")
    start, stop = 0, len(content)
    if after or before:
        pattern = (after or "") + ("(?P<subsection>.*?)" if after and before else "(?P<subsection>.*)") + (before or "")
        match = re.search(pattern, content, re.DOTALL)
        if not match:
            return old, "Pattern for before/after params did not match the given file: " + pattern, {"count": 0}
        start, stop = match.span("subsection")
    section, count = re.subn(re.compile(spec["regexp"], re.MULTILINE), spec.get("replace") or "", content[start:stop])
    if not count or section == content[start:stop]:
        return old, "", {"count": 0}
    return raw(content[:start] + section + content[stop:]), "%d replacements made" % count, {"count": count}


EDITS = {"line": edit_line, "block": edit_block, "replace": edit_replace}


# --- network ---------------------------------------------------------------------------------------------------


def connect(address: str, timeout: float) -> Any:
    """A socket to a UNIX path or host:port."""
    import socket

    try:
        if address.startswith(("/", "unix:")):
            made = socket.socket(socket.AF_UNIX)
            made.settimeout(timeout)
            made.connect(address[5:] if address.startswith("unix:") else address)
            return made
        host, _, port = address.rpartition(":")
        made = socket.create_connection((host.strip("[]"), int(port)), timeout)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made
    except OSError as e:
        raise Failure(
            "no connection to %s: %s" % (address, e.strerror or e), errno.errorcode.get(e.errno or 0, "ETIMEDOUT")
        )


def do_talk(op: Op, job: Work) -> Reply:

    import socket

    timeout, end = op.get("timeout", 5.0), raw(op.get("end", ""))
    until = time.monotonic() + timeout
    answer = bytearray()
    with connect(op["address"], timeout) as made:
        try:
            made.sendall(raw(op.get("payload", "")))
            while not (end and answer.endswith(end)):
                made.settimeout(max(0.001, until - time.monotonic()))
                data = made.recv(64 * 1024)
                if not data:
                    break
                answer += data
                if len(answer) > 64 << 20:
                    raise Failure("%s: the answer has no end" % op["address"], "EFBIG")
        except socket.timeout:  # TimeoutError only from 3.10 on
            raise Failure(
                "%s: no whole answer within %g s" % (op["address"], timeout), "ETIMEDOUT", stdout=bytes(answer)
            )
    if end and not answer.endswith(end):
        raise Failure("%s: the answer ended early" % op["address"], "ECONNRESET", stdout=bytes(answer))
    return {"stdout": bytes(answer)}


def do_wait(op: Op, job: Work) -> Reply:
    started = time.monotonic()
    until = started + op.get("timeout", 300.0)
    job.aborted.wait(op.get("delay", 0.0))
    while not job.aborted.is_set():
        found = condition(op)
        if found:
            return {"data": dict(matched(found), elapsed=round(time.monotonic() - started, 3))}
        left = until - time.monotonic()
        if left <= 0:
            if not op.get("port") and not op.get("path"):
                return {"data": {"elapsed": round(time.monotonic() - started, 3)}}
            what = op.get("path") or "%s:%d" % (op.get("host", "127.0.0.1"), op["port"])
            raise Failure(
                "%s was not %s within %g s" % (what, op.get("state", "started"), op.get("timeout", 300.0)),
                "ETIMEDOUT",
                data={"elapsed": round(time.monotonic() - started, 3)},
            )
        job.aborted.wait(min(op.get("sleep", 0.2), left))
    raise Failure("ended by the operator", "EINTR")


def matched(found: Any) -> dict[str, Any]:
    """What the groups of a pattern matched, as text; nothing where it was no pattern that held."""
    if isinstance(found, bool):
        return {}
    named = {name: value and text(value) for name, value in found.groupdict().items()}
    return {"groups": [value and text(value) for value in found.groups()], "named": named}


def condition(op: Op) -> Any:
    """Whether what a Wait waits for holds now: true, or the match of its pattern."""
    state = op.get("state", "started")
    gone = state in ("absent", "stopped")
    if state == "drained":
        return not active_connections(op.get("host", "127.0.0.1"), op["port"])
    if op.get("path"):
        found = file_has(with_path(op["path"]), op.get("pattern", ""))
    elif op.get("port"):
        found = port_says(op)
    else:
        return False
    return not found if gone else found


def file_has(path: str, pattern: str) -> Any:
    try:
        if not pattern:
            os.stat(path)
            return True
        with open(path, "rb") as f:
            return re.search(raw(pattern), f.read(), re.MULTILINE) or False
    except (FileNotFoundError, NotADirectoryError):
        return False


def port_says(op: Op) -> Any:
    """Whether the port is open and, where a pattern is given, what it sends at once matches."""
    limit = op.get("connect_timeout", 5.0)
    try:
        with connect("%s:%d" % (op.get("host", "127.0.0.1"), op["port"]), limit) as made:
            seen, pattern = b"", raw(op.get("pattern", ""))
            found: Any = not pattern
            while not found:
                data = made.recv(4096)
                if not data or len(seen) > 1 << 20:
                    return False
                seen += data
                found = re.search(pattern, seen, re.MULTILINE)
            return found
    except (Failure, OSError):
        return False


def active_connections(host: str, port: int) -> int:
    """TCP connections to `port` here that are neither listening nor over (/proc/net/tcp; states of Linux's tcp.h)."""
    over = {"0A", "06", "07"}  # LISTEN, TIME_WAIT, CLOSE
    count = 0
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in read_text(table).splitlines()[1:]:
            words = line.split()
            if int(words[1].rpartition(":")[2], 16) == port and words[3] not in over:
                count += 1
    return count


def do_http(op: Op, job: Work) -> Reply:
    import http.client
    import socket
    import urllib.error
    import urllib.parse

    if op["url"].partition(":")[0].lower() not in ("http", "https"):
        raise Failure("%s is neither http nor https" % op["url"], "EINVAL")
    try:
        with open_url(op) as response:
            body, limit = bytearray(), op.get("limit", 16 << 20)
            while True:
                data = response.read(64 * 1024)
                if not data:
                    break
                body += data
                if len(body) > limit:
                    raise Failure("%s: the body has more than %d bytes" % (op["url"], limit), "EFBIG")
            headers: dict[str, str] = {}
            for name, value in response.headers.items():
                headers[name.lower()] = headers[name.lower()] + ", " + value if name.lower() in headers else value
            reply = {"data": {"status": response.status, "headers": headers, "url": response.url}}
    except (urllib.error.URLError, http.client.HTTPException, OSError) as e:
        why = getattr(e, "reason", e)
        late = isinstance(why, socket.timeout) or isinstance(e, socket.timeout)
        raise Failure(
            "%s %s: %s" % (op.get("method", "GET"), op["url"], "timed out" if late else why),
            "ETIMEDOUT" if late else errno.errorcode.get(getattr(why, "errno", None) or 0, "ECONNREFUSED"),
        )
    if not op.get("dest"):
        return dict(reply, stdout=bytes(body))
    written = do_write({"path": op["dest"], "content": text(bytes(body))}, job)
    reply["data"].update(written["data"])
    return dict(reply, changed=written["changed"])


HARMLESS = ("accept", "accept-encoding", "accept-language", "content-type", "range", "user-agent")  # of a request


def origin(url: str) -> tuple[str, str, int]:
    """Whom a URL speaks to (RFC 6454)."""
    import urllib.parse

    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def encrypted(url: str) -> tuple[str, str, int]:
    """The origin that an HTTP server sends people to who should have come by HTTPS."""
    scheme, host, port = origin(url)
    return ("https", host, 443) if (scheme, port) == ("http", 80) else (scheme, host, port)


def open_url(op: Op) -> Any:
    import base64
    import ssl
    import urllib.parse
    import urllib.request

    follow, method = op.get("follow", "safe"), op.get("method", "GET").upper()
    context = ssl.create_default_context(cafile=op.get("ca") or None)
    if not op.get("verify", True):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE

    if op.get("cert"):
        context.load_cert_chain(with_path(op["cert"]), with_path(op["key"]) if op.get("key") else None)

    class Redirects(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, req: Any, fp: Any, code: int, msg: Any, headers: Any, newurl: str) -> Any:
            if follow == "none" or (follow == "safe" and req.get_method() not in ("GET", "HEAD")):
                return None
            new = super().redirect_request(req, fp, code, msg, headers, newurl)
            if new is not None and origin(newurl) not in (origin(req.full_url), encrypted(req.full_url)):
                for name in [one for one in new.headers if one.lower() not in HARMLESS]:
                    new.remove_header(name)  # a secret goes to the host that it was given for, and not in clear
            return new

    class AnyStatus(urllib.request.HTTPErrorProcessor):
        def http_response(self, request: Any, response: Any) -> Any:
            if response.status in (301, 302, 303, 307, 308) and follow != "none":
                if follow == "all" or request.get_method() in ("GET", "HEAD"):
                    return super().http_response(request, response)
            return response

        https_response = http_response

    request = urllib.request.Request(op["url"], raw(op["body"]) if op.get("body") else None, method=method)
    for name, value in op.get("headers", {}).items():
        request.add_header(name, value)
    if op.get("user"):
        pair = base64.b64encode(raw(op["user"] + ":" + op.get("password", ""))).decode()
        request.add_header("Authorization", "Basic " + pair)
    handlers: list[Any] = [Redirects, AnyStatus, urllib.request.HTTPSHandler(context=context)]
    handlers += [] if op.get("proxy", True) else [urllib.request.ProxyHandler({})]
    opener = urllib.request.build_opener(*handlers)
    return opener.open(request, timeout=op.get("timeout", 30.0))


# --- processes -----------------------------------------------------------------------------------------------


class Sink:
    """One stream of a process: head and tail are kept, the whole is spilled to a file beyond that."""

    def __init__(self, spill: str) -> None:
        self.spill = spill  # path or ""
        self.head, self.tail = bytearray(), bytearray()
        self.total = 0
        self.file = -1
        self.live = 0  # bytes of the head that were sent while they came

    def add(self, data: bytes) -> None:
        self.total += len(data)
        room = KEEP - len(self.head)
        if self.file >= 0:
            self._write(data)
        elif len(data) > room and self.spill:
            self._open(data)
        if room > 0:
            self.head += data[:room]
            data = data[room:]
        if data:
            self.tail += data
            if len(self.tail) > 2 * KEEP:
                del self.tail[:-KEEP]

    def _open(self, data: bytes) -> None:
        try:
            self.file = open_private(self.spill, os.O_TRUNC)
        except OSError:
            self.spill = ""
            return
        self._write(bytes(self.head))
        self._write(data)

    def _write(self, data: bytes) -> None:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self.file, view) :]
        except OSError:  # a full disk: the head and the tail are all there is
            os.close(self.file)
            os.unlink(self.spill)
            self.file, self.spill = -1, ""

    def finish(self) -> tuple[bytes, int]:
        """(kept bytes, how many are left out between head and tail)."""
        if self.file >= 0:
            os.close(self.file)
        tail = bytes(self.tail[-KEEP:])
        return bytes(self.head) + tail, self.total - len(self.head) - len(tail)


ENVIRONMENT = dict(os.environ)  # never changed here: os.environ itself decodes every value each time it is gone through


def find_program(name: str, env: dict[str, str]) -> str:
    if os.sep in name:
        return name
    for folder in env.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(folder, name)
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    raise Failure("no program %s in PATH" % name, "ENOENT", rc=127)


def spawn(op: Op, stdin: int, stdout: int, stderr: int) -> int:
    """Start an Exec as leader of a session of its own. Descriptors are ours to close."""
    argv = op.get("argv") or [op.get("executable") or "/bin/sh", "-c", op["shell"]]
    env = dict(ENVIRONMENT, **op["env"]) if op.get("env") else ENVIRONMENT
    cwd = with_path(op["cwd"]) if op.get("cwd") else None
    try:
        program = find_program(argv[0], env)
        if cwd is None and SPAWNS:
            return posix_spawn(program, argv, env, (stdin, stdout, stderr))
        process = subprocess.Popen(
            argv,
            executable=program,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=cwd,
            env=env,
            start_new_session=True,
            close_fds=False,
        )
    except OSError as e:
        if cwd and not os.path.isdir(cwd):
            raise Failure("no directory %s to run in" % cwd, "ENOENT")
        raise Failure("cannot run %s: %s" % (argv[0], e.strerror), errno.errorcode.get(e.errno or 0, ""))
    except ValueError as e:
        raise Failure("cannot run %s: %s" % (argv[0], e), "EINVAL")
    process.returncode = 0  # reaped here, by wait4
    return process.pid


def can_spawn() -> bool:
    """Whether posix_spawn makes a session and tells why a program could not be run: glibc 2.26, Python 3.8."""
    try:
        library, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
        return library == "glibc" and tuple(map(int, version.split("."))) >= (2, 26) and sys.version_info >= (3, 8)
    except (AttributeError, ValueError, OSError):
        return False


SPAWNS = can_spawn()


def posix_spawn(program: str, argv: list[str], env: dict[str, str], streams: tuple[int, ...]) -> int:
    """As Popen does it, without loading subprocess, and without copying the agent's memory map."""
    moves = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(streams)]
    ignored = [signal.SIGPIPE, signal.SIGXFSZ]  # by Python, and a child would inherit it
    return os.posix_spawn(program, argv, env, file_actions=moves, setsid=True, setsigdef=ignored)


def watch_exit(pid: int) -> int:
    """A descriptor that is readable once `pid` has ended; -1 where the system has none (Linux < 5.3, Python < 3.9)."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1


def has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def end_group(pid: int, grace: float = GRACE) -> None:
    """SIGTERM, then SIGKILL, to the group of a child that has not been reaped: its number can't have been reused."""
    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 0)):
        try:
            os.killpg(pid, number)
        except ProcessLookupError:
            return
        until = time.monotonic() + patience
        while time.monotonic() < until and not has_ended(pid):
            time.sleep(0.01)


def decided(op: Op) -> Reply | None:
    """The reply when `creates` or `removes` say that nothing is to be done, else None."""
    base = with_path(op.get("cwd", "")) if op.get("cwd") else ""
    for name, there in (("creates", True), ("removes", False)):
        if op.get(name):
            pattern = os.path.join(base, with_path(op[name]) if op[name].startswith("~") else op[name])
            if bool(glob.glob(pattern) or os.path.lexists(pattern)) is there:
                word = "exists" if there else "does not exist"
                return {"status": "skipped", "data": {"msg": "%s %s" % (op[name], word), "because": name}}
    return None


def do_exec(op: Op, job: Work) -> Reply:
    reply = decided(op)
    if reply is not None:
        return reply
    if job.check:
        return {"status": "skipped", "data": {"msg": "check mode"}}
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    in_read, in_write = os.pipe() if op.get("stdin") else (-1, -1)
    null = os.open(os.devnull, os.O_RDONLY) if in_read < 0 else -1
    readers = [fd for fd in (out_read, err_read, in_write) if fd >= 0]
    try:
        pid = spawn(op, null if in_read < 0 else in_read, out_write, err_write)
    except BaseException:
        for fd in readers:
            os.close(fd)
        raise
    finally:
        for fd in (out_write, err_write, in_read, null):
            if fd >= 0:
                os.close(fd)
    job.started(pid)
    sinks = [Sink(job.spill("stdout")), Sink(job.spill("stderr"))]
    timeout = op.get("timeout", 0)
    pump = Pump(pid, {out_read: sinks[0], err_read: sinks[1]}, in_write, raw(op.get("stdin", "")), job)
    timed_out = pump.run(time.monotonic() + timeout if timeout else None)
    job.ended()
    _, status, usage = os.wait4(pid, 0)
    reply = exit_reply(status, usage)
    if timed_out:
        reply.update(ok=False, error="still running after %g s: ended" % timeout, errno="ETIMEDOUT")
    elif job.cut_short:
        reply.update(ok=False, error="ended by the operator", errno="EINTR")
    return dict(reply, changed=True, **output_of(sinks))


def exit_reply(status: int, usage: Any) -> Reply:
    reply = {"cpu": round(usage.ru_utime + usage.ru_stime, 6), "peak_kb": usage.ru_maxrss}
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        reply.update(ok=False, signal=number, rc=-number)
    else:
        rc = os.WEXITSTATUS(status)
        reply.update(ok=rc == 0, rc=rc)
    return reply


def output_of(sinks: list[Sink]) -> Reply:
    reply: Reply = {}
    left_out, spilled = {}, {}
    for name, sink in zip(("stdout", "stderr"), sinks):
        kept, missing = sink.finish()
        reply[name] = kept
        if missing:
            left_out[name] = [len(sink.head), missing]
        if sink.file >= 0:
            spilled[name] = sink.spill
    if left_out:
        reply.update(truncated=True, data={"omitted": left_out})
    if spilled:
        reply["spilled"] = spilled
    return reply


class Pump:
    """Moves a process's streams until it has ended and nothing more is to be read at once.

    A grandchild that keeps a pipe open (a daemon) holds nobody up.
    """

    def __init__(self, pid: int, readers: dict[int, Sink], writer: int, stdin: bytes, job: Work) -> None:
        self.pid, self.readers, self.writer, self.job = pid, dict(readers), writer, job
        self.sinks = list(readers.values())
        self.stdin = memoryview(stdin)
        self.exit_fd = watch_exit(pid)
        self.poll = select.poll()
        for fd in self.readers:
            os.set_blocking(fd, False)
            self.poll.register(fd, select.POLLIN)
        if writer >= 0:
            os.set_blocking(writer, False)
            self.poll.register(writer, select.POLLOUT)
        if self.exit_fd >= 0:
            self.poll.register(self.exit_fd, select.POLLIN)
        self.flushed = time.monotonic()

    def run(self, deadline: float | None) -> bool:
        """True when the deadline came first; the whole group is ended then."""
        timed_out = ended = False
        while not ended:
            events = self.poll.poll(self._patience(deadline))
            ended = self._handle(events)
            if not ended and deadline is not None and time.monotonic() >= deadline:
                timed_out = ended = True
            self._live()
        if timed_out:
            end_group(self.pid)
        for fd in list(self.readers):
            self._read(fd)
        self._close()
        return timed_out

    def _patience(self, deadline: float | None) -> int:
        """Milliseconds that poll may wait."""
        limit = 3600.0 if self.exit_fd >= 0 else (0.02 if self.readers else 0.005)
        if deadline is not None:
            limit = min(limit, deadline - time.monotonic())
        if any(s.live < len(s.head) for s in self.sinks):
            limit = min(limit, LIVE)
        return max(0, int(limit * 1000) + 1)

    def _handle(self, events: list[tuple[int, int]]) -> bool:
        ended = False
        for fd, _ in events:
            if fd == self.exit_fd:
                ended = True
            elif fd == self.writer:
                self._feed()
            elif fd in self.readers:
                self._read(fd, once=True)
        return ended or (self.exit_fd < 0 and has_ended(self.pid))

    def _read(self, fd: int, once: bool = False) -> None:
        try:
            while True:
                data = os.read(fd, 128 * 1024)
                if not data:
                    self.poll.unregister(fd)
                    del self.readers[fd]
                    os.close(fd)
                    return
                self.readers[fd].add(data)
                if once:
                    return
        except BlockingIOError:
            return

    def _feed(self) -> None:
        try:
            self.stdin = self.stdin[os.write(self.writer, self.stdin[: 64 * 1024]) :]
        except BlockingIOError:
            return
        except OSError:  # it closed its stdin: that is its right
            self.stdin = memoryview(b"")
        if not self.stdin:
            self.poll.unregister(self.writer)
            os.close(self.writer)
            self.writer = -1

    def _live(self) -> None:
        now = time.monotonic()
        if now - self.flushed < LIVE:
            return
        self.flushed = now
        for number, sink in enumerate(self.sinks):
            sink.live += self.job.live(number, sink.head, sink.live)

    def _close(self) -> None:
        for fd in [*self.readers, self.writer, self.exit_fd]:
            if fd >= 0:
                os.close(fd)


def run_plain(argv: list[str], timeout: float = 300.0) -> tuple[int, bytes, bytes]:
    """A short helper (validate): (rc, stdout, stderr)."""
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=timeout,
        start_new_session=True,
        close_fds=False,
    )
    return done.returncode, done.stdout, done.stderr


# --- detached work: a supervisor of its own on the host ----------------------------------------------------------
# Its folder holds `lock` (held as long as it lives), `state` (JSON, replaced whole), `control` (a FIFO: R renew,
# C cancel with its grace in seconds, B a watch broke, D the work is done) and `turn` (held by whoever renews, and by
# the supervisor when it decides to fire: a renewal that was answered "ok" was in time).


def do_detached(op: Op, job: Work) -> Reply:
    base = job.journal_folder()
    if not base:
        raise Failure("there is no place on this host where detached work could keep its state", "EROFS")
    place = Place(os.path.join(base, "detached", short_hash(op["key"])))
    verb = op.get("verb", "start")
    if job.check and verb != "ask":
        return {"status": "skipped", "data": {"msg": "check mode"}}
    if verb == "start":
        return start_detached(op, place, job)
    if verb == "ask":
        return place.report()
    if verb == "renew":
        return place.renew()
    if verb == "cancel":
        return place.cancel(op.get("grace", 10.0))
    raise Failure("detached: no verb %r" % verb, "EINVAL")


def start_detached(op: Op, place: Place, job: Work) -> Reply:
    digest = job.digest({k: v for k, v in op.items() if k not in ("verb", "key")})
    with place.alone():
        if place.alive():
            if place.state().get("digest") == digest:
                return place.report()
            place.stop(op.get("grace", 10.0))
        place.end_orphan()
        place.put({"state": "running", "digest": digest})
        launch_supervisor(place.folder, op, digest)
    return dict(place.report(), changed=True)


def launch_supervisor(folder: str, op: Op, digest: str) -> None:
    """Start a Python of our kind that runs `supervise`, and wait for its word that it holds its lock."""
    import marshal

    boot = (
        "import sys,marshal,json;r=sys.stdin.buffer.read;n=int(r(12));c=marshal.loads(r(n));"
        "g={'__name__':'ciflow_agent','CODE':c,'PACKED_HASH':''};exec(c,g);g['supervise'](json.loads(r()))"
    )
    code = marshal.dumps(CODE)
    spec = to_json({"folder": folder, "op": op, "digest": digest})
    done = subprocess.run(
        [sys.executable, "-ISX", "utf8", "-c", boot],
        input=b"%012d" % len(code) + code + spec,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        close_fds=False,
    )
    if done.stdout != b"held\n":
        raise Failure("the supervisor did not start: %s" % text(done.stdout)[-500:])


def birth(pid: int) -> str:
    """When a process started, in the kernel's ticks: with its number, it names one process for ever. "" if gone."""
    words = read_text("/proc/%d/stat" % pid).rpartition(")")[2].split()
    return words[19] if len(words) > 19 and words[0] != "Z" else ""


class Place:
    """The folder of one detached work, as seen from an agent."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def alone(self) -> Any:
        """A file to be closed, whose lock nobody else has who would start or cancel this work. Its folder is made."""
        while True:
            try:
                os.makedirs(self.folder, 0o700, exist_ok=True)
                guard = open(self.path("start"), "wb")  # noqa: SIM115
                fcntl.flock(guard, fcntl.LOCK_EX)
                if os.path.samestat(os.fstat(guard.fileno()), os.stat(self.path("start"))):
                    return guard
                guard.close()
            except FileNotFoundError:
                continue  # who had it has removed it with its folder

    def state(self) -> dict[str, Any]:
        found = read_text(self.path("state"))
        return from_json(found) if found else {}

    def put(self, state: dict[str, Any]) -> None:
        temp = self.path("state.new")
        with open(temp, "wb") as f:
            f.write(to_json(state))
        os.rename(temp, self.path("state"))

    def alive(self) -> bool:
        try:
            with open(self.path("lock"), "rb") as f:
                fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True
        except OSError:
            return False

    def report(self) -> Reply:
        """Ask's reply. The lock is looked at first: a work that ends meanwhile has written its end by then."""
        alive = self.alive()
        state = self.state()
        if not state:
            return {"data": {"state": "absent"}}
        if not alive and state["state"] in ("armed", "running"):
            state.update(state="failed", error="its supervisor died")
        data = {k: v for k, v in state.items() if k not in ("digest", "replies", "birth")}
        reply = {"data": data}
        replies = state.get("replies") or []
        if replies:
            data["replies"] = [{k: v for k, v in r.items() if k not in ("stdout", "stderr")} for r in replies]
            reply.update(pick(replies[-1], "stdout", "stderr", "rc", "signal", "truncated", "error"))
        if state["state"] == "failed":
            reply.setdefault("error", state.get("error", ""))
        return reply

    def tell(self, letter: bytes) -> None:
        fd = os.open(self.path("control"), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(fd, letter)
        finally:
            os.close(fd)

    def renew(self) -> Reply:
        if not self.alive():
            return dict(self.report(), ok=False, error="nothing is armed under this key")
        with open(self.path("turn"), "ab") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            if self.state().get("state") != "armed":
                return dict(self.report(), ok=False, error="too late to renew: it has fired")
            self.tell(b"R")
        return dict(self.report(), changed=True)

    def stop(self, grace: float) -> bool:
        """End a living one; True when there was one."""
        if not self.alive():
            return False
        until = time.monotonic() + grace + 5.0
        try:
            self.tell(b"C%.3f;" % grace)
        except OSError:
            until = time.monotonic()  # nobody reads: it is ending anyway, or stuck
        while self.alive() and time.monotonic() < until:
            time.sleep(0.01)
        state = self.state()
        if self.alive() and state.get("supervisor") and birth(state["supervisor"]) == state.get("supervisor_birth"):
            os.kill(state["supervisor"], signal.SIGKILL)
        self.end_orphan()
        return True

    def end_orphan(self) -> None:
        """End the process of a supervisor that was killed."""
        state = self.state()
        pid = state.get("pid")
        if pid and birth(pid) and birth(pid) == state.get("birth"):
            os.killpg(pid, signal.SIGKILL)

    def cancel(self, grace: float) -> Reply:
        changed = False
        if os.path.isdir(self.folder):
            with self.alone():
                changed = self.stop(grace)
                self.end_orphan()
                shutil.rmtree(self.folder)
        return {"changed": changed, "data": {"state": "absent"}}


class Work:
    """What an executor needs of whoever runs it; by itself, the work of a supervisor."""

    def __init__(
        self,
        key: str,
        op: Op,
        folder: str,
        grace: float = GRACE,
        tell: Callable[[int], None] | None = None,  # is given the number of the process, once it has one
    ) -> None:
        self.tell = tell
        self.key, self.op, self.folder, self.grace = key, op, folder, grace
        self.check = bool(op.get("check"))
        self.once_more = False  # it was begun before, and its agent died in it
        self.size, self.sha256 = 0, ""
        self.aborted = Event()
        self.cut_short = False  # its process was there to be ended
        self.pid, self.alive = 0, _thread.allocate_lock()

    def started(self, pid: int) -> None:
        with self.alive:
            self.pid = pid
        if self.tell is not None:
            self.tell(pid)
        if self.aborted.is_set():
            self.abort()

    def ended(self) -> None:
        """To be called before the process is reaped: its number is safe to signal until then."""
        with self.alive:
            self.pid = 0

    def abort(self) -> None:
        self.aborted.set()
        _thread.start_new_thread(self._end, ())

    def _end(self) -> None:
        with self.alive:
            if self.pid:
                self.cut_short = not has_ended(self.pid)
                end_group(self.pid, self.grace)

    def spill(self, name: str) -> str:
        return os.path.join(self.folder, "%s.%s" % (short_hash(self.key), name)) if self.folder else ""

    def live(self, number: int, head: bytearray, done: int) -> int:
        """How much of the output could be shown while it came."""
        return 0

    def fill(self, content: bytes) -> Callable[[int], Any]:
        """What writes the content of a Write into its temporary file."""

        def put(fd: int) -> None:
            os.ftruncate(fd, 0)
            write_all(fd, content)

        return put

    def noted(self, temp: str) -> None:
        """A file that is left if this is cut off, and nobody goes on with it."""

    def journal_folder(self) -> str:
        """Of a supervisor's work: the folder beside which the other detached work of this journal has its own."""
        return os.path.dirname(os.path.dirname(self.folder))

    def digest(self, op: Op) -> str:
        return ""


def supervise(spec: dict[str, Any]) -> None:
    """The supervisor's process: takes its lock, says so, and lives on alone."""
    if os.fork():
        os._exit(0) if wait_for_lock(spec["folder"]) else os._exit(1)
    os.setsid()
    os.chdir("/")
    signal.signal(signal.SIGHUP, lambda *_: None)
    supervisor = Supervisor(spec)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    try:
        supervisor.run()
    except Exception as e:
        supervisor.note(state="failed", error="%s: %s" % (type(e).__name__, e))
    os._exit(0)


def wait_for_lock(folder: str) -> bool:
    place = Place(folder)
    until = time.monotonic() + 10.0
    while time.monotonic() < until:
        if place.alive() and place.state().get("supervisor"):
            os.write(1, b"held\n")
            return True
        time.sleep(0.002)
    return False


def take_alone(fd: int, patience: float = 60.0) -> None:
    """Lock a supervisor's file. Whoever asks whether one lives holds it for an instant: that is no other supervisor.
    On a host that has much to do an instant may be seconds."""
    until = time.monotonic() + patience
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
        time.sleep(0.001)


class Supervisor:
    """Waits (a dead-man or a watch), works, and keeps a process alive where it is to."""

    RETRIES = 30  # of a dead-man's operation that fails, a second apart: nobody else will do it

    def __init__(self, spec: dict[str, Any]) -> None:
        self.op, self.place = spec["op"], Place(spec["folder"])
        self.after = self.op.get("after", 0.0)
        self.watches = self.op.get("watch", [])
        self.grace = self.op.get("grace", 10.0)
        self.lock = open_private(self.place.path("lock"))
        take_alone(self.lock)
        control = self.place.path("control")
        if not os.path.exists(control):
            os.mkfifo(control, 0o600)
        self.control = os.open(control, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self.turn = open_private(self.place.path("turn"))
        self.armed = self.after > 0 or bool(self.watches)
        me = os.getpid()
        self.known = {
            "state": "armed" if self.armed else "running",
            "digest": spec["digest"],
            "pid": 0,
            "started": time.time(),
            "restarts": 0,
            "rc": None,
            "log": "",
            "fired": "",
            "replies": [],
            "supervisor": me,
            "supervisor_birth": birth(me),
        }
        self.place.put(self.known)

    def note(self, **what: Any) -> None:
        """Without room for it, whoever asks hears what was before: the work itself matters more."""
        self.known.update(what)
        try:
            self.place.put(self.known)
        except OSError:
            pass

    def hear(self, timeout: float | None) -> bytes:
        """Letters that came on the FIFO, waiting for them at most `timeout` seconds (None: for ever)."""
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        if poll.poll(None if timeout is None else int(max(0.0, timeout) * 1000) + (1 if timeout > 0 else 0)):
            return os.read(self.control, 4096)
        return b""

    def told_to_end(self, letters: bytes) -> bool:
        """Whether the letters hold a cancel, whose grace counts from then on."""
        found = re.search(rb"C([0-9.]+);", letters)
        if found:
            self.grace = float(found.group(1))
        return bool(found)

    def run(self) -> None:
        if self.armed and not self.wait_armed():
            return
        if self.op.get("restart"):
            self.keep_alive(self.op["operations"][0])
        else:
            self.work()

    def wait_armed(self) -> bool:
        """True when it is time to act, False when it was cancelled."""
        if self.watches:
            _thread.start_new_thread(self.watch, ())
        until = time.monotonic() + self.after if self.after > 0 else None
        while True:
            letters = self.hear(None if until is None else until - time.monotonic())
            if self.told_to_end(letters):
                return False
            if b"R" in letters and until is not None:
                until = time.monotonic() + self.after
            if b"B" in letters:
                return self.fire("watch")
            if until is not None and time.monotonic() >= until:
                with _Held(_thread.allocate_lock(), self.turn):
                    letters = self.hear(0)
                    if self.told_to_end(letters):
                        return False
                    if b"R" not in letters:
                        return self.fire("dead-man")
                until = time.monotonic() + self.after

    def fire(self, why: str) -> bool:
        self.note(state="running", fired=why, fired_at=time.time())
        return True

    def watch(self) -> None:
        due, missed = [0.0] * len(self.watches), [0] * len(self.watches)
        while self.known["state"] == "armed":
            for number, one in enumerate(self.watches):
                if time.monotonic() < due[number]:
                    continue
                value = self.look(one)
                due[number] = time.monotonic() + one.get("every", 0.0)
                missed[number] = missed[number] + 1 if outside(value, one) else 0
                if missed[number] > one.get("misses", 0):
                    self.known["broken"] = {"watch": number, "value": value}
                    os.write(self.control, b"B")
                    return
            time.sleep(self.op.get("every", 1.0))

    @staticmethod
    def look(one: dict[str, Any]) -> float | None:
        """The number that a watch is about; None where there is none."""
        reply = execute(one["read"], Work("watch", one["read"], ""))
        found = re.search(one["pattern"], reply.get("stdout", ""))
        return as_number(found.group(1) if found and found.groups() else found and found.group())

    def work(self) -> None:
        """The operations in order, up to the first that fails."""
        for number, op in enumerate(self.op.get("operations", [])):
            tries = self.RETRIES if self.known["fired"] else 1
            while True:
                reply = self.one("%s/%d" % (self.op["key"], number), op)
                if reply is None:
                    self.note(state="failed", error="cancelled", pid=0)
                    return
                tries -= 1
                if reply.get("ok", True) or tries <= 0:
                    break
                if self.told_to_end(self.hear(1.0)):
                    return
            self.known["replies"].append(reply)
            self.note(rc=reply.get("rc"), pid=0)
            if not reply.get("ok", True):
                self.note(state="failed", error=reply.get("error", "") or "exit code %s" % reply.get("rc"))
                return
        self.note(state="done")

    def one(self, key: str, op: Op) -> Reply | None:
        """One operation's reply; None when it was cancelled."""
        work = Work(key, op, self.place.folder, self.grace, lambda pid: self.note(pid=pid, birth=birth(pid)))
        replies: list[Reply] = []

        ended = _thread.allocate_lock()

        def perform() -> None:
            replies.append(execute(op, work))
            os.write(self.control, b"D")
            ended.release()

        ended.acquire()
        _thread.start_new_thread(perform, ())
        cancelled = False
        while not replies:
            if self.told_to_end(self.hear(None)) and not cancelled:
                cancelled, work.grace = True, self.grace
                work.abort()
        ended.acquire()
        return None if cancelled else replies[0]

    def keep_alive(self, op: Op) -> None:
        """One long-running process: started again, ever more patiently, whenever it ends."""
        log = self.op.get("log") or self.place.path("log")
        null, pause = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), 0.5
        while True:
            sink = os.open(with_path(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            began = time.monotonic()
            try:
                pid = spawn(op, null, sink, sink)
            except Failure as e:
                os.write(sink, raw(str(e)) + b"\n")
                pid = 0
                self.note(rc=127, error=str(e))
            finally:
                os.close(sink)
            if pid:
                self.note(state="running", pid=pid, birth=birth(pid), log=log, error="")
                if not self.attend(pid):
                    return
            pause = 0.5 if time.monotonic() - began > 60.0 else min(30.0, pause * 2)
            self.note(pid=0, restarts=self.known["restarts"] + 1)
            if self.told_to_end(self.hear(pause)):
                return

    def attend(self, pid: int) -> bool:
        """Until the process ends; False when it was cancelled."""

        def reap() -> None:
            while not has_ended(pid):
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            os.write(self.control, b"D")

        _thread.start_new_thread(reap, ())
        cancelled = False
        while not has_ended(pid):
            if self.told_to_end(self.hear(None)):
                cancelled = True
                end_group(pid, self.grace)
        _, status, _ = os.wait4(pid, 0)
        self.note(rc=-os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
        return not cancelled


def outside(value: float | None, watch: dict[str, Any]) -> bool:
    """Whether a number is beyond the limits of a watch; none, and NaN, is not."""
    least, most = watch.get("least"), watch.get("limit")
    return value is not None and ((most is not None and value > most) or (least is not None and value < least))


def as_number(words: Any) -> float | None:
    try:
        return float(words)
    except (TypeError, ValueError):
        return None


# --- lanes and the main loop ---------------------------------------------------------------------------------


EXECUTORS = {
    "exec": do_exec,
    "stat": do_stat,
    "read": do_read,
    "write": do_write,
    "edit": do_edit,
    "attrs": do_attrs,
    "copy": do_copy,
    "remove": do_remove,
    "mkdir": do_mkdir,
    "link": do_link,
    "walk": do_walk,
    "wait": do_wait,
    "talk": do_talk,
    "http": do_http,
    "detached": do_detached,
}


def execute(op: Op, job: Work) -> Reply:
    """Run one operation: its reply. Whatever goes wrong becomes a reply in plain words."""
    started, clock = time.time(), time.monotonic()
    try:
        reply = EXECUTORS[op["op"]](op, job)
        if op["op"] in ("write", "edit", "copy", "attrs", "mkdir"):
            reply["data"] = dict(attributes(op, reply.get("data", {})), **reply.get("data", {}))
    except Withdrawn:
        raise
    except Failure as e:
        reply = e.reply
    except OSError as e:
        place = e.filename if e.filename is not None else op.get("dest") or op.get("path")
        where = " %s:" % text(os.fsencode(place)) if place else ""
        reply = {
            "ok": False,
            "error": "%s:%s %s" % (op["op"], where, e.strerror or e),
            "errno": errno.errorcode.get(e.errno or 0, ""),
        }
    except Exception as e:  # a fault of ours must not end the lane: the controller shows it as a failed task
        reply = {"ok": False, "error": "the agent failed at %s: %s: %s" % (op.get("op"), type(e).__name__, e)}
    reply["started"] = round(started, 6)
    reply["duration"] = round(time.monotonic() - clock, 6)
    return {name: text(value) if isinstance(value, bytes) else value for name, value in reply.items()}


class Job(Work):
    """One operation that the controller has sent."""

    def __init__(self, agent: Agent, message: Message) -> None:
        super().__init__(message["key"], message["op"], agent.journal.run_folder)
        self.agent, self.id = agent, message["id"]
        self.guard, self.lane = message.get("guard", ""), message["lane"]
        self.size, self.sha256 = message.get("size", 0), message.get("sha256", "")
        self.mutex = Condition()
        self.credit = WINDOW
        self.sent = [0, 0]
        self.content: deque[bytes] = deque()

    def abort(self) -> None:
        super().abort()
        self.wake()

    def wake(self) -> None:
        """Whoever waits for credit or content looks up, and sees that the controller is gone."""
        with self.mutex:
            self.mutex.notify_all()

    def noted(self, temp: str) -> None:
        note = self.spill(NOTE)
        try:
            fd = open_private(note, os.O_TRUNC) if note else -1
        except OSError:
            return  # no room for it: then it would be left
        if fd >= 0:
            os.write(fd, raw(temp))
            os.close(fd)

    def journal_folder(self) -> str:
        return self.agent.journal.folder

    def digest(self, op: Op) -> str:
        return self.agent.journal.digest(op)

    # output, within the controller's credit
    def live(self, number: int, head: bytearray, done: int) -> int:
        """Send what came since; returns how much could go."""
        room = min(len(head) - done, self.credit, MAX_PAYLOAD)
        if room <= 0 or self.agent.lost:
            return 0
        self._output(number, bytes(head[done : done + room]), 0)
        return room

    def _output(self, number: int, data: bytes, flags: int) -> None:
        with self.mutex:
            self.credit -= len(data)
            self.sent[number] += len(data)
        self.agent.pipe.send(frame(OUTPUT, self.id, data, flags | (STDERR if number else 0)))

    def grant(self, amount: int) -> None:
        with self.mutex:
            self.credit += amount
            self.mutex.notify_all()

    def answer(self, reply: Reply) -> None:
        """Send the reply: long output first, in frames, as the controller takes it."""
        streams = [raw(reply.get(name, "")) for name in ("stdout", "stderr")]
        rest = sum(map(len, streams)) - sum(self.sent)
        if rest > INLINE:
            for number, data in enumerate(streams):
                self._deliver(number, memoryview(data))
        message = dict(reply)
        for number, name in enumerate(("stdout", "stderr")):
            message.pop(name, None)
            if len(streams[number]) > self.sent[number]:
                message[name] = text(streams[number][self.sent[number] :])
        self.agent.pipe.message(
            {"t": "answer", "id": self.id, "key": self.key, "reply": message, "streamed": self.sent}, self.id
        )

    def _deliver(self, number: int, data: memoryview) -> None:
        quiet = 0 if self.op.get("op") == "exec" else QUIET
        while self.sent[number] < len(data) and not self.agent.lost:
            with self.mutex:
                while self.credit <= 0 and not self.agent.lost:
                    self.mutex.wait(1.0)
                room = min(self.credit, MAX_PAYLOAD)
            at = self.sent[number]
            if room > 0:
                self._output(number, bytes(data[at : at + room]), quiet)

    # content of a large Write
    def fill(self, content: bytes) -> Callable[[int], Any]:
        return self._receive if self.sha256 else super().fill(content)

    def _receive(self, fd: int) -> None:
        done = os.fstat(fd).st_size
        if done > self.size:
            os.ftruncate(fd, 0)
            done = 0
        os.lseek(fd, done, os.SEEK_SET)
        self.agent.pipe.message({"t": "want", "id": self.id, "key": self.key, "offset": done})
        while done < self.size:
            data = self._next_content()
            write_all(fd, data)
            done += len(data)
            self.agent.pipe.send(frame(CREDIT, self.id, struct.pack(">I", len(data))), urgent=True)
        os.lseek(fd, 0, os.SEEK_SET)
        digest = digester()
        for portion in iter(lambda: os.read(fd, 1 << 20), b""):
            digest.update(portion)
        if digest.hexdigest() != self.sha256:
            raise Failure("what came is not what was announced: sha256 differs", "EBADMSG")

    def _next_content(self) -> bytes:
        with self.mutex:
            while not self.content:
                if self.agent.lost:
                    raise Withdrawn
                if self.aborted.is_set():
                    raise Failure("the content stopped coming", "EINTR")
                self.mutex.wait(1.0)
            return self.content.popleft()

    def take(self, data: bytes) -> None:
        with self.mutex:
            self.content.append(data)
            self.mutex.notify_all()


class Lane:
    """Operations in order, each begun when the one before has ended. Its thread lives while there is work."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.queue: deque[Job] = deque()
        self.mutex = Condition()
        self.well = False  # "only if the one before went well": nothing went before
        self.at_work = False  # whether it has a thread

    def put(self, job: Job) -> None:
        with self.mutex:
            self.queue.append(job)
            if not self.at_work:
                self.at_work = True
                _thread.start_new_thread(self._work, ())
            else:
                self.mutex.notify_all()

    def drop(self, from_key: str | None = None) -> list[Job]:
        """Drop what is not started, from `from_key` on (None: all). Returns the dropped jobs."""
        with self.mutex:
            keys = [job.key for job in self.queue]
            at = 0 if from_key is None else keys.index(from_key) if from_key in keys else len(keys)
            dropped = list(self.queue)[at:]
            while len(self.queue) > at:
                self.queue.pop()
            if dropped:
                self.well = self.well and at > 0
            return dropped

    def _work(self) -> None:
        while True:
            with self.mutex:
                if not self.queue:
                    self.mutex.wait(5.0)
                if not self.queue:
                    self.at_work = False
                    return
                job = self.queue.popleft()
                self.agent.hold(job)
            if self.agent.lost:  # known before what waits is dropped
                self.agent.release(job)
                continue
            try:
                reply = self._perform(job)
            except OSError as e:  # of the journal: nobody can say whether it was started
                reply = dict(UNKNOWN, error="%s: %s" % (UNKNOWN["error"], e))
            self.well = bool(reply.get("ok", True)) and reply.get("status", "done") in ("done", "skipped")
            job.answer(reply)
            self.agent.release(job)

    def _perform(self, job: Job) -> Reply:
        if job.guard == "after-ok" and not self.well:
            return {"status": "skipped", "ok": False, "error": "the one before did not go well"}
        op = job.op
        if op["op"] in PROBES or job.check or (op["op"] == "detached" and op.get("verb") == "ask"):
            return execute(op, job)
        return self._journalled(op, job)

    def _journalled(self, op: Op, job: Job) -> Reply:
        journal = self.agent.journal
        named = dict(op, sha256=job.sha256, size=job.size) if job.sha256 else op
        try:
            record = journal.start(job.key, named, job.once_more)
        except Superseded as e:
            return {"status": "refused", "ok": False, "error": str(e), "errno": "ESTALE"}
        except FileExistsError:
            return self._again(named, job)
        if record is None and job.once_more:
            return dict(UNKNOWN)
        try:
            reply = execute(op, job)
        except Withdrawn:
            if record is not None:
                record.withdraw()
            return dict(UNKNOWN)
        if record is not None:
            record.end(reply)
        elif journal.warning:
            reply.setdefault("data", {})["warning"] = journal.warning
        return reply

    def _again(self, op: Op, job: Job) -> Reply:
        """It was started before: its recorded reply, never a second run."""
        journal = self.agent.journal
        state, reply, digest = journal.look(job.key, journal.identity)
        if digest and digest != journal.digest(op):
            return {"status": "refused", "ok": False, "error": "another operation was started here under the same key"}
        if state == "running":
            state, reply = journal.wait(job.key)
        job.once_more = state == "unknown" and may_repeat(op)
        if state == "absent" or job.once_more:
            return self._journalled(op, job)
        return reply or dict(UNKNOWN)


def may_repeat(op: Op) -> bool:
    """Whether it can be done once more although it may have been done: what was to be there is there afterwards."""
    if op["op"] == "exec":
        return bool(op.get("creates") or op.get("removes"))
    return op["op"] in ("write", "edit", "attrs", "copy", "remove", "mkdir", "link")


UNKNOWN = {"status": "unknown", "ok": False, "error": "it was started, and nobody can say how it ended"}


class Agent:
    """The main thread: drains the pipe, keeps the heartbeat, and hands operations to their lanes."""

    def __init__(self, mark: str) -> None:
        self.pipe = Pipe()
        self.journal = Journal()
        self.lost = self.tidied = False
        self.lanes: dict[str, Lane] = {}
        self.jobs: dict[int, Job] = {}
        self.running: dict[int, Job] = {}
        self.mutex = Condition()
        self.acknowledged: set[str] = set()
        self.pipe.send(raw(mark) + b"-hello\n" + message_frames(self.hello()))

    def hello(self) -> Message:
        return {
            "t": "hello",
            "version": VERSION,
            "pid": os.getpid(),
            "uid": os.geteuid(),
            "user": name_of(os.geteuid(), pwd.getpwuid, "pw_name"),
            "python": "%d.%d.%d" % sys.version_info[:3],
            "executable": sys.executable,
            "home": home(),
            "epoch": os.path.basename(self.journal.folder),
            "warning": self.journal.warning,
        }

    def run(self) -> None:
        poll = select.poll()
        poll.register(self.pipe.source, select.POLLIN)
        poll.register(self.pipe.wake_read, select.POLLIN)
        heard = beaten = time.monotonic()
        while True:
            if self.pipe.backlog():
                poll.register(self.pipe.sink, select.POLLOUT)
            wait = 0.5 if not self.tidied else max(0.0, beaten + HEARTBEAT - time.monotonic())
            events = poll.poll(int(wait * 1000) + 1)
            now = time.monotonic()
            for fd, _ in events:
                if fd == self.pipe.sink:
                    self.pipe.flush()
                    poll.unregister(self.pipe.sink)
                elif fd == self.pipe.wake_read:
                    os.read(fd, 4096)
                elif fd == self.pipe.source:
                    frames = self.pipe.read()
                    if frames is None:
                        return
                    heard = now
                    for one in frames:
                        self.handle(*one)
            if now - beaten >= HEARTBEAT:
                beaten = now
                self.pipe.send(frame(BEAT, 0), urgent=True)
            if now - heard > MISSED * HEARTBEAT or self.pipe.broken:
                return
            if not events and not self.tidied:
                self.tidy()

    def tidy(self) -> None:
        """What can wait until nothing else is to be done."""
        self.tidied = True
        if self.journal.base:
            keep_compiled(self.journal.base)
            self.journal.sweep()

    def handle(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == MESSAGE:
            message = self.pipe.join(flags, stream, payload)
            if message is not None:
                getattr(self, "on_" + message["t"])(message)
        elif kind in (CONTENT, CREDIT):
            with self.mutex:
                job = self.jobs.get(stream)
            if job is not None and kind == CONTENT:
                job.take(payload)
            elif job is not None:
                job.grant(struct.unpack(">I", payload)[0])

    def on_begin(self, m: Message) -> None:
        taken, token, run = self.journal.begin(m["project"], m["run"], m["token"])
        self.pipe.message(
            {
                "t": "begun" if taken else "superseded",
                "token": token,
                "run": run,
                "journal": self.journal.identity or NO_JOURNAL,
                "warning": self.journal.warning,
            }
        )

    def on_op(self, m: Message) -> None:
        job = Job(self, m)
        with self.mutex:
            self.jobs[job.id] = job
        lane = self.lanes.get(job.lane)
        if lane is None:
            lane = self.lanes[job.lane] = Lane(self)
        lane.put(job)

    def on_ask(self, m: Message) -> None:
        for key, number in m["keys"]:
            job = Job(self, {"key": key, "id": number, "op": {}, "lane": ""})
            state, reply, _ = self.journal.look(key, m.get("journal", ""))
            if state != "running":
                self.tell(job, state, reply)
                continue
            self.pipe.message({"t": "asked", "id": number, "key": key, "state": "running"})
            _thread.start_new_thread(self._await, (job,))

    def _await(self, job: Job) -> None:
        with self.mutex:
            self.jobs[job.id] = job
        state, reply = self.journal.wait(job.key)
        if state == "absent":
            self.tell(job, state, None)
            self.release(job)
        else:
            self._deliver(job, reply or dict(UNKNOWN))

    def tell(self, job: Job, state: str, reply: Reply | None) -> None:
        """The answer about an operation that is not under way. A long reply needs credit, so not in this thread."""
        self.pipe.message({"t": "asked", "id": job.id, "key": job.key, "state": state})
        if state == "done":
            with self.mutex:
                self.jobs[job.id] = job
            _thread.start_new_thread(self._deliver, (job, reply or dict(UNKNOWN)))

    def _deliver(self, job: Job, reply: Reply) -> None:
        job.answer(reply)
        self.release(job)

    def on_cancel(self, m: Message) -> None:
        lane = self.lanes.get(m["lane"])
        for job in lane.drop(m.get("from")) if lane else ():
            job.answer({"status": "skipped", "ok": False, "error": "cancelled before it started"})
            self.release(job)

    def on_abort(self, m: Message) -> None:
        with self.mutex:
            jobs = [job for job in self.jobs.values() if job.key == m["key"]]
        for job in jobs:
            lane = self.lanes.get(job.lane)
            if lane is not None and job.id not in self.running:
                self.on_cancel({"lane": job.lane, "from": job.key})
            job.abort()

    def on_ack(self, m: Message) -> None:
        self.acknowledged.update(m["keys"])

    def on_end(self, m: Message) -> None:
        if self.journal.run_folder and m["run"] == self.journal.run:
            try:
                self.journal.forget(self.acknowledged)
            except OSError:
                pass  # what is left goes when the run is swept
        self.acknowledged.clear()
        self.pipe.message({"t": "ended", "run": m["run"]})

    def hold(self, job: Job) -> None:
        with self.mutex:
            self.running[job.id] = job

    def release(self, job: Job) -> None:
        with self.mutex:
            self.running.pop(job.id, None)
            self.jobs.pop(job.id, None)
            self.mutex.notify_all()

    def leave(self) -> None:
        """The controller is gone: drop what is not started, end what only looks, finish what is in hand."""
        self.lost = True
        for lane in list(self.lanes.values()):
            for job in lane.drop():
                self.release(job)
        with self.mutex:
            for job in self.running.values():
                if job.op.get("op") in PROBES:
                    job.aborted.set()
                job.wake()
            while self.running:
                self.mutex.wait(1.0)
        if not self.tidied:
            self.tidy()


def keep_compiled(base: str) -> None:
    """Leave the compiled agent for the next start on this host (compiling takes longer than all else at start-up)."""
    import marshal

    path = os.path.join(base, "agent-%s-%s" % (sys.implementation.cache_tag, PACKED_HASH))
    if os.path.exists(path):
        return
    try:
        for old in glob.glob(os.path.join(base, "agent-%s-*" % sys.implementation.cache_tag)):
            os.unlink(old)
        lasting(path, lambda: marshal.dumps(CODE))
    except OSError:
        return


def main(mark: str) -> None:
    try:
        os.setsid()
    except PermissionError:
        pass  # the login shell has done so
    signal.signal(signal.SIGHUP, lambda *_: None)  # unlike "ignore", children don't inherit it
    agent = Agent(mark)
    try:
        agent.run()
        agent.leave()
    except BaseException as e:
        import traceback

        agent.pipe.message({"t": "fault", "error": "%s: %s" % (type(e).__name__, e), "trace": traceback.format_exc()})
        agent.leave()
    os._exit(0)
