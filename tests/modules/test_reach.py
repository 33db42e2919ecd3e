"""Hosts that are out of reach for a while: a real sshd that is started late, or that "reboots"."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.parts.process import wait_for
from tests.parts.sshd import Sshd, sshd

pytestmark = pytest.mark.slow
PLAY = """
- hosts: web1
  gather_facts: false
  tasks:
    - name: it
      {task}
      register: said
    - name: told
      copy: {{content: "{{{{ said | to_json }}}}", dest: {out}}}
"""


def apply(folder: Path, server: Sshd, task: str) -> subprocess.CompletedProcess[str]:
    (folder / "hosts").write_text(server.inventory_line("web1") + "\n")
    (folder / "play.yml").write_text(PLAY.format(task=task, out=folder / "said.json"))
    argv = [sys.executable, "-m", "ciflow", "apply", "play.yml", "-i", "hosts", "--state", str(folder / "state")]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, timeout=240)


def test_a_host_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    with sshd(tmp_path / "sshd") as server:
        server.stop()

        def come() -> None:
            with socket.create_server((server.address, server.port)) as nobody:
                nobody.accept()[0].close()
            time.sleep(1.5)
            server.start()

        later = threading.Thread(target=come)
        later.start()
        done = apply(tmp_path, server, "wait_for_connection: {sleep: 1, timeout: 60}")
        later.join()
        assert done.returncode == 0, done.stderr
        assert '"elapsed": 0,' not in (tmp_path / "said.json").read_text()


def test_a_host_that_never_comes_is_a_failure_and_says_why(tmp_path: Path) -> None:
    with sshd(tmp_path / "sshd") as server:
        server.stop()
        done = apply(tmp_path, server, "wait_for_connection: {sleep: 1, timeout: 2}")
        assert done.returncode == 4, done.stderr
        assert "timed out waiting" in done.stdout + done.stderr


BOOT_ID = "/proc/sys/kernel/random/boot_id"


def rebooting(folder: Path) -> tuple[str, ...]:
    """In a mount namespace of its own, a file stands in for the kernel's boot id."""
    (folder / "boot_id").write_text("first\n")
    return ("unshare", "-m", "sh", "-c", f'mount --bind {folder / "boot_id"} {BOOT_ID} && exec "$@"', "sh")


def test_a_host_is_rebooted_and_waited_for(tmp_path: Path) -> None:
    """The command asks the test to end the server, as a machine that goes down ends it; it comes back another."""
    with sshd(tmp_path / "sshd", inside=rebooting(tmp_path)) as server:

        def go_down() -> None:
            wait_for((tmp_path / "go").exists)
            server.stop()
            (tmp_path / "boot_id").write_text("second\n")
            time.sleep(3)
            server.start()

        machine = threading.Thread(target=go_down)
        machine.start()
        done = apply(tmp_path, server, f"reboot: {{reboot_command: 'touch {tmp_path}/go', reboot_timeout: 180}}")
        machine.join(90)
        assert done.returncode == 0, done.stderr
        assert '"rebooted": true' in (tmp_path / "said.json").read_text()


def test_the_machine_that_ciflow_runs_on_is_never_rebooted(tmp_path: Path) -> None:
    with sshd(tmp_path / "sshd") as server:
        done = apply(tmp_path, server, f"reboot: {{reboot_command: 'touch {tmp_path}/go'}}")
        assert done.returncode == 4, done.stderr
        assert "can't be rebooted from here" in done.stdout + done.stderr
        assert not (tmp_path / "go").exists()
