//! How much of an alert's free text is kept: the stock server's limits. Pure.

use palisade_wire::{Alert, Event, MetaItem, UnixMillis};

/// The longest JSON of one event's meta, in bytes.
const EVENT_META_BYTES: usize = 8191;
/// Where the values of too large an event are cut first, in bytes; then at the half of it, and so on.
const FIRST_CUT: usize = 2048;
/// The longest key of an alert's meta, in bytes.
const META_KEY_BYTES: usize = 255;
/// The longest value of an alert's meta, in bytes.
const META_VALUE_BYTES: usize = 4095;
/// What says that a value was cut.
const CUT_MARK: &str = "<stripped>";

/// Brings an alert's events and meta within the limits, and gives events without a readable time that of their
/// arrival. Returns how many events and meta items lost something.
pub(crate) fn apply(alert: &mut Alert, now: UnixMillis) -> usize {
    let mut cut = 0;
    for event in &mut alert.events {
        if UnixMillis::parse_rfc3339(&event.timestamp).is_none() {
            event.timestamp = now.rfc3339_millis();
        }
        cut += usize::from(cut_event(event));
    }
    for item in &mut alert.meta {
        let before = item.key.len() + item.value.len();
        shorten(&mut item.key, META_KEY_BYTES);
        shorten(&mut item.value, META_VALUE_BYTES);
        cut += usize::from(item.key.len() + item.value.len() != before);
    }
    cut
}

/// Cuts long values shorter and shorter until the whole fits; when nothing helps, nothing is kept.
fn cut_event(event: &mut Event) -> bool {
    if json_length(&event.meta) <= EVENT_META_BYTES {
        return false;
    }
    let mut at = FIRST_CUT;
    while at > 0 {
        for item in event.meta.iter_mut().filter(|item| item.value.len() > at * 2) {
            shorten(&mut item.value, at);
            item.value.push_str(CUT_MARK);
        }
        if json_length(&event.meta) <= EVENT_META_BYTES {
            return true;
        }
        at /= 2;
    }
    event.meta.clear();
    true
}

/// The length of the items as JSON. Counted, not written: most events are far below the limit.
fn json_length(meta: &[MetaItem]) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, meta) {
        Ok(()) => count.0,
        Err(_) => usize::MAX,
    }
}

/// Cuts a text to at most so many bytes, at the boundary of a character.
fn shorten(text: &mut String, bytes: usize) {
    text.truncate(text.floor_char_boundary(bytes));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(values: &[usize]) -> Event {
        Event {
            timestamp: "2026-07-01T10:00:00Z".into(),
            meta: values
                .iter()
                .enumerate()
                .map(|(n, length)| MetaItem { key: n.to_string(), value: "é".repeat(length / 2) })
                .collect(),
        }
    }

    #[test]
    fn large_events_are_cut_step_by_step() {
        let cut = |values: &[usize]| {
            let mut alert = Alert { events: vec![event(values)], ..Alert::default() };
            let count = apply(&mut alert, UnixMillis(0));
            (count, alert.events.remove(0).meta.iter().map(|item| item.value.len()).collect::<Vec<_>>())
        };
        assert_eq!(cut(&[100, 8000]), (1, vec![100, FIRST_CUT + CUT_MARK.len()]));
        assert_eq!(cut(&[100, 7000]), (0, vec![100, 7000]));
        assert_eq!(cut(&[4000, 4000, 4000]).1, vec![1034, 1034, 1034], "cut at 1024, the mark behind it");
        assert_eq!(cut(&[10; 5000]), (1, vec![]), "too many small ones: nothing is left");
    }

    #[test]
    fn long_meta_is_cut_at_characters_and_times_are_made_up_where_they_are_missing() {
        let meta = vec![MetaItem { key: "é".repeat(200), value: "x".repeat(5000) }];
        let odd = Event { timestamp: "yesterday".into(), meta: vec![] };
        let mut alert = Alert { meta, events: vec![odd], ..Alert::default() };
        assert_eq!(apply(&mut alert, UnixMillis(1_000)), 1);
        assert_eq!((alert.meta[0].key.len(), alert.meta[0].value.len()), (254, 4095));
        assert_eq!(alert.events[0].timestamp, "1970-01-01T00:00:01.000Z");
    }
}
