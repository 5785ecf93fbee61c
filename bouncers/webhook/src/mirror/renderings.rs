//! Renders lists once per change, and keeps the results.
//!
//! A rendering belongs to one generation of the cache and one variant. Requests that need the same one share it: the first
//! renders, the others wait. Memory and work are bounded by [`MAX_VARIANTS`], [`MAX_WAITING`] and [`MAX_BYTES`] for each
//! list; what was not used for longest is dropped first.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderValue;
use palisade_cache::{Snapshot, Target, Timestamp};
use palisade_stream::CacheHandle;
use sha2::{Digest as _, Sha256};
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::spawn_blocking;
use tokio_util::task::TaskTracker;

use super::entries::{aggregated, listed};
use super::format::{FormatOptions, write};
use super::query::Variant;
use super::selection::takes_type;
use super::site::List;
use crate::config::ListFormat;

/// Variants of a list that are kept.
const MAX_VARIANTS: usize = 16;
/// Further variants of a list that may wait to be rendered; requests for more are refused. Without this bound, requests for
/// ever new variants would queue work without end.
const MAX_WAITING: usize = 32;
/// Bytes of all variants of a list; the one used last is kept whatever its size.
const MAX_BYTES: usize = 64 << 20;
/// A rendering is used for at least this long, however often decisions change.
const MIN_AGE: Duration = Duration::from_secs(1);
/// After this time a list that shows durations is rendered again, though nothing has changed.
const MAX_AGE_OF_DURATIONS: Duration = Duration::from_secs(60);
/// Renderings at a time, of all lists: others wait, and leave processors to requests.
static RENDERERS: Semaphore = Semaphore::const_new(2);

/// A list as it is sent.
#[derive(Debug)]
pub(super) struct Rendered {
    generation: u64,
    at: Instant,
    /// The text.
    pub(super) body: Bytes,
    /// Of the content: the same list has the same one after a restart too.
    pub(super) etag: HeaderValue,
    pub(super) gzip_etag: HeaderValue,
    gzip: OnceCell<Bytes>,
}

/// The renderings of one list.
#[derive(Debug, Default)]
pub(super) struct Renderings {
    slots: Mutex<HashMap<Variant, Arc<Slot>>>,
    /// Counts uses, to find what was not used for longest.
    uses: AtomicU64,
    /// Renderings under way. They end by themselves.
    tasks: TaskTracker,
    /// How often a list was rendered.
    pub(super) rendered: AtomicU64,
}

#[derive(Debug, Default)]
struct Slot {
    current: ArcSwapOption<Rendered>,
    /// Held while rendering.
    rendering: Arc<tokio::sync::Mutex<()>>,
    last_use: AtomicU64,
}

impl Rendered {
    /// Whether it may be sent when `generation` is current.
    fn is_fresh(&self, generation: u64, format: ListFormat) -> bool {
        let age = self.at.elapsed();
        age < MIN_AGE
            || self.generation == generation && (format != ListFormat::Mikrotik || age < MAX_AGE_OF_DURATIONS)
    }

    /// The body compressed; compressed once. `None` when that failed, because the program ends.
    pub(super) async fn gzip(&self) -> Option<Bytes> {
        let compress = || async {
            let body = self.body.clone();
            spawn_blocking(move || compressed(&body)).await.ok().flatten().ok_or(())
        };
        self.gzip.get_or_try_init(compress).await.ok().cloned()
    }

    fn bytes(&self) -> usize {
        self.body.len() + self.gzip.get().map_or(0, Bytes::len)
    }
}

impl Renderings {
    /// The list as it is now. `None` when it is not rendered: too many other variants wait, or the program ends.
    pub(super) async fn get(
        list: &Arc<List>,
        variant: Variant,
        cache: &CacheHandle,
    ) -> Option<Arc<Rendered>> {
        let slot = list.renderings.slot(&variant)?;
        let generation = cache.read().generation();
        let format = list.config.format;
        if let Some(rendered) = slot.current.load_full().filter(|it| it.is_fresh(generation, format)) {
            return Some(rendered);
        }
        // Waiting belongs to the request and ends with it; only rendering is a task of its own, one for each variant. So
        // requests that are given up leave nothing behind but what would have been rendered anyway.
        let rendering = Arc::clone(&slot.rendering).lock_owned().await;
        let snapshot = cache.load();
        if let Some(rendered) =
            slot.current.load_full().filter(|it| it.is_fresh(snapshot.generation(), format))
        {
            return Some(rendered);
        }
        let list = Arc::clone(list);
        let task = Arc::clone(&list).renderings.tasks.spawn(async move {
            let _rendering = rendering;
            let _renderer = RENDERERS.acquire().await.ok()?;
            let for_rendering = Arc::clone(&list);
            let rendered = spawn_blocking(move || Arc::new(render(&for_rendering, &variant, &snapshot)));
            let rendered = rendered.await.ok()?;
            list.renderings.rendered.fetch_add(1, Ordering::Relaxed);
            slot.current.store(Some(Arc::clone(&rendered)));
            list.renderings.drop_unused();
            Some(rendered)
        });
        task.await.ok().flatten()
    }

