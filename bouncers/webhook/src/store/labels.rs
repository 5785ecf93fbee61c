//! Gives frequent texts short numbers in the file, and one allocation each in memory. Pure.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Most texts with a number. Further ones are written out in each record.
pub(super) const MAX_LABELS: usize = 4096;

/// Longest text that is given a number. Those of origins, remediations and scenarios are shorter but for free texts.
pub(super) const MAX_LABEL_BYTES: usize = 128;

/// Most texts without a number that are shared in memory.
const MAX_SHARED: usize = 1024;

/// The texts of a store.
#[derive(Debug, Default)]
pub(super) struct Labels {
    texts: Vec<Option<Arc<str>>>,
    numbers: HashMap<Arc<str>, u16>,
    free: Vec<u16>,
    /// Numbers given since the last [`take_added`](Self::take_added).
    added: Vec<u16>,
    shared: HashSet<Arc<str>>,
}

impl Labels {
    /// Takes a text over that the file has under a number; `false` when it cannot have it.
    pub(super) fn load(&mut self, number: u16, text: &str) -> bool {
        let place = usize::from(number);
        if place >= MAX_LABELS || text.len() > MAX_LABEL_BYTES || self.numbers.contains_key(text) {
            return false;
        }
        if self.texts.len() <= place {
            self.texts.resize(place + 1, None);
        }
        let text: Arc<str> = text.into();
        self.numbers.insert(Arc::clone(&text), number);
        self.texts[place] = Some(text);
        true
    }

    /// To be called after the last [`load`](Self::load): finds the numbers that are free.
    pub(super) fn loaded(&mut self) {
        let places = self.texts.iter().enumerate();
        let free = places.filter(|(_, text)| text.is_none());
        self.free = free.filter_map(|(place, _)| u16::try_from(place).ok()).collect();
    }

    /// How many texts have a number.
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// The number of a text; it is given one if there is room.
    pub(super) fn number(&mut self, text: &Arc<str>) -> Option<u16> {
        if let Some(&number) = self.numbers.get(text) {
            return Some(number);
        }
        if text.len() > MAX_LABEL_BYTES {
            return None;
        }
        let number = match self.free.pop() {
            Some(number) => number,
            None if self.texts.len() < MAX_LABELS => {
                self.texts.push(None);
                u16::try_from(self.texts.len() - 1).ok()?
            }
            None => return None,
        };
        self.texts[usize::from(number)] = Some(Arc::clone(text));
        self.numbers.insert(Arc::clone(text), number);
        self.added.push(number);
        Some(number)
    }

    /// The text with a number.
    pub(super) fn text(&self, number: u64) -> Option<Arc<str>> {
        self.texts.get(usize::try_from(number).ok()?)?.clone()
    }

    /// A text that was written out. Equal ones mostly share their memory.
    pub(super) fn share(&mut self, text: &str) -> Arc<str> {
        if let Some((text, _)) = self.numbers.get_key_value(text) {
            return Arc::clone(text);
        }
        if let Some(text) = self.shared.get(text) {
            return Arc::clone(text);
        }
        if self.shared.len() >= MAX_SHARED {
            self.shared.clear();
        }
        let text: Arc<str> = text.into();
        self.shared.insert(Arc::clone(&text));
        text
    }

    /// The texts that were given numbers since the last call, to be written to the file.
    pub(super) fn take_added(&mut self) -> Vec<(u16, Arc<str>)> {
        let added = std::mem::take(&mut self.added);
        added.into_iter().filter_map(|number| Some((number, self.text(number.into())?))).collect()
    }

    /// Frees the number of a text that no record has.
    pub(super) fn remove(&mut self, number: u16) {
        if let Some(text) = self.texts.get_mut(usize::from(number)).and_then(Option::take) {
            self.numbers.remove(&text);
            self.free.push(number);
        }
    }

    /// The numbers in use.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u16> + '_ {
        self.numbers.values().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_keeps_its_number_and_free_numbers_are_used_again() {
        let mut labels = Labels::default();
        let [ban, captcha, list]: [Arc<str>; 3] = ["ban", "captcha", "list"].map(Into::into);
        assert_eq!(
            (labels.number(&ban), labels.number(&captcha), labels.number(&ban)),
            (Some(0), Some(1), Some(0))
        );
        assert_eq!(labels.take_added(), [(0, ban), (1, Arc::clone(&captcha))]);
        labels.remove(0);
        assert_eq!((labels.text(0), labels.number(&list), labels.text(1)), (None, Some(0), Some(captcha)));
        assert_eq!(labels.take_added(), [(0, list)]);
    }

    #[test]
    fn a_full_dictionary_gives_no_more_numbers() {
        let mut labels = Labels::default();
        for number in 0..MAX_LABELS {
            assert!(labels.number(&number.to_string().into()).is_some());
        }
        assert_eq!(labels.number(&"one more".into()), None);
        assert_eq!(labels.number(&"x".repeat(MAX_LABEL_BYTES + 1).into()), None);
        assert_eq!(labels.len(), MAX_LABELS);
        let (one, other) = (labels.share("one more"), labels.share("one more"));
        assert!(Arc::ptr_eq(&one, &other));
    }

    #[test]
    fn a_file_cannot_have_a_text_twice_or_beyond_the_bounds() {
        let mut labels = Labels::default();
        assert!(labels.load(3, "ban"));
        assert!(!labels.load(4, "ban"));
        assert!(!labels.load(u16::MAX, "captcha"));
        labels.loaded();
        assert!(labels.number(&"captcha".into()).is_some_and(|number| number < 3));
    }
}
