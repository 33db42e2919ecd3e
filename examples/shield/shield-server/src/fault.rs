//! The faults that a build can carry, for a canary to find: health checks never show them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// One request in so many meets the fault.
const ONE_IN: u64 = 5;

/// What is wrong with this build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    Errors,
    Slow,
}

impl Fault {
    /// The build script lets no other name pass.
    pub fn from_name(name: &str) -> Self {
        match name {
            "errors" => Fault::Errors,
            "slow" => Fault::Slow,
            _ => Fault::None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Fault::None => "none",
            Fault::Errors => "errors",
            Fault::Slow => "slow",
        }
    }

    /// What the slow build adds.
    pub const DELAY: Duration = Duration::from_millis(100);
}

/// Chooses about every fifth request, without a pattern that a client in step could always miss.
#[derive(Debug, Default)]
pub struct Dice(AtomicU64);

impl Dice {
    pub fn hit(&self) -> bool {
        splitmix64(self.0.fetch_add(1, Ordering::Relaxed)) % ONE_IN == 0
    }
}

/// Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators" (2014).
fn splitmix64(n: u64) -> u64 {
    let z = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix_is_the_published_one() {
        assert_eq!(splitmix64(0), 0xE220_A839_7B1D_CDAF);
        assert_eq!(splitmix64(1), 0x6E78_9E6A_A1B9_65F4);
    }

    #[test]
    fn a_fifth_is_hit_whichever_requests_a_client_sends() {
        let dice = Dice::default();
        let hits: Vec<bool> = (0..50_000).map(|_| dice.hit()).collect();
        for offset in 0..5 {
            let own = hits.iter().skip(offset).step_by(5).filter(|&&hit| hit).count();
            assert!((1_850..=2_150).contains(&own), "{own} of 10,000");
        }
    }
}
