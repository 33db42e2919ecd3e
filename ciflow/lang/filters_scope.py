"""Filters and helpers that look at the controller: each asks the scope for the reply to an operation."""

from __future__ import annotations

import fnmatch
import os.path
import re

from ciflow.lang.scope import Scope
from ciflow.model import Exec, Stat, Walk

_VARIABLE = re.compile(r"\$(?:(\w+)|\{([^}]*)\})", re.ASCII)
_MAGIC = re.compile(r"[*?[]")


def environment_variable(scope: Scope, name: str) -> str | None:
    """A variable of ciflow's own environment; `printenv` is asked, so that the answer is recorded."""
    reply = scope.answer(Exec(argv=("printenv", name)))
    return reply.stdout.decode("utf-8", "surrogateescape").removesuffix("\n") if reply.rc == 0 else None


def expanduser(scope: Scope, path: str) -> str:
    """`~` of the account on the controller, `~name` of another."""
    own = path == "~" or path.startswith("~/")
    home = scope.get("_home") if own else None
    return str(home) + path[1:] if home else os.path.expanduser(path)  # noqa: PTH111


def expandvars(scope: Scope, path: str) -> str:
    """`$NAME` and `${NAME}` of ciflow's own environment; unknown ones stay, as in Python."""

    def value(found: re.Match[str]) -> str:
        known = environment_variable(scope, found[1] or found[2])
        return found[0] if known is None else known

    return _VARIABLE.sub(value, path)


def fileglob(scope: Scope, pathname: str) -> list[str]:
    """The regular files of the controller that match, sorted."""
    return [path for path, kind in globbed(scope, pathname) if kind == "file" or _leads_to_file(scope, path, kind)]


def _leads_to_file(scope: Scope, path: str, kind: str) -> bool:
    return kind == "link" and scope.answer(Stat(path=path, follow=True)).data.get("kind") == "file"


def globbed(scope: Scope, pattern: str) -> list[tuple[str, str]]:
    """(path, kind) of what matches a shell pattern, folder by folder; names with a dot only where it asks for them."""
    folder, slash, name = pattern.rpartition("/")
    folders = [one for one, _ in globbed(scope, folder)] if _MAGIC.search(folder) else [folder]
    found = []
    for one in folders:
        reply = scope.answer(Walk(path=one or slash or ".", depth=1))
        for entry in reply.data.get("entries", ()) if reply.ok else ():
            last = str(entry["path"]).rpartition("/")[2]
            if fnmatch.fnmatchcase(last, name) and (name.startswith(".") or not last.startswith(".")):
                found.append((f"{one}{slash}{last}", str(entry.get("kind"))))
    return sorted(found)
