"""Services by a real systemd that is process 1 of a machine that is thrown away, and by an init script without one."""

from __future__ import annotations

import pytest

from tests.parts.sandbox import Sandbox

pytestmark = pytest.mark.slow
UNIT = """[Unit]
Description=One {
[Service]
ExecStart=/bin/sleep 100000
ExecReload=/bin/true
[Install]
WantedBy=multi-user.target
"""
SCRIPT = """#!/bin/sh
### BEGIN INIT INFO
# Provides: cfinit
# Required-Start:
# Required-Stop:
# Default-Start: 2 3 4 5
# Default-Stop: 0 1 6
# Short-Description: a file that stands for a process
### END INIT INFO
echo "$*" >>/log
case $1 in
  start) touch /running ;;
  stop) rm -f /running ;;
  status) [ -e /running ] || exit 3 ;;
esac
"""


def states(machine: Sandbox) -> tuple[str, str]:
    """Whether the unit runs, and whether it is started at boot, as systemctl says."""
    asked = (
        machine.run("systemctl", verb, "cfone", check=False).stdout.strip() for verb in ("is-active", "is-enabled")
    )
    active, enabled = asked
    return active, enabled


def test_a_unit_is_brought_to_its_state_once(booted: Sandbox) -> None:
    booted.write("/etc/systemd/system/cfone.service", UNIT)
    played = booted.play("""
- systemd: {name: cfone, state: started, enabled: true, daemon_reload: true}
- systemd_service: {name: cfone.service, state: started, enabled: true}
- ansible.builtin.systemd_service: {name: cfone, state: restarted}
- service: {name: cfone, state: reloaded}
- service: {name: cfone, state: started}
""")
    assert played.changed == [True, False, True, True, False]
    assert states(booted) == ("active", "enabled")
    before = played.outcomes[0]["status"]
    assert (before["ActiveState"], before["Description"], before["LoadState"]) == ("inactive", "One {", "loaded")
    pids = [played.outcomes[number]["status"]["MainPID"] for number in (1, 4)]
    assert pids[0] != pids[1], "it was restarted"
    foreseen = booted.play("- systemd: {name: cfone, state: stopped, enabled: false}", "--check")
    assert (foreseen.changed, states(booted)) == ([True], ("active", "enabled"))
    assert booted.play("- systemd: {name: cfone, state: stopped, enabled: false}\n" * 2).changed == [True, False]
    assert states(booted) == ("inactive", "disabled")


def test_a_unit_is_masked_and_what_is_not_there_is_said(booted: Sandbox) -> None:
    booted.write("/usr/lib/systemd/system/cfone.service", UNIT)
    booted.write("/usr/lib/systemd/system/cfbad.service", "[Service]\nType=oneshot\nExecStart=/bin/false\n")
    played = booted.play("""
- systemd: {name: cfone, masked: true, daemon_reload: true}
- systemd: {name: cfone, masked: true}
- systemd: {name: cfone, masked: false}
- systemd: {name: cfbad, state: started}
  ignore_errors: true
- systemd: {name: nothere, state: started}
  ignore_errors: true
""")
    assert played.changed == [True, False, True, False, False]
    assert "Job for cfbad.service failed" in played.outcomes[3]["msg"]
    assert played.outcomes[4]["msg"] == "Could not find the requested service nothere: host"


def test_services_are_facts_as_systemctl_lists_them(booted: Sandbox) -> None:
    booted.write("/etc/systemd/system/cfone.service", UNIT)
    tasks = "- systemd: {name: cfone, state: started, daemon_reload: true}\n- service_facts:"
    services = booted.play(tasks).outcomes[1]["ansible_facts"]["services"]
    assert services["cfone.service"] == {
        "name": "cfone.service", "state": "running", "status": "disabled", "source": "systemd"
    }  # fmt: skip
    listed = booted.run("systemctl", "list-unit-files", "--type=service", "--no-legend").stdout.splitlines()
    assert {line.split()[0] for line in listed} <= set(services)


def test_an_init_script_serves_where_no_systemd_runs(machine: Sandbox) -> None:
    machine.write("/etc/init.d/cfinit", SCRIPT, "755")
    played = machine.play("""
- service: {name: cfinit, use: sysvinit, state: started, enabled: true}
- service: {name: cfinit, use: sysvinit, state: started, enabled: true}
- service: {name: cfinit, use: sysvinit, state: restarted, sleep: 1}
- service: {name: cfinit, use: sysvinit, state: reloaded, arguments: now}
- service: {name: cfinit, use: sysvinit, state: stopped, enabled: false}
- service: {name: cfinit, use: sysvinit, state: stopped, enabled: false}
- service: {name: nothere, use: sysvinit, state: stopped}
  ignore_errors: true
""")
    assert played.changed == [True, False, True, True, True, False, False]
    said = [line for line in machine.read("/log").splitlines() if not line.startswith("status")]
    assert said == ["start", "stop", "start", "reload now", "stop"]
    assert machine.run("sh", "-c", "ls /etc/rc2.d").stdout.count("K01cfinit") == 1
    assert played.outcomes[6]["msg"] == "Could not find the requested service nothere: host"


def test_a_unit_is_enabled_in_an_image_where_nothing_runs(machine: Sandbox) -> None:
    machine.write("/etc/systemd/system/cfone.service", UNIT)
    played = machine.play(
        "- systemd: {name: cfone, enabled: true, daemon_reload: true}\n- service: {name: cfone, enabled: true}"
    )
    assert played.changed == [True, False]
    assert machine.run("systemctl", "is-enabled", "cfone").stdout == "enabled\n"
