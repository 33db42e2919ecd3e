"""A crate with a known hole: its advisory (severity medium, CVSS 5.3), and locks with it or with its mended version."""

HOLED, MENDED = "1.0.0", "1.0.1"
PLACE = "crates/leaky/RUSTSEC-2026-0001.md"  # in a database of advisories
ADVISORY = """```toml
[advisory]
id = "RUSTSEC-2026-0001"
package = "leaky"
date = "2026-01-01"
cvss = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:L/I:N/A:N"

[versions]
patched = [">= 1.0.1"]
```

# It leaks

Details.
"""


def lock(version: str) -> str:
    """A Cargo.lock of that version alone."""
    return f"""version = 4
[[package]]
name = "leaky"
version = "{version}"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "{"a" * 64}"
"""
