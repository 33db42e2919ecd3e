"""Looks packages up in databases of advisories. Reads a JSON object on standard input, writes one on standard output;
run by `modules/scan.py`, called by `ciflow scan`.

A program of its own for the sake of the journal: what the databases said at that time is its recorded reply, so that
a resumed run does not find something else.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from ciflow.modules.files.advisories import Database, default_cache, default_databases, opened
from ciflow.supply import policy
from ciflow.supply.advisory import Advisory
from ciflow.supply.contents import Contents, from_bill, from_lock
from ciflow.supply.errors import AdvisoryError, SupplyError
from ciflow.supply.findings import find
from ciflow.supply.scan import Report, findings_of, newest

_OLD = 90  # days after which a database is called old, as cargo-audit does


def main() -> int:
    try:
        wish = json.load(sys.stdin)
        report = scanned(wish)
        documents = {form: text for form in wish["formats"] for text in (written(report, form),)}
        print(json.dumps({**report.data(), "sentence": report.sentence(), "documents": documents}))
    except (SupplyError, OSError) as error:
        print(f"can't scan: {error}", file=sys.stderr)
        return 1
    return 0


def scanned(wish: Mapping[str, Any]) -> Report:
    """Look everything up.

    `wish`: text and path of the lock or bill, databases (paths), ignore, fail_on, since (a report's text, or empty),
    now (Unix seconds). Raises SupplyError.
    """
    contents = read(wish["text"], wish["path"])
    today = datetime.fromtimestamp(wish["now"], UTC).date()
    databases = [opened(path, default_cache()) for path in _databases(wish["databases"])]
    found = find(contents, lambda ecosystem, names: _about(databases, ecosystem, names))
    found, said = policy.judged(found, policy.ignores(wish["ignore"], "the scan"), today)
    if wish["since"]:
        found = policy.since(found, findings_of(wish["since"], "the earlier scan"))
    about = [_database(one) for one in databases]
    return Report(
        subject=_subject(wish, contents),
        databases=about,
        findings=found,
        said=(*said, *_remarks(contents, newest(about), today)),
        fail_on=tuple(wish["fail_on"]),
        at=int(wish["now"]),
        new_only=bool(wish["since"]),
    )


def read(text: str, path: str) -> Contents:
    """A lock file is TOML, a bill JSON: the first character tells."""
    return from_bill(text, path) if text.lstrip().startswith("{") else from_lock(text, path)


def written(report: Report, form: str) -> str:
    """A report in one of the formats."""
    match form:
        case "json":
            return json.dumps(report.data(), indent=2, sort_keys=True) + "\n"
    raise AdvisoryError(f"no format {form}")


def _databases(named: Sequence[str]) -> tuple[Path, ...]:
    found = tuple(Path(one).expanduser() for one in named) or default_databases()
    if not found:
        raise AdvisoryError(
            "there is no database of advisories: name one (RustSec's advisory-db or OSV's zip of an ecosystem), "
            "or set CIFLOW_ADVISORIES"
        )
    return found


def _about(databases: Iterable[Database], ecosystem: str, names: Sequence[str]) -> Iterator[Advisory]:
    for one in databases:
        yield from one.about(ecosystem, names)


def _database(one: Database) -> dict[str, Any]:
    return {"path": one.path, "advisories": one.count, "newest": one.newest, "fingerprint": one.fingerprint}


def _subject(wish: Mapping[str, Any], contents: Contents) -> dict[str, Any]:
    digest = hashlib.sha256(wish["text"].encode("utf-8", "surrogateescape")).hexdigest()
    return {"path": wish["path"], "sha256": digest, "packages": len(contents.parts)}


def _remarks(contents: Contents, last: str, today: date) -> Iterator[str]:
    others = sum(part.registry is None for part in contents.parts)
    if others:
        yield f"{others} packages are from no registry (paths, repositories): no advisory is about them"
    if last and last[:10] < (today - timedelta(days=_OLD)).isoformat():
        yield f"the newest advisory is of {last}: the database may be old, bring it up to date"


if __name__ == "__main__":
    sys.exit(main())
