"""Files that sops has encrypted (https://getsops.io): opened by the `sops` program, which knows keys and clouds.

Values are encrypted one by one, so the file is YAML or JSON, with a last key `sops` that holds its own key, encrypted.
"""

from __future__ import annotations

import re
import subprocess

from ciflow.diagnostics import Diagnostic, Invalid, Span

SLOWEST = 60  # seconds; a key service may be far away
_YAML = re.compile(rb"^sops:\s*$", re.MULTILINE)
_JSON = re.compile(rb'"sops"\s*:\s*\{')
_MARK = b"ENC[AES256_GCM,"


def is_sops(path: str, content: bytes) -> bool:
    """Whether sops made this YAML or JSON file."""
    if _MARK not in content:
        return False
    return bool((_JSON if path.endswith(".json") else _YAML).search(content))


def open_sops(path: str, content: bytes) -> bytes:
    """The plain file. Raises Invalid (CF0017): sops is missing, or has no key for it, in its own words."""
    kind = "json" if path.endswith(".json") else "yaml"
    command = ["sops", "--decrypt", "--input-type", kind, "--output-type", kind, "/dev/stdin"]
    try:
        return subprocess.run(command, input=content, capture_output=True, check=True, timeout=SLOWEST).stdout
    except FileNotFoundError as error:
        help = "install sops (https://getsops.io), or encrypt the file with `ciflow vault encrypt`"
        raise _unopened("this file is encrypted by sops, and the program `sops` is not here", path, help) from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode("utf-8", "replace").strip()
        raise _unopened(f"sops doesn't open this file: {said}", path, "sops must find its key") from error
    except (OSError, subprocess.SubprocessError) as error:
        raise _unopened(f"sops did not run: {error}", path, "") from error


def _unopened(message: str, path: str, help: str) -> Invalid:
    return Invalid([Diagnostic("error", "CF0017", message, Span(path, 1, 1), help=help)])
