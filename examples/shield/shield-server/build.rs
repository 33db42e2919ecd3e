//! Bakes version and fault into the binary: a faulty build is faulty for good, as a real one would be.

use std::env;

const FAULTS: [&str; 3] = ["none", "errors", "slow"];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=SHIELD_FAULT");
    println!("cargo:rerun-if-env-changed=SHIELD_VERSION");
    let fault = given("SHIELD_FAULT").unwrap_or_else(|| "none".to_string());
    assert!(FAULTS.contains(&fault.as_str()), "SHIELD_FAULT is one of {FAULTS:?}, not {fault:?}");
    let version = given("SHIELD_VERSION").or_else(|| given("CARGO_PKG_VERSION")).unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-+_".contains(c);
    assert!(version.chars().all(plain), "SHIELD_VERSION takes letters, digits and .-+_, not {version:?}");
    println!("cargo:rustc-env=SHIELD_FAULT={fault}");
    println!("cargo:rustc-env=SHIELD_VERSION={version}");
}

fn given(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
