//! An HTTP/1.1 client of a LAPI with one persistent connection, which returns every part of the response.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

/// Long enough for a server that inserts a hundred thousand decisions before it responds.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Sends requests on one connection, which is kept and reopened when it was closed.
pub struct HttpClient {
    to: SocketAddr,
    from: Option<IpAddr>,
    stream: Option<TcpStream>,
    timeout: Duration,
}

/// A complete response.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Every header, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, with chunks joined.
    pub body: Vec<u8>,
    /// From the request's first byte to the first byte of the response's body, or to the end of its head.
    pub first_byte: Duration,
    /// From the request's first byte to the response's last.
    pub whole: Duration,
}

impl Reply {
    /// The first header of this (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl HttpClient {
    /// A client for that address; connects with the first request.
    pub fn new(to: SocketAddr) -> Self {
        Self { to, from: None, stream: None, timeout: TIMEOUT }
    }

    /// Sets the timeout for a silent connection.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the source address.
    #[must_use]
    pub fn from(mut self, address: IpAddr) -> Self {
        self.from = Some(address);
        self
    }

    /// Sends one request and reads the whole response.
    ///
    /// # Errors
    /// When there is no connection or it breaks before the response is complete; the next request opens another.
    pub fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> io::Result<Reply> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        let start = Instant::now();
        stream.write_all(&request(self.to, method, path, headers, body))?;
        let reply = read_reply(&mut stream, method, start)?;
        if reply.header("connection").is_none_or(|value| !value.eq_ignore_ascii_case("close")) {
            self.stream = Some(stream);
        }
        Ok(reply)
    }

    /// A connection with this client's timeout, for requests that are malformed on purpose.
    ///
    /// # Errors
    /// When the connection is refused.
    pub fn connect(&self) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(self.to), Type::STREAM, Some(Protocol::TCP))?;
        if let Some(from) = self.from {
            socket.bind(&SocketAddr::new(from, 0).into())?;
        }
        socket.connect_timeout(&self.to.into(), Duration::from_secs(10))?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        Ok(stream)
    }
}

/// The bytes of a request.
pub fn request(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {to}\r\n");
    if headers.iter().all(|(name, _)| !name.eq_ignore_ascii_case("user-agent")) {
        head.push_str("User-Agent: palisade-e2e/v0\r\n");
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(body) = body {
        head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body.unwrap_or_default());
    bytes
}

/// Reads one complete response.
///
/// # Errors
/// When the connection breaks before that, or the data is not HTTP.
pub fn read_reply(stream: &mut TcpStream, method: &str, start: Instant) -> io::Result<Reply> {
    let mut input = Input { stream, bytes: Vec::with_capacity(1024), first: None };
    let end = input.until_head()?;
    let head = String::from_utf8_lossy(&input.bytes[..end]).into_owned();
    input.bytes.drain(..end + 4);
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status: u16 =
        status.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, format!("no status in {head:?}")))?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let header = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    if !input.bytes.is_empty() {
        input.first.get_or_insert_with(Instant::now);
    } else {
        input.first = None;
    }
    let body = if method == "HEAD" || status == 204 || status == 304 || status < 200 {
        Vec::new()
    } else if header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        input.chunks()?
    } else if let Some(length) = header("content-length").and_then(|value| value.parse::<usize>().ok()) {
        input.fill(length)?;
        input.bytes.truncate(length);
        input.bytes
    } else {
        input.stream.read_to_end(&mut input.bytes)?;
        input.bytes
    };
    let whole = start.elapsed();
    let first_byte = input.first.map_or(whole, |first| first - start);
    Ok(Reply { status, headers, body, first_byte, whole })
}

struct Input<'a> {
    stream: &'a mut TcpStream,
    bytes: Vec<u8>,
    first: Option<Instant>,
}

impl Input<'_> {
    fn more(&mut self) -> io::Result<()> {
        let mut part = [0u8; 65536];
        let read = loop {
            match self.stream.read(&mut part) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if read == 0 {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "the connection ended within an answer"));
        }
        self.first.get_or_insert_with(Instant::now);
        self.bytes.extend_from_slice(&part[..read]);
        Ok(())
    }

    fn until_head(&mut self) -> io::Result<usize> {
        loop {
            if let Some(end) = self.bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                return Ok(end);
            }
            self.more()?;
        }
    }

    fn fill(&mut self, length: usize) -> io::Result<()> {
        while self.bytes.len() < length {
            self.more()?;
        }
        Ok(())
    }

    /// The joined chunks; trailers are skipped.
    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let (mut body, mut at) = (Vec::new(), 0);
        loop {
            let line = loop {
                if let Some(end) = self.bytes[at..].windows(2).position(|two| two == b"\r\n") {
                    break at + end;
                }
                self.more()?;
            };
            let size = String::from_utf8_lossy(&self.bytes[at..line]).into_owned();
            let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)
                .map_err(|_| io::Error::new(ErrorKind::InvalidData, format!("{size:?} is no chunk size")))?;
            self.fill(line + 2 + size + 2)?;
            body.extend_from_slice(&self.bytes[line + 2..line + 2 + size]);
            at = line + 2 + size + 2;
            if size == 0 {
                return Ok(body);
            }
            if at > 1 << 20 {
                self.bytes.drain(..at);
                at = 0;
            }
        }
    }
}
