"""What paramiko takes along is left out of a start, and is there when somebody uses it."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path


def in_a_new_process(code: str, home: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"HOME": str(home)}
    )
    return done.stdout.splitlines()


def test_reaching_a_host_loads_neither_invoke_nor_the_reader_of_metadata(tmp_path: Path) -> None:
    code = (
        "import sys, ciflow.targets.ssh\n"
        "print({'invoke', 'importlib.metadata', 'email'} & set(sys.modules))\n"
        "import paramiko; print(paramiko.__version__, paramiko.Transport._CLIENT_ID)\n"
        "from importlib import metadata; print(metadata.version('paramiko'), metadata.version('pyyaml'))\n"
        "import invoke; print(invoke.__version__)"
    )
    version = metadata.version("paramiko")
    assert in_a_new_process(code, tmp_path) == [
        "set()",
        f"{version} paramiko_{version}",
        f"{version} {metadata.version('pyyaml')}",
        metadata.version("invoke"),
    ]


def test_a_match_exec_of_the_users_ssh_config_is_obeyed(tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/config").write_text('Match exec "true"\n    User ada\nMatch exec "false"\n    Port 2222\n')
    code = "from ciflow.targets.ssh import settings_for; print(settings_for('web', '', {}))"
    (found,) = in_a_new_process(code, tmp_path)
    assert "'user': ['ada']" in found
    assert "2222" not in found


def test_a_package_without_a_folder_of_metadata_says_its_version_the_long_way(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/__init__.py").write_text("from importlib import metadata\nversion = metadata.version('pip')\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from ciflow.late import lean_import\n"
        "with lean_import('plain', 'nobody_has_this'): import plain\n"
        "import importlib; print(plain.version, importlib.metadata.__name__)"
    )
    assert in_a_new_process(code, tmp_path) == [f"{metadata.version('pip')} importlib.metadata"]
