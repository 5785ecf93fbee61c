//! What the server itself must remember: `config_items`.

use palisade_wire::UnixMillis;

use crate::{Store, StoreError};

impl Store {
    /// What is remembered under a name.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn setting(&self, name: &str) -> Result<Option<String>, StoreError> {
        let _ = name;
        todo!()
    }

    /// Remembers something, in the place of what was there.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn set_setting(&self, now: UnixMillis, name: &str, value: &str) -> Result<(), StoreError> {
        let _ = (now, name, value);
        todo!()
    }

    /// What is remembered under a name; when nothing is, `value` from now on. Of several callers at once all get the
    /// same answer.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn setting_or_insert(
        &self,
        now: UnixMillis,
        name: &str,
        value: &str,
    ) -> Result<String, StoreError> {
        let _ = (now, name, value);
        todo!()
    }
}
