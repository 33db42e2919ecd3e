//! Requests to responses.

use crate::fault::{Dice, Fault};
use shield_core::{Limiter, RuleSet, Verdict};
use shield_http::{Request, Response};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

/// Clients whose rate is remembered at once.
const CLIENTS: usize = 10_000;

pub struct App {
    version: &'static str,
    fault: Fault,
    dice: Dice,
    rules: RuleSet,
    limiter: Option<Mutex<Limiter<IpAddr>>>,
    started: Instant,
}

impl App {
    pub fn new(version: &'static str, fault: Fault, rate: Option<f64>) -> Self {
        App {
            version,
            fault,
            dice: Dice::default(),
            rules: RuleSet::standard(),
            limiter: rate.map(|r| Mutex::new(Limiter::new(r, r.max(1.0), CLIENTS))),
            started: Instant::now(),
        }
    }

    /// Health and version are answered before any rule, limit or fault: they are for the operator.
    pub fn answer(&self, request: &Request) -> Response {
        let reads = matches!(request.head.method.as_str(), "GET" | "HEAD");
        match request.head.path() {
            "/healthz" if reads => Response::text(200, "ok"),
            "/version" if reads => Response::json(200, self.version_json()),
            _ => self.guarded(request, reads),
        }
    }

    fn version_json(&self) -> String {
        format!("{{\"version\": \"{}\", \"fault\": \"{}\"}}\n", self.version, self.fault.name())
    }

    fn guarded(&self, request: &Request, reads: bool) -> Response {
        if let Verdict::Deny(rule) = self.rules.judge(&request.head.method, &request.head.target) {
            return Response::text(403, format!("denied: {rule}\n"));
        }
        if !self.within_rate(request.peer) {
            return Response::text(429, "too many requests\n").with("Retry-After", "1");
        }
        match request.head.path() {
            "/" if reads => self.front_page(),
            "/" | "/healthz" | "/version" => Response::text(405, "GET or HEAD\n").with("Allow", "GET, HEAD"),
            _ => Response::text(404, "not found\n"),
        }
    }

    fn front_page(&self) -> Response {
        match self.fault {
            Fault::Errors if self.dice.hit() => return Response::text(500, "internal error\n"),
            Fault::Slow if self.dice.hit() => thread::sleep(Fault::DELAY),
            _ => {}
        }
        Response::text(200, format!("shield {}\n", self.version)).with("X-Version", self.version)
    }

    fn within_rate(&self, peer: IpAddr) -> bool {
        self.limiter.as_ref().is_none_or(|limiter| {
            let mut limiter = limiter.lock().unwrap_or_else(PoisonError::into_inner);
            limiter.allow(peer, self.started.elapsed())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shield_core::parse_head;

    fn ask(app: &App, line: &str) -> Response {
        let head = parse_head(format!("{line} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).unwrap();
        app.answer(&Request { head, body: Vec::new(), peer: [127, 0, 0, 1].into() })
    }

    fn errors_in(app: &App, line: &str, requests: usize) -> usize {
        (0..requests).filter(|_| ask(app, line).status == 500).count()
    }

    #[test]
    fn each_page_says_what_it_is_for() {
        let app = App::new("1.2.3", Fault::None, None);
        assert_eq!(ask(&app, "GET /healthz").body, b"ok");
        assert_eq!(ask(&app, "GET /version").body, b"{\"version\": \"1.2.3\", \"fault\": \"none\"}\n");
        assert_eq!(ask(&app, "GET /?x").body, b"shield 1.2.3\n");
        assert_eq!(ask(&app, "GET /nowhere").status, 404);
        assert_eq!(ask(&app, "POST /").status, 405);
        assert_eq!(ask(&app, "GET /.git/config").status, 403);
    }

    #[test]
    fn a_faulty_build_fails_on_the_front_page_only() {
        let app = App::new("1", Fault::Errors, None);
        assert!((150..=250).contains(&errors_in(&app, "GET /", 1_000)));
        assert_eq!(errors_in(&app, "GET /healthz", 1_000), 0);
        assert_eq!(errors_in(&App::new("1", Fault::None, None), "GET /", 1_000), 0);
    }

    #[test]
    fn a_slow_build_is_slow_for_some() {
        let app = App::new("1", Fault::Slow, None);
        let took = |_: usize| {
            let since = Instant::now();
            ask(&app, "GET /");
            since.elapsed() >= Fault::DELAY
        };
        let slow = (0..30).map(took).filter(|&slow| slow).count();
        assert!((1..30).contains(&slow), "{slow} of 30");
    }

    #[test]
    fn a_client_over_its_rate_is_told_so_but_health_is_not() {
        let app = App::new("1", Fault::None, Some(1.0));
        assert_eq!(ask(&app, "GET /").status, 200);
        assert_eq!(ask(&app, "GET /").status, 429);
        assert_eq!(ask(&app, "GET /healthz").status, 200);
    }
}
