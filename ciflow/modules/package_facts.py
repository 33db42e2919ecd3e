"""`package_facts`: every package that is installed on the host, with its version."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from ciflow.model import Context, Outcome, Probe, Steps
from ciflow.modules.execute import whole_stdout
from ciflow.modules.program import broken, questions, sections
from ciflow.modules.replies import well

_LOOK = r"""
command -v dpkg-query >/dev/null || exit 127
section native; dpkg --print-architecture
section installed
dpkg-query -W -f='${db:Status-Status}\t${Package}\t${Architecture}\t${Version}\t${Section}\n' | grep '^installed'
section sources; apt-cache policy 2>/dev/null
section policy
dpkg-query -W -f='${Package}:${Architecture}\n' | sed 's/:all$//' | xargs -r apt-cache policy 2>/dev/null
true
"""


def run(_args: Mapping[str, Any], context: Context) -> Steps:
    """dpkg says what is installed, apt where each version came from."""
    reply = yield Probe(questions(_LOOK, (), context))
    if reply.rc == 127:
        msg = "Could not detect a supported package manager: the host has no dpkg; others can't be read yet"
        return Outcome(failed=True, msg=msg)
    if not well(reply):
        return broken(reply, "can't ask for packages")
    whole = yield from whole_stdout(reply)
    if not isinstance(whole, bytes):
        return broken(whole, "can't read what dpkg said")
    facts = {"packages": _packages(sections(whole))}
    return Outcome(facts=facts, data={"ansible_facts": facts})


def _packages(said: Mapping[str, str]) -> dict[str, list[dict[str, str]]]:
    """By name, which for another architecture than the host's own has that behind a colon, as apt has it."""
    native, origins = said["native"].strip(), _origins(said)
    found: dict[str, list[dict[str, str]]] = {}
    for line in said["installed"].splitlines():
        _, name, arch, version, section = line.split("\t")
        name = name if arch in (native, "all") else f"{name}:{arch}"
        found[name] = [
            {"name": name, "version": version, "arch": arch, "category": section,
             "origin": origins.get(name, ""), "source": "apt"}
        ]  # fmt: skip
    return found


def _origins(said: Mapping[str, str]) -> dict[str, str]:
    """Package to the `o=` of the first archive that has its installed version; missing where none has."""
    known = dict(_archives(said.get("sources", "")))
    found: dict[str, str] = {}
    package, installed = "", False
    for line in said.get("policy", "").splitlines():
        if line and not line[0].isspace():
            package, installed = line.rstrip(":"), False
        elif line.startswith(" *** "):
            installed = True
        elif installed and package not in found and (place := re.match(r" {8}\s*-?\d+ (\S.*)", line)):
            found[package] = known.get(place[1].strip(), "")
        elif re.match(r" {5}\S", line):
            installed = False
    return found


def _archives(said: str) -> list[tuple[str, str]]:
    """Address lines of `apt-cache policy` with the `o=` of the release line below each."""
    lines = said.splitlines()
    pairs = list[tuple[str, str]]()
    for line, below in pairwise(lines):
        place, origin = re.match(r"\s*-?\d+ (\S.*)", line), re.search(r"\bo=([^,]*)", below)
        if place and below.lstrip().startswith("release "):
            pairs.append((place[1].strip(), origin[1] if origin else ""))
    return pairs
