//! Accepting, bounding and draining.

use crate::connection::Connection;
use crate::message::{Request, Response};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// What one client, and all together, may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once, each with a thread; one more is answered 503.
    pub connections: usize,
    /// Longest request head.
    pub head_bytes: usize,
    /// Longest request body.
    pub body_bytes: usize,
    /// How long a request may take to come in, and a response to be taken.
    pub exchange: Duration,
    /// How long a connection may stay without a request. Long, since a proxy that reuses a connection
    /// in the moment when it is closed here has lost a request.
    pub idle: Duration,
    /// How long an idle connection stays open once the server is stopping.
    pub grace: Duration,
    /// How long to wait for requests in hand once the server is stopping.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 512,
            head_bytes: 16 * 1024,
            body_bytes: 64 * 1024,
            exchange: Duration::from_secs(10),
            idle: Duration::from_secs(600),
            grace: Duration::from_millis(500),
            drain: Duration::from_secs(8),
        }
    }
}

pub(crate) struct State {
    pub(crate) limits: Limits,
    draining: AtomicBool,
    open: Mutex<usize>,
    changed: Condvar,
}

impl State {
    pub(crate) fn draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    fn open(&self) -> MutexGuard<'_, usize> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts one connection for as long as it lives, however its thread ends.
struct Place(Arc<State>);

impl Place {
    fn take(state: &Arc<State>) -> Option<Self> {
        let mut open = state.open();
        if *open >= state.limits.connections {
            return None;
        }
        *open += 1;
        Some(Place(Arc::clone(state)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.open() -= 1;
        self.0.changed.notify_all();
    }
}

/// Stops a server from another thread.
#[derive(Clone)]
pub struct Stopper {
    state: Arc<State>,
    address: SocketAddr,
}

impl Stopper {
    /// Take no new connection, finish the requests in hand.
    pub fn stop(&self) {
        self.state.draining.store(true, Ordering::Release);
        let reachable: IpAddr = match self.address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        // The connection only wakes the thread that accepts; when it fails, that thread is awake already.
        drop(TcpStream::connect((reachable, self.address.port())));
    }
}

/// A bound server, not serving yet.
pub struct Server {
    listener: TcpListener,
    state: Arc<State>,
    address: SocketAddr,
}

impl Server {
    /// Listen; port 0 takes a free one.
    pub fn bind(address: impl ToSocketAddrs, limits: Limits) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let draining = AtomicBool::new(false);
        let state = State { limits, draining, open: Mutex::new(0), changed: Condvar::new() };
        Ok(Server { listener, state: Arc::new(state), address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A handle that stops it.
    pub fn stopper(&self) -> Stopper {
        Stopper { state: Arc::clone(&self.state), address: self.address }
    }

    /// Serve until stopped. True when every connection ended within `Limits::drain`.
    pub fn serve<H>(self, handler: H) -> bool
    where
        H: Fn(&Request) -> Response + Send + Sync + 'static,
    {
        let handler: Arc<dyn Fn(&Request) -> Response + Send + Sync> = Arc::new(handler);
        while !self.state.draining() {
            match self.listener.accept() {
                Ok(_) if self.state.draining() => break,
                Ok((stream, _)) => start(stream, &self.state, &handler),
                // Out of descriptors, or the peer has gone: wait for better times rather than spin.
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        }
        drop(self.listener);
        let (open, limits) = (self.state.open(), self.state.limits);
        let waited = self.state.changed.wait_timeout_while(open, limits.drain, |open| *open > 0);
        let (open, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *open == 0
    }
}

type Handler = Arc<dyn Fn(&Request) -> Response + Send + Sync>;

fn start(stream: TcpStream, state: &Arc<State>, handler: &Handler) {
    let Some(place) = Place::take(state) else {
        return busy(stream);
    };
    let handler = Arc::clone(handler);
    let serve = move || {
        // A connection that fails has lost its peer; there is nobody left to tell.
        let _gone = Connection::new(stream, &place.0).and_then(|c| c.run(handler.as_ref()));
    };
    // Without a thread the closure is dropped, and with it the connection and its place.
    let _started = thread::Builder::new().stack_size(256 * 1024).spawn(serve);
}

fn busy(mut stream: TcpStream) {
    let response = Response::text(503, "too many connections\n").with("Retry-After", "1");
    let _gone = stream.write_all(&response.to_bytes(false, false));
}
