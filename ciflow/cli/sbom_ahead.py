"""What a bill of a workspace will need, read while cargo still works on its plan of the build.

Manifests of the crates that the lock pins are read where cargo usually unpacks or finds them, and what they say is
remembered (`manifests.package_of`). What the plan then asks for is read again by the module, as on any host: nothing
that is guessed here gets into a bill. It takes a tenth of the time of the whole off it.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path

from ciflow.supply import manifests
from ciflow.supply.crates import parse_lock, parse_origin
from ciflow.supply.errors import SupplyError


def remember(folder: Path) -> None:
    """Whatever is missing or otherwise than usual is passed over: then it is read when it is asked for."""
    try:
        lock = parse_lock((folder / "Cargo.lock").read_text("utf-8"))
        packages = [one for one in lock.packages if one.source and parse_origin(one.source).is_registry]
    except (OSError, UnicodeDecodeError, SupplyError):
        return
    places = list(_places(folder))
    for one in packages:
        for place in places:
            path = f"{place}/{one.name}-{one.version}/Cargo.toml"
            if not os.path.exists(path):  # noqa: PTH110 - a thousand of them, and a Path takes longer than to look
                path = f"{place}/{one.name}/Cargo.toml"
            try:
                with open(path, encoding="utf-8", errors="replace", newline="") as file:  # noqa: PTH123 - as above
                    manifests.package_of(f"{one.source}#{one.name}@{one.version}", path, manifests.ended(file.read()))
            except OSError:
                continue


def _places(folder: Path) -> Iterator[str]:
    """Folders of unpacked crates: of registries (the Cargo book, "Cargo Home"), and of the workspace's own settings."""
    home = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    yield from map(str, (home / "registry" / "src").glob("*"))
    try:
        said = tomllib.loads((folder / ".cargo" / "config.toml").read_text("utf-8")).get("source")
    except (OSError, ValueError):
        return
    for one in said.values() if isinstance(said, dict) else ():
        if isinstance(one, dict) and isinstance(one.get("directory"), str):
            yield str(folder / one["directory"])
