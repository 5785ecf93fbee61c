//! A minimal scripted LAPI that records its requests.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A scripted LAPI; it runs until the test process ends.
pub(crate) struct Lapi {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Lapi {
    /// `answer` gets `GET /v1/alerts?limit=1` and the body, and returns status and body.
    pub(crate) fn start(answer: impl Fn(&str, &str) -> (u16, String) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(stream, &answer, &seen);
            }
        });
        Self { url, requests }
    }

    /// The recorded requests, without logins.
    pub(crate) fn requests(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        requests.iter().filter(|line| !line.contains("/v1/watchers/login")).cloned().collect()
    }
}

fn serve(
    stream: TcpStream,
    answer: &impl Fn(&str, &str) -> (u16, String),
    seen: &Mutex<Vec<String>>,
) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let line = first.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = String::from_utf8_lossy(&body).into_owned();
    let (status, text) = if line == "POST /v1/watchers/login" && !body.contains("wrong") {
        (200, r#"{"code":200,"expire":"2999-01-01T00:00:00Z","token":"t"}"#.to_owned())
    } else {
        answer(&line, &body)
    };
    seen.lock().unwrap().push(format!("{line} {body}").trim_end().to_owned());
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", text.len());
    (&stream).write_all(head.as_bytes()).ok()?;
    (&stream).write_all(text.as_bytes()).ok()
}
