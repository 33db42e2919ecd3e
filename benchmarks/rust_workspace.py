"""A Rust workspace of many crates in layers, with derives, tests, and what they need of the registry."""

import random
from pathlib import Path

CRATES = 44
RECORDS = 6  # types in each, and as many tests
REGISTRY = {
    "serde": '{ version = "1", features = ["derive"] }',
    "serde_json": '"1"',
    "regex": '"1"',
    "thiserror": '"2"',
    "anyhow": '"1"',
    "url": '"2"',
    "toml": '"0.8"',
    "indexmap": '{ version = "2", features = ["serde"] }',
}


def write_workspace(root: Path, crates: int = CRATES, seed: int = 11) -> None:
    """Each crate needs up to three of the layers below it and three from the registry."""
    choose = random.Random(seed)
    for number in range(crates):
        folder = root / f"part{number}"
        (folder / "src").mkdir(parents=True)
        below = range(number // 6 * 6)
        needs = choose.sample(below, min(len(below), 3))
        others = {"serde", "serde_json", *choose.sample(sorted(REGISTRY), 2)}
        lines = [f'part{one} = {{ path = "../part{one}" }}' for one in needs]
        lines += [f"{name}.workspace = true" for name in sorted(others)]
        manifest = f'[package]\nname = "part{number}"\nversion = "1.0.0"\nedition = "2021"\n\n[dependencies]\n'
        (folder / "Cargo.toml").write_text(manifest + "\n".join(lines) + "\n")
        (folder / "src" / "lib.rs").write_text(source(number, needs))
    registry = "\n".join(f"{name} = {wanted}" for name, wanted in REGISTRY.items())
    (root / "Cargo.toml").write_text(
        f'[workspace]\nresolver = "2"\nmembers = ["part*"]\n\n[workspace.dependencies]\n{registry}\n'
    )
    (root / ".gitignore").write_text("/target\n")


def source(number: int, needs: list[int]) -> str:
    """Types with derives, functions over them and over what the crate needs, and tests."""
    used = " + ".join(["1", *(f"part{one}::total()" for one in needs)])
    types = "".join(
        f"#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]\n"
        f"pub struct Record{n} {{\n    pub id: u64,\n    pub name: String,\n    pub tags: Vec<String>,\n"
        f"    pub next: Option<Box<Record{n}>>,\n}}\n"
        f"pub fn text{n}(record: &Record{n}) -> String {{ serde_json::to_string(record).unwrap_or_default() }}\n"
        for n in range(RECORDS)
    )
    tests = "".join(
        f"    #[test] fn text{n}_is_read_back() {{\n"
        f'        let one = Record{n} {{ id: {n}, name: "a".into(), tags: vec![], next: None }};\n'
        f"        assert_eq!(serde_json::from_str::<Record{n}>(&text{n}(&one)).unwrap(), one);\n    }}\n"
        for n in range(RECORDS)
    )
    total = f"pub fn total() -> u64 {{ {used} }}\n"
    return f"//! Part {number}.\n{types}{total}#[cfg(test)]\nmod tests {{\n    use super::*;\n{tests}}}\n"
