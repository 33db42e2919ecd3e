"""Advisories of RustSec: Markdown behind TOML front matter (the database's README, "Advisory Format")."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

from ciflow.supply.advisory import Advisory, Kind
from ciflow.supply.errors import AdvisoryError
from ciflow.supply.versions import affected, requirement, semver

_FRONT = "```toml"
_PLACEHOLDER = "RUSTSEC-0000-0000"
_KINDS = {"unsound": Kind.UNSOUND, "unmaintained": Kind.UNMAINTAINED, "notice": Kind.NOTICE}
_CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"
_LOWEST = re.compile(r"(?:>=|\^|~|=)?\s*(\d+(?:\.\d+){0,2}(?:-[0-9A-Za-z.-]+)?)")


def parse(text: str, file: str) -> Advisory | None:
    """One file; None for a draft without a number and for what was withdrawn.

    Raises:
        AdvisoryError: naming the file, where it is no advisory. One that nobody can read may be the one that counts.
    """
    try:
        front, title = _parts(text.replace("\r\n", "\n"))
        document = tomllib.loads(front)
        return _advisory(document.get("advisory", document), document, title)
    except AdvisoryError as e:
        raise AdvisoryError(f"{file}: {e}") from e
    except (ValueError, RecursionError) as e:
        raise AdvisoryError(f"{file}: the front matter is not TOML: {e}") from e
    except (KeyError, TypeError, AttributeError) as e:
        raise AdvisoryError(f"{file}: lacks or misplaces {e}") from e


def _parts(text: str) -> tuple[str, str]:
    """(front matter, title)"""
    end = text.find("\n```", len(_FRONT))
    if not text.startswith(_FRONT) or end < 0:
        raise AdvisoryError("doesn't begin with front matter between ```toml and ```")
    heading = text[end + 4 :].lstrip()
    if not heading.startswith("# "):
        raise AdvisoryError("has no title (# ..) behind its front matter")
    return text[len(_FRONT) : end], heading[2:].partition("\n")[0].strip()


def _advisory(raw: Mapping[str, Any], document: Mapping[str, Any], title: str) -> Advisory | None:
    name, informational = _text(raw, "id"), raw.get("informational")
    if name == _PLACEHOLDER or raw.get("withdrawn"):
        return None
    versions = document["versions"]
    patched, unaffected = _texts(versions, "patched"), _texts(versions, "unaffected", ())
    platforms = document.get("affected", {})
    return Advisory(
        id=name,
        ecosystem="crates.io",
        package=_text(raw, "package"),
        title=title,
        kind=_KINDS.get(informational, Kind.NOTICE) if informational else Kind.VULNERABILITY,
        aliases=_texts(raw, "aliases", ()),
        affected=affected([requirement(one) for one in (*unaffected, *patched)]),
        fixed=tuple(sorted({low for one in patched if (low := _lowest(one))}, key=semver)),
        vectors=(raw["cvss"],) if raw.get("cvss") else (),
        url=f"https://rustsec.org/advisories/{name}.html",
        date=str(raw.get("date", "")),
        registry=_registry(raw.get("source")),
        only=tuple(f"{what} {one}" for what in ("arch", "os") for one in _texts(platforms, what, ())),
    )


def _text(raw: Mapping[str, Any], key: str) -> str:
    found = raw[key]
    if not isinstance(found, str) or not found:
        raise AdvisoryError(f"{key} is to be a text")
    return found


def _texts(raw: Mapping[str, Any], key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
    found = raw[key] if default is None else raw.get(key, default)
    if not isinstance(found, list | tuple) or not all(isinstance(one, str) for one in found):
        raise AdvisoryError(f"{key} is to be a list of texts")
    return tuple(found)


def _lowest(patched: str) -> str | None:
    """The first version that a patched range names as good; none where it begins behind one (`> 1.2.3`)."""
    match = _LOWEST.match(patched.strip())
    if match is None:
        return None
    core, dash, pre = match[1].partition("-")
    return ".".join(([*core.split("."), "0", "0"])[:3]) + dash + pre


def _registry(source: str | None) -> str:
    """A URL; empty for crates.io."""
    return "" if source is None or source == _CRATES_IO else source.partition("+")[2]
