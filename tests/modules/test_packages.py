"""Packages by the real apt, dpkg and pip, from an archive made here, on a machine that is thrown away."""

from __future__ import annotations

import itertools
import random
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from ciflow.modules.debian import order
from tests.parts.sandbox import Sandbox

# Makes /repo: cfold, cfbar, cfprov (which provides cfvirtual) and three versions of cffoo, which needs cfbar.
ARCHIVE = r"""
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*
mkdir -p /repo /build
make() {
  rm -rf /build/p; mkdir -p /build/p/DEBIAN /build/p/etc
  echo conf >/build/p/etc/$1.conf; echo /etc/$1.conf >/build/p/DEBIAN/conffiles
  printf "Package: $1\nVersion: $2\nArchitecture: all\nMaintainer: a <a@example.com>\nDescription: x\n$3" \
    >/build/p/DEBIAN/control
  dpkg-deb --build /build/p "$4/$1_$2_all.deb" >/dev/null
}
for version in 1.0 1.1 2.0; do make cffoo $version "Depends: cfbar\n" /repo; done
make cfbar 1.0 "" /repo; make cfold 0.9 "" /repo; make cfprov 1.0 "Provides: cfvirtual\n" /repo
make cflocal 3.0 "Depends: cfbar\n" /build
cd /repo && dpkg-scanpackages --multiversion . >Packages 2>/dev/null
echo "deb [trusted=yes] file:/repo ./" >/etc/apt/sources.list
apt-get -q update >/dev/null
"""


