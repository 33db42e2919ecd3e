//! The server over real sockets: what clients send well, badly, slowly, and while it stops.

use shield_http::{Limits, Response, Server, Stopper};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

struct Running(SocketAddr, Stopper, Option<JoinHandle<bool>>);

impl Running {
    fn start(limits: Limits) -> Self {
        let server = Server::bind("127.0.0.1:0", limits).unwrap();
        let (address, stopper) = (server.address(), server.stopper());
        let serve = move || {
            server.serve(|request| match request.head.path() {
                "/panic" => panic!("on purpose"),
                "/slow" => {
                    thread::sleep(Duration::from_millis(400));
                    Response::text(200, "slow")
                }
                _ => Response::text(200, request.body.clone().iter().map(|&b| b as char).collect::<String>()),
            })
        };
        Running(address, stopper, Some(thread::spawn(serve)))
    }

    fn client(&self) -> TcpStream {
        let client = TcpStream::connect(self.0).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        client
    }

    /// Everything the server says until it closes.
    fn talk(&self, request: &[u8]) -> String {
        let mut client = self.client();
        client.write_all(request).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    }

    fn stop(&mut self) -> bool {
        self.1.stop();
        self.2.take().unwrap().join().unwrap()
    }
}

fn one_response(client: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"\r\n\r\n") {
        assert_eq!(client.read(&mut byte).unwrap(), 1, "closed in the head");
        seen.push(byte[0]);
    }
    let head = String::from_utf8(seen).unwrap();
    let length = head.split("Content-Length: ").nth(1).unwrap().split("\r\n").next().unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    client.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

#[test]
fn one_connection_carries_many_requests_and_pipelined_ones() {
    let mut server = Running::start(Limits::default());
    let mut client = server.client();
    for _ in 0..50 {
        client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        assert!(one_response(&mut client).contains("Connection: keep-alive"));
    }
    client.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nAPOST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nB").unwrap();
    assert!(one_response(&mut client).ends_with("\r\n\r\nA"));
    assert!(one_response(&mut client).ends_with("\r\n\r\nB"));
    drop(client);
    assert!(server.stop());
}

#[test]
fn malformed_requests_are_answered_and_harm_nobody() {
    let server = Running::start(Limits { body_bytes: 10, ..Limits::default() });
    let long = format!("GET / HTTP/1.1\r\nHost: h\r\nA: {}\r\n\r\n", "x".repeat(40_000));
    for (request, status) in [
        (&b"\x16\x03\x01\x02\r\n\r\n"[..], "400"),
        (b"\xff\xfe\x00\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\n\r\n", "400"),
        (b"GET / HTTP/3.0\r\nHost: h\r\n\r\n", "505"),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "411"),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n", "413"),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999999\r\n\r\n", "400"),
        (long.as_bytes(), "431"),
        (b"GET /panic HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "500"),
        (b"GET / HTTP/1.0\r\n\r\n", "200"),
    ] {
        let answer = server.talk(request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer:?}");
    }
}

#[test]
fn a_head_request_has_no_body() {
    let server = Running::start(Limits::default());
    let answer = server.talk(b"HEAD /slow HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert!(answer.contains("Content-Length: 4\r\n") && answer.ends_with("\r\n\r\n"));
}

#[test]
fn a_slow_sender_gives_its_thread_back() {
    let server = Running::start(Limits { exchange: Duration::from_millis(300), ..Limits::default() });
    let mut client = server.client();
    let since = Instant::now();
    client.write_all(b"GET / HT").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer:?}");
    assert!(since.elapsed() < Duration::from_secs(60));
}

#[test]
fn one_connection_too_many_is_told_so_and_places_come_back() {
    let server = Running::start(Limits { connections: 2, ..Limits::default() });
    let request = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut held = [server.client(), server.client()];
    for client in &mut held {
        client.write_all(request).unwrap();
        one_response(client);
    }
    let mut refused = server.client();
    assert!(one_response(&mut refused).starts_with("HTTP/1.1 503 "));
    drop(held);
    let back = (0..600).any(|_| {
        thread::sleep(Duration::from_millis(100)); // until the server has seen them go
        let mut client = server.client();
        let _ = client.write_all(request); // one that is refused may be closed already
        one_response(&mut client).starts_with("HTTP/1.1 200 ")
    });
    assert!(back);
}

#[test]
fn stopping_finishes_the_request_in_hand() {
    let patient =
        Limits { grace: Duration::from_secs(30), drain: Duration::from_secs(60), ..Limits::default() };
    let mut server = Running::start(patient);
    let (mut busy, mut idle) = (server.client(), server.client());
    idle.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    one_response(&mut idle);
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    thread::sleep(Duration::from_millis(100));
    let (stopper, since) = (server.1.clone(), Instant::now());
    stopper.stop();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert!(one_response(&mut idle).contains("Connection: close"), "a late request is still answered");
    let answer = one_response(&mut busy);
    assert!(answer.ends_with("slow") && answer.contains("Connection: close"), "{answer:?}");
    drop((busy, idle));
    assert!(server.stop());
    assert!(since.elapsed() < Duration::from_secs(60));
}
