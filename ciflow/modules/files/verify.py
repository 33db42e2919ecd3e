"""Verifies one file. Reads a JSON object on standard input, writes one on standard output; run by `modules/verify.py`,
and called by `require` of a canary."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ciflow.diagnostics import CiflowError
from ciflow.supply.bundle import is_of
from ciflow.supply.errors import PolicyFault, SupplyError
from ciflow.supply.strict import MOST_BYTES
from ciflow.supply.trust import Policy, policy_of
from ciflow.supply.verify import Verdict, judge

MOST_BUNDLES = 64  # of one artifact: more is an attack on whoever verifies


def main() -> int:
    try:
        print(json.dumps(verified(json.load(sys.stdin))))
    except (SupplyError, CiflowError, OSError) as error:
        print(f"not verified: {_words(error)}", file=sys.stderr)
        return 1
    return 0


def _words(error: Exception) -> str:
    from ciflow.diagnostics import Invalid

    if isinstance(error, Invalid):
        return "\n".join(f"{one.span}: {one.message}" if one.span else one.message for one in error.diagnostics)
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}"
    return str(error)


def verified(wish: dict[str, Any]) -> dict[str, Any]:
    """What holds for the file. Raises SupplyError, OSError, Invalid (the policy's faults)."""
    data = Path(wish["path"]).read_bytes()
    verdict = judged(data, wish["name"], Path(wish["bundles"]).expanduser(), policy_at(wish["policy"]), wish["now"])
    origin = asdict(verdict.origins[0]) if verdict.origins else {}
    return {
        "path": wish["path"],
        "sha256": hashlib.sha256(data).hexdigest(),
        "signers": verdict.signers,
        "attestations": verdict.kinds,
        "origin": origin,
        "bundles": [voice.file for voice in verdict.voices],
    }


def policy_at(path: str) -> Policy:
    """The policy, or lone public key, in a file; what it names lies relative to it."""
    place = Path(path).expanduser()
    return policy_of(place.read_bytes(), str(place), lambda name: (place.parent / Path(name).expanduser()).read_bytes())


def judged(data: bytes, name: str, folder: Path, policy: Policy, now: float) -> Verdict:
    """All bundles of the artifact in a folder, against a policy."""
    found = sorted(path for path in folder.iterdir() if is_of(name, path.name))
    if not found:
        raise PolicyFault(f"nobody vouches for {name}: no {name}.sigstore.json in {folder}")
    if len(found) > MOST_BUNDLES:
        raise PolicyFault(f"{len(found)} bundles of {name} in {folder}: more than {MOST_BUNDLES}")
    return judge(data, {path.name: _read(path) for path in found}, policy, now)


def _read(path: Path) -> bytes:
    """No more of it than a bundle may have: `strict` refuses the one byte too many."""
    with path.open("rb") as file:
        return file.read(MOST_BYTES + 1)


if __name__ == "__main__":
    sys.exit(main())