@pytest.fixture
def debian(machine: Sandbox) -> Sandbox:
    for program in ("apt-get", "dpkg-deb", "dpkg-scanpackages"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: make parts (dpkg-dev)")
    machine.run("sh", "-ec", ARCHIVE)
    return machine


def version(machine: Sandbox, package: str) -> str:
    """As dpkg says; empty where it is not installed."""
    wish = "${db:Status-Status} ${Version}"
    status, _, found = machine.run("dpkg-query", "-W", "-f", wish, package, check=False).stdout.partition(" ")
    return found if status == "installed" else ""


def test_versions_sort_as_dpkg_sorts_them() -> None:
    dpkg = shutil.which("dpkg")
    if dpkg is None:
        pytest.skip("dpkg is not installed")
    dice = random.Random(5)
    made = ["".join(dice.choices("019a.~+-:", weights=[4, 3, 1, 2, 3, 2, 1, 1, 0], k=dice.randint(1, 6)))
            for _ in range(60)]  # fmt: skip
    known = ["1.0", "1.0-1", "1.0~rc1", "1.0~rc1-1", "1.0+b1", "1:0.9", "0:1.0", "1.0a", "1.0.0", "10.0", "9", "1.00"]
    versions = [*known, *(f"1{text}" for text in made if not text.endswith("-"))]
    for one, other in itertools.islice(itertools.product(dice.sample(versions, 30), versions), 400):
        for sign, holds in (("lt", order(one, other) < 0), ("eq", order(one, other) == 0)):
            asked = subprocess.run([dpkg, "--compare-versions", one, sign, other], capture_output=True, check=False)
            assert (asked.returncode == 0) == holds, (one, sign, other)


@pytest.mark.slow
def test_packages_are_installed_upgraded_and_removed_only_where_they_must(debian: Sandbox) -> None:
    steps = (
        ("{name: cffoo=1.0}", True, "1.0"),
        ("{name: cffoo=1.0}", False, "1.0"),
        ("{name: cffoo}", False, "1.0"),
        ("{name: 'cffoo=1.*'}", True, "1.1"),
        ("{name: 'cffoo>=1.0'}", False, "1.1"),
        ("{name: cffoo, state: latest}", True, "2.0"),
        ("{name: cffoo, state: latest}", False, "2.0"),
        ("{name: cffoo=1.0, allow_downgrade: true}", True, "1.0"),
        ("{upgrade: dist}", True, "2.0"),
        ("{upgrade: yes}", False, "2.0"),
        ("{name: cffoo, state: absent}", True, ""),
        ("{name: cffoo, state: absent}", False, ""),
        ("{name: cffoo, state: absent, purge: true}", True, ""),
        ("{name: cffoo, state: absent, purge: true}", False, ""),
    )
    shown = "dpkg-query -W -f '${db:Status-Status} ${Version}' cffoo || true"
    played = debian.play("".join(f"- apt: {args}\n- shell: {shown}\n" for args, _, _ in steps))
    told = played.outcomes
    for (args, changed, installed), outcome, seen in zip(steps, told[::2], told[1::2], strict=True):
        state, _, found = seen["stdout"].partition(" ")
        assert (outcome["changed"], found if state == "installed" else "") == (changed, installed), args


@pytest.mark.slow
def test_names_that_stand_for_others_and_what_nothing_needs(debian: Sandbox) -> None:
    played = debian.play("""
- package: {name: [cffoo, cfprov], state: present}
- apt: {name: cfvirtual}
- apt: {name: 'cfp*', state: absent}
- apt: {name: cffoo, state: absent}
- apt: {autoremove: true}
- apt: {autoremove: true}
- apt: {deb: /build/cflocal_3.0_all.deb}
- apt: {deb: /build/cflocal_3.0_all.deb}
- apt: {clean: true}
""")
    assert played.changed == [True, False, True, True, True, False, True, False, True]
    assert [version(debian, name) for name in ("cfprov", "cfbar", "cflocal")] == ["", "1.0", "3.0"]


@pytest.mark.slow
def test_what_cannot_be_had_is_said_in_words(debian: Sandbox) -> None:
    wishes = {
        "cffoo=9": "no available installation candidate for cffoo=9",
        "nothere": "No package matching 'nothere' is available",
        "cfzz*": "No package(s) matching 'cfzz*' available",
    }
    played = debian.play("".join(f"- apt: {{name: '{name}'}}\n  ignore_errors: true\n" for name in wishes))
    assert [outcome["msg"] for outcome in played.outcomes] == list(wishes.values())


@pytest.mark.slow
def test_the_index_is_brought_up_to_date_when_it_is_old(debian: Sandbox) -> None:
    debian.run("touch", "-d", "2 hours ago", "/var/lib/apt/lists")
    played = debian.play("- apt: {update_cache: true, cache_valid_time: 3600}\n" * 2)
    assert [(o["changed"], o["cache_updated"]) for o in played.outcomes] == [(True, True), (False, False)]
    seen = debian.run("stat", "-c", "%Y", "/var/lib/apt/lists").stdout
    assert played.outcomes[1]["cache_update_time"] == int(seen)
    debian.run("mv", "/repo", "/gone")
    tasks = "- apt: {update_cache: true, update_cache_retries: 2, update_cache_retry_max_delay: 0}"
    debian.run("touch", "-d", "2 hours ago", "/var/lib/apt/lists")
    assert debian.play(tasks).outcomes[0]["msg"].startswith("Failed to update apt cache after 2 retries")


@pytest.mark.slow
def test_check_mode_rehearses_and_installs_nothing(debian: Sandbox) -> None:
    played = debian.play(
        "- apt: {name: cffoo}\n- apt: {name: cfold, state: absent}\n- apt: {upgrade: dist}", "-C", "-D"
    )
    assert played.changed[:2] == [True, False]
    assert "cfbar" in played.outcomes[0]["stdout"]
    assert version(debian, "cffoo") == ""


@pytest.mark.slow
def test_a_package_on_hold_stays(debian: Sandbox) -> None:
    played = debian.play("""
- apt: {name: cffoo=1.0}
- dpkg_selections: {name: cffoo, selection: hold}
- dpkg_selections: {name: cffoo, selection: hold}
- apt: {name: cffoo, state: latest}
  ignore_errors: true
- apt: {name: cffoo, state: latest, allow_change_held_packages: true}
""")
    assert played.changed == [True, True, False, False, True]
    assert [o["before"] for o in played.outcomes[1:3]] == ["install", "hold"]
    assert played.outcomes[3]["failed"]


@pytest.mark.slow
def test_a_source_is_added_enabled_taken_away_and_taken_back(debian: Sandbox) -> None:
    debian.run("cp", "-r", "/repo", "/repo2")
    line = "deb [trusted=yes] file:/repo2 ./"
    played = debian.play(f"""
- apt_repository: {{repo: '{line}'}}
- apt_repository: {{repo: '{line}'}}
- apt_repository: {{repo: 'deb [trusted=yes] file:/nowhere ./', update_cache_retries: 1}}
  ignore_errors: true
- command: apt-get -q update -o APT::Update::Error-Mode=any
- apt_repository: {{repo: '{line}', state: absent, update_cache: false}}
- apt_repository: {{repo: '{line}', state: absent, update_cache: false}}
""")
    assert played.changed == [True, False, False, True, True, False]
    added = ["/etc/apt/sources.list.d/file_repo2.list"]
    assert (played.outcomes[0]["sources_added"], played.outcomes[4]["sources_removed"]) == (added, added)
    assert debian.run("ls", "/etc/apt/sources.list.d").stdout == ""


@pytest.mark.slow
def test_a_source_of_the_newer_form_is_one_that_apt_reads(debian: Sandbox) -> None:
    debian.run("sh", "-c", "rm /etc/apt/sources.list; rm -rf /var/lib/apt/lists/*")
    source = "{name: Our Own, uris: 'file:/repo', suites: ./, trusted: true, enabled: true}"
    played = debian.play(f"""
- deb822_repository: {source}
- deb822_repository: {source}
- apt: {{name: cfold, update_cache: true}}
- deb822_repository: {{name: Our Own, state: absent}}
- deb822_repository: {{name: Our Own, state: absent}}
""")
    assert played.changed == [True, False, True, True, False]
    assert version(debian, "cfold") == "0.9"


@pytest.mark.slow
def test_installed_packages_are_facts_with_their_origin(debian: Sandbox) -> None:
    debian.run("sh", "-ec", "printf 'Origin: Ours\\n' >/repo/Release; apt-get -q update >/dev/null")
    played = debian.play(
        "- apt: {name: cfold}\n- package_facts:\n- assert: {that: \"'cfold' in ansible_facts.packages\"}"
    )
    assert played.changed == [True, False, False]
    packages = played.outcomes[1]["ansible_facts"]["packages"]
    assert packages["cfold"] == [
        {"name": "cfold", "version": "0.9", "arch": "all", "category": "", "origin": "Ours", "source": "apt"}
    ]
    counted = debian.run("sh", "-c", "dpkg-query -W -f '${db:Status-Status}\\n' | grep -c '^installed'").stdout
    assert sum(len(found) for found in packages.values()) == int(counted)


def wheel(folder: Path, version: str) -> None:
    """A wheel of the least that the format asks for (PEP 427)."""
    with zipfile.ZipFile(folder / f"cf_tool-{version}-py3-none-any.whl", "w") as archive:
        info = f"cf_tool-{version}.dist-info"
        archive.writestr("cf_tool.py", "")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: cf-tool\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


@pytest.mark.slow
def test_python_packages_are_installed_into_an_environment_once(machine: Sandbox, tmp_path: Path) -> None:
    for number in ("1.0", "2.0"):
        wheel(tmp_path, number)
        machine.run("sh", "-c", 'cat "$0" >/dev/null', str(tmp_path / f"cf_tool-{number}-py3-none-any.whl"))
    machine.write("/r.txt", "cf-tool==1.0\n")
    place = f"virtualenv: /env, virtualenv_command: python3 -m venv, extra_args: --no-index --find-links={tmp_path}"
    steps = (
        ("name: cf-tool==1.0", True),
        ("name: 'cf_tool>=1.0,<2'", False),
        ("name: cf-tool, state: latest", True),
        ("name: cf-tool, state: latest", False),
        ("name: cf-tool, version: '1.0'", True),
        ("requirements: /r.txt", False),
        ("name: cf-tool, state: forcereinstall", True),
        ("requirements: /r.txt", True),
    )
    if machine.run("python3", "-c", "import ensurepip", check=False).returncode:
        pytest.skip("this Python makes no environments (python3-venv)")
    before = machine.play(f"- pip: {{name: cf-tool, {place}}}", "--check")
    assert (before.changed, machine.run("test", "-e", "/env", check=False).returncode) == ([True], 1)
    assert machine.play("".join(f"- pip: {{{wish}, {place}}}\n" for wish, _ in steps)).changed == [c for _, c in steps]
    foreseen = machine.play(f"- pip: {{name: cf-tool==2.0, {place}}}\n- pip: {{name: CF.tool, {place}}}", "--check")
    assert foreseen.changed == [True, False]
    assert "cf-tool==1.0" in machine.run("/env/bin/pip", "list", "--format=freeze").stdout
    gone = machine.play("- pip: {name: cf-tool, state: absent, virtualenv: /env}\n" * 2)
    assert gone.changed == [True, False]
    lost = machine.play(f"- pip: {{name: nothere, {place}}}")
    assert "No matching distribution found for nothere" in lost.outcomes[-1]["msg"]
