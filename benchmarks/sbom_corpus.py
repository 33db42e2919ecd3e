"""The corpus of workspaces, through ciflow and its peers: who lists exactly what is built.

usage: python -m benchmarks.sbom_corpus     (peers are taken from the PATH; one that is not there has no column)

A case is right when the package URLs of the components are those that are right, each as often; `-2 +1` says how many
are missing and how many are too many. A git package is right with any `vcs_url` that names its commit. `scope` is
right when, besides, everything that only helps in building is marked as excluded.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ciflow.supply import purls
from ciflow.supply.errors import SupplyError
from tests.supply.corpus import CASES
from tests.supply.lay import Laid, lay

Listed = Counter[tuple[str, str]]


def ciflow(root: Path) -> list[Any]:
    return [_json([sys.executable, "-m", "ciflow", "sbom", str(root)], root)]


def syft(root: Path) -> list[Any]:
    return [_json(["syft", "-q", "scan", f"dir:{root}", "-o", "cyclonedx-json"], root)]


def cdxgen(root: Path) -> list[Any]:
    out = root.parent / "cdxgen.json"
    _run(["cdxgen", "-t", "rust", "-o", str(out), str(root)], root)
    return [json.loads(out.read_bytes())]


def cargo_cyclonedx(root: Path) -> list[Any]:
    """It writes a document beside each manifest; those of the programs count."""
    _run(["cargo", "cyclonedx", "-f", "json", "--override-filename", "peer"], root)
    found = sorted(path for path in root.rglob("peer.json") if (path.parent / "src" / "main.rs").exists())
    return [json.loads(path.read_bytes()) for path in found]


TOOLS: dict[str, tuple[str, Callable[[Path], list[Any]]]] = {
    "ciflow": ("cargo", ciflow),
    "cargo-cyclonedx": ("cargo-cyclonedx", cargo_cyclonedx),
    "syft": ("syft", syft),
    "cdxgen": ("cdxgen", cdxgen),
}


def _run(argv: list[str], root: Path) -> bytes:
    environment = {**os.environ, "CARGO_NET_OFFLINE": "true"}
    done = subprocess.run(argv, cwd=root, capture_output=True, timeout=300, env=environment)
    if done.returncode:
        raise RuntimeError(f"{argv[0]}: {done.stderr.decode(errors='replace')[-300:]}")
    return done.stdout


def _json(argv: list[str], root: Path) -> Any:
    return json.loads(_run(argv, root))


def listed(documents: Iterable[Any]) -> Listed:
    """(purl, scope) of the packages of documents; the same one in several, or as subject and part, counts once."""
    found: Listed = Counter()
    for document in documents:
        subject = document["metadata"].get("component", {})
        for parts in (document.get("components", ()), [subject]):
            found |= Counter(_one(part) for part in parts if _is_package(part))
    return found


def _is_package(part: Any) -> bool:
    return str(part.get("purl", "")).startswith("pkg:cargo/")


def _one(part: Any) -> tuple[str, str]:
    return _plain(part["purl"]), "excluded" if part.get("scope") == "excluded" else "required"


def _plain(text: str) -> str:
    """Canonical; of a repository only the commit, since its address may be written in several ways."""
    try:
        one = purls.parse(text)
    except SupplyError:
        return text
    commits = re.findall(r"[0-9a-f]{40}", dict(one.qualifiers).get("vcs_url", ""))
    kept = [("vcs_url", commits[-1])] if commits else []
    kept += [pair for pair in one.qualifiers if pair[0] == "repository_url"]
    return purls.purl(one.kind, one.name, one.version, kept)


def judged(found: Listed, laid: Laid) -> str:
    """What a cell of the table says."""
    right: Listed = Counter(
        (_plain(purl.strip()), scope) for purl, scope in laid.right.items() if purl.startswith("pkg:cargo/")
    )
    names, wanted = (Counter(purl for purl, _ in one.elements()) for one in (found, right))
    missing, extra = (wanted - names).total(), (names - wanted).total()
    if missing or extra:
        return " ".join(filter(None, (f"-{missing}" if missing else "", f"+{extra}" if extra else "")))
    return "right" if found == right else "scope wrong"


def main() -> None:
    tools = {name: tool for name, (program, tool) in TOOLS.items() if shutil.which(program)}
    print("| case | " + " | ".join(tools) + " |")
    print("|---" * (len(tools) + 1) + "|")
    total, leaks = Counter[str](), Counter[str]()
    for case in CASES:
        cells = []
        for name, tool in tools.items():
            with tempfile.TemporaryDirectory() as folder:
                laid = lay(case, Path(folder))
                try:
                    documents = tool(laid.root)
                    leaks[name] += not case.repositories and folder in json.dumps(documents)
                    cell = judged(listed(documents), laid)
                except (RuntimeError, OSError, ValueError) as error:
                    print(f"{name}, {case.name}: {error}", file=sys.stderr)
                    cell = "fails"
            total[name] += cell == "right"
            cells.append(cell)
        print(f"| {case.name} | " + " | ".join(cells) + " |", flush=True)
    print("| names a folder of this machine | " + " | ".join(str(leaks[name]) for name in tools) + " |")
    print("| **right** | " + " | ".join(f"{total[name]} of {len(CASES)}" for name in tools) + " |")


if __name__ == "__main__":
    main()
