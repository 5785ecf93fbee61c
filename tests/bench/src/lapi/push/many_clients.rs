//! Thousands of clients of the stream in one thread: each has a connection, a cursor, and a record of the bans it has
//! received.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use palisade_e2e::{Failure, Outcome};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::answer::{Answer, whole};

/// The bans the clients look for are of 10.201.0.0/16, in order.
const LOOKED_FOR: &str = r#""value":"10.201."#;
/// Connections that are opened at once.
const AT_A_TIME: usize = 64;
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// What the clients do.
#[derive(Debug, Clone, Copy)]
pub(super) enum RequestMode {
    /// Long-poll for this duration, again and again.
    Wait(Duration),
    /// Poll at this interval, with immediate responses.
    Poll(Duration),
}

/// All the clients, until dropped.
pub(super) struct ManyClients {
    shared: Arc<Shared>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    to: SocketAddr,
    key: String,
    manner: RequestMode,
    /// Requests that are sent and not answered.
    asking: AtomicUsize,
    ledger: Mutex<Ledger>,
}

/// What has been received since the last [`ManyClients::look_for`].
#[derive(Default)]
struct Ledger {
    expected: std::ops::Range<u16>,
    members: Vec<Member>,
    failures: usize,
    first_failure: Option<String>,
}

#[derive(Clone, Default)]
struct Member {
    answers: usize,
    received: usize,
    /// A bit for each expected ban.
    known: Vec<u64>,
    complete: Option<Instant>,
}

/// How the expected bans were delivered.
pub(super) struct Delivery {
    /// When each client had received all of it, in order of time; only clients that did.
    pub(super) complete: Vec<Instant>,
    /// How many answers each client got meanwhile.
    pub(super) answers: Vec<f64>,
    pub(super) failures: usize,
    pub(super) first_failure: Option<String>,
}

/// The address of an expected ban.
pub(super) fn address(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(10, 201, high, low)
}

impl ManyClients {
    /// So many clients that go on from `cursor`.
    pub(super) fn gather(
        count: usize,
        to: SocketAddr,
        key: &str,
        cursor: &str,
        manner: RequestMode,
    ) -> Outcome<Self> {
        let ledger = Ledger { members: vec![Member::default(); count], ..Ledger::default() };
        let shared = Arc::new(Shared {
            to,
            key: key.to_owned(),
            manner,
            asking: AtomicUsize::new(0),
            ledger: Mutex::new(ledger),
        });
        let stop = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (all, stopped, cursor) = (Arc::clone(&shared), stop.clone(), cursor.to_owned());
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let gate = Arc::new(Semaphore::new(AT_A_TIME));
                let mut clients = JoinSet::new();
                for number in 0..count {
                    clients.spawn(client(Arc::clone(&all), number, count, cursor.clone(), Arc::clone(&gate)));
                }
                stopped.cancelled().await;
            });
        });
        Ok(Self { shared, stop, thread: Some(thread) })
    }

    /// How many requests are sent and not answered.
    pub(super) fn asking(&self) -> usize {
        self.shared.asking.load(Ordering::Relaxed)
    }

    /// From now on, counts the clients that have received these.
    pub(super) fn look_for(&self, numbers: std::ops::Range<u16>) {
        let mut ledger = self.shared.ledger();
        let words = usize::from(numbers.end - numbers.start).div_ceil(64);
        for member in &mut ledger.members {
            *member = Member { known: vec![0; words], ..Member::default() };
        }
        ledger.expected = numbers;
    }

    /// The number of clients that have received all of it.
    pub(super) fn complete(&self) -> usize {
        self.shared.ledger().members.iter().filter(|member| member.complete.is_some()).count()
    }

    /// What has been received so far.
    pub(super) fn delivery(&self) -> Delivery {
        let ledger = self.shared.ledger();
        let mut complete: Vec<Instant> = ledger.members.iter().filter_map(|member| member.complete).collect();
        complete.sort_unstable();
        Delivery {
            complete,
            answers: ledger.members.iter().map(|member| member.answers as f64).collect(),
            failures: ledger.failures,
            first_failure: ledger.first_failure.clone(),
        }
    }
}

