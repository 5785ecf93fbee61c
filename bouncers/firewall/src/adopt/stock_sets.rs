//! Waits until the decisions of the stock bouncer are in the kernel.

use std::time::{Duration, Instant};

use crate::config::Config;
use crate::kernel::Kernel;

/// How long that may take: the stock bouncer pulls at its start, and writes thousands of decisions a second.
const TIMEOUT: Duration = Duration::from_secs(90);
/// For so long the number of elements must stay the same where it does not reach that of ours.
// The stock bouncer holds one element for all decisions on an address, and none for some that ours enforces.
const SETTLED: Duration = Duration::from_secs(5);
/// How often the elements are counted.
const POLL: Duration = Duration::from_millis(200);

/// Waits until its tables hold `hosts` elements, or some, whose number no longer grows.
///
/// # Errors
/// The kernel cannot be read, or the tables stay empty.
pub(super) fn wait_for_stock_bans(config: &Config, hosts: u64) -> anyhow::Result<()> {
    let mut kernel = Kernel::open()?;
    let until = Instant::now() + TIMEOUT;
    let (mut before, mut since) = (0, Instant::now());
    loop {
        let held = kernel.count_elements(config)?;
        if held >= hosts {
            return Ok(());
        }
        if held != before {
            (before, since) = (held, Instant::now());
        }
        if held > 0 && since.elapsed() >= SETTLED {
            return Ok(());
        }
        anyhow::ensure!(
            Instant::now() < until,
            "crowdsec-firewall-bouncer runs, but put none of {hosts} decisions in force within {} s",
            TIMEOUT.as_secs()
        );
        std::thread::sleep(POLL);
    }
}
