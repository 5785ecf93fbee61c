//! Captures the log of a test. Per thread, so the test must run on one thread.

use std::io;
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
pub(crate) struct TestLog(Arc<Mutex<Vec<u8>>>);

impl io::Write for TestLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TestLog {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// Captures log lines until the guard is dropped.
pub(crate) fn begin() -> (TestLog, tracing::subscriber::DefaultGuard) {
    let log = TestLog::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    (log, tracing::subscriber::set_default(subscriber))
}
