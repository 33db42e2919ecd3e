//! One connection: read a request, answer it, and again, until one side has enough.

use crate::message::{Request, Response};
use crate::server::{Limits, State};
use shield_core::{parse_head, Head};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::{Duration, Instant};

/// How often an idle connection looks whether the server is draining.
const TICK: Duration = Duration::from_millis(200);

enum Next {
    Request(Request),
    Refuse(Response),
    Closed,
}

pub(crate) struct Connection<'a> {
    stream: TcpStream,
    peer: IpAddr,
    buffer: Vec<u8>,
    state: &'a State,
}

impl<'a> Connection<'a> {
    pub(crate) fn new(stream: TcpStream, state: &'a State) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TICK))?;
        stream.set_write_timeout(Some(state.limits.exchange))?;
        let peer = stream.peer_addr().map_or(Ipv4Addr::UNSPECIFIED.into(), |a| a.ip());
        Ok(Connection { stream, peer, buffer: Vec::with_capacity(1024), state })
    }

    /// Serve until the end of the connection; an error is the peer's going away.
    pub(crate) fn run(mut self, handler: &dyn Fn(&Request) -> Response) -> io::Result<()> {
        loop {
            match self.next()? {
                Next::Closed => return Ok(()),
                Next::Refuse(response) => {
                    self.stream.write_all(&response.to_bytes(false, false))?;
                    return self.linger();
                }
                Next::Request(request) => {
                    let response = guarded(handler, &request);
                    let keep = request.head.keep_alive() && !self.state.draining();
                    self.stream.write_all(&response.to_bytes(keep, request.head.method == "HEAD"))?;
                    if !keep {
                        return self.linger();
                    }
                }
            }
        }
    }

    fn next(&mut self) -> io::Result<Next> {
        if self.buffer.is_empty() && !self.wait_for_first_byte()? {
            return Ok(Next::Closed);
        }
        let deadline = Instant::now() + self.state.limits.exchange;
        let end = loop {
            if let Some(end) = head_end(&self.buffer) {
                break end;
            }
            if self.buffer.len() > self.state.limits.head_bytes {
                return Ok(Next::Refuse(Response::text(431, "the request head is too long\n")));
            }
            match self.fill(deadline)? {
                Filled::Some => {}
                Filled::End => return Ok(Next::Closed),
                Filled::Late => return Ok(Next::Refuse(Response::text(408, "request too slow\n"))),
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        match parse_head(&head).and_then(|h| h.body_length().map(|length| (h, length))) {
            Ok((head, length)) => self.with_body(head, length, deadline),
            Err(e) => Ok(Next::Refuse(Response::text(e.status(), format!("{e}\n")))),
        }
    }

    fn with_body(&mut self, head: Head, length: usize, deadline: Instant) -> io::Result<Next> {
        let Limits { body_bytes, .. } = self.state.limits;
        if length > body_bytes {
            return Ok(Next::Refuse(Response::text(413, "the request body is too long\n")));
        }
        let expects = head.field("expect").is_some_and(|v| v.eq_ignore_ascii_case("100-continue"));
        if expects && self.buffer.len() < length {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        while self.buffer.len() < length {
            match self.fill(deadline)? {
                Filled::Some => {}
                Filled::End => return Ok(Next::Closed),
                Filled::Late => return Ok(Next::Refuse(Response::text(408, "request too slow\n"))),
            }
        }
        let body = self.buffer.drain(..length).collect();
        Ok(Next::Request(Request { head, body, peer: self.peer }))
    }

    /// False when the connection ends before another request begins. While draining, a peer that has
    /// not been told yet (its next response says `Connection: close`) gets a short grace.
    fn wait_for_first_byte(&mut self) -> io::Result<bool> {
        let since = Instant::now();
        let mut draining_since: Option<Instant> = None;
        while self.buffer.is_empty() {
            match self.fill(Instant::now() + TICK)? {
                Filled::Some => return Ok(true),
                Filled::End => return Ok(false),
                Filled::Late => {}
            }
            if self.state.draining() {
                let from = *draining_since.get_or_insert_with(Instant::now);
                if from.elapsed() >= self.state.limits.grace {
                    return Ok(false);
                }
            }
            if since.elapsed() >= self.state.limits.idle {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn fill(&mut self, deadline: Instant) -> io::Result<Filled> {
        let mut chunk = [0_u8; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(Filled::End),
                Ok(n) => {
                    self.buffer.extend_from_slice(&chunk[..n]);
                    return Ok(if Instant::now() < deadline { Filled::Some } else { Filled::Late });
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if Instant::now() >= deadline {
                        return Ok(Filled::Late);
                    }
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Closing with unread bytes resets the connection, and the peer may lose the response it has not
    /// read yet (RFC 9112 section 9.6): half-close, and read what still comes for a moment.
    fn linger(mut self) -> io::Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)?;
        let deadline = Instant::now() + TICK * 2;
        while matches!(self.fill(deadline)?, Filled::Some) {
            self.buffer.clear();
        }
        Ok(())
    }
}

enum Filled {
    Some,
    End,
    Late,
}

fn guarded(handler: &dyn Fn(&Request) -> Response, request: &Request) -> Response {
    let answered = catch_unwind(AssertUnwindSafe(|| handler(request)));
    answered.unwrap_or_else(|_| Response::text(500, "internal error\n"))
}

fn head_end(buffer: &[u8]) -> Option<usize> {
    buffer.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4)
}
