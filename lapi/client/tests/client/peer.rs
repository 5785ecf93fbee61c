//! A minimal scripted LAPI that sends prepared bytes and records its requests.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// What the peer does once a request has come.
pub(crate) enum Answer {
    /// Sends this and keeps the connection.
    Whole(Vec<u8>),
    /// Sends this and closes the connection.
    ThenClose(Vec<u8>),
    /// Sends this, then nothing more, and keeps the connection open.
    ThenSilence(Vec<u8>),
    /// Sends the first, and then the second again and again with a pause of so many milliseconds.
    ThenDrips(Vec<u8>, Vec<u8>, u64),
}

/// An answer with a length.
pub(crate) fn sized(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Answer {
    let body = body.as_ref();
    let mut bytes =
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    Answer::Whole(bytes)
}

/// The head of a chunked answer and these chunks, without the chunk that ends it.
pub(crate) fn chunks(bodies: &[&str]) -> Vec<u8> {
    let mut text =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    for body in bodies {
        text.push_str(&format!("{:x}\r\n{body}\r\n", body.len()));
    }
    text.into_bytes()
}

/// The same, whole.
pub(crate) fn chunked(bodies: &[&str]) -> Answer {
    let mut bytes = chunks(bodies);
    bytes.extend_from_slice(b"0\r\n\r\n");
    Answer::Whole(bytes)
}

/// A running peer; it ends when dropped.
pub(crate) struct Peer {
    pub(crate) address: Option<SocketAddr>,
    requests: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

type Script = Arc<Mutex<VecDeque<Answer>>>;

impl Peer {
    pub(crate) async fn on_tcp(answers: Vec<Answer>) -> Self {
        Self::listen(answers, None).await
    }

    pub(crate) async fn on_tls(answers: Vec<Answer>, tls: TlsAcceptor) -> Self {
        Self::listen(answers, Some(tls)).await
    }

    async fn listen(answers: Vec<Answer>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (script, requests, mut tasks) = prepare(answers);
        let seen = requests.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (script, seen, tls) = (script.clone(), seen.clone(), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, script, seen).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, script, seen).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address: Some(address), requests, _tasks: tasks }
    }

    pub(crate) async fn on_socket(answers: Vec<Answer>, path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let (script, requests, mut tasks) = prepare(answers);
        let seen = requests.clone();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serve(stream, script.clone(), seen.clone()).await;
            }
        });
        Self { address: None, requests, _tasks: tasks }
    }

    /// The address to put into a URL.
    pub(crate) fn at(&self) -> SocketAddr {
        self.address.unwrap()
    }

    /// The requests so far, heads in lower case, bodies unchanged.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn prepare(answers: Vec<Answer>) -> (Script, Arc<Mutex<Vec<String>>>, JoinSet<()>) {
    (Arc::new(Mutex::new(answers.into())), Arc::default(), JoinSet::new())
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    script: Script,
    seen: Arc<Mutex<Vec<String>>>,
) {
    while let Some(request) = request(&mut stream).await {
        seen.lock().unwrap().push(request);
        let answer = script.lock().unwrap().pop_front().expect("no more answers than requests");
        match answer {
            Answer::Whole(bytes) => stream.write_all(&bytes).await.unwrap(),
            Answer::ThenClose(bytes) => {
                stream.write_all(&bytes).await.unwrap();
                let _ = stream.shutdown().await;
                return;
            }
            Answer::ThenSilence(bytes) => {
                stream.write_all(&bytes).await.unwrap();
                // Until the peer closes.
                let _ = stream.read(&mut [0; 1]).await;
                return;
            }
            Answer::ThenDrips(bytes, drip, pause) => {
                stream.write_all(&bytes).await.unwrap();
                while stream.write_all(&drip).await.is_ok() {
                    tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
                }
                return;
            }
        }
    }
}

async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let length = stream.read(&mut piece).await.ok().filter(|length| *length > 0)?;
        bytes.extend_from_slice(&piece[..length]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_ascii_lowercase();
        let expected =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
        if body.len() >= expected {
            return Some(format!("{head}\r\n\r\n{body}"));
        }
    }
}
