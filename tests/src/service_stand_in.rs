//! An HTTP/1.1 server that responds as a service of the test does, and keeps what it is sent.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::host::Host;
use crate::outcome::{Doing, Failure, Outcome};

/// A request to a [`ServiceStandIn`].
#[derive(Debug, Clone)]
pub struct ServiceRequest {
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: String,
}

impl ServiceRequest {
    /// The first header of this (lower-case) name; empty without one.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

/// A response of a [`ServiceStandIn`].
#[derive(Debug, Clone)]
pub struct ServiceResponse {
    /// The status.
    pub status: u16,
    /// Headers besides `Content-Length`.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
    /// How long it is held back.
    pub delay: Duration,
}

impl ServiceResponse {
    /// With this status and body.
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), delay: Duration::ZERO }
    }

    /// With this status and a JSON body.
    pub fn json(status: u16, body: &Value) -> Self {
        let json = Self::text(status, body.to_string());
        json.with("Content-Type", "application/json; charset=utf-8")
    }

    /// With a header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Held back for this long.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

/// What a service is: its state, and what it makes of a request.
pub trait ServiceRules: Send + 'static {
    /// The response to a request; an error names the fault of the request, and 400 is the response.
    ///
    /// # Errors
    /// What the service's documentation does not allow.
    fn respond(&mut self, request: &ServiceRequest) -> Result<ServiceResponse, String>;
}

struct State<R> {
    rules: R,
    requests: Vec<ServiceRequest>,
    problems: Vec<String>,
}

/// A service on the loopback of a host. It ends with the program.
pub struct ServiceStandIn<R> {
    address: SocketAddr,
    state: Arc<Mutex<State<R>>>,
}

impl<R: ServiceRules> ServiceStandIn<R> {
    /// Listens.
    ///
    /// # Errors
    /// When it cannot.
    pub fn start(host: &Host, rules: R) -> Outcome<Self> {
        let listener = host.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).doing("opening a service")?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State { rules, requests: Vec::new(), problems: Vec::new() }));
        let here = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&here);
                // A client that goes away is what some tests are about.
                std::thread::spawn(move || serve(stream, &state).ok());
            }
        });
        Ok(Self { address, state })
    }

    fn state(&self) -> MutexGuard<'_, State<R>> {
        lock(&self.state)
    }

    /// Its URL, with this path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Reads or changes the service's state.
    pub fn with<T>(&self, look: impl FnOnce(&mut R) -> T) -> T {
        look(&mut self.state().rules)
    }

    /// Every request so far, oldest first.
    pub fn requests(&self) -> Vec<ServiceRequest> {
        self.state().requests.clone()
    }

    /// Fails with what was wrong with requests.
    ///
    /// # Errors
    /// When something was.
    pub fn is_content(&self) -> Outcome {
        let state = self.state();
        match state.problems.as_slice() {
            [] => Ok(()),
            problems => {
                let first: Vec<_> = problems.iter().take(4).cloned().collect();
                Err(Failure::new(format!("{} requests were wrong: {}", problems.len(), first.join("; "))))
            }
        }
    }
}

fn lock<R>(state: &Mutex<State<R>>) -> MutexGuard<'_, State<R>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve<R: ServiceRules>(mut stream: TcpStream, state: &Mutex<State<R>>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(request) = read_request(&mut reader)? {
        let response = {
            let mut state = lock(state);
            state.requests.push(request.clone());
            match state.rules.respond(&request) {
                Ok(response) => response,
                Err(problem) => {
                    state.problems.push(problem.clone());
                    ServiceResponse::text(400, problem)
                }
            }
        };
        std::thread::sleep(response.delay);
        let mut head =
            format!("HTTP/1.1 {} -\r\nContent-Length: {}\r\n", response.status, response.body.len());
        for (name, value) in &response.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{head}\r\n{}", response.body).as_bytes())?;
    }
    Ok(())
}

fn read_request(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<ServiceRequest>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = ServiceRequest { method, target, headers, body: String::new() };
    let mut body = vec![0; request.header("content-length").parse().unwrap_or(0)];
    reader.read_exact(&mut body)?;
    // What is not UTF-8 shows as replacement characters, which no test expects.
    request.body = String::from_utf8_lossy(&body).into_owned();
    Ok(Some(request))
}
