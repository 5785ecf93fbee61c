//! Defines the binary form of the records in a store. Pure.
//!
//! ```text
//!   text    2·number of a label, or 2·length + 1 and the bytes
//!   entry   remediation, origin, scenario, end, LAPI's id
//!   values  entries, 0 | 1 sequence, entries, entries it may hold besides
//!   event   id, value, kind (0 added, 1 changed + old entry, 2…4 lifted, 5 present), entry, time
//! ```
//!
//! Queued events and dead letters have their texts written out: they do not hold labels back.

use std::sync::Arc;

use palisade_cache::Timestamp;

use super::codec::{Malformed, Reader, Writer};
use super::labels::Labels;
use super::record::{Attempt, DeadLetter, EndpointState, PausedState, ValueRecord, bounded};
use crate::event::{Entry, Event, EventId, EventKind, LiftCause, Value};

/// The version of everything below. A file of another version is set aside.
pub(super) const FORMAT_VERSION: u64 = 1;

/// How texts are written.
enum Texts<'a> {
    Numbered(&'a mut Labels),
    Full,
}

pub(super) fn encode_record(record: &ValueRecord, labels: &mut Labels) -> Vec<u8> {
    let mut writer = Writer::default();
    let mut texts = Texts::Numbered(labels);
    write_entries(&mut writer, &record.entries, &mut texts);
    match &record.attempted {
        None => writer.byte(0),
        Some(attempt) => {
            writer.byte(1);
            writer.number(attempt.sequence);
            write_entries(&mut writer, &attempt.entries, &mut texts);
            write_entries(&mut writer, &attempt.maybe, &mut texts);
        }
    }
    writer.finish()
}

pub(super) fn decode_record(bytes: &[u8], labels: &mut Labels) -> Result<ValueRecord, Malformed> {
    let mut reader = Reader::new(bytes);
    let entries = read_entries(&mut reader, labels)?;
    let attempted = match reader.byte()? {
        0 => None,
        1 => Some(Attempt {
            sequence: reader.number()?,
            entries: read_entries(&mut reader, labels)?,
            maybe: read_entries(&mut reader, labels)?,
        }),
        _ => return Err(Malformed),
    };
    reader.finish()?;
    Ok(ValueRecord { entries, attempted })
}

/// The numbers of the labels in a record.
pub(super) fn labels_of(record: &[u8], mut used: impl FnMut(u64)) -> Result<(), Malformed> {
    let mut reader = Reader::new(record);
    let mut entries = |reader: &mut Reader<'_>| {
        for _ in 0..reader.number()? {
            for _ in 0..3 {
                let text = reader.number()?;
                if text & 1 == 0 {
                    used(text >> 1);
                } else {
                    reader.raw(usize::try_from(text >> 1).map_err(|_| Malformed)?)?;
                }
            }
            reader.signed()?;
            reader.signed()?;
        }
        Ok(())
    };
    entries(&mut reader)?;
    if reader.byte()? == 1 {
        reader.number()?;
        entries(&mut reader)?;
        entries(&mut reader)?;
    }
    Ok(())
}

pub(super) fn encode_event(event: &Event) -> Vec<u8> {
    let mut writer = Writer::default();
    write_event(&mut writer, event);
    writer.finish()
}

pub(super) fn decode_event(bytes: &[u8], labels: &mut Labels) -> Result<Event, Malformed> {
    let mut reader = Reader::new(bytes);
    let event = read_event(&mut reader, labels)?;
    reader.finish()?;
    Ok(event)
}

pub(super) fn encode_dead_letter(letter: &DeadLetter) -> Vec<u8> {
    let mut writer = Writer::default();
    write_event(&mut writer, &letter.event);
    writer.signed(letter.at.as_millis());
    writer.number(letter.attempts.into());
    writer.counted(bounded(&letter.reason).as_bytes());
    writer.finish()
}

pub(super) fn decode_dead_letter(bytes: &[u8], labels: &mut Labels) -> Result<DeadLetter, Malformed> {
    let mut reader = Reader::new(bytes);
    let letter = DeadLetter {
        event: read_event(&mut reader, labels)?,
        at: Timestamp::from_millis(reader.signed()?),
        attempts: u32::try_from(reader.number()?).map_err(|_| Malformed)?,
        reason: reader.text()?.to_owned(),
    };
    reader.finish()?;
    Ok(letter)
}

pub(super) fn encode_state(state: &EndpointState) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.number(state.sequence);
    writer.number(state.snapshot);
    write_time(&mut writer, state.last_snapshot_at);
    writer.byte(state.initialised.into());
    writer.byte(state.lost.into());
    match &state.paused {
        None => writer.byte(0),
        Some(paused) => {
            writer.byte(if paused.gone { 2 } else { 1 });
            writer.signed(paused.since.as_millis());
            writer.counted(bounded(&paused.reason).as_bytes());
        }
    }
    writer.number(state.delivered);
    write_time(&mut writer, state.last_delivery_at);
    writer.finish()
}

