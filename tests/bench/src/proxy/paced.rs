//! An open loop over plain HTTP/1.1: requests at random moments of a fixed average rate, whatever the responses do, so
//! that a stalled proxy shows in the response times of all requests that were due meanwhile.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use fastrand::Rng;
use palisade_e2e::{Doing, Failure, Outcome};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Connections at once; requests that find none idle wait for one, and their time counts.
const CONNECTIONS: usize = 200;

/// One response.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    /// Seconds from the begin of the run until the request was due.
    pub(super) due: f64,
    /// Microseconds from then, or from sending if a connection was idle, to the last byte of the response.
    pub(super) took: f64,
}

/// A run.
pub(super) struct Paced {
    pub(super) begun: Instant,
    pub(super) answers: Vec<Answer>,
}

impl Paced {
    /// The response times of requests that were due between these moments, in microseconds.
    pub(super) fn between(&self, from: f64, to: f64) -> Vec<f64> {
        let within = self.answers.iter().filter(|answer| (from..to).contains(&answer.due));
        within.map(|answer| answer.took).collect()
    }
}

/// The value below which this share of them lies; nearest rank.
pub(super) fn percentile(mut times: Vec<f64>, share: f64) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    let rank = (times.len() as f64 * share).ceil() as usize;
    times.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

struct Connection {
    stream: TcpStream,
    /// When the request in flight was due.
    due: f64,
    /// When its time began.
    since: f64,
    received: usize,
    /// Of the whole response, once its head is there.
    expected: Option<usize>,
    head: Vec<u8>,
}

/// Sends GET requests to a port of the loopback.
pub(super) fn run(port: u16, path: &str, rate: f64, length: Duration) -> Outcome<Paced> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    let mut connections = (0..CONNECTIONS).map(|_| Connection::open(port)).collect::<Outcome<Vec<_>>>()?;
    let mut idle: Vec<usize> = (0..connections.len()).collect();
    let (mut busy, mut waiting): (Vec<usize>, VecDeque<f64>) = Default::default();
    let mut answers = Vec::with_capacity((rate * length.as_secs_f64() * 1.1) as usize);
    // The same moments in every run.
    let mut random = Rng::with_seed(7);
    let mut buffer = vec![0; 256 * 1024];
    let (begun, length) = (Instant::now(), length.as_secs_f64());
    let mut next = 0.0;
    loop {
        let now = begun.elapsed().as_secs_f64();
        while next <= now && next < length {
            waiting.push_back(next);
            next -= (1.0 - random.f64()).ln() / rate;
        }
        let late = waiting.len() > idle.len();
        while let Some(due) = waiting.front().copied() {
            let Some(at) = idle.pop() else { break };
            waiting.pop_front();
            // That this program woke up late is not the proxy's fault; that no connection was idle is.
            let since = if late { due } else { begun.elapsed().as_secs_f64() };
            connections[at].send(request.as_bytes(), due, since)?;
            busy.push(at);
        }
        if busy.is_empty() && waiting.is_empty() && next >= length {
            return Ok(Paced { begun, answers });
        }
        if now > length + 30.0 {
            return Err(Failure::new(format!(
                "{} requests had no response within 30 s",
                busy.len() + waiting.len()
            )));
        }
        let pause = if next < length { (next - begun.elapsed().as_secs_f64()).max(0.0) } else { 1.0 };
        wait(&connections, &busy, pause)?;
        let mut at = 0;
        while at < busy.len() {
            if connections[busy[at]].receive(&mut buffer)? {
                let done = busy.swap_remove(at);
                let connection = &connections[done];
                let took = (begun.elapsed().as_secs_f64() - connection.since) * 1e6;
                answers.push(Answer { due: connection.due, took });
                idle.push(done);
            } else {
                at += 1;
            }
        }
    }
}

/// Waits until a response arrives, or for so many seconds.
fn wait(connections: &[Connection], busy: &[usize], seconds: f64) -> Outcome {
    let flags = PollFlags::IN;
    let mut polled: Vec<_> = busy.iter().map(|at| PollFd::new(&connections[*at].stream, flags)).collect();
    let timeout = Timespec { tv_sec: seconds as i64, tv_nsec: (seconds.fract() * 1e9) as i64 };
    match poll(&mut polled, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error).doing("waiting for responses"),
    }
}

impl Connection {
    fn open(port: u16) -> Outcome<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).doing("connecting to the proxy")?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, due: 0.0, since: 0.0, received: 0, expected: None, head: Vec::new() })
    }

    fn send(&mut self, request: &[u8], due: f64, since: f64) -> Outcome {
        (self.due, self.since, self.received, self.expected) = (due, since, 0, None);
        self.head.clear();
        // An idle connection's buffer has room for so few bytes.
        self.stream.write_all(request).doing("sending a request")
    }

    /// Reads what is there; whether the response is complete.
    fn receive(&mut self, buffer: &mut [u8]) -> Outcome<bool> {
        loop {
            let read = match self.stream.read(buffer) {
                Ok(0) => return Err(Failure::new("the proxy closed a connection within a response")),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error).doing("reading a response"),
            };
            self.received += read;
            if self.expected.is_none() {
                self.head.extend_from_slice(&buffer[..read]);
                self.expected = whole_length(&self.head)?;
            }
            if self.expected.is_some_and(|expected| self.received >= expected) {
                return Ok(true);
            }
        }
    }
}

/// The length of a response with its head, once the head is complete.
fn whole_length(head: &[u8]) -> Outcome<Option<usize>> {
    let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = String::from_utf8_lossy(&head[..end]);
    if !text.starts_with("HTTP/1.1 200 ") {
        return Err(Failure::new(format!("not 200: {}", text.lines().next().unwrap_or_default())));
    }
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    Ok(Some(end + 4 + length.doing("a response without Content-Length")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let times: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(times.clone(), 0.99), 99.0);
        assert_eq!(percentile(times, 0.5), 50.0);
        assert!(percentile(Vec::new(), 0.5).is_nan());
    }

    #[test]
    fn requests_come_at_the_rate_whatever_the_responses_do() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut request = [0; 1024];
                    while stream.read(&mut request).is_ok_and(|read| read > 0) {
                        std::thread::sleep(Duration::from_millis(5));
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                    }
                });
            }
        });
        let paced = run(port, "/", 1000.0, Duration::from_secs(1)).unwrap();
        assert!((800..1200).contains(&paced.answers.len()), "{}", paced.answers.len());
        assert!(percentile(paced.between(0.0, 2.0), 0.01) > 5000.0);
    }
}
