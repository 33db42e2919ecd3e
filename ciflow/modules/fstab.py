"""Lines of /etc/fstab and of /proc/self/mountinfo (fstab(5), proc(5)): pure functions of text."""

from __future__ import annotations

import re

from ciflow.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """One file system, its fields as they are meant, not as they are escaped."""

    src: str
    path: str
    fstype: str
    opts: str = "defaults"
    dump: str = "0"
    passno: str = "0"

    def text(self) -> str:
        fields = (self.src, self.path, self.fstype, self.opts, self.dump, self.passno)
        return " ".join(map(escaped, fields)) + "\n"


@dataclass(frozen=True, slots=True)
class Mounted:
    """What is mounted at a place: the file system's own name for its source, and the folder of it that is seen."""

    path: str
    src: str
    root: str

    def is_of(self, src: str) -> bool:
        """Whether it shows `src`. Of a folder that is mounted, the kernel tells the path within its file system."""
        return src == self.src or (self.root != "/" and f"/{src.strip('/')}".endswith(self.root))


def escaped(field: str) -> str:
    return "".join(f"\\{ord(one):03o}" if one in " \t\n\\" else one for one in field)


def unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)


def parse(line: str) -> Line | None:
    """None for a comment, an empty line, or what is none."""
    fields = line.split("#")[0].split() if not line.lstrip().startswith("#") else []
    return Line(*map(unescaped, fields)) if 4 <= len(fields) <= 6 else None


def mounted(mountinfo: str) -> list[Mounted]:
    """What is mounted, the latest last: of several at one place that one is seen."""
    found = []
    for line in mountinfo.splitlines():
        before, _, behind = line.partition(" - ")
        fields, rest = before.split(), behind.split()
        if len(fields) >= 5 and len(rest) >= 2:
            found.append(Mounted(unescaped(fields[4]), unescaped(rest[1]), unescaped(fields[3])))
    return found


def with_line(content: str, wanted: Line) -> str:
    """The text with that line, in the place of one for the same path; of swap, of the same source."""
    return _changed(content, wanted, wanted)


def without(content: str, wanted: Line) -> str:
    return _changed(content, wanted, None)


def _changed(content: str, about: Line, wanted: Line | None) -> str:
    out, put = [], wanted is None
    for line in content.splitlines(keepends=True):
        found = parse(line)
        if found is None or not _same_place(found, about):
            out.append(line)
        elif wanted is not None and not put:
            put = True
            out.append(line if found == wanted else wanted.text())
    if wanted is not None and not put:
        out += ["\n"] if out and not out[-1].endswith("\n") else []
        out.append(wanted.text())
    return "".join(out)


def _same_place(found: Line, about: Line) -> bool:
    swap = found.path in ("none", "swap") and found.fstype == "swap"
    return found.path == about.path and (not swap or not about.src or found.src == about.src)
