//! One cache line of the IPv4 index: 32 words that are searched all at once, in vector registers and without a branch.

/// 16-bit words in a line.
pub(crate) const WORDS: usize = 32;
/// Words for keys in the line of a leaf; its head follows.
pub(crate) const KEYS: usize = WORDS - 4;
/// The place of each word, from 1. Signed, because the baseline instruction set orders only signed words.
const PLACES: [i16; WORDS] = {
    let mut places = [0; WORDS];
    let mut at = 0;
    while at < WORDS {
        places[at] = at as i16 + 1;
        at += 1;
    }
    places
};

#[derive(Debug, Clone, Copy)]
// Aligned, so that a leaf is one cache line and one read from memory, not two.
#[repr(align(64))]
pub(crate) struct Line(pub(crate) [u16; WORDS]);

impl Line {
    /// A line that begins with these words and is filled up with the greatest word.
    pub(crate) fn of(words: impl IntoIterator<Item = u16>) -> Self {
        let mut line = [u16::MAX; WORDS];
        line.iter_mut().zip(words).for_each(|(slot, word)| *slot = word);
        Self(line)
    }

    /// In the line of a leaf that begins with `hosts` hosts: the place from 1 of the host `key`, or 0, and how many of
    /// the keys after the hosts are not greater than `key`. Unused words count too when `key` is the greatest.
    #[inline]
    pub(crate) fn search(&self, hosts: u16, key: u16) -> (u16, u16) {
        // One sum for both, as sums are what compilers make vector instructions of: the count needs five bits.
        let sum = self.sum(|word, place| {
            // Masks instead of `&&`, which would be branches on data and keep the loop out of vector registers.
            let is_host = all_ones(place <= hosts as i16);
            let is_key = all_ones(place <= KEYS as i16);
            let found = all_ones(word == key) & is_host & (place as u16) << 5;
            found + (all_ones(word <= key) & !is_host & is_key & 1)
        });
        (sum >> 5, sum & 31)
    }

    /// The place from 1 of `key` among the first `len` words, which differ, or 0.
    pub(crate) fn place_of(&self, len: u16, key: u16) -> u16 {
        self.sum(|word, place| all_ones(word == key) & all_ones(place <= len as i16) & place as u16)
    }

    /// How many of the words after the first `from` and up to the one at place `to` are not greater than `key`.
    pub(crate) fn count_up_to(&self, from: u16, to: u16, key: u16) -> u16 {
        let within = |place| all_ones(place > from as i16) & all_ones(place <= to as i16);
        self.sum(|word, place| all_ones(word <= key) & within(place) & 1)
    }

    #[inline]
    fn sum(&self, of: impl Fn(u16, i16) -> u16) -> u16 {
        self.0.iter().zip(&PLACES).map(|(word, place)| of(*word, *place)).sum()
    }
}

/// A mask of a condition.
#[inline]
fn all_ones(when: bool) -> u16 {
    if when { u16::MAX } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_keep_to_their_part_of_the_line() {
        let mut line = Line::of([3, 7, 9, 7, 65_535]);
        line.0[KEYS..].copy_from_slice(&[0, 1, 7, 9]);
        assert_eq!(line.search(3, 7), (2, 1));
        assert_eq!(line.search(3, 8), (0, 1));
        assert_eq!(line.search(3, 6), (0, 0));
        assert_eq!(line.search(0, 2).0, 0);
        assert_eq!(line.search(3, 65_535).1.min(2), 2);
        assert_eq!((line.place_of(3, 9), line.place_of(2, 9)), (3, 0));
        assert_eq!(
            (line.count_up_to(3, 5, 7), line.count_up_to(0, 5, 7), line.count_up_to(0, 32, 2)),
            (1, 3, 2)
        );
    }
}
