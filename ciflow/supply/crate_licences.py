"""The crates of a workspace with their licences, and the notices that go with what is delivered."""

from __future__ import annotations

import json
import posixpath
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ciflow.supply.crates import Graph, parse_metadata
from ciflow.supply.errors import MetadataError
from ciflow.supply.licence_policy import Crate
from ciflow.supply.model import Dependency

_RULE = "=" * 80


def crates_of(metadata_json: str) -> tuple[Crate, ...]:
    """What a workspace gets from others, by name: `cargo metadata --filter-platform TRIPLE`.

    A crate is delivered when a chain of normal dependencies leads to it from a member, none of them a procedural
    macro; what build scripts and procedural macros need takes part in the build only. Members and what lies in the
    same workspace are nobody else's.

    Raises:
        MetadataError, UnsupportedError: all ValueError.
    """
    graph = parse_metadata(metadata_json)
    folders = _folders(metadata_json)
    ways = _ways(graph)
    found = {}
    for (id_, on_host), before in ways.items():
        package = graph.packages[id_]
        if package.source is None and not (package.path or "").startswith(".."):
            continue
        if id_ in found and on_host:
            continue
        found[id_] = Crate(
            name=package.name,
            version=package.version,
            licence=package.licence,
            source=package.source,
            directory=folders[id_],
            delivered=not on_host,
            chain=_chain(graph, ways, (id_, on_host)) if before else (),
            repository=package.repository or "",
        )
    return tuple(sorted(found.values(), key=lambda one: (one.name, one.version, one.source or "")))


State = tuple[str, bool]


def _ways(graph: Graph) -> dict[State, State | None]:
    """Each (package, whether it only runs on the build host) with what led to it first; delivered ones come first."""
    ways: dict[State, State | None] = {(id_, False): None for id_ in graph.members}
    waiting, later = deque(ways), deque[tuple[State, State]]()
    while waiting or later:
        if not waiting:
            state, before = later.popleft()
            if state in ways:
                continue
            ways[state] = before
            waiting.append(state)
        at = waiting.popleft()
        for edge in graph.edges.get(at[0], ()):
            host = at[1] or edge.kind is Dependency.BUILD or graph.packages[edge.target].proc_macro
            state = (edge.target, host)
            if state in ways:
                continue
            if host and not at[1]:
                later.append((state, at))
            else:
                ways[state] = at
                waiting.append(state)
    return ways


def _chain(graph: Graph, ways: Mapping[State, State | None], state: State | None) -> tuple[str, ...]:
    names = []
    while state is not None:
        package = graph.packages[state[0]]
        names.append(f"{package.name} {package.version}")
        state = ways[state]
    return tuple(reversed(names))


def _folders(metadata_json: str) -> Mapping[str, str]:
    try:
        return {one["id"]: posixpath.dirname(one["manifest_path"]) for one in json.loads(metadata_json)["packages"]}
    except (KeyError, TypeError) as e:
        raise MetadataError(f"the output of cargo metadata lacks or misplaces {e}") from e


# --- notices --------------------------------------------------------------------------------------------


def texts_of(output: bytes) -> Mapping[str, Sequence[tuple[str, str]]]:
    """What the host's script printed: by folder, the name and the text of each file that is about licences."""
    found: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for record in output.split(b"\x1e")[1:]:
        path, _, content = record.partition(b"\x1f")
        folder, name = posixpath.split(path.decode("utf-8", "surrogateescape"))
        found[folder].append((name, content.decode("utf-8", "replace")))
    return found


def notices(crates: Iterable[Crate], texts: Mapping[str, Sequence[tuple[str, str]]]) -> tuple[str, tuple[str, ...]]:
    """(the file, crates that bring no text). Each text stands once, below all crates that bring it."""
    by_text: dict[str, tuple[str, list[Crate]]] = {}
    without = []
    for crate in crates:
        own = texts.get(crate.directory, ())
        if not own:
            without.append(crate)
        for _, text in own:
            by_text.setdefault(" ".join(text.split()), (text, []))[1].append(crate)
    blocks = [_block(every, text) for text, every in by_text.values()]
    if without:
        lines = "\n".join(f"  {_line(one)}" for one in without)
        blocks.append(f"{_RULE}\nThese bring no text of their licence:\n{lines}\n")
    head = "This product contains software of others. These are their licences, each below the crates that bring it.\n"
    return "\n".join([head, *blocks]), tuple(one.label for one in without)


def _block(crates: Sequence[Crate], text: str) -> str:
    lines = "\n".join(f"  {_line(one)}" for one in dict.fromkeys(crates))
    return f"{_RULE}\n{lines}\n{_RULE}\n\n{_plain(text)}\n"


def _line(crate: Crate) -> str:
    said = crate.licence or "no licence said"
    line = f"{crate.label} ({said})" + (f", {crate.repository}" if crate.repository else "")
    return _plain(" ".join(line.split()))


def _plain(text: str) -> str:
    """Without what a terminal would obey, and without blanks around it."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n").expandtabs().split("\n")
    kept = ("".join(char for char in line if char.isprintable()).rstrip() for line in lines)
    return "\n".join(kept).strip("\n")


def summary(crates: Iterable[Crate]) -> dict[str, int]:
    """How many crates have which licence, the commonest first."""
    counts: defaultdict[str, int] = defaultdict(int)
    for one in crates:
        counts[one.licence or "none said"] += 1
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def data_of(crates: Iterable[Crate]) -> list[dict[str, Any]]:
    """As JSON has them, unjudged."""
    return [
        {"crate": one.name, "version": one.version, "licence": one.licence, "delivered": one.delivered,
         "chain": list(one.chain)}
        for one in crates
    ]  # fmt: skip
