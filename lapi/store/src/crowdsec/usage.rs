//! Takes usage reports.

use super::columns::{As, Fields};
use super::import::Import;
use super::known::RowKind;
use crate::StoreError;
use crate::engine::{Column, SqlRow, insert};
use crate::replay::before;

const TABLE: &str = "metrics";
const COLUMNS: [(&str, As); 6] = [
    ("id", As::Int),
    ("generated_type", As::Text),
    ("generated_by", As::Text),
    ("received_at", As::Time),
    ("pushed_at", As::Time),
    ("payload", As::Text),
];
/// Rows per read; a report may be long.
const PAGE: usize = 200;

impl Import<'_> {
    /// Takes the usage reports after the last one that was taken, within the retention; 1.4.6 has none.
    pub(super) async fn usage(&mut self) -> Result<(), StoreError> {
        if !self.source.has(TABLE) {
            return Ok(());
        }
        let cutoff = self.keep.metrics_max_age.map(|age| before(self.now, age));
        let columns = self.source.columns(TABLE, &COLUMNS);
        let mut after = self.known.take(RowKind::Usage, 0).map_or(0, |known| known.row);
        loop {
            let read = |row: &SqlRow| {
                let mut fields = Fields::new(row);
                let id = fields.int()?.unwrap_or(0);
                let texts = (fields.text()?, fields.text()?);
                Ok((id, texts, fields.time()?, fields.time()?, fields.text()?))
            };
            let page = self.source.page(TABLE, &columns, after, PAGE, read).await?;
            let count = page.len();
            let [mut kinds, mut senders, mut payloads] = [const { Vec::new() }; 3];
            let (mut received, mut pushed) = (Vec::new(), Vec::new());
            for (id, (kind, sender), at, sent, payload) in page {
                after = id;
                let at = at.unwrap_or(self.now);
                if !matches!(kind.as_str(), "LP" | "RC") {
                    self.report.skip("a usage report of an unknown kind", || kind);
                } else if cutoff.is_some_and(|cutoff| at.0 <= cutoff) {
                    self.report
                        .skip("a usage report older than db_config.flush keeps", || format!("id {id}"));
                } else {
                    kinds.push(kind);
                    senders.push(sender);
                    received.push(at.0);
                    pushed.push(sent.map(|at| at.0));
                    payloads.push(payload);
                }
            }
            self.report.usage.added += kinds.len() as u64;
            let columns = vec![
                ("generated_type", Column::Texts(kinds)),
                ("generated_by", Column::Texts(senders)),
                ("received_at", Column::Ints(received)),
                ("pushed_at", Column::MaybeInts(pushed)),
                ("payload", Column::Texts(payloads)),
            ];
            insert(self.tx, "usage_metrics", columns, self.bulk).await?;
            self.advance(count);
            if count < PAGE {
                break;
            }
        }
        self.known.record(self.tx, RowKind::Usage, 0, after, "").await
    }
}