pub(super) fn decode_state(bytes: &[u8]) -> Result<EndpointState, Malformed> {
    let mut reader = Reader::new(bytes);
    let state = EndpointState {
        sequence: reader.number()?,
        snapshot: reader.number()?,
        last_snapshot_at: read_time(&mut reader)?,
        initialised: read_flag(&mut reader)?,
        lost: read_flag(&mut reader)?,
        paused: match reader.byte()? {
            0 => None,
            kind @ (1 | 2) => Some(PausedState {
                since: Timestamp::from_millis(reader.signed()?),
                gone: kind == 2,
                reason: reader.text()?.to_owned(),
            }),
            _ => return Err(Malformed),
        },
        delivered: reader.number()?,
        last_delivery_at: read_time(&mut reader)?,
    };
    reader.finish()?;
    Ok(state)
}

fn write_entries(writer: &mut Writer, entries: &[Entry], texts: &mut Texts<'_>) {
    writer.number(entries.len() as u64);
    entries.iter().for_each(|entry| write_entry(writer, entry, texts));
}

fn read_entries(reader: &mut Reader<'_>, labels: &mut Labels) -> Result<Vec<Entry>, Malformed> {
    let count = reader.number()?;
    // Not reserved: a damaged count must not allocate more than its record has bytes.
    (0..count).map(|_| read_entry(reader, labels)).collect()
}

fn write_entry(writer: &mut Writer, entry: &Entry, texts: &mut Texts<'_>) {
    for text in [&entry.remediation, &entry.origin, &entry.scenario] {
        write_text(writer, text, texts);
    }
    writer.signed(entry.until.as_millis());
    writer.signed(entry.id);
}

fn read_entry(reader: &mut Reader<'_>, labels: &mut Labels) -> Result<Entry, Malformed> {
    Ok(Entry {
        remediation: read_text(reader, labels)?,
        origin: read_text(reader, labels)?,
        scenario: read_text(reader, labels)?,
        until: Timestamp::from_millis(reader.signed()?),
        id: reader.signed()?,
    })
}

fn write_text(writer: &mut Writer, text: &Arc<str>, texts: &mut Texts<'_>) {
    let number = match texts {
        Texts::Numbered(labels) => labels.number(text),
        Texts::Full => None,
    };
    if let Some(number) = number {
        writer.number(u64::from(number) << 1);
    } else {
        writer.number((text.len() as u64) << 1 | 1);
        writer.raw(text.as_bytes());
    }
}

fn read_text(reader: &mut Reader<'_>, labels: &mut Labels) -> Result<Arc<str>, Malformed> {
    let number = reader.number()?;
    if number & 1 == 0 {
        return labels.text(number >> 1).ok_or(Malformed);
    }
    let bytes = reader.raw(usize::try_from(number >> 1).map_err(|_| Malformed)?)?;
    std::str::from_utf8(bytes).map(|text| labels.share(text)).map_err(|_| Malformed)
}

fn write_event(writer: &mut Writer, event: &Event) {
    writer.raw(event.id.as_bytes());
    writer.counted(&event.value.to_key());
    match &event.kind {
        EventKind::Added => writer.byte(0),
        EventKind::Changed(old) => {
            writer.byte(1);
            write_entry(writer, old, &mut Texts::Full);
        }
        EventKind::Lifted(LiftCause::Expired) => writer.byte(2),
        EventKind::Lifted(LiftCause::Deleted) => writer.byte(3),
        EventKind::Lifted(LiftCause::Superseded) => writer.byte(4),
        EventKind::Present => writer.byte(5),
    }
    write_entry(writer, &event.entry, &mut Texts::Full);
    writer.signed(event.at.as_millis());
}

fn read_event(reader: &mut Reader<'_>, labels: &mut Labels) -> Result<Event, Malformed> {
    let id: [u8; 16] = reader.raw(16)?.try_into().map_err(|_| Malformed)?;
    let value = Value::from_key(reader.counted()?).map_err(|_| Malformed)?;
    let kind = match reader.byte()? {
        0 => EventKind::Added,
        1 => EventKind::Changed(read_entry(reader, labels)?),
        2 => EventKind::Lifted(LiftCause::Expired),
        3 => EventKind::Lifted(LiftCause::Deleted),
        4 => EventKind::Lifted(LiftCause::Superseded),
        5 => EventKind::Present,
        _ => return Err(Malformed),
    };
    let entry = read_entry(reader, labels)?;
    let at = Timestamp::from_millis(reader.signed()?);
    Ok(Event { id: EventId::from_bytes(id), kind, value, entry, at })
}

fn write_time(writer: &mut Writer, time: Option<Timestamp>) {
    writer.byte(time.is_some().into());
    if let Some(time) = time {
        writer.signed(time.as_millis());
    }
}

fn read_time(reader: &mut Reader<'_>) -> Result<Option<Timestamp>, Malformed> {
    read_flag(reader)?.then(|| reader.signed().map(Timestamp::from_millis)).transpose()
}

fn read_flag(reader: &mut Reader<'_>) -> Result<bool, Malformed> {
    match reader.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed),
    }
}
