//! SIGTERM and SIGINT, with nothing but the C library that std links anyway.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

static ASKED: AtomicBool = AtomicBool::new(false);

extern "C" {
    fn signal(number: i32, handler: usize) -> usize;
}

/// All that may happen in a signal handler: a flag.
extern "C" fn note(_number: i32) {
    ASKED.store(true, Ordering::Release);
}

/// Call `stop` once, on a thread of its own, after the first SIGTERM or SIGINT.
pub fn on_terminate(stop: impl FnOnce() + Send + 'static) {
    let handler = note as extern "C" fn(i32) as usize;
    for number in [SIGTERM, SIGINT] {
        // SAFETY: signal(2) with a handler of the right type that only stores to an atomic.
        unsafe { signal(number, handler) };
    }
    thread::spawn(move || {
        while !ASKED.load(Ordering::Acquire) {
            thread::sleep(Duration::from_millis(20));
        }
        stop();
    });
}
