"""Somebody's own router for `router: {command: ..}`: an HAProxy that a script turns, reads and counts.

Run as `python own_router.py set|read|counts FOLDER`; HAProxy's map, socket and configuration are in that folder.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

SHARE = "share"  # the map's only key: the share of slot b in hundredths of a percent


def say(folder: Path, line: str) -> str:
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(5)
        link.connect(str(folder / "admin.sock"))
        link.sendall(f"{line}\n".encode())
        return b"".join(iter(lambda: link.recv(65536), b"")).decode()


def turn(folder: Path, environment: Mapping[str, str]) -> None:
    """The file has what HAProxy starts with, its memory what it does now."""
    fresh = folder / "own.map.new"
    fresh.write_text(f"{SHARE} {round(float(environment['CIFLOW_SAFE']) * 100)}\n")
    fresh.rename(folder / "own.map")
    share = round(float(environment["CIFLOW_SHARE"]) * 100)
    said = say(folder, f"set map {folder}/own.map {SHARE} {share}")
    if said.strip():
        raise SystemExit(said)


def share(folder: Path) -> str:
    return f"{int(say(folder, f'show map {folder}/own.map').split()[-1]) / 100:g}"


def counts(folder: Path) -> str:
    import json

    from ciflow.rollout.routers import haproxy_config as config
    from tests.rollout.rig import EDGES, SERVICE

    settings = config.HaproxySettings(f"{folder}/admin.sock", SERVICE, f"{folder}/own.map", overdue=1, edges=EDGES)
    rows = config.parse_stat(say(folder, ";".join(f"show stat {SERVICE}_{slot} 6 -1" for slot in "ab")))
    slow = config.parse_table(say(folder, f"show table {settings.table}"))
    late = config.parse_sessions(say(folder, "show sess"), settings.overdue)
    found: dict[str, object] = {"identity": config.parse_info(say(folder, "show info"))["Pid"]}
    for slot in "ab":
        one = config.slot_counts(settings, slot, rows, slow.get(slot, {}), late.get(f"{SERVICE}_{slot}", 0))
        names = ("requests", "bad", "unanswered", "overdue", "diverted", "client_errors", "retries")
        numbers = {name: getattr(one, name) for name in names}
        found[slot] = {**numbers, "slower": {str(edge): n for edge, n in one.slower.items()}}
    return json.dumps(found)


def main(verb: str, folder: Path) -> None:
    if verb == "set":
        turn(folder, os.environ)
    else:
        print(share(folder) if verb == "read" else counts(folder))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
