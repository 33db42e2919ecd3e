"""`apt_repository`: one line of apt's sources."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.model import Change, Context, Outcome, Probe, Remove, Reply, Step, Steps, Write
from ciflow.modules.apt_cache import updated
from ciflow.modules.program import broken, questions
from ciflow.modules.replies import failure, predicted, text, well

MAIN = "/etc/apt/sources.list"
FOLDER = "/etc/apt/sources.list.d"
_KINDS = ("deb", "deb-src")
# Each file behind a line with its name; a NUL begins a file, for no file of apt's holds one.
_LOOK = r"""
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
  [ -f "$file" ] && { printf '\000%s\n' "$file"; cat -- "$file"; }
done
true
"""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a sources list. `source` has single blanks; a line that is none keeps its text in it."""

    valid: bool
    enabled: bool
    source: str
    comment: str = ""

    def __str__(self) -> str:
        return f"{'' if self.enabled else '# '}{self.source}{f' # {self.comment}' if self.comment else ''}\n"


Files = dict[str, tuple[Line, ...]]


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """Read all lists, enable, add or take away the line, write what differs, and bring apt's index up to date."""
    wanted = parse(args["repo"])
    data: dict[str, Any] = {"repo": args["repo"], "state": args["state"]}
    if args["repo"].startswith("ppa:"):
        msg = (
            "ppa: is a name that Launchpad has to be asked for; write the line itself, with its key: "
            "deb [signed-by=/etc/apt/keyrings/NAME.asc] https://ppa.launchpadcontent.net/OWNER/NAME/ubuntu SUITE main"
        )
        return Outcome(failed=True, msg=msg, data=data)
    if not wanted.valid or not wanted.enabled:
        return Outcome(failed=True, msg=f"Invalid repository string: {args['repo']}", data=data)
    seen = yield Probe(questions(_LOOK, (), context))
    if not well(seen):
        return broken(seen, "can't read apt's sources", data)
    texts = _texts(text(seen.stdout))
    before = {path: tuple(parse(line) for line in said.splitlines()) for path, said in texts.items()}
    after = with_line(before, wanted.source, args.get("filename")) if args["state"] == "present" else without(
        before, wanted.source)  # fmt: skip
    changed = [path for path in after if after[path] != before.get(path)]
    data |= {
        "sources_added": [path for path in changed if not before.get(path)],
        "sources_removed": [path for path in changed if not after[path]],
    }
    fault = yield from _written(changed, after, texts, args)
    if fault is None and changed and args["update_cache"]:
        fault = yield from updated(args, context)
        if fault is not None:
            yield from _put_back(changed, texts)
    if fault is not None:
        return replace(fault, data={**data, **fault.data})
    return Outcome(changed=bool(changed), data=data, diff=_difference(changed, texts, after) if context.diff else None)


def _texts(said: str) -> dict[str, str]:
    parts = (part.partition("\n") for part in said.split("\0")[1:])
    return {path: content for path, _, content in parts}


def parse(line: str) -> Line:
    """A line as apt reads it: `# ` in front disables it, a later # begins a comment."""
    rest = line.strip()
    enabled = not rest.startswith("#")
    rest = rest if enabled else rest[1:]
    source, mark, comment = rest.partition("#") if rest.find("#") > 0 else (rest, "", "")
    words = source.split()
    valid = bool(words) and words[0] in _KINDS and len(words) > 2
    return Line(valid, enabled, " ".join(words) if valid else source.strip(), comment.strip() if mark else "")


def with_line(before: Files, source: str, filename: str | None) -> Files:
    """Every disabled line with that source enabled; where there is none at all, one more in a file of its own."""
    found = any(line.valid and line.source == source for lines in before.values() for line in lines)
    if found:
        return {path: tuple(replace(line, enabled=True) if line.valid and line.source == source else line
                            for line in lines) for path, lines in before.items()}  # fmt: skip
    path = posixpath.join(FOLDER, f"{filename or suggested(source)}.list")
    return {**before, path: (*before.get(path, ()), Line(True, True, source))}


def without(before: Files, source: str) -> Files:
    """Without every enabled line with that source."""
    return {
        path: tuple(line for line in lines if not (line.valid and line.enabled and line.source == source))
        for path, lines in before.items()
    }


def suggested(source: str) -> str:
    """Ansible's name for the file of a source: its address without protocol, password and marks."""
    plain = re.sub(r"\w+://", "", re.sub(r"\[[^\]]+\]", "", source))
    address = next(word for word in plain.split() if word not in _KINDS)
    return "_".join(re.sub("[^a-zA-Z0-9]", " ", address.rpartition("@")[2]).split())


def _written(
    changed: list[str], after: Files, texts: Mapping[str, str], args: Mapping[str, Any]
) -> Generator[Step, Reply, Outcome | None]:
    for path in changed:
        content = "".join(map(str, after[path])).encode()
        mode = args.get("mode", "") if path not in texts else ""
        reply = yield Change(Write(path=path, content=content, mode=mode or ("" if path in texts else "0644"))
                             if after[path] else Remove(path=path))  # fmt: skip
        if not well(reply) and not predicted(reply):
            return failure(reply, {}, f"can't write {path}")
    return None


def _put_back(changed: list[str], texts: Mapping[str, str]) -> Generator[Step, Reply, None]:
    """apt can't reach what the line names: leave its sources as they were, so that the next task can use apt."""
    for path in changed:
        yield Change(Write(path=path, content=texts[path].encode()) if path in texts else Remove(path=path))


def _difference(changed: list[str], texts: Mapping[str, str], after: Files) -> tuple[str, str]:
    before_text = "".join(texts.get(path, "") for path in changed)
    return before_text, "".join(str(line) for path in changed for line in after[path])
