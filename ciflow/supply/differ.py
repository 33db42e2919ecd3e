"""What changed between two bills of materials."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from enum import Enum

from ciflow.dataclass import dataclass
from ciflow.supply import purls
from ciflow.supply.errors import SupplyError
from ciflow.supply.model import Bom, Component


class What(Enum):
    """How a component differs."""

    ADDED = "added"
    REMOVED = "removed"
    UPGRADED = "upgraded"
    DOWNGRADED = "downgraded"
    CHANGED = "changed"


@dataclass(frozen=True)
class Change:
    """`fields` name what differs in a component whose version is the same: (field, old, new)."""

    what: What
    name: str
    old: Component | None
    new: Component | None
    fields: tuple[tuple[str, str, str], ...] = ()


# Hashes of one version that differ are the worst news a bill can bring.
_COMPARED = ("hashes", "scope", "licence", "concluded", "supplier", "download", "kind", "properties")


def compare(old: Bom, new: Bom) -> list[Change]:
    """Changes by name. Versions of one package are paired from the lowest; refs and order of documents don't matter."""
    before, after = _packages(old.components), _packages(new.components)
    changes = list(_subject(old.subject, new.subject))
    for package in sorted({*before, *after}):
        changes += _versions(package[1], before.get(package, []), after.get(package, []))
    return changes


def _packages(components: Iterable[Component]) -> Mapping[tuple[str, str], list[Component]]:
    """By what stays the same over versions: the purl without them, or the name."""
    found: defaultdict[tuple[str, str], list[Component]] = defaultdict(list)
    for component in components:
        found[_identity(component), component.name].append(component)
    return found


def _identity(component: Component) -> str:
    try:
        known = purls.parse(component.purl or "")
    except SupplyError:
        return ""
    kept = tuple((key, value) for key, value in known.qualifiers if key not in ("vcs_url", "checksum"))
    return str(purls.Purl(known.kind, known.namespace, known.name, None, kept, known.subpath))


def _subject(old: Component, new: Component) -> Iterable[Change]:
    if (old.name, old.version) != (new.name, new.version):
        yield Change(_direction(old, new), new.name, old, new)
    elif fields := _fields(old, new):
        yield Change(What.CHANGED, new.name, old, new, fields)


def _versions(name: str, old: list[Component], new: list[Component]) -> Iterable[Change]:
    same = {_key(one) for one in old} & {_key(one) for one in new}
    for key in sorted(same):
        first = next(one for one in old if _key(one) == key)
        second = next(one for one in new if _key(one) == key)
        if fields := _fields(first, second):
            yield Change(What.CHANGED, name, first, second, fields)
    gone = sorted((one for one in old if _key(one) not in same), key=_order)
    come = sorted((one for one in new if _key(one) not in same), key=_order)
    pairs = min(len(gone), len(come))
    for first, second in zip(gone[:pairs], come[:pairs], strict=True):
        yield Change(_direction(first, second), name, first, second)
    yield from (Change(What.REMOVED, name, one, None) for one in gone[pairs:])
    yield from (Change(What.ADDED, name, None, one) for one in come[pairs:])


def _key(component: Component) -> tuple[str, str]:
    return component.version or "", component.purl or ""


def _direction(old: Component, new: Component) -> What:
    if old.version == new.version:
        return What.CHANGED
    return What.UPGRADED if _order(old) < _order(new) else What.DOWNGRADED


def _order(component: Component) -> tuple[object, ...]:
    """Semantic order where numbers are (semver.org, clause 11): a pre-release comes before its release."""
    version = (component.version or "").partition("+")[0]
    release, dash, early = version.partition("-")
    return _words(release), not dash, _words(early), component.version or ""


def _words(text: str) -> tuple[tuple[int, int, str], ...]:
    """Numbers by their length and digits, which takes no time however long they are."""
    words = (word.lstrip("0") if word.isdecimal() else word for word in text.split(".") if word)
    return tuple((0, len(word), word) if not word or word.isdecimal() else (1, 0, word) for word in words)


def _fields(old: Component, new: Component) -> tuple[tuple[str, str, str], ...]:
    pairs = ((field, _said(getattr(old, field)), _said(getattr(new, field))) for field in _COMPARED)
    return tuple((field, first, second) for field, first, second in pairs if first != second)


def _said(value: object) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, tuple):
        return ", ".join(_said(one) for one in value)
    name, digest = getattr(value, "algorithm", None), getattr(value, "value", None)
    if name is not None:
        return f"{name} {digest}"
    return "" if value is None else str(getattr(value, "name", value))