impl Drop for ManyClients {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("no holder panics")
    }

    fn record(&self, number: usize, answer: &Answer) {
        let now = Instant::now();
        let mut ledger = self.ledger();
        let expected = ledger.expected.clone();
        let member = &mut ledger.members[number];
        member.answers += 1;
        let body = String::from_utf8_lossy(&answer.body);
        for (at, found) in body.match_indices(LOOKED_FOR) {
            let number = body[at + found.len()..].split_once('"').and_then(|(text, _)| {
                let (high, low) = text.split_once('.')?;
                Some(u16::from_be_bytes([high.parse().ok()?, low.parse().ok()?]))
            });
            let Some(number) = number.filter(|number| expected.contains(number)) else { continue };
            let place = usize::from(number - expected.start);
            let (word, bit) = (place / 64, 1u64 << (place % 64));
            // Receiving one twice is no harm.
            if member.known[word] & bit == 0 {
                member.known[word] |= bit;
                member.received += 1;
            }
        }
        if member.complete.is_none() && !expected.is_empty() && member.received == expected.len() {
            member.complete = Some(now);
        }
    }

    fn failed(&self, failure: &Failure) {
        let mut ledger = self.ledger();
        ledger.failures += 1;
        ledger.first_failure.get_or_insert_with(|| failure.to_string());
    }
}

/// One client, for ever.
async fn client(shared: Arc<Shared>, number: usize, of: usize, mut cursor: String, gate: Arc<Semaphore>) {
    let part = number as f64 / of as f64;
    let mut due = tokio::time::Instant::now();
    // Long-poll clients start at random times, not all in the same second.
    let mut wait = match shared.manner {
        RequestMode::Wait(longest) => {
            Duration::from_secs((longest.as_secs_f64() * part).ceil().max(1.0) as u64)
        }
        RequestMode::Poll(interval) => {
            due += interval.mul_f64(part);
            Duration::ZERO
        }
    };
    loop {
        let connected = async {
            let _place = gate.acquire().await;
            connect(&shared, number).await
        };
        let mut stream = match connected.await {
            Ok(stream) => stream,
            Err(error) => {
                shared.failed(&error.into());
                sleep(TRY_AGAIN).await;
                continue;
            }
        };
        let mut input = Vec::new();
        let failure = loop {
            sleep_until(due).await;
            let asked = ask(&shared, &mut stream, &mut input, number, &cursor, wait).await;
            match asked {
                Ok(answer) if answer.status == 200 && !answer.cursor.is_empty() => {
                    shared.record(number, &answer);
                    cursor = answer.cursor;
                }
                Ok(answer) => {
                    let body = String::from_utf8_lossy(&answer.body);
                    break Failure::new(format!(
                        "status {}, cursor {:?}: {body}",
                        answer.status, answer.cursor
                    ));
                }
                Err(error) => break error.into(),
            }
            match shared.manner {
                RequestMode::Wait(longest) => wait = longest,
                RequestMode::Poll(interval) => due += interval,
            }
        };
        shared.failed(&failure);
        sleep(TRY_AGAIN).await;
    }
}

async fn connect(shared: &Shared, number: usize) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    let [_, _, high, low] = (number as u32).to_be_bytes();
    socket.bind(SocketAddr::from(([127, 1, high, low], 0)))?;
    let stream = socket.connect(shared.to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn ask(
    shared: &Shared,
    stream: &mut TcpStream,
    input: &mut Vec<u8>,
    number: usize,
    cursor: &str,
    wait: Duration,
) -> io::Result<Answer> {
    let request = format!(
        "GET /v1/decisions/stream?cursor={cursor}&wait={} HTTP/1.1\r\nHost: {}\r\nUser-Agent: bench/v1\r\n\
         X-Api-Key: {}\r\nX-Palisade-Instance: bench/{number}\r\n\r\n",
        wait.as_secs(),
        shared.to,
        shared.key
    );
    stream.write_all(request.as_bytes()).await?;
    shared.asking.fetch_add(1, Ordering::Relaxed);
    let answer = read(stream, input).await;
    shared.asking.fetch_sub(1, Ordering::Relaxed);
    answer
}

async fn read(stream: &mut TcpStream, input: &mut Vec<u8>) -> io::Result<Answer> {
    loop {
        if let Some(answer) = whole(input).map_err(|_| io::Error::other("no HTTP"))? {
            input.drain(..answer.length);
            return Ok(answer);
        }
        // Room only while there is something to take: ten thousand of these wait.
        stream.readable().await?;
        let mut part = [0u8; 4096];
        match stream.try_read(&mut part) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => input.extend_from_slice(&part[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}
