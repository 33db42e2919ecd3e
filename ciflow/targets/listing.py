"""`python -m ciflow.targets.listing KIND SETTINGS`: hosts that a target's own place knows of, as an inventory script
would print them. A program of its own: who reads inventories knows of no targets, and keeps what scripts print.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ciflow.diagnostics import CiflowError

Hosts = dict[str, dict[str, Any]]  # variables by name


def _docker(settings: Mapping[str, Any]) -> Hosts:
    from ciflow.targets.docker import list_containers

    return list_containers(settings)


def _kubernetes(settings: Mapping[str, Any]) -> Hosts:
    from ciflow.targets.kube_list import list_pods

    return list_pods(settings)


LISTS: dict[str, Callable[[Mapping[str, Any]], Hosts]] = {"docker": _docker, "kubernetes": _kubernetes}


def main(kind: str, settings: str) -> int:
    try:
        found = LISTS[kind](json.loads(settings))
    except CiflowError as error:
        sys.stderr.write(f"{error.message} ({error.help})\n" if error.help else f"{error.message}\n")
        return 1
    sys.stdout.write(json.dumps(found, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
