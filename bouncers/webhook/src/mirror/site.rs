//! Holds what requests are answered from; a reload replaces it.

use std::sync::Arc;

use anyhow::Context as _;
use prometheus_client::metrics::counter::Counter;

use super::renderings::Renderings;
use super::selection::without_types;
use crate::config::{ListConfig, MirrorConfig};
use crate::filter::Filter;

/// The configuration and the lists.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) config: Arc<MirrorConfig>,
    pub(super) lists: Vec<Arc<List>>,
}

/// A list, and its renderings.
#[derive(Debug)]
pub(super) struct List {
    pub(super) config: ListConfig,
    /// Which decisions are on it, whatever their type.
    pub(super) filter: Filter,
    pub(super) renderings: Renderings,
    /// Requests that were not refused.
    pub(super) requests: Counter,
}

impl Site {
    /// Prepares the lists. Those that `before` has too keep their renderings.
    pub(super) fn new(
        config: Arc<MirrorConfig>,
        before: Option<&Self>,
        counter: impl Fn(&str) -> Counter,
    ) -> anyhow::Result<Self> {
        let mut lists = Vec::new();
        for list in &config.lists {
            let known = before.and_then(|site| site.lists.iter().find(|known| known.config == *list));
            lists.push(match known {
                Some(known) => Arc::clone(known),
                None => Arc::new(List {
                    filter: Filter::compile(&without_types(&list.filter))
                        .with_context(|| format!("list {}", list.path))?,
                    renderings: Renderings::default(),
                    requests: counter(&list.path),
                    config: list.clone(),
                }),
            });
        }
        Ok(Self { config, lists })
    }

    /// The list at a path. A path that ends with a slash stands for all below it too, as in the stock program; the longest
    /// one counts.
    pub(super) fn list(&self, path: &str) -> Option<&Arc<List>> {
        let matching = self.lists.iter().filter(|list| {
            let own = list.config.path.as_str();
            own == path || own.ends_with('/') && path.starts_with(own)
        });
        matching.max_by_key(|list| list.config.path.len())
    }
}
