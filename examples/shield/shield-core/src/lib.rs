//! What shield decides, without any I/O: request heads, rules, rate limits.
//!
//! ```
//! use shield_core::{parse_head, RuleSet, Verdict};
//!
//! let head = parse_head(b"GET /.env HTTP/1.1\r\nHost: example.org\r\n\r\n").unwrap();
//! assert!(matches!(RuleSet::standard().judge(&head.method, &head.target), Verdict::Deny(_)));
//! ```

mod head;
mod limit;
mod rules;

pub use head::{parse_head, Head, HeadError};
pub use limit::{Limiter, TokenBucket};
pub use rules::{Rule, RuleError, RuleSet, Verdict};
