//! Implements the commands `lookup` and `status`: queries the running bouncer, or else reads its persisted decisions.
//! Sends the actions of other commands, which only a running bouncer takes.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_cache::{Ledger, Policy};
use palisade_go_compat::with_causes;
use palisade_stream::{Freshness, StateFile, now};

use super::answer::NOT_UNDERSTOOD;
use super::{
    About, Answer, EXCHANGE_TIMEOUT, LookupAnswer, MAX_REQUEST_BYTES, Request, Source, State, StatusAnswer,
    Subject, SubjectError, show,
};
use crate::settings::LapiSettings;

/// Timeout of the running bouncer's response.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
// A bouncer that gives a request up at its own timeout is then reported as such.
const _: () = assert!(ANSWER_TIMEOUT.as_secs() > EXCHANGE_TIMEOUT.as_secs());
/// Maximum size of a response, in bytes.
const MAX_ANSWER_BYTES: u64 = 16 << 20;

/// Why a command fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalQueryError {
    /// The subject cannot be parsed.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// No state directory is configured, so there is neither a socket nor a file.
    #[error("`state_dir` is empty, so a running bouncer cannot be asked and nothing is remembered")]
    NoState,
    /// No bouncer answers, and there are no persisted decisions.
    #[error("no bouncer answers at {} ({failure}), and {memory}", socket.display())]
    Nothing {
        /// The socket's path.
        socket: PathBuf,
        /// Why it does not answer.
        failure: String,
        /// Why there are no persisted decisions.
        memory: String,
    },
    /// No bouncer answers, and only a running one can carry out an action.
    #[error("no bouncer answers at {} ({failure}); {}", socket.display(), next_step(*kind))]
    NotRunning {
        /// The socket's path.
        socket: PathBuf,
        /// Why it does not answer.
        failure: String,
        /// The kind of the failure.
        kind: io::ErrorKind,
    },
    /// A bouncer accepts the connection, and does not answer. It knows more than its file, which is not read then.
    #[error(
        "the bouncer at {} is running, but does not answer ({failure}): it is busy, stopping, or hangs; try again, or \
         look at its log",
        socket.display()
    )]
    Busy {
        /// The socket's path.
        socket: PathBuf,
        /// What happened instead.
        failure: String,
    },
    /// The bouncer has received the request for an action, and has not answered.
    #[error(
        "the bouncer at {} has received the request, but {failure}; what was requested may still be carried out: see \
         `status` before you repeat it",
        socket.display()
    )]
    Unanswered {
        /// The socket's path.
        socket: PathBuf,
        /// What happened instead.
        failure: String,
    },
    /// The bouncer has not carried out an action. The text is its reason.
    #[error("{0}")]
    Refused(String),
    /// The bouncer does not know actions, or not in this form.
    #[error(
        "the bouncer at {} does not understand the request ({reason}); if it was started before an upgrade, restart it",
        socket.display()
    )]
    NotUnderstood {
        /// The socket's path.
        socket: PathBuf,
        /// What it does not understand.
        reason: String,
    },
    /// The request is longer than a bouncer accepts. It has not been sent.
    #[error(
        "the request has {bytes} bytes, and a bouncer takes at most {MAX_REQUEST_BYTES} at once: give fewer arguments, \
         and repeat the command for the others"
    )]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The bouncer's response cannot be used.
    #[error("the bouncer at {} answers strangely: {reason}; is it of another version?", socket.display())]
    Strange {
        /// The socket's path.
        socket: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The response cannot be printed.
    #[error("cannot print the answer")]
    Print(#[source] io::Error),
}

/// A query about a bouncer's decisions.
#[derive(Debug)]
pub struct LocalQuery<'a> {
    /// Identifies the bouncer in answers from the file.
    pub about: About,
    /// The settings with the state directory.
    pub settings: &'a LapiSettings,
    /// The admitted decision types, as given to [`Subscription::open`](crate::Subscription::open).
    pub types: Option<&'a [String]>,
    /// Which remediation wins.
    pub policy: Policy,
    /// Whether to print JSON.
    pub json: bool,
}

