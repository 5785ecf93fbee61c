//! Programs that decisions are passed to: one that reads lines, and one that is started for each of them.

use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use palisade_e2e::{Doing, Failure, Outcome};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

use super::http_receiver::values;

/// Waits for a program that reads lines on standard input.
pub(super) struct LineReader {
    listener: TcpListener,
    lines: usize,
}

impl LineReader {
    /// Expects this many lines.
    pub(super) fn expect(lines: usize) -> Outcome<Self> {
        Ok(Self { listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?, lines })
    }

    /// Writes the program to `folder`: without arguments, which the stock bouncer does not pass on.
    pub(super) fn program(&self, folder: &Path) -> Outcome<PathBuf> {
        let port = self.listener.local_addr()?.port();
        let (path, this) = (folder.join("reader"), std::env::current_exe()?);
        let text =
            format!("#!/bin/sh\nexec '{}' child-webhook reader {port} {}\n", this.display(), self.lines);
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700))?;
        Ok(path)
    }

    /// Waits until it has read all lines; returns since when it has, and how many different values they have.
    pub(super) fn wait_until_complete(&self, limit: Duration) -> Outcome<(Instant, usize)> {
        wait_for_input(&self.listener, Instant::now() + limit).doing("the program reads all lines")?;
        let (mut connection, _) = self.listener.accept()?;
        let complete_at = Instant::now();
        let mut text = String::new();
        connection.read_to_string(&mut text)?;
        Ok((complete_at, text.trim().parse().doing("the program counts values")?))
    }
}

/// The program: reads lines, connects when it has all of them, and reports how many values differ.
pub(super) fn child(port: &str, lines: &str) -> bool {
    let run = || -> Outcome {
        let (port, wanted): (u16, usize) = (port.parse()?, lines.parse()?);
        let mut input = std::io::stdin().lock();
        let (mut text, mut lines) = (Vec::with_capacity(512 * wanted), 0);
        let mut part = vec![0; 1 << 16];
        while lines < wanted {
            let read = input.read(&mut part)?;
            if read == 0 {
                return Err(Failure::new(format!("the input ended after {lines} lines")));
            }
            lines += part[..read].iter().filter(|byte| **byte == b'\n').count();
            text.extend_from_slice(&part[..read]);
        }
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        let different: HashSet<&[u8]> = values(&text).collect();
        write!(connection, "{}", different.len())?;
        drop(connection);
        // Not to end before the input does, which is a failure.
        while input.read(&mut part)? > 0 {}
        Ok(())
    };
    run().is_ok()
}

/// Counts how often a program is started.
pub(super) struct StartCounter {
    program: PathBuf,
    events: OwnedFd,
}

impl StartCounter {
    /// Copies `/bin/true` into `folder` and observes the copy.
    pub(super) fn start(folder: &Path) -> Outcome<Self> {
        let program = folder.join("true");
        std::fs::copy("/bin/true", &program).doing("copying /bin/true")?;
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        let events = inotify::init(flags).doing("observing a file")?;
        inotify::add_watch(
            &events,
            &program,
            inotify::WatchFlags::OPEN | inotify::WatchFlags::CLOSE_NOWRITE,
        )?;
        Ok(Self { program, events })
    }

    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Waits for this many starts; returns when the last was. The program must not run before this is called: at most
    /// some 16,000 events are kept.
    pub(super) fn wait_for(&self, starts: usize, limit: Duration) -> Outcome<Instant> {
        let (deadline, mut seen) = (Instant::now() + limit, 0);
        let mut buffer = [MaybeUninit::uninit(); 16384];
        let mut reader = inotify::Reader::new(&self.events, &mut buffer);
        while seen < starts {
            match reader.next() {
                Ok(event) => {
                    // `true` and its arguments are opened once: when it is executed.
                    seen += usize::from(event.events().contains(inotify::ReadFlags::OPEN));
                    if event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW) {
                        return Err(Failure::new("more starts than could be counted"));
                    }
                }
                Err(rustix::io::Errno::AGAIN) => wait_for_input(&self.events, deadline)
                    .doing(format_args!("{starts} starts, of which there were {seen}"))?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Instant::now())
    }
}

fn wait_for_input(fd: &impl std::os::fd::AsFd, deadline: Instant) -> Outcome {
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = Timespec::try_from(left).doing("a limit in seconds")?;
    match poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timeout))? {
        0 => Err(Failure::new("it took too long")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_of_a_program_are_counted() {
        let folder = std::env::temp_dir().join(format!("palisade-starts-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let counter = StartCounter::start(&folder).unwrap();
        for _ in 0..3 {
            assert!(std::process::Command::new(counter.program()).status().unwrap().success());
        }
        let counted = counter.wait_for(3, Duration::from_secs(10));
        let more = counter.wait_for(1, Duration::ZERO);
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(counted.is_ok() && more.is_err());
    }
}
