//! `shield`: asks the rules from a command line.

use shield_core::{RuleSet, Verdict};
use std::process::ExitCode;

const USAGE: &str = "usage: shield check [--rules FILE] METHOD TARGET\n\
                     exit code 0: allowed, 1: denied, 2: a mistake in the question";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match answer(&args.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(Verdict::Allow) => {
            println!("allow");
            ExitCode::SUCCESS
        }
        Ok(Verdict::Deny(rule)) => {
            println!("deny ({rule})");
            ExitCode::FAILURE
        }
        Err(message) => {
            eprintln!("shield: {message}");
            ExitCode::from(2)
        }
    }
}

fn answer(args: &[&str]) -> Result<Verdict, String> {
    match args {
        ["check", "--rules", file, method, target] => Ok(rules_in(file)?.judge(method, target)),
        ["check", method, target] => Ok(RuleSet::standard().judge(method, target)),
        _ => Err(USAGE.to_string()),
    }
}

fn rules_in(file: &str) -> Result<RuleSet, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
    RuleSet::parse(&text).map_err(|e| format!("{file}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_rules_are_asked_by_default() {
        assert_eq!(answer(&["check", "GET", "/"]), Ok(Verdict::Allow));
        assert!(matches!(answer(&["check", "TRACE", "/"]), Ok(Verdict::Deny(_))));
    }

    #[test]
    fn mistakes_are_told_apart_from_denials() {
        assert!(answer(&["chekc"]).unwrap_err().starts_with("usage:"));
        let missing = answer(&["check", "--rules", "/no/such/file", "GET", "/"]).unwrap_err();
        assert!(missing.starts_with("/no/such/file: "));
    }
}