impl LocalQuery<'_> {
    /// Prints the decisions on an address, a range or `Scope:value`.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn lookup(&self, subject: &str, out: &mut dyn Write) -> Result<(), LocalQueryError> {
        // Sent as typed: the bouncer parses it in the same way, and only addresses and ranges are certain to survive
        // formatting.
        let request = Request::Lookup { subject: subject.to_owned() };
        let answer = self.answer(&request, Some(&subject.parse()?))?;
        self.print(&answer, out)
    }

    /// The decisions of the running bouncer, or else of its file, on an address, a range or `Scope:value`.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn decisions_on(&self, subject: &Subject) -> Result<LookupAnswer, LocalQueryError> {
        let request = Request::Lookup { subject: subject.to_string() };
        match self.answer(&request, Some(subject))? {
            Answer::Lookup(answer) => Ok(answer),
            _ => Err(LocalQueryError::Strange {
                socket: self.settings.control_socket().unwrap_or_default(),
                reason: "it is no answer to a lookup".to_owned(),
            }),
        }
    }

    /// The status of the running bouncer, or else that of its file.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn status_answer(&self) -> Result<StatusAnswer, LocalQueryError> {
        match self.answer(&Request::Status, None)? {
            Answer::Status(answer) => Ok(answer),
            _ => Err(LocalQueryError::Strange {
                socket: self.settings.control_socket().unwrap_or_default(),
                reason: "it is no status".to_owned(),
            }),
        }
    }

    /// Prints the number of decisions, how current they are, and failures. Returns whether a running bouncer answered;
    /// otherwise what is printed is from its file.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn status(&self, out: &mut dyn Write) -> Result<bool, LocalQueryError> {
        let answer = self.answer(&Request::Status, None)?;
        self.print(&answer, out)?;
        Ok(!matches!(&answer, Answer::Status(status) if status.state.source == Source::Remembered))
    }

    /// Has the running bouncer carry out an action of the program's own, and returns its result:
    /// [`Bouncer::act`](crate::run::Bouncer::act).
    ///
    /// # Errors
    /// No bouncer has carried it out, except with [`LocalQueryError::Unanswered`] and [`LocalQueryError::Strange`]: then
    /// it is unknown, and may still happen.
    pub fn act(&self, name: &str, arguments: &[String]) -> Result<serde_json::Value, LocalQueryError> {
        let socket = self.settings.control_socket().ok_or(LocalQueryError::NoState)?;
        let line = line_of(&Request::Action { name: name.to_owned(), arguments: arguments.to_vec() })?;
        let mut stream = match send(&socket, &line) {
            Ok(stream) => stream,
            Err(error) => {
                let (failure, kind) = (explain(&error), error.kind());
                return Err(LocalQueryError::NotRunning { socket, failure, kind });
            }
        };
        let answer = match receive(&mut stream) {
            Ok(answer) => answer,
            Err(error) => return Err(LocalQueryError::Unanswered { socket, failure: explain(&error) }),
        };
        match serde_json::from_slice(&answer) {
            Ok(Answer::Action { result }) => Ok(result),
            Ok(Answer::Refused { reason }) => Err(match reason.strip_prefix(NOT_UNDERSTOOD) {
                Some(reason) => LocalQueryError::NotUnderstood { socket, reason: reason.to_owned() },
                None => LocalQueryError::Refused(reason),
            }),
            Ok(_) => {
                Err(LocalQueryError::Strange { socket, reason: "it is no result of an action".to_owned() })
            }
            Err(error) => Err(LocalQueryError::Strange { socket, reason: error.to_string() }),
        }
    }

    fn answer(&self, request: &Request, subject: Option<&Subject>) -> Result<Answer, LocalQueryError> {
        let socket = self.settings.control_socket().ok_or(LocalQueryError::NoState)?;
        let memory = self.settings.state_file(self.types).ok_or(LocalQueryError::NoState)?;
        let strange = |reason: String| LocalQueryError::Strange { socket: socket.clone(), reason };
        let line = line_of(request)?;
        let mut stream = match UnixStream::connect(&socket) {
            Ok(stream) => stream,
            // No bouncer is there, for whatever reason; the error is shown only if the file does not help either.
            Err(failure) => {
                return self.remembered(&memory, subject).map_err(|memory| LocalQueryError::Nothing {
                    failure: explain(&failure),
                    socket: socket.clone(),
                    memory,
                });
            }
        };
        let answer = request_on(&mut stream, &line)
            .and_then(|()| receive(&mut stream))
            .map_err(|error| LocalQueryError::Busy { socket: socket.clone(), failure: explain(&error) })?;
        match serde_json::from_slice(&answer) {
            Ok(Answer::Refused { reason }) => Err(strange(reason)),
            Ok(answer) => Ok(answer),
            Err(error) => Err(strange(error.to_string())),
        }
    }

    /// Answers from the persisted file.
    fn remembered(&self, memory: &StateFile, subject: Option<&Subject>) -> Result<Answer, String> {
        let now = now();
        let remembered = match memory.load(now) {
            Ok(Some(found)) => found,
            Ok(None) => return Err(format!("nothing is remembered at {}", memory.path().display())),
            Err(error) => return Err(with_causes(&error)),
        };
        let mut ledger = Ledger::new(self.policy.clone(), 0);
        let written = remembered.written;
        remembered.restore(&mut ledger, now);
        let snapshot = ledger.snapshot();
        let state = State::remembered(self.about.clone(), &snapshot, written, now);
        Ok(match subject {
            Some(subject) => Answer::Lookup(LookupAnswer::of(subject, &snapshot, None, state, now)),
            None => {
                Answer::Status(StatusAnswer::of(&snapshot, &Freshness::default(), state, BTreeMap::new()))
            }
        })
    }

    fn print(&self, answer: &Answer, out: &mut dyn Write) -> Result<(), LocalQueryError> {
        let text = match answer {
            _ if self.json => {
                serde_json::to_string(answer).expect("texts and numbers always serialise") + "\n"
            }
            Answer::Lookup(answer) => show::lookup(answer),
            Answer::Status(answer) => show::status(answer),
            Answer::Action { result } => format!("{result}\n"),
            Answer::Refused { reason } => format!("{reason}\n"),
        };
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(LocalQueryError::Print)
    }
}

