"""Looks packages up in databases of advisories. Reads a JSON object on standard input, writes one on standard output;
run by `modules/scan.py`, called by `ciflow scan`.

A program of its own for the sake of the journal: what the databases said at that time is its recorded reply, so that
a resumed run does not find something else.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from ciflow import __version__
from ciflow.dataclass import dataclass, field
from ciflow.modules.files.advisories import default_cache, default_databases, opened
from ciflow.modules.files.yanked import yanked
from ciflow.supply import policy
from ciflow.supply.advisory import Advisory
from ciflow.supply.canonical import to_bytes
from ciflow.supply.contents import Contents, from_bill, from_lock
from ciflow.supply.errors import AdvisoryError, SupplyError
from ciflow.supply.findings import Finding, find, of_yanked
from ciflow.supply.scan import Report, findings_of, newest


class Asked(Protocol):
    """A database of advisories, wherever it is."""

    @property
    def path(self) -> str: ...
    @property
    def count(self) -> int: ...
    @property
    def newest(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    def about(self, ecosystem: str, names: Sequence[str]) -> Iterable[Advisory]:
        """All that it says of packages of these names."""


FORMATS = ("json", "sarif", "openvex", "cyclonedx-vex")
_OLD = 90  # days after which a database is called old, as cargo-audit does


@dataclass(frozen=True)
class Wish:
    """What is asked for. A text that there is not is empty.

    `text` is the lock or the bill, which lies at `path`; `policy` the policy file; `vex` has documents by name, `since`
    an earlier report. `online`: OSV itself is asked. `platforms` are those that count (`os linux`), all unless said;
    `fail_on` is what the policy says unless said. `now` is in Unix seconds.
    """

    text: str
    path: str
    now: float
    policy: str = ""
    policy_path: str = ""
    vex: Mapping[str, str] = field(default_factory=dict)
    since: str = ""
    databases: Sequence[str] = ()
    online: bool = False
    platforms: Sequence[str] = ()
    ignore: Sequence[Mapping[str, Any]] = ()
    fail_on: Sequence[str] = ()
    formats: Sequence[str] = ()


def main() -> int:
    try:
        wish = Wish(**json.load(sys.stdin))
        report = scanned(wish)
        documents = {form: written(report, form) for form in wish.formats}
        print(json.dumps({**report.data(), "msg": report.sentence(), "documents": documents}))
    except (SupplyError, OSError) as error:
        print(f"can't scan: {error}", file=sys.stderr)
        return 1
    return 0


def scanned(wish: Wish) -> Report:
    """Look everything up. Raises SupplyError."""
    contents = read(wish.text, wish.path)
    today = datetime.fromtimestamp(wish.now, UTC).date()
    databases = _databases(wish, contents)
    taken_back, unknown = yanked(contents.parts)
    found = (
        *find(contents, lambda ecosystem, names: _about(databases, ecosystem, names), wish.platforms),
        *of_yanked(contents, taken_back),
    )
    found, said, fail_on = _judged(wish, found, contents, today)
    about = [_database(one) for one in databases]
    return Report(
        subject=_subject(wish, contents),
        databases=about,
        findings=found,
        said=(*said, *_remarks(contents, unknown, newest(about), today)),
        fail_on=fail_on,
        at=int(wish.now),
        new_only=bool(wish.since),
    )


def _judged(
    wish: Wish, found: tuple[Finding, ...], contents: Contents, today: date
) -> tuple[tuple[Finding, ...], tuple[str, ...], tuple[str, ...]]:
    """(findings with what VEX, ignores and an earlier scan say of them, remarks, what makes it fail)."""
    project = policy.parse(wish.policy, wish.policy_path)
    if wish.vex:
        from ciflow.supply import vex

        found = vex.stated(
            found, [one for name, text in wish.vex.items() for one in vex.parse(text, name)], contents.products
        )
    entries = (*project.ignores, *policy.ignores(list(wish.ignore), "the task"))
    found, said = policy.judged(found, entries, today)
    if wish.since:
        found = policy.since(found, findings_of(wish.since, "the earlier scan"))
    return found, said, policy.levels(wish.fail_on, "the task") or project.fail_on or ("low",)


def read(text: str, path: str) -> Contents:
    """A lock file is called so, or has a package in the way of one; all else is a bill of materials."""
    if path.endswith(".lock") or re.search(r"^\[\[package\]\]$", text, re.MULTILINE):
        return from_lock(text, path)
    return from_bill(text.encode("utf-8", "surrogateescape"), path)


def written(report: Report, form: str) -> str:
    """A report in one of FORMATS."""
    from ciflow.supply import sarif, vex

    match form:
        case "json":
            return to_bytes(report.data()).decode()
        case "sarif":
            return sarif.scanned(report, __version__)
        case "openvex":
            return vex.openvex(report, f"ciflow {__version__}").decode()
        case "cyclonedx-vex":
            return vex.cyclonedx(report, __version__).decode()
    raise AdvisoryError(f"no format {form}: there are {', '.join(FORMATS)}")


def _databases(wish: Wish, contents: Contents) -> list[Asked]:
    """Those that are named, and OSV itself where it is to be asked; else those that are here anyway."""
    named: list[Asked] = [opened(Path(one).expanduser(), default_cache()) for one in wish.databases]
    if wish.online:
        from ciflow.modules.files.osv_online import asked

        named.append(asked(contents.parts))
    found = named or [opened(path, default_cache()) for path in default_databases()]
    if not found:
        raise AdvisoryError(
            "there is no database of advisories: name one (RustSec's advisory-db or OSV's zip of an ecosystem), "
            "or set CIFLOW_ADVISORIES"
        )
    return found


def _about(databases: Iterable[Asked], ecosystem: str, names: Sequence[str]) -> Iterator[Advisory]:
    for one in databases:
        yield from one.about(ecosystem, names)


def _database(one: Asked) -> dict[str, Any]:
    return {"path": one.path, "advisories": one.count, "newest": one.newest, "fingerprint": one.fingerprint}


def _subject(wish: Wish, contents: Contents) -> dict[str, Any]:
    digest = hashlib.sha256(wish.text.encode("utf-8", "surrogateescape")).hexdigest()
    return {
        "path": wish.path,
        "sha256": digest,
        "packages": len(contents.parts),
        "products": list(contents.products),
    }


def _remarks(contents: Contents, unknown: int, last: str, today: date) -> Iterator[str]:
    others = sum(part.registry is None for part in contents.parts)
    if others:
        yield f"no advisory is about what comes from a path or a repository: {others} of the packages"
    if unknown:
        yield f"cargo here has never asked whether these crates were yanked: {unknown} of the packages"
    if last and last[:10] < (today - timedelta(days=_OLD)).isoformat():
        yield f"the newest advisory is of {last}: the database may be old, bring it up to date"


if __name__ == "__main__":
    sys.exit(main())
