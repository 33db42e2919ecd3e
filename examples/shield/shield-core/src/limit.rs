//! Rate limits as token buckets: a burst is allowed, the long-run rate is not exceeded.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// `rate` tokens a second flow in, up to `burst`; a request takes one. Time is handed in, never read.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    last: Duration,
}

impl TokenBucket {
    /// A full bucket. `now` is any monotonic time, the same clock as for `take`.
    ///
    /// ```
    /// use std::time::Duration;
    /// let mut bucket = shield_core::TokenBucket::new(1.0, 2.0, Duration::ZERO);
    /// let taken = [0, 0, 0, 1, 1].map(|second| bucket.take(Duration::from_secs(second)));
    /// assert_eq!(taken, [true, true, false, true, false]);
    /// ```
    pub fn new(rate: f64, burst: f64, now: Duration) -> Self {
        TokenBucket { rate, burst, tokens: burst, last: now }
    }

    /// Take one token if there is one. A clock that went back adds nothing.
    pub fn take(&mut self, now: Duration) -> bool {
        let elapsed = now.saturating_sub(self.last).as_secs_f64();
        self.tokens = (self.tokens + elapsed * self.rate).min(self.burst);
        self.last = self.last.max(now);
        let granted = self.tokens >= 1.0;
        if granted {
            self.tokens -= 1.0;
        }
        granted
    }

    fn is_full(&self, now: Duration) -> bool {
        let elapsed = now.saturating_sub(self.last).as_secs_f64();
        self.tokens + elapsed * self.rate >= self.burst
    }
}

/// One bucket for each client, and no more memory than `capacity` clients need.
#[derive(Debug)]
pub struct Limiter<K> {
    rate: f64,
    burst: f64,
    capacity: usize,
    buckets: HashMap<K, TokenBucket>,
}

impl<K: Eq + Hash> Limiter<K> {
    /// `rate` requests a second for each client, `burst` at once.
    pub fn new(rate: f64, burst: f64, capacity: usize) -> Self {
        Limiter { rate, burst, capacity, buckets: HashMap::new() }
    }

    /// Whether this client may go on. With `capacity` busy clients a new one is refused: better than
    /// forgetting a busy one, which would hand it a new burst.
    pub fn allow(&mut self, client: K, now: Duration) -> bool {
        if self.buckets.len() >= self.capacity && !self.buckets.contains_key(&client) {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
            if self.buckets.len() >= self.capacity {
                return false;
            }
        }
        let fresh = || TokenBucket::new(self.rate, self.burst, now);
        self.buckets.entry(client).or_insert_with(fresh).take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn the_long_run_rate_is_the_rate() {
        let mut bucket = TokenBucket::new(10.0, 5.0, ms(0));
        let granted = (0..10_000).filter(|&t| bucket.take(ms(t))).count();
        assert!((104..=105).contains(&granted), "{granted}: 5 at once and 10 a second for 9.999 s");
    }

    #[test]
    fn a_clock_that_goes_back_grants_nothing() {
        let mut bucket = TokenBucket::new(1.0, 1.0, ms(5000));
        assert!(bucket.take(ms(5000)));
        assert!(!bucket.take(ms(1000)));
        assert!(!bucket.take(ms(5500)));
        assert!(bucket.take(ms(6000)));
    }

    #[test]
    fn clients_do_not_share_a_bucket() {
        let mut limiter = Limiter::new(1.0, 1.0, 10);
        assert!(limiter.allow("a", ms(0)));
        assert!(limiter.allow("b", ms(0)));
        assert!(!limiter.allow("a", ms(0)));
    }

    #[test]
    fn many_clients_cost_bounded_memory() {
        let mut limiter = Limiter::new(1.0, 1.0, 2);
        assert!(limiter.allow(1, ms(0)));
        assert!(limiter.allow(2, ms(0)));
        assert!(!limiter.allow(3, ms(0)));
        assert!(limiter.allow(3, ms(1000)));
        assert!(limiter.buckets.len() <= 2);
    }
}
