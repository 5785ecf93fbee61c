//! Gives the enforcer its access to the kernel: the netlink socket, on a thread that may block, and the `nft` program.
//! Remembers which generations of the ruleset were made by this process.

use std::collections::BTreeSet;

use crate::error::EnforceError;
use crate::kernel::Kernel;
use crate::nft::{self, Command};

/// Generations remembered. Notifications of our own changes arrive within milliseconds.
const REMEMBERED: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct KernelAccess {
    kernel: Option<Kernel>,
    generations: BTreeSet<u32>,
}

impl KernelAccess {
    /// Does blocking work on the kernel, opening the socket if there is none.
    pub(super) async fn kernel<T, F>(&mut self, work: F) -> Result<T, EnforceError>
    where
        F: FnOnce(&mut Kernel) -> T + Send + 'static,
        T: Send + 'static,
    {
        // Moved to the thread and back. If the work panics, the socket is lost and the next call opens another one,
        // with no response of the failed request left in it.
        let kernel = self.kernel.take();
        let done = tokio::task::spawn_blocking(move || {
            let mut kernel = match kernel {
                Some(kernel) => kernel,
                None => Kernel::open()?,
            };
            let result = work(&mut kernel);
            Ok::<_, EnforceError>((kernel, result))
        });
        let (kernel, result) = done.await.map_err(|error| EnforceError::Thread(error.to_string()))??;
        self.kernel = Some(kernel);
        Ok(result)
    }

    /// Runs `nft` on commands, as one transaction.
    pub(super) async fn nft(
        &mut self,
        what: &'static str,
        commands: Vec<Command>,
    ) -> Result<(), EnforceError> {
        if commands.is_empty() {
            return Ok(());
        }
        // `nft` does not report the generation it made. If exactly one was made meanwhile, it is that one.
        let before = self.kernel(Kernel::generation).await??;
        nft::apply(what, commands).await?;
        let after = self.kernel(Kernel::generation).await??;
        if after == before.wrapping_add(1) {
            self.remember([after]);
        }
        // Otherwise another program committed as well. The monitor then reports both, which costs one comparison.
        Ok(())
    }

    /// Records generations that this process made.
    pub(super) fn remember(&mut self, generations: impl IntoIterator<Item = u32>) {
        self.generations.extend(generations);
        // The lowest are the oldest, except after the number has wrapped around.
        while self.generations.len() > REMEMBERED {
            self.generations.pop_first();
        }
    }

    /// Whether this process made a generation.
    pub(super) fn made(&self, generation: u32) -> bool {
        self.generations.contains(&generation)
    }
}
