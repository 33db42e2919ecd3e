"""The one door to the file system for playbooks, roles and inventories.

Everything that was read is remembered, so a run keeps a snapshot of its sources, and `resume` and a saved plan read
exactly the bytes that were planned, whatever the disk holds by then. Files that ansible-vault or sops has encrypted are
opened here, in memory; the snapshot keeps them as they lie on the disk.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from ciflow.diagnostics import Diagnostic, Invalid, Span
from ciflow.lang.sops import is_sops, open_sops
from ciflow.lang.vault import Vault, is_vaulted

LARGEST = 64 * 2**20  # bytes of one source


class Files:
    """Reads files and directories, live or from a snapshot; paths are kept as the caller wrote them."""

    def __init__(self, frozen: Mapping[str, bytes] | None = None, vault: Vault | None = None) -> None:
        self.vault = vault or Vault()
        self._frozen = frozen
        self._read: dict[str, bytes] = dict(frozen or {})
        self._opened: dict[str, bytes] = {}  # plain text of those that are encrypted
        self._hidden: list[Span] = []

    @classmethod
    def live(cls, vault: Vault | None = None) -> Files:
        return cls(None, vault)

    @classmethod
    def frozen(cls, snapshot: Mapping[str, bytes], vault: Vault | None = None) -> Files:
        return cls(snapshot, vault)

    def thawed(self) -> Files:
        """The same files, and for what they don't hold the disk: includes that a resumed run gets to only now."""
        thawed = Files(None, self.vault)
        thawed._read = dict(self._read)
        thawed._opened = dict(self._opened)
        thawed._hidden = list(self._hidden)
        return thawed

    @property
    def is_frozen(self) -> bool:
        return self._frozen is not None

    def read(self, path: str) -> bytes:
        """The file's bytes, decrypted. Raises Invalid where it can't be read (CF0001) or opened (CF0017)."""
        if path in self._opened:
            return self._opened[path]
        content = self._raw(path)
        if is_vaulted(content):
            self._opened[path] = content = self.vault.open(content, Span(path, 1, 1))
        elif is_sops(path, content):
            self._opened[path] = content = open_sops(path, content)
        return content

    def is_secret(self, path: str) -> bool:
        """Whether what `read` gave was encrypted on the disk."""
        return path in self._opened

    def hide(self, span: Span) -> None:
        """A secret is written there in plain text: no snippet shows it."""
        self._hidden.append(span)

    def _raw(self, path: str) -> bytes:
        if path in self._read:
            return self._read[path]
        if self._frozen is not None:
            raise _unreadable(path, "it is not in the snapshot of this run")
        try:
            content = _whole(Path(path))
        except OSError as error:
            raise _unreadable(path, (error.strerror or str(error)).lower()) from error
        self._read[path] = content
        return content

    def exists(self, path: str) -> bool:
        """Whether `path` is a file. In a snapshot: whether the run read it."""
        if self._frozen is not None:
            return path in self._read
        return path in self._read or Path(path).is_file()

    def is_dir(self, path: str) -> bool:
        if self._frozen is not None:
            return any(name.startswith(path.rstrip("/") + "/") for name in self._read)
        found = Path(path).is_dir()
        if found:
            self._read.setdefault(path.rstrip("/") + "/", b"")  # a folder that was seen stays seen in the snapshot
        return found

    def list(self, folder: str) -> tuple[str, ...]:
        """Names directly inside `folder`, sorted; nothing where there is no such folder."""
        if self._frozen is not None:
            prefix = folder.rstrip("/") + "/"
            below = {name[len(prefix) :].split("/")[0] for name in self._read if name.startswith(prefix)}
            return tuple(sorted(name for name in below - {""} if "\0" not in name))  # what programs printed is no file
        return tuple(sorted(one.name for one in Path(folder).iterdir())) if Path(folder).is_dir() else ()

    def below(self, folder: str) -> tuple[str, ...]:
        """Every file under `folder`, however deep, by its path. None of them is read or kept."""
        walked = ((base, name) for base, _, names in os.walk(folder) for name in names)
        found = (os.path.normpath(os.path.join(base, name)) for base, name in walked)  # noqa: PTH118
        return tuple(sorted(path for path in found if Path(path).is_file()))

    def is_executable(self, path: str) -> bool:
        if self._frozen is not None:
            return any(name.startswith(f"{path}\0") for name in self._read)
        return os.access(path, os.X_OK)

    def output(self, path: str, *arguments: str, by: tuple[str, ...] = ()) -> bytes:
        """What the program at `path` prints (an inventory script). Kept in the snapshot as if it were a file.

        `by` is the program where `path` only names it: what is kept must be found again from another installation.
        """
        name = "\0".join((path, *arguments))
        if name in self._read:
            return self._read[name]
        if self._frozen is not None:
            raise _unreadable(path, "its output is not in the snapshot of this run")
        try:
            argv = [*(by or (Path(path).resolve(),)), *arguments]
            run = subprocess.run(argv, capture_output=True, check=True, timeout=60)
        except (OSError, subprocess.SubprocessError) as error:
            said = (getattr(error, "stderr", None) or b"").decode("utf-8", "replace").strip()
            raise _unreadable(path, f"it did not run: {said.splitlines()[-1] if said else error}") from error
        self._read[name] = run.stdout
        return run.stdout

    def variable(self, name: str) -> str | None:
        """A variable of ciflow's own environment. Kept in the snapshot as if it were a file."""
        key = f"env\0{name}"
        if key not in self._read:
            value = os.environ.get(name) if self._frozen is None else None
            self._read[key] = b"" if value is None else os.fsencode(f"={value}")
        return os.fsdecode(self._read[key][1:]) if self._read[key] else None

    @property
    def count(self) -> int:
        """How much was read so far: a snapshot is due again when it has grown."""
        return len(self._read)

    def snapshot(self) -> dict[str, bytes]:
        """Every file read so far, by path."""
        return dict(self._read)

    def changed(self) -> tuple[str, ...]:
        """Those of the files read that the disk has otherwise by now, or not at all; they are read alone, so a file of
        any size costs no more than its first read did."""
        plain = ((path, content) for path, content in self._read.items() if path[-1:] != "/" and "\0" not in path)
        return tuple(path for path, content in plain if _on_disk(path) != content)

    def sources(self, of: Iterable[str] | None = None) -> dict[str, str]:
        """Texts of the files read, or of those named, for the snippets of diagnostics; none of those encrypted."""
        names = self._read if of is None else self._read.keys() & set(of)
        known = ((path, self._read[path]) for path in names)
        files = ((path, content) for path, content in known if path[-1:] != "/" and path not in self._opened)
        texts = {path: content.decode("utf-8", "replace") for path, content in files}
        for span in (one for one in self._hidden if one.file in texts):
            texts[span.file] = _starred(texts[span.file], span)
        return texts


