//! A request as a handler sees it, and the response it gives.

use crate::date;
use shield_core::Head;
use std::net::IpAddr;

/// One whole request.
#[derive(Debug)]
pub struct Request {
    /// Method, target, fields.
    pub head: Head,
    /// The body, empty where there is none.
    pub body: Vec<u8>,
    /// Who asked.
    pub peer: IpAddr,
}

/// One whole response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Media type of the body.
    pub content_type: &'static str,
    /// Any further fields.
    pub fields: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// A plain text answer.
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        let body = body.into().into_bytes();
        Response { status, content_type: "text/plain; charset=utf-8", fields: Vec::new(), body }
    }

    /// A JSON answer; the text must be JSON already.
    pub fn json(status: u16, body: impl Into<String>) -> Self {
        Response { content_type: "application/json", ..Self::text(status, body) }
    }

    /// With one more field.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// All of it in one buffer, so that it leaves in one segment. To HEAD goes the head alone.
    pub(crate) fn to_bytes(&self, keep_alive: bool, to_head: bool) -> Vec<u8> {
        let mut head = format!(
            "HTTP/1.1 {} {}\r\nDate: {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: {}\r\n",
            self.status,
            reason(self.status),
            date::now(),
            self.content_type,
            self.body.len(),
            if keep_alive { "keep-alive" } else { "close" },
        );
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        if !to_head {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
