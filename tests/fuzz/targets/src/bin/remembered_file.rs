//! The remembered file: bytes from anywhere are decoded or refused. The checksum is made right, or it would hide
//! everything behind it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_stream::fuzz_decode;

fuzz_target!(|data: &[u8]| {
    fuzz_decode(data);
    let mut file = b"PLSDMEM2\x08\0\0\0x (fuzz)".to_vec();
    file.extend_from_slice(data);
    file.extend_from_slice(&crc32fast::hash(&file).to_le_bytes());
    if let Some(decisions) = fuzz_decode(&file) {
        // Each takes at least a label, an end, an id and a kind.
        assert!(decisions <= data.len() / 21);
        // One bit less, and nothing of it is used.
        let middle = file.len() / 2;
        file[middle] ^= 1;
        assert_eq!(fuzz_decode(&file), None);
    }
});
