//! Names the tables of the file, and reads and writes the rows there is one of each.

use redb::{ReadTransaction, ReadableTable as _, Table, TableDefinition, TableError, WriteTransaction};

use super::codec::{Malformed, Reader, Writer};
use super::error::Problem;
use super::format::{FORMAT_VERSION, decode_state, encode_state};
use super::labels::Labels;
use super::record::{Dropped, EndpointState};

/// Value to what the endpoint holds of it.
pub(super) const VALUES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("values");
/// Number to event.
pub(super) const QUEUE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("queue");
/// Number to dead letter.
pub(super) const DEAD: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("dead");
/// Number to text.
pub(super) const LABELS: TableDefinition<'_, u16, &str> = TableDefinition::new("labels");
/// The rows there is one of each.
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

const VERSION: &str = "version";
const STATE: &str = "state";
const COUNTERS: &str = "counters";

/// What cannot be counted at once in the tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counters {
    /// The number of the next queued event.
    pub(super) next_event: u64,
    pub(super) queued_bytes: u64,
    /// The number of the next dead letter.
    pub(super) next_dead: u64,
    pub(super) dropped: Dropped,
}

impl Counters {
    fn encode(&self) -> Vec<u8> {
        let Dropped { too_old, no_room, dead_letters } = self.dropped;
        let mut writer = Writer::default();
        for number in [self.next_event, self.queued_bytes, self.next_dead, too_old, no_room, dead_letters] {
            writer.number(number);
        }
        writer.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let mut number = || reader.number();
        let counters = Self {
            next_event: number()?,
            queued_bytes: number()?,
            next_dead: number()?,
            dropped: Dropped { too_old: number()?, no_room: number()?, dead_letters: number()? },
        };
        reader.finish()?;
        Ok(counters)
    }
}

/// Makes the tables of a new file.
pub(super) fn create(transaction: &WriteTransaction) -> Result<(), Problem> {
    transaction.open_table(VALUES)?;
    transaction.open_table(QUEUE)?;
    transaction.open_table(DEAD)?;
    transaction.open_table(LABELS)?;
    let mut meta = transaction.open_table(META)?;
    let mut version = Writer::default();
    version.number(FORMAT_VERSION);
    meta.insert(VERSION, version.finish().as_slice())?;
    write_rows(&mut meta, Some(&EndpointState::default()), &Counters::default())
}

/// Writes the rows that a commit changes.
pub(super) fn write_rows(
    meta: &mut Table<'_, &'static str, &'static [u8]>,
    state: Option<&EndpointState>,
    counters: &Counters,
) -> Result<(), Problem> {
    if let Some(state) = state {
        meta.insert(STATE, encode_state(state).as_slice())?;
    }
    meta.insert(COUNTERS, counters.encode().as_slice())?;
    Ok(())
}

/// Checks the version and reads the rows.
pub(super) fn read_rows(transaction: &ReadTransaction) -> Result<(EndpointState, Counters), Problem> {
    let meta = match transaction.open_table(META) {
        Err(TableError::TableDoesNotExist(_)) => return Err(Problem::damaged("it is no store")),
        meta => meta?,
    };
    let row = |name| match meta.get(name) {
        Ok(Some(row)) => Ok(row),
        Ok(None) => Err(Problem::damaged(format!("it has no {name}"))),
        Err(error) => Err(error.into()),
    };
    let version = Reader::new(row(VERSION)?.value()).number()?;
    if version != FORMAT_VERSION {
        return Err(Problem::damaged(format!("its format is {version}, not {FORMAT_VERSION}")));
    }
    Ok((decode_state(row(STATE)?.value())?, Counters::decode(row(COUNTERS)?.value())?))
}

/// Reads the texts that have a number.
pub(super) fn read_labels(transaction: &ReadTransaction) -> Result<Labels, Problem> {
    let mut labels = Labels::default();
    for row in transaction.open_table(LABELS)?.iter()? {
        let (number, text) = row?;
        if !labels.load(number.value(), text.value()) {
            return Err(Malformed.into());
        }
    }
    labels.loaded();
    Ok(labels)
}
