"""What lies in a folder or an image: packages of Python, npm, Debian, Alpine and RPM, and programs that say what they
were built of.

A generator that is told what files there are and asks for those it needs: so one piece serves folders, images and
hosts. A file that can't be read is told by its place and ends it: a list that silently lacks something is worse.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

from ciflow.supply import apk, cargo_lock, distribution, dpkg, npm_lock, programs, python_env, rpm
from ciflow.supply.errors import DocumentError, SupplyError
from ciflow.supply.model import Bom, Completeness, Component, Phase, Relation
from ciflow.supply.wanted import Asking, Entry, whole

MOST_TEXT = 64 * 1024 * 1024
LEAST_PROGRAM = 4096  # bytes; what says what it was built of is larger
Found = tuple[Sequence[Component], Sequence[Relation]]


def catalogue(entries: Sequence[Entry], subject: Component) -> Asking[Bom]:
    """The bill of all that is found. `subject` has whatever nobody else needs.

    Raises:
        DocumentError: with the path of the file, and the place in it.
    """
    found: list[Found] = []
    release = yield from _release(entries)
    if system := distribution.system(release):
        found.append(([system], ()))
    debian = yield from _texts(entries, dpkg.FILES)
    found.append(dpkg.packages([content for _, content in debian], release))
    alpine = yield from _texts(entries, apk.FILES)
    found.append(apk.packages([content for _, content in alpine], release))
    databases = [entry for entry in entries if rpm.FILES.match(entry.path)]
    for entry in databases or [one for one in entries if rpm.OLD.match(one.path)]:
        content = yield from _all(entry, rpm.MOST_BYTES)
        found.append(rpm.packages(entry.path, content, release))
    python = yield from _texts(entries, python_env.FILES)
    found.append(python_env.distributions(python))
    for path, content in (yield from _texts(entries, npm_lock.FILES)):
        if "/node_modules/" not in f"/{path}":
            found.append(_placed(path, partial(npm_lock.packages, content)))
    for entry in (one for one in entries if one.path.rpartition("/")[2] == "Cargo.lock"):
        content = yield from whole(entry, MOST_TEXT)
        found.append(_placed(entry.path, partial(_crates, entry, content)))
    for entry in entries:
        if entry.executable and entry.size >= LEAST_PROGRAM:
            program = yield from programs.inside(entry)
            if program is not None:
                found.append(program)
    return _bill(subject, found)


def _release(entries: Sequence[Entry]) -> Asking[dict[str, str]]:
    """`etc` wins over `usr/lib`, to which it is usually a link."""
    texts = yield from _texts(sorted(entries, key=lambda e: e.path), distribution.OS_RELEASE)
    return distribution.os_release(texts[0][1]) if texts else {}


def _all(entry: Entry, most: int) -> Asking[bytes]:
    if entry.size > most:
        raise DocumentError(f"{entry.path}: {entry.size} bytes; more than {most} are not read")
    return (yield from whole(entry, most))


def _texts(entries: Iterable[Entry], pattern: re.Pattern[str]) -> Asking[list[tuple[str, bytes]]]:
    found = []
    for entry in entries:
        if pattern.match(entry.path):
            found.append((entry.path, (yield from whole(entry, MOST_TEXT))))
    return found


def _placed(path: str, reading: Callable[[], Found]) -> Found:
    try:
        return reading()
    except SupplyError as error:
        raise DocumentError(f"{path}: {error}") from error


def _crates(entry: Entry, content: bytes) -> Found:
    folder = entry.path.rpartition("/")[0].rpartition("/")[2]
    bom = cargo_lock.from_lock(content.decode("utf-8", "replace"), folder or "workspace")
    return [bom.subject, *bom.components], bom.relations


def _bill(subject: Component, found: Iterable[Found]) -> Bom:
    """One component for each ref. Whatever no chain from the subject leads to, the subject has."""
    parts: dict[str, Component] = {}
    relations: dict[Relation, None] = {}
    for components, edges in found:
        for component in components:
            known = parts.get(component.ref)
            parts[component.ref] = component if known is None else _both(known, component)
        relations.update(dict.fromkeys(edges))
    parts.pop(subject.ref, None)
    led_to = {relation.target for relation in relations}
    tops = [ref for ref in sorted(parts) if ref not in led_to]
    tops += _unreached(tops, parts, relations)
    edges = sorted((*(Relation(subject.ref, ref) for ref in tops), *relations),
                   key=lambda r: (r.source, r.target, r.kind.value))  # fmt: skip
    components = tuple(sorted(parts.values(), key=lambda c: c.ref))
    return Bom(subject, components, tuple(edges), Completeness.UNKNOWN, Phase.POST_BUILD)


def _both(one: Component, other: Component) -> Component:
    """The same thing found twice: at several places."""
    return replace(one, properties=tuple(dict.fromkeys((*one.properties, *other.properties))))


def _unreached(tops: Sequence[str], parts: Iterable[str], relations: Iterable[Relation]) -> list[str]:
    """The first of each circle that nothing leads into."""
    outgoing: dict[str, list[str]] = {}
    for relation in relations:
        outgoing.setdefault(relation.source, []).append(relation.target)
    reached: set[str] = set()
    added = []
    for ref in (*tops, *sorted(parts)):
        if ref not in reached:
            if ref not in tops:
                added.append(ref)
            waiting = [ref]
            while waiting:
                at = waiting.pop()
                if at not in reached:
                    reached.add(at)
                    waiting += outgoing.get(at, ())
    return added
