use proptest::prelude::*;

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A guard after the preface.
fn guard() -> FrameGuard {
    let mut guard = FrameGuard::new();
    guard.scan(PREFACE, || 0).unwrap();
    guard
}

const PING: (u8, u8, u32, &[u8]) = (6, 0, 0, &[0; 8]);
const WINDOW_UPDATE: (u8, u8, u32, &[u8]) = (8, 0, 0, &[0, 0, 0, 1]);
const RESET: (u8, u8, u32, &[u8]) = (3, 0, 1, &[0, 0, 0, 8]);
const HEADERS: (u8, u8, u32, &[u8]) = (1, 5, 1, b"\x82");

#[test]
fn each_kind_has_a_budget_for_a_second() {
    for ((kind, flags, stream, payload), most, flood) in [
        (PING, 100, Flood::Ping),
        ((4, 0, 0, &b""[..]), 50, Flood::Settings),
        ((4, 1, 0, b""), 100, Flood::Unknown),
        (WINDOW_UPDATE, 200, Flood::WindowUpdate),
        ((2, 0, 3, &[0, 0, 0, 0, 9]), 100, Flood::Priority),
        ((0, 0, 1, b""), 100, Flood::EmptyData),
        (RESET, 100, Flood::Resets),
        ((9, 0, 1, b"x"), 20, Flood::Continuation),
        ((0xb, 0, 1, b"x"), 100, Flood::Unknown),
    ] {
        let (mut guard, one) = (guard(), frame(kind, flags, stream, payload));
        for second in 1..4 {
            for _ in 0..most {
                assert_eq!(guard.scan(&one, || second * 1000), Ok(()), "{flood:?}");
            }
        }
        assert_eq!(guard.scan(&one, || 3999), Err(flood));
        assert!(!flood.reason().is_empty());
    }
}

#[test]
fn requests_and_bodies_have_none() {
    let mut guard = guard();
    for (kind, flags, payload) in [(1, 4, &b"\x82"[..]), (0, 0, b"body"), (0, 1, b"")] {
        for _ in 0..10_000 {
            guard.scan(&frame(kind, flags, 7, payload), || panic!("the clock is not needed")).unwrap();
        }
    }
    assert_eq!(guard.last_stream(), 7);
}

#[test]
fn downloads_and_streams_allow_for_more() {
    let send = |guard: &mut FrameGuard, (kind, flags, stream, payload): (u8, u8, u32, &[u8]), count: u32| {
        (0..count).try_for_each(|_| guard.scan(&frame(kind, flags, stream, payload), || 5))
    };
    let mut one = guard();
    one.sent(64 * 5000);
    assert_eq!(send(&mut one, WINDOW_UPDATE, 5200), Ok(()));
    assert_eq!(send(&mut one, WINDOW_UPDATE, 1), Err(Flood::WindowUpdate));
    let mut one = guard();
    one.sent(64 * 1000);
    assert_eq!(send(&mut one, PING, 1100), Ok(()));
    assert_eq!(send(&mut one, PING, 1), Err(Flood::Ping));
    let mut one = guard();
    send(&mut one, HEADERS, 300).unwrap();
    assert_eq!(send(&mut one, WINDOW_UPDATE, 800), Ok(()));
    assert_eq!(send(&mut one, WINDOW_UPDATE, 1), Err(Flood::WindowUpdate));
}

#[test]
fn resets_are_counted_for_life() {
    let mut guard = guard();
    let one = frame(RESET.0, RESET.1, RESET.2, RESET.3);
    for number in 0..LIFETIME_RESETS {
        guard.scan(&one, || number / 50 * 1000 + 1000).unwrap();
    }
    assert_eq!(guard.scan(&one, || 10_000_000), Err(Flood::LifetimeResets));
}

#[test]
fn frames_that_do_not_end_are_noticed() {
    let mut guard = guard();
    assert!(!guard.is_within_frame());
    let headers = frame(1, 4, 1, b"\x82");
    for end in 1..headers.len() {
        let mut guard = FrameGuard::new();
        guard.scan(PREFACE, || 0).unwrap();
        guard.scan(&headers[..end], || 0).unwrap();
        assert!(guard.is_within_frame(), "{end}");
    }
    guard.scan(&frame(1, 0, 1, b"\x82"), || 0).unwrap();
    assert!(guard.is_within_frame(), "the rest of the head is missing");
    guard.scan(&frame(9, 4, 1, b"\x82"), || 0).unwrap();
    assert!(!guard.is_within_frame());
    guard.scan(&frame(0, 0, 1, b"body")[..11], || 0).unwrap();
    assert!(!guard.is_within_frame(), "a body has limits of its own");
}

proptest! {
    /// However the bytes are divided, the same frames are counted.
    #[test]
    fn pieces_are_walked_as_the_whole(
        frames in prop::collection::vec((0_u8..12, 0_u8..2, 0_u32..9, prop::collection::vec(any::<u8>(), 0..40)), 0..20),
        size in 1_usize..30,
    ) {
        let bytes = [PREFACE.to_vec(), frames.iter().flat_map(|(kind, flags, stream, payload)| {
            frame(*kind, *flags, *stream, payload)
        }).collect()].concat();
        let found = |pieces: &mut dyn Iterator<Item = &[u8]>| {
            let (mut walker, mut found) = (FrameWalker::after_preface(), Vec::new());
            for mut piece in pieces {
                while let Some(header) = walker.next(&mut piece) {
                    found.push((header.kind, header.flags, header.stream, header.length as usize));
                }
            }
            assert!(!walker.is_within_frame());
            found
        };
        let expected: Vec<_> =
            frames.iter().map(|(kind, flags, stream, payload)| (*kind, *flags, *stream, payload.len())).collect();
        prop_assert_eq!(found(&mut bytes.chunks(size)), expected.clone());
        prop_assert_eq!(found(&mut std::iter::once(&bytes[..])), expected);
    }
}
