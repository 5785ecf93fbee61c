//! A receiver on this machine that behaves as a test wants, connection by connection.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The requests that arrived: number of the connection, and the text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Requests(Arc<Mutex<Vec<(usize, String)>>>);

impl Requests {
    pub(crate) fn all(&self) -> Vec<(usize, String)> {
        self.0.lock().unwrap().clone()
    }

    /// The number of the connection of each request.
    pub(crate) fn connections(&self) -> Vec<usize> {
        self.all().into_iter().map(|(connection, _)| connection).collect()
    }

    /// Reads a request on a connection; `None` at its end.
    pub(crate) async fn read(&self, connection: usize, io: &mut (impl AsyncRead + Unpin)) -> Option<String> {
        let mut bytes = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let head = head.to_ascii_lowercase();
                let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
                if body.len() >= length.unwrap_or("0").parse().unwrap() {
                    self.0.lock().unwrap().push((connection, text.clone()));
                    return Some(text);
                }
            }
            io.read_buf(&mut bytes).await.ok().filter(|read| *read > 0)?;
        }
    }

    /// Responds to all requests on a connection.
    pub(crate) async fn respond(
        self,
        connection: usize,
        mut io: impl AsyncRead + AsyncWrite + Unpin,
        text: &str,
    ) {
        while self.read(connection, &mut io).await.is_some() {
            if io.write_all(text.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) requests: Requests,
    _tasks: JoinSet<()>,
}

impl Peer {
    /// Each connection is handled by what `behaviour` makes of its number and stream.
    pub(crate) async fn new<F>(behaviour: impl Fn(usize, TcpStream, Requests) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Requests::default();
        let mut tasks = JoinSet::new();
        let shared = requests.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(behaviour(number, stream, shared.clone()));
            }
        });
        Self { address, requests, _tasks: tasks }
    }

    /// Responds to everything with one text.
    pub(crate) async fn responding(text: &'static str) -> Self {
        Self::new(move |number, stream, requests| requests.respond(number, stream, text)).await
    }

    /// Reads one request on each connection, sends a text, and closes the connection.
    pub(crate) async fn closing_after(text: &'static str) -> Self {
        Self::new(move |number, mut stream, requests| async move {
            if requests.read(number, &mut stream).await.is_some() {
                let _ = stream.write_all(text.as_bytes()).await;
            }
        })
        .await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook?key=KEYSECRET", self.address)
    }
}
