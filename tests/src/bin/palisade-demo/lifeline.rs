//! The socket between the runs outside and inside.
//!
//! Its end ends the run inside, so a killed run outside leaves nothing behind. The run inside learns its process id as
//! seen outside, which [`enter`](crate::enter) needs, and reports that it only waits to be explored.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::id;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use palisade_e2e::{Doing as _, Outcome, Signal, pace};
use rustix::process::{Pid, kill_process};

const NAME: &str = "lifeline.sock";
/// How often the removal of the folder is tried.
const ATTEMPTS: usize = 100;

/// The end outside.
pub(crate) struct Outer {
    stream: Arc<OnceLock<UnixStream>>,
    is_exploring: Arc<AtomicBool>,
}

impl Outer {
    /// Waits for the run inside on a thread.
    pub(crate) fn hold(folder: &Path) -> Outcome<Self> {
        let path = folder.join(NAME);
        let listener = UnixListener::bind(&path).doing(format_args!("binding {}", path.display()))?;
        let outer = Self { stream: Arc::default(), is_exploring: Arc::default() };
        let (stream, is_exploring) = (Arc::clone(&outer.stream), Arc::clone(&outer.is_exploring));
        std::thread::spawn(move || {
            // Without these the run inside ends, and that is noticed.
            let _ = accept(&listener, &stream, &is_exploring);
        });
        Ok(outer)
    }

    /// Whether everything was shown, and the network is up for exploring.
    pub(crate) fn is_exploring(&self) -> bool {
        self.is_exploring.load(Ordering::SeqCst)
    }

    /// Ends the run inside; `false` when it has not connected yet.
    pub(crate) fn cut(&self) -> bool {
        self.stream.get().is_some_and(|stream| stream.shutdown(Shutdown::Both).is_ok())
    }
}

fn accept(listener: &UnixListener, place: &OnceLock<UnixStream>, is_exploring: &AtomicBool) -> Outcome {
    let (mut stream, _) = listener.accept()?;
    // The kernel translates the id into this process's namespace.
    let inner = rustix::net::sockopt::socket_peercred(&stream)?.pid.as_raw_nonzero();
    writeln!(stream, "{inner} {}", id())?;
    place.set(stream.try_clone()?).ok();
    let mut word = [0];
    if stream.read_exact(&mut word).is_ok() {
        is_exploring.store(true, Ordering::SeqCst);
    }
    Ok(())
}

/// The end inside.
pub(crate) struct Inner {
    stream: UnixStream,
    /// This process's id, as seen outside.
    pub(crate) own_id: String,
    /// The id of the process outside.
    pub(crate) outer_id: String,
}

impl Inner {
    /// Connects; from then on the end of the other side removes the folder and ends this process.
    pub(crate) fn grasp(folder: &Path) -> Outcome<Self> {
        let stream = UnixStream::connect(folder.join(NAME)).doing("connecting to the run outside")?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut ids = String::new();
        reader.read_line(&mut ids)?;
        let (own_id, outer_id) = ids.trim().split_once(' ').doing("the run outside has ended")?;
        let folder = PathBuf::from(folder);
        std::thread::spawn(move || {
            let _ = reader.read(&mut [0]);
            remove(&folder);
            std::process::exit(0);
        });
        Ok(Self { own_id: own_id.to_owned(), outer_id: outer_id.to_owned(), stream })
    }

    /// Reports that the network is up for exploring.
    pub(crate) fn explores(&mut self) -> Outcome {
        self.stream.write_all(b"!").doing("reporting to the run outside")
    }
}

/// Removes the folder, which the run outside cannot do when it was killed. The programs end first: what they write
/// meanwhile would stay.
fn remove(folder: &Path) {
    for _ in 0..ATTEMPTS {
        for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let number =
                process.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
            if let Some(process) =
                number.filter(|number| number.as_raw_nonzero().get().unsigned_abs() != id())
            {
                // It may have ended already.
                let _ = kill_process(process, Signal::KILL);
            }
        }
        let removed = std::fs::remove_dir_all(folder);
        if removed.is_ok() || !folder.exists() {
            return;
        }
        pace(Duration::from_millis(20));
    }
}
