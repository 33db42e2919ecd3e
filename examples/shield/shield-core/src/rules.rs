//! Rules in order, the first that matches decides; what no rule names is allowed.

use std::fmt;

/// What shield says to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Let it through.
    Allow,
    /// Refuse it; the text is the rule that did.
    Deny(String),
}

/// `allow|deny METHOD|* PATTERN`; in a pattern `*` stands for any run of characters, `/` too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    deny: bool,
    method: String,
    pattern: String,
}

/// A line of a rule file that is no rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleError {
    /// Line, from 1.
    pub line: usize,
    /// What was expected.
    pub message: &'static str,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for RuleError {}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = if self.deny { "deny" } else { "allow" };
        write!(f, "{action} {} {}", self.method, self.pattern)
    }
}

/// Rules in the order they are asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleSet {
    rules: Vec<Rule>,
}

impl RuleSet {
    /// What no public service should answer: hidden files but for `.well-known`, TRACE.
    pub fn standard() -> Self {
        let text = "allow * /.well-known/*\ndeny * */.*\ndeny TRACE *\n";
        Self::parse(text).expect("the standard rules are well formed")
    }

    /// One rule a line; empty lines and `#` comments are skipped.
    ///
    /// ```
    /// use shield_core::{RuleSet, Verdict};
    /// let rules = RuleSet::parse("deny * /admin*").unwrap();
    /// assert_eq!(rules.judge("GET", "/admin/x"), Verdict::Deny("deny * /admin*".into()));
    /// assert_eq!(rules.judge("GET", "/"), Verdict::Allow);
    /// ```
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let lines = text.lines().enumerate().map(|(i, line)| (i + 1, line.trim()));
        let meant = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let rules = meant.map(|(number, line)| parse_rule(number, line)).collect::<Result<_, _>>()?;
        Ok(RuleSet { rules })
    }

    /// The verdict on a request target as it was sent: its path is decoded and its dot segments are
    /// resolved first, so that `/%2e%65nv` and `/a/../.env` are what they mean. A path that climbs over
    /// the root is denied.
    pub fn judge(&self, method: &str, target: &str) -> Verdict {
        let Some(path) = normal_path(target) else {
            return Verdict::Deny("path outside the root".to_string());
        };
        let hit = self.rules.iter().find(|r| {
            (r.method == "*" || r.method == method) && matches(r.pattern.as_bytes(), path.as_bytes())
        });
        match hit {
            Some(rule) if rule.deny => Verdict::Deny(rule.to_string()),
            _ => Verdict::Allow,
        }
    }
}

fn parse_rule(line: usize, text: &str) -> Result<Rule, RuleError> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [action, method, pattern] = words[..] else {
        return Err(RuleError { line, message: "expected `allow|deny METHOD PATTERN`" });
    };
    let deny = match action {
        "deny" => true,
        "allow" => false,
        _ => return Err(RuleError { line, message: "a rule begins with `allow` or `deny`" }),
    };
    Ok(Rule { deny, method: method.to_string(), pattern: pattern.to_string() })
}

/// Decode `%xx` once, resolve `.` and `..` (RFC 3986 section 5.2.4), merge `//`.
fn normal_path(target: &str) -> Option<String> {
    let path = target.split(['?', '#']).next().unwrap_or("");
    let decoded = percent_decode(path);
    let mut kept: Vec<&str> = Vec::new();
    for segment in decoded.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop()?;
            }
            name => kept.push(name),
        }
    }
    Some(format!("/{}", kept.join("/")))
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%').and_then(hex_pair) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex_pair(pair: &[u8]) -> Option<u8> {
    let digit = |b: u8| (b as char).to_digit(16);
    u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()
}

/// Glob with `*` only, in time O(pattern x text): the last star is the only one to come back to.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            p += 1;
            t += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            p = at + 1;
            t = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&b| b == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(method: &str, target: &str) -> bool {
        RuleSet::standard().judge(method, target) != Verdict::Allow
    }

    #[test]
    fn hidden_files_stay_hidden_however_they_are_spelt() {
        for target in ["/.env", "/a/.git/config", "/%2eenv", "//.env", "/a/../.env", "/%2E%65nv?x=1"] {
            assert!(denied("GET", target), "{target}");
        }
        assert!(!denied("GET", "/.well-known/security.txt"));
        assert!(denied("GET", "/.well-known/../.env"));
    }

    #[test]
    fn a_path_over_the_root_is_denied() {
        assert!(denied("GET", "/../etc/passwd"));
        assert!(denied("GET", "/a/%2e%2e/%2e%2e/etc/passwd"));
        assert!(!denied("GET", "/a/../b"));
    }

    #[test]
    fn the_first_matching_rule_decides() {
        let rules = RuleSet::parse("# admin\nallow GET /admin/ping\n\ndeny * /admin*").unwrap();
        assert_eq!(rules.judge("GET", "/admin/ping"), Verdict::Allow);
        assert_ne!(rules.judge("POST", "/admin/ping"), Verdict::Allow);
    }

    #[test]
    fn a_bad_rule_names_its_line() {
        let error = RuleSet::parse("allow * /\nforbid * /x").unwrap_err();
        assert_eq!(error.to_string(), "line 2: a rule begins with `allow` or `deny`");
        assert_eq!(RuleSet::parse("deny /x").unwrap_err().line, 1);
    }

    #[test]
    fn stars_match_any_run() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b", "ab", true),
            ("a*b", "abc", false),
            ("", "x", false),
            ("**x", "yx", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }
}