/// A request as it is sent.
fn line_of(request: &Request) -> Result<Vec<u8>, LocalQueryError> {
    let mut line = serde_json::to_vec(request).expect("texts always serialise");
    line.push(b'\n');
    match line.len() as u64 > MAX_REQUEST_BYTES {
        true => Err(LocalQueryError::TooLong { bytes: line.len() }),
        false => Ok(line),
    }
}

/// Sends a request to the bouncer at a socket. After an error the bouncer has not received all of it, and a part is not
/// understood.
fn send(socket: &Path, line: &[u8]) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket)?;
    request_on(&mut stream, line)?;
    Ok(stream)
}

fn request_on(stream: &mut UnixStream, line: &[u8]) -> io::Result<()> {
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(line)
}

fn receive(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    // The peer is whatever listens at the path: bounded in time and size.
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
    // An overloaded bouncer closes the connection at its timeout.
    if answer.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it hung up without an answer"));
    }
    Ok(answer)
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no socket: is it running?".to_owned(),
        io::ErrorKind::ConnectionRefused => "nobody listens there any more".to_owned(),
        io::ErrorKind::PermissionDenied => "only its owner and root may ask it".to_owned(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("it sent nothing for {} s", ANSWER_TIMEOUT.as_secs())
        }
        _ => error.to_string(),
    }
}

/// What to do when no bouncer could be reached.
fn next_step(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::NotFound => "start it first, or check `state_dir`",
        io::ErrorKind::PermissionDenied => "run the command as its user, or as root",
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "try again, or look at its log",
        _ => "start it first",
    }
}
