//! A small HTTP/1.1 server on threads: one for each connection, never more than `Limits::connections`.
//!
//! ```
//! use shield_http::{Limits, Response, Server};
//! use std::io::{Read, Write};
//!
//! let server = Server::bind("127.0.0.1:0", Limits::default()).unwrap();
//! let (address, stopper) = (server.address(), server.stopper());
//! let running = std::thread::spawn(move || server.serve(|_| Response::text(200, "hello\n")));
//! let mut client = std::net::TcpStream::connect(address).unwrap();
//! client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
//! let mut answer = String::new();
//! client.read_to_string(&mut answer).unwrap();
//! assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nhello\n"));
//! stopper.stop();
//! assert!(running.join().unwrap());
//! ```

mod connection;
mod date;
mod message;
mod server;

pub use message::{Request, Response};
pub use server::{Limits, Server, Stopper};
