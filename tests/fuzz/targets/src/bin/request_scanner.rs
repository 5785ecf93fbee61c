//! The scanner of strict listeners against hyper; see the oracle.
#![no_main]

#[path = "../../../../../common/daemon/tests/scanner/oracle.rs"]
mod oracle;

use libfuzzer_sys::fuzz_target;

// The first byte says in which pieces the others come.
fuzz_target!(|data: &[u8]| {
    let Some((size, bytes)) = data.split_first() else { return };
    oracle::check(usize::from(*size), bytes);
});