    /// The place of a variant. `None` when as many others as there may be wait to be rendered.
    fn slot(&self, variant: &Variant) -> Option<Arc<Slot>> {
        let mut slots = self.slots();
        let slot = match slots.get(variant) {
            Some(slot) => Arc::clone(slot),
            None if slots.len() >= MAX_VARIANTS + MAX_WAITING => return None,
            None => Arc::clone(slots.entry(variant.clone()).or_default()),
        };
        slot.last_use.store(self.uses.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        Some(slot)
    }

    fn drop_unused(&self) {
        let mut slots = self.slots();
        let bytes = |slots: &HashMap<Variant, Arc<Slot>>| -> usize {
            slots.values().map(|slot| slot.current.load().as_ref().map_or(0, |it| it.bytes())).sum()
        };
        while slots.len() > 1 && (slots.len() > MAX_VARIANTS || bytes(&slots) > MAX_BYTES) {
            let oldest = slots.iter().min_by_key(|(_, slot)| slot.last_use.load(Ordering::Relaxed));
            let Some(variant) = oldest.map(|(variant, _)| variant.clone()) else { return };
            slots.remove(&variant);
        }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Variant, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many variants are kept.
    pub(super) fn kept(&self) -> usize {
        self.slots().len()
    }
}

/// Renders a variant of a list. Takes as long as the snapshot is large.
fn render(list: &List, variant: &Variant, snapshot: &Snapshot) -> Rendered {
    let types = variant.types.as_deref().unwrap_or(&list.config.filter.types);
    let decisions = snapshot.decisions().filter(|decision| {
        takes_type(types, decision)
            && takes_family(variant, &decision.target)
            && variant.origin.as_ref().is_none_or(|origin| decision.origin.eq_ignore_ascii_case(origin))
            && list.filter.matches(decision)
    });
    let mut entries = listed(decisions);
    if list.config.aggregate {
        entries = aggregated(entries);
    }
    let options = FormatOptions {
        list_name: variant.list_name.as_deref(),
        ipv6_only: variant.ipv6_only,
        ipv4_only: variant.ipv4_only,
        now: now(),
    };
    let body = Bytes::from(write(list.config.format, &entries, &options));
    let digest = Sha256::digest(&body);
    let tag: String = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    let etag =
        |text: String| HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("\"\""));
    Rendered {
        generation: snapshot.generation(),
        at: Instant::now(),
        body,
        etag: etag(format!("\"{tag}\"")),
        gzip_etag: etag(format!("\"{tag}-gzip\"")),
        gzip: OnceCell::new(),
    }
}

fn takes_family(variant: &Variant, target: &Target<'_>) -> bool {
    let (colon, dot) = match target {
        Target::Net(net) => (net.addr().is_ipv6(), net.addr().is_ipv4()),
        Target::Name(name) => (name.contains(':'), name.contains('.')),
    };
    !(variant.ipv4_only && colon || variant.ipv6_only && dot)
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn compressed(body: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).and_then(|()| encoder.finish()).ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use palisade_stream::channel;
    use prometheus_client::metrics::counter::Counter;

    use super::*;
    use crate::config::{FilterConfig, ListAccess, ListConfig};
    use crate::filter::Filter;

    #[tokio::test]
    async fn work_that_waits_is_bounded_and_requests_beyond_it_are_refused() {
        let config = ListConfig {
            path: "/l".to_owned(),
            format: ListFormat::PlainText,
            access: ListAccess::Open,
            filter: FilterConfig::default(),
            aggregate: false,
        };
        let filter = Filter::compile(&config.filter).unwrap();
        let (renderings, requests) = (Renderings::default(), Counter::default());
        let list = Arc::new(List { config, filter, renderings, requests });
        let (_publisher, cache) = channel(Snapshot::default());
        // Nothing is rendered meanwhile.
        let busy = RENDERERS.acquire_many(2).await.unwrap();
        let clients = TaskTracker::new();
        let requests: Vec<_> = (0..200)
            .map(|n| {
                let (list, cache) = (Arc::clone(&list), cache.clone());
                let variant = Variant { list_name: Some(n.to_string()), ..Variant::default() };
                clients.spawn(async move { Renderings::get(&list, variant, &cache).await.is_some() })
            })
            .collect();
        let refused = 200 - MAX_VARIANTS - MAX_WAITING;
        while requests.iter().filter(|request| request.is_finished()).count() < refused {
            tokio::task::yield_now().await;
        }
        assert_eq!((list.renderings.kept(), list.renderings.tasks.len()), (200 - refused, 200 - refused));
        drop(busy);
        let mut served = 0;
        for request in requests {
            served += usize::from(request.await.unwrap());
        }
        assert_eq!((served, list.renderings.kept()), (200 - refused, MAX_VARIANTS));
    }
}
