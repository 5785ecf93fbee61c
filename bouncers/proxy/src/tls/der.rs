//! Reads DER elements, as far as OCSP responses need it. Pure.

/// A sequence of DER elements.
#[derive(Debug, Clone, Copy)]
pub(super) struct Der<'a>(pub(super) &'a [u8]);

/// Tags in use.
pub(super) mod tag {
    pub(in super::super) const INTEGER: u8 = 0x02;
    pub(in super::super) const BIT_STRING: u8 = 0x03;
    pub(in super::super) const OCTET_STRING: u8 = 0x04;
    pub(in super::super) const OBJECT_IDENTIFIER: u8 = 0x06;
    pub(in super::super) const ENUMERATED: u8 = 0x0a;
    pub(in super::super) const GENERALIZED_TIME: u8 = 0x18;
    pub(in super::super) const SEQUENCE: u8 = 0x30;

    /// A context-specific constructed tag.
    pub(in super::super) const fn explicit(number: u8) -> u8 {
        0xa0 | number
    }
}

impl<'a> Der<'a> {
    /// The tag of the next element.
    pub(super) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next element's tag and content. `None` at the end, and for anything that is not DER with a one-byte tag.
    pub(super) fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let length = match first {
            0..=0x7f => usize::from(first),
            0x81..=0x84 => {
                let (bytes, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
                rest = after;
                bytes.iter().fold(0, |length, &byte| (length << 8) | usize::from(byte))
            }
            _ => return None,
        };
        // Tags of several bytes are not in use.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The content of the next element, which must have `tag`.
    pub(super) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, content) = self.any()?;
        (found == tag).then_some(content)
    }

    /// The elements inside the next one, which must have `tag`.
    pub(super) fn enter(&mut self, tag: u8) -> Option<Self> {
        self.take(tag).map(Self)
    }

    /// Skips the next element if it has `tag`.
    pub(super) fn skip(&mut self, tag: u8) -> Option<()> {
        match self.peek() == Some(tag) {
            true => self.any().map(|_| ()),
            false => Some(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reading_any_bytes_ends_without_panic(bytes: Vec<u8>) {
            let mut der = Der(&bytes);
            while der.any().is_some() {}
        }
    }

    #[test]
    fn long_lengths_are_read_and_impossible_ones_refused() {
        let mut long = vec![tag::OCTET_STRING, 0x82, 0x01, 0x00];
        long.resize(4 + 256, 7);
        assert_eq!(Der(&long).take(tag::OCTET_STRING).map(<[u8]>::len), Some(256));
        assert_eq!(Der(&[tag::OCTET_STRING, 0x80, 0, 0]).any(), None);
        assert_eq!(Der(&[tag::OCTET_STRING, 0x05, 0, 0]).any(), None);
        assert_eq!(Der(&[tag::OCTET_STRING, 0x84, 0xff, 0xff, 0xff, 0xff]).any(), None);
    }
}