_TEMPLATES = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}")


def _starred(text: str, span: Span) -> str:
    """The text with stars at `span`, as many as there were characters; templates stay, for they may be at fault."""
    lines = text.split("\n")
    for number in range(span.line - 1, min(span.end_line, len(lines))):
        line = lines[number]
        first = span.column - 1 if number == span.line - 1 else len(line) - len(line.lstrip())
        last = span.end_column - 1 if number == span.end_line - 1 else len(line)
        parts, at = [line[:first]], first
        for found in _TEMPLATES.finditer(line, first, last):
            parts += ["*" * (found.start() - at), found[0]]
            at = found.end()
        lines[number] = "".join((*parts, "*" * (last - at), line[last:]))
    return "\n".join(lines)


def _on_disk(path: str) -> bytes | None:
    try:
        return _whole(Path(path))
    except OSError:
        return None


def _whole(path: Path) -> bytes:
    """The file's bytes. A device has no end, and what is larger than LARGEST is no source."""
    mode = path.stat().st_mode
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise OSError(0, "it is a device")
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise OSError(0, f"it is larger than {LARGEST // 2**20} MiB")
    return content


def _unreadable(path: str, why: str) -> Invalid:
    return Invalid([Diagnostic("error", "CF0001", f"can't read {path}: {why}")])
