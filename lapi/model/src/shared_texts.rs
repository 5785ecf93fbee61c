//! Keeps one copy of texts that many decisions have in common.

use std::collections::HashSet;
use std::sync::Arc;

/// Equal texts share their memory: a list of a hundred thousand decisions has one origin, one reason and one type.
#[derive(Debug, Default)]
pub struct SharedTexts(HashSet<Arc<str>>);

impl SharedTexts {
    /// The text; a copy only if it is new.
    pub fn get(&mut self, text: &str) -> Arc<str> {
        match self.0.get(text) {
            Some(known) => Arc::clone(known),
            None => {
                let new: Arc<str> = text.into();
                self.0.insert(Arc::clone(&new));
                new
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one() {
        let mut texts = SharedTexts::default();
        let (first, second, other) = (texts.get("ban"), texts.get("ban"), texts.get("captcha"));
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!((&*first, &*other), ("ban", "captcha"));
    }
}
