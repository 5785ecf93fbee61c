//! A vector whose copies share storage: cloning is one reference count, changing one item copies one chunk.

use std::sync::Arc;

/// Items per chunk: large enough that the list of chunks stays short, small enough that copying one is cheap.
const CHUNK: usize = 512;

#[derive(Debug)]
pub(crate) struct Chunked<T> {
    /// Each chunk lies in one piece with its reference count, so that reading an item follows two pointers.
    // An `Arc<[T]>` has no spare capacity: what lies past `len` is a copy of some item, and never read as one.
    chunks: Arc<Vec<Arc<[T]>>>,
    len: usize,
}

impl<T> Clone for Chunked<T> {
    fn clone(&self) -> Self {
        Self { chunks: Arc::clone(&self.chunks), len: self.len }
    }
}

impl<T> Default for Chunked<T> {
    fn default() -> Self {
        Self { chunks: Arc::default(), len: 0 }
    }
}

impl<T: Clone> Chunked<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> &T {
        &self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> &mut T {
        // Both copy only while a snapshot shares them, so a response that changes many items copies each chunk once.
        let chunk = &mut Arc::make_mut(&mut self.chunks)[index as usize / CHUNK];
        &mut Arc::make_mut(chunk)[index as usize % CHUNK]
    }

    pub(crate) fn push(&mut self, item: T) {
        let chunks = Arc::make_mut(&mut self.chunks);
        let at = self.len % CHUNK;
        if at == 0 {
            // The first chunk grows as it needs, so that a small table stays small. It doubles, and reaches exactly
            // CHUNK, which is a power of two.
            chunks.push(vec![item; if self.len == 0 { 1 } else { CHUNK }].into());
        } else {
            let last = chunks.last_mut().expect("a chunk was pushed when the last one was full");
            if at == last.len() {
                *last = last.iter().cloned().chain(std::iter::repeat_n(item, at)).collect();
            } else {
                Arc::make_mut(last)[at] = item;
            }
        }
        self.len += 1;
    }

    /// Calls `each` with the place and both versions of every item that storage not shared by both holds.
    pub(crate) fn differences<'a>(
        &'a self,
        older: &'a Self,
        mut each: impl FnMut(u32, Option<&'a T>, Option<&'a T>),
    ) {
        if Arc::ptr_eq(&self.chunks, &older.chunks) {
            return;
        }
        for number in 0..self.chunks.len().max(older.chunks.len()) {
            let (old, new) = (older.chunks.get(number), self.chunks.get(number));
            if let (Some(old), Some(new)) = (old, new)
                && Arc::ptr_eq(old, new)
            {
                continue;
            }
            // Most items of a copied chunk are equal. Comparing them is left to `each`, as it depends on the item
            // what counts as equal.
            for at in number * CHUNK..((number + 1) * CHUNK).min(self.len.max(older.len)) {
                let item = |table: &'a Self, chunk: Option<&'a Arc<[T]>>| {
                    chunk.filter(|_| at < table.len).map(|chunk| &chunk[at % CHUNK])
                };
                each(at as u32, item(older, old), item(self, new));
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.iter()).take(self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_does_not_see_later_changes() {
        let mut table = Chunked::default();
        for n in 0..2000u32 {
            table.push(n);
        }
        let before = table.clone();
        *table.get_mut(700) = 1;
        table.push(2000);
        assert_eq!((*before.get(700), before.len(), before.iter().count()), (700, 2000, 2000));
        assert_eq!((*table.get(700), table.len(), *table.get(2000)), (1, 2001, 2000));
    }
}
