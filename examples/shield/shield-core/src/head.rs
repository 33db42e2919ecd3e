//! The head of an HTTP/1.x request (RFC 9112 sections 2 to 6), strict where leniency invites smuggling.

use std::fmt;

/// Request line and header fields. Field names are lower case; values have no blanks around them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// `GET`, `POST`, ...: methods are case-sensitive.
    pub method: String,
    /// The request target as it was sent, with its query.
    pub target: String,
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub minor: u8,
    /// Header fields in the order they came.
    pub fields: Vec<(String, String)>,
}

/// Why a head was refused, and so which status answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadError {
    /// The bytes are not a request head.
    Malformed(&'static str),
    /// Not HTTP/1.0 or HTTP/1.1.
    Version,
    /// A body of unknown length: RFC 9112 section 6.3 lets a server ask for `Content-Length`.
    LengthRequired,
}

impl HeadError {
    /// The status that RFC 9110 names for this refusal.
    pub fn status(self) -> u16 {
        match self {
            HeadError::Malformed(_) => 400,
            HeadError::LengthRequired => 411,
            HeadError::Version => 505,
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeadError::Malformed(why) => write!(f, "malformed request: {why}"),
            HeadError::Version => f.write_str("only HTTP/1.0 and HTTP/1.1 are spoken here"),
            HeadError::LengthRequired => f.write_str("a request with a body needs Content-Length"),
        }
    }
}

impl std::error::Error for HeadError {}

impl Head {
    /// First value of a field, by its lower-case name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or("")
    }

    /// Whether the connection may carry another request (RFC 9112 section 9.3).
    pub fn keep_alive(&self) -> bool {
        let says = |option: &str| {
            let values = self.fields.iter().filter(|(n, _)| n == "connection");
            values.flat_map(|(_, v)| v.split(',')).any(|v| v.trim().eq_ignore_ascii_case(option))
        };
        !says("close") && (self.minor == 1 || says("keep-alive"))
    }

    /// Length of the body in bytes; several equal `Content-Length` are not forgiven.
    pub fn body_length(&self) -> Result<usize, HeadError> {
        if self.field("transfer-encoding").is_some() {
            return Err(match self.field("content-length") {
                Some(_) => HeadError::Malformed("both Transfer-Encoding and Content-Length"),
                None => HeadError::LengthRequired,
            });
        }
        let mut lengths = self.fields.iter().filter(|(n, _)| n == "content-length");
        match (lengths.next(), lengths.next()) {
            (None, _) => Ok(0),
            (Some(_), Some(_)) => Err(HeadError::Malformed("several Content-Length")),
            (Some((_, text)), None) => decimal(text).ok_or(HeadError::Malformed("bad Content-Length")),
        }
    }
}

fn decimal(text: &str) -> Option<usize> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Parse one head, up to and with its empty line.
///
/// ```
/// let head = shield_core::parse_head(b"GET /a?b=c HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
/// assert_eq!((head.path(), head.keep_alive()), ("/a", true));
/// ```
pub fn parse_head(bytes: &[u8]) -> Result<Head, HeadError> {
    let text = std::str::from_utf8(bytes).map_err(|_| HeadError::Malformed("not text"))?;
    let text = text.strip_suffix("\r\n\r\n").ok_or(HeadError::Malformed("no empty line"))?;
    let mut lines = text.split("\r\n");
    let (method, target, minor) = request_line(lines.next().unwrap_or(""))?;
    let fields = lines.map(field_line).collect::<Result<Vec<_>, _>>()?;
    let head = Head { method, target, minor, fields };
    let hosts = head.fields.iter().filter(|(n, _)| n == "host").count();
    if hosts > 1 || (minor == 1 && hosts == 0) {
        return Err(HeadError::Malformed("exactly one Host is needed"));
    }
    Ok(head)
}

fn request_line(line: &str) -> Result<(String, String, u8), HeadError> {
    let parts: Vec<&str> = line.split(' ').collect();
    let [method, target, version] = parts[..] else {
        return Err(HeadError::Malformed("request line"));
    };
    let minor = match version {
        "HTTP/1.1" => 1,
        "HTTP/1.0" => 0,
        v if v.starts_with("HTTP/") => return Err(HeadError::Version),
        _ => return Err(HeadError::Malformed("request line")),
    };
    let visible = !target.is_empty() && target.bytes().all(|b| b.is_ascii_graphic());
    if !is_token(method) || !visible {
        return Err(HeadError::Malformed("request line"));
    }
    Ok((method.to_string(), target.to_string(), minor))
}

fn field_line(line: &str) -> Result<(String, String), HeadError> {
    let (name, value) = line.split_once(':').ok_or(HeadError::Malformed("field without a colon"))?;
    if !is_token(name) {
        return Err(HeadError::Malformed("field name"));
    }
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(HeadError::Malformed("control character in a field"));
    }
    Ok((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_string()))
}

fn is_token(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(request: &str) -> u16 {
        match parse_head(request.as_bytes()).and_then(|h| h.body_length()) {
            Ok(_) => 200,
            Err(e) => e.status(),
        }
    }

    #[test]
    fn a_plain_request_is_understood() {
        let head = parse_head(b"POST /p?q HTTP/1.1\r\nHost: h\r\ncontent-LENGTH:  7 \r\n\r\n").unwrap();
        assert_eq!((head.method.as_str(), head.path(), head.minor), ("POST", "/p", 1));
        assert_eq!(head.body_length(), Ok(7));
    }

    #[test]
    fn keep_alive_follows_version_and_connection() {
        let keeps = |text: &str| parse_head(text.as_bytes()).unwrap().keep_alive();
        assert!(keeps("GET / HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert!(!keeps("GET / HTTP/1.1\r\nHost: h\r\nConnection: x, Close\r\n\r\n"));
        assert!(!keeps("GET / HTTP/1.0\r\n\r\n"));
        assert!(keeps("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    }

    #[test]
    fn what_smuggles_is_refused() {
        for bad in [
            "GET / HTTP/1.1\r\nHost : h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nA: b\nC: d\r\n\r\n",
            "G\u{0}T / HTTP/1.1\r\nHost: h\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "hello",
        ] {
            assert_eq!(status(bad), 400, "{bad:?}");
        }
    }

    #[test]
    fn other_refusals_have_their_own_status() {
        assert_eq!(status("GET / HTTP/2.0\r\nHost: h\r\n\r\n"), 505);
        assert_eq!(status("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"), 411);
    }
}
