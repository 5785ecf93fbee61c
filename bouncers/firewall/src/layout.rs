//! Decides which sets there are, and which of them a decision belongs to. Pure.
//!
//! ```text
//!  managed    hosts: one hash set per source        ranges: one map of counters per prefix length
//!             gates: cells that any of these touch  inner gates: cells that a group of these touches
//!             allow: what is let through
//!  set-only   the operator's one set, filled in the dialect that its flags allow
//! ```
//!
//! Ranges are elements of hash sets, one per prefix length, and not intervals: nested, adjacent and equal ranges each
//! have an element of their own with its own timeout, so that none can touch another when it ends.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use palisade_cache::{Decision, Snapshot};

use crate::config::{Config, Family, IpFamily};
use crate::gate::{self, Guards};
use crate::names;
use crate::netlink::nfproto;
use crate::target::{Dialect, Place, Purpose, SetId, Source, SourceId, Target};

/// Sources of one family that get sets of their own. Decisions of further ones are enforced under [`OTHER_SOURCE`].
// A LAPI may name any number of lists, and each source adds a rule behind the gates.
pub(crate) const MAX_SOURCES: usize = 512;

/// The source under which every one beyond [`MAX_SOURCES`] is enforced.
pub(crate) const OTHER_SOURCE: &str = "other";

/// One family's part of the layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FamilyLayout {
    /// Not enforced.
    Disabled,
    /// Our own objects.
    Managed(Managed),
    /// The operator's set; `None` while its table or the set cannot be found.
    SetOnly(Option<Place>),
}

/// The sets of a managed family.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Managed {
    /// By name (`CAPI`, `lists:name`, ...).
    pub(crate) sources: BTreeMap<String, SourceId>,
    /// Maps of ranges by prefix length.
    pub(crate) ranges: BTreeMap<u8, SetId>,
    pub(crate) gates: BTreeMap<u8, SetId>,
    pub(crate) inner: BTreeMap<u8, SetId>,
    pub(crate) front: Option<(u8, SetId)>,
    /// Whether each gate leads only to what it guards. Otherwise it leads to everything: the kernel may hold elements
    /// whose cells are in other gates than these would be now.
    pub(crate) is_refined: bool,
    /// The gates that guard ranges of each prefix length.
    guards: BTreeMap<u8, Guards>,
    /// The set of exempt addresses, if there are any.
    pub(crate) allow: Option<SetId>,
}

/// All sets that we fill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    targets: Vec<Target>,
    sources: Vec<Source>,
    /// The shortest prefix that is enforced, IPv4 and IPv6.
    shortest: [u8; 2],
    /// Whether the operator's set is ours alone, IPv4 and IPv6.
    exclusive: [bool; 2],
    v4: FamilyLayout,
    v6: FamilyLayout,
}

/// What a layout lacks for a snapshot.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Missing {
    /// Sources without sets.
    pub(crate) sources: BTreeSet<(IpFamily, String)>,
    /// Prefix lengths of ranges without a map, and how many ranges there are of each.
    pub(crate) lengths: BTreeMap<(IpFamily, u8), u32>,
    /// Ranges of some length have become so many that they need another gate: the layout must be made anew.
    pub(crate) other_gate: bool,
}

impl Missing {
    /// Whether no set is lacking.
    pub(crate) fn is_nothing(&self) -> bool {
        self.sources.is_empty() && self.lengths.is_empty()
    }
}

impl Layout {
    /// The layout without any source or range. Set-only families start without their set:
    /// [`Layout::adopt_operators_set`] adds it.
    pub(crate) fn new(config: &Config, allow: &[IpFamily]) -> Self {
        let mut layout = Self {
            targets: Vec::new(),
            sources: Vec::new(),
            shortest: [config.shortest_prefix.v4, config.shortest_prefix.v6],
            exclusive: [&config.v4, &config.v6]
                .map(|family| family.as_ref().is_some_and(|one| one.exclusive)),
            v4: FamilyLayout::Disabled,
            v6: FamilyLayout::Disabled,
        };
        for (ip, family) in config.families() {
            let part = if family.set_only {
                FamilyLayout::SetOnly(None)
            } else {
                let main = gate::main_width(ip);
                let allow = allow.contains(&ip).then(|| layout.add_managed(ip, family, Purpose::Allow, ""));
                let gates = [(main, layout.add_managed(ip, family, Purpose::Gate(main), ""))].into();
                FamilyLayout::Managed(Managed { gates, allow, ..Managed::default() })
            };
            *layout.part_mut(ip) = part;
        }
        layout
    }

    /// Adds the set of a source to a managed family. Does nothing when it is known, or the family not managed.
    pub(crate) fn add_source(&mut self, ip: IpFamily, family: &Family, source: &str) {
        let FamilyLayout::Managed(managed) = self.part(ip) else { return };
        let source = if managed.sources.len() < MAX_SOURCES { source } else { OTHER_SOURCE };
        if managed.sources.contains_key(source) {
            return;
        }
        // Two sources may share a set: a name cut to the kernel's limit is read back from the kernel as another source.
        let name = names::host_set(family, source);
        let shared = managed.sources.values().find(|id| self.counter(**id) == name).copied();
        let id = shared.unwrap_or_else(|| {
            let hosts = self.add_managed(ip, family, Purpose::Hosts, source);
            self.push_source(Source { ip, name: source.to_owned(), hosts })
        });
        if let FamilyLayout::Managed(managed) = self.part_mut(ip) {
            managed.sources.insert(source.to_owned(), id);
        }
    }

    /// Adds the map of ranges of a prefix length to a managed family, and the gate that guards it when there are
    /// `count` ranges. Does nothing when the length is known, or the family not managed.
    pub(crate) fn add_length(&mut self, ip: IpFamily, family: &Family, length: u8, count: u32) {
        let FamilyLayout::Managed(managed) = self.part(ip) else { return };
        if managed.ranges.contains_key(&length) {
            return;
        }
        let set = self.add_managed(ip, family, Purpose::Ranges(length), "");
        let guards = gate::guards(ip, length, count);
        self.add_gate(ip, family, guards.outer);
        if let FamilyLayout::Managed(managed) = self.part_mut(ip) {
            managed.ranges.insert(length, set);
            managed.guards.insert(length, guards);
        }
    }

    /// Makes each gate lead only to what it guards, and adds the inner gates that save look-ups.
    pub(crate) fn refine(&mut self, config: &Config) {
        for (ip, family) in config.families() {
            let FamilyLayout::Managed(managed) = self.part(ip) else { continue };
            // Before rules use a gate it must hold the cells of everything behind it. So this is not for a layout whose
            // sets are filled already, nor while elements stay that may not be wanted.
            let inner = managed.missing_inner_gates(ip).into_iter();
            let inner: Vec<_> = inner
                .map(|width| (width, self.add_managed(ip, family, Purpose::InnerGate(width), "")))
                .collect();
            let FamilyLayout::Managed(managed) = self.part(ip) else { continue };
            let front = managed.missing_front_gate(ip);
            let front =
                front.map(|width| (width, self.add_managed(ip, family, Purpose::FrontGate(width), "")));
            if let FamilyLayout::Managed(managed) = self.part_mut(ip) {
                managed.inner.extend(inner);
                managed.front = managed.front.or(front);
                managed.is_refined = true;
            }
        }
    }

    /// Whether [`Layout::refine`] would save look-ups. Costs with the number of sources and lengths.
    pub(crate) fn is_coarse(&self) -> bool {
        [IpFamily::V4, IpFamily::V6].into_iter().any(|ip| match self.part(ip) {
            FamilyLayout::Managed(managed) => {
                !managed.is_refined
                    || !managed.missing_inner_gates(ip).is_empty()
                    || managed.missing_front_gate(ip).is_some()
            }
            FamilyLayout::Disabled | FamilyLayout::SetOnly(_) => false,
        })
    }

    /// Adds a gate to a managed family. Does nothing when it is known, or the family not managed.
    pub(crate) fn add_gate(&mut self, ip: IpFamily, family: &Family, width: u8) {
        let FamilyLayout::Managed(managed) = self.part(ip) else { return };
        if managed.gates.contains_key(&width) {
            return;
        }
        let set = self.add_managed(ip, family, Purpose::Gate(width), "");
        if let FamilyLayout::Managed(managed) = self.part_mut(ip) {
            managed.gates.insert(width, set);
        }
    }

    /// Adds the operator's set to a set-only family.
    pub(crate) fn adopt_operators_set(
        &mut self,
        ip: IpFamily,
        nfproto: u8,
        family: &Family,
        dialect: Dialect,
    ) {
        let target = Target {
            ip,
            nfproto,
            table: family.table.clone(),
            name: family.set.clone(),
            dialect,
            purpose: Purpose::Everything,
        };
        // One source for all origins: rules and counters are the operator's.
        let set = self.push(target);
        let source = self.push_source(Source { ip, name: family.set.clone(), hosts: set });
        *self.part_mut(ip) = FamilyLayout::SetOnly(Some(Place { set, source }));
    }

    fn add_managed(&mut self, ip: IpFamily, family: &Family, purpose: Purpose, source: &str) -> SetId {
        let (name, interval, timeout, counters) = match purpose {
            // Hash sets, also for ranges: nested, adjacent and equal ranges are elements with timeouts of their own,
            // and an update costs the same at any size.
            Purpose::Hosts => (names::host_set(family, source), false, true, false),
            Purpose::Ranges(length) => (names::range_map(family, length), false, true, true),
            // Cells have no timeouts: one stays until the last element in it is gone, and a stale one only costs
            // look-ups.
            Purpose::Gate(width) => (names::gate(family, width), false, false, false),
            Purpose::InnerGate(width) => (names::inner_gate(family, width), false, false, false),
            Purpose::FrontGate(width) => (names::front_gate(family, width), false, false, false),
            Purpose::Allow | Purpose::Everything => (names::allow_set(family), true, false, false),
        };
        let dialect = Dialect { interval, timeout, counters };
        self.push(Target { ip, nfproto: nfproto_of(ip), table: family.table.clone(), name, dialect, purpose })
    }

    fn push(&mut self, target: Target) -> SetId {
        let id = SetId(u16::try_from(self.targets.len()).expect("sources, lengths and widths are bounded"));
        self.targets.push(target);
        id
    }

    fn push_source(&mut self, source: Source) -> SourceId {
        let id = SourceId(u16::try_from(self.sources.len()).expect("sources are bounded"));
        self.sources.push(source);
        id
    }

    pub(crate) fn target(&self, id: SetId) -> &Target {
        &self.targets[usize::from(id.0)]
    }

    pub(crate) fn targets(&self) -> impl Iterator<Item = (SetId, &Target)> {
        (0..).map(SetId).zip(&self.targets)
    }

    pub(crate) fn source(&self, id: SourceId) -> &Source {
        &self.sources[usize::from(id.0)]
    }

    pub(crate) fn sources(&self) -> impl Iterator<Item = (SourceId, &Source)> {
        (0..).map(SourceId).zip(&self.sources)
    }

    /// The source that stands for an operator's set.
    pub(crate) fn operators_source(&self, set: SetId) -> Option<SourceId> {
        let mut sources = self.sources();
        sources
            .find(|(_, source)| source.hosts == set && self.target(set).purpose == Purpose::Everything)
            .map(|(id, _)| id)
    }

    /// Whether ranges of a source can be enforced: an operator's set may hold single addresses only.
    pub(crate) fn takes_ranges(&self, source: &Source) -> bool {
        let target = self.target(source.hosts);
        target.purpose != Purpose::Everything || target.dialect.interval
    }

    /// The name of a source's counter: that of its set of hosts.
    pub(crate) fn counter(&self, id: SourceId) -> &str {
        &self.target(self.source(id).hosts).name
    }

    pub(crate) fn part(&self, ip: IpFamily) -> &FamilyLayout {
        match ip {
            IpFamily::V4 => &self.v4,
            IpFamily::V6 => &self.v6,
        }
    }

    fn part_mut(&mut self, ip: IpFamily) -> &mut FamilyLayout {
        match ip {
            IpFamily::V4 => &mut self.v4,
            IpFamily::V6 => &mut self.v6,
        }
    }

    /// What there is no set for yet. Costs with the number of sources and lengths.
    pub(crate) fn missing(&self, snapshot: &Snapshot) -> Missing {
        let mut missing = Missing::default();
        for ip in [IpFamily::V4, IpFamily::V6] {
            let FamilyLayout::Managed(managed) = self.part(ip) else { continue };
            let free = MAX_SOURCES.saturating_sub(managed.sources.len());
            let held = |v4: u32, v6: u32| if ip == IpFamily::V4 { v4 } else { v6 };
            let counts = snapshot.counts().filter(|count| held(count.v4, count.v6) > 0);
            let new =
                counts.map(|count| count.source()).filter(|source| !managed.sources.contains_key(source));
            let mut new: BTreeSet<String> = new.collect();
            if new.len() > free {
                // The first in order of their names, and one that stands for all others.
                new = new.into_iter().take(free).collect();
                if !managed.sources.contains_key(OTHER_SOURCE) {
                    new.insert(OTHER_SOURCE.to_owned());
                }
            }
            missing.sources.extend(new.into_iter().map(|source| (ip, source)));
            for (length, count) in snapshot.range_lengths(ip == IpFamily::V6) {
                match managed.guards.get(&length) {
                    None => drop(missing.lengths.insert((ip, length), count)),
                    // Only towards a gate for more ranges, never back: a list whose length varies about the limit must
                    // not change rules each time.
                    Some(Guards { outer, inner }) => {
                        let wanted = gate::guards(ip, length, count);
                        missing.other_gate |= wanted.outer < *outer;
                        missing.other_gate |= inner.is_some() && wanted.inner.is_none();
                    }
                }
            }
        }
        missing
    }

    pub(crate) fn add(&mut self, config: &Config, missing: &Missing) {
        for (ip, family) in config.families() {
            for (_, source) in missing.sources.iter().filter(|(of, _)| *of == ip) {
                self.add_source(ip, family, source);
            }
            for ((_, length), count) in missing.lengths.iter().filter(|((of, _), _)| *of == ip) {
                self.add_length(ip, family, *length, *count);
            }
        }
    }

    /// The cells of every gate that an element for this prefix touches; none outside managed families.
    pub(crate) fn cells(&self, net: IpNet) -> impl Iterator<Item = (SetId, IpAddr)> {
        let ip = family_of(net.addr());
        let gates = match self.part(ip) {
            FamilyLayout::Managed(managed) => {
                let length = net.prefix_len();
                let guards = managed.guards.get(&length).copied();
                // Hosts are in no map of ranges, so `Managed::guards` has no entry for them.
                let guards = guards.unwrap_or_else(|| gate::guards(ip, length, 1));
                let gate = |gates: &BTreeMap<u8, SetId>, width| Some((*gates.get(&width)?, width));
                let inner = guards.inner.and_then(|width| gate(&managed.inner, width));
                // Gates wider than the front gate are looked up beside it, not behind it.
                let front = managed.front.filter(|(width, _)| guards.outer >= *width);
                let front = front.map(|(width, set)| (set, width));
                [gate(&managed.gates, guards.outer), inner, front]
            }
            FamilyLayout::Disabled | FamilyLayout::SetOnly(_) => [None; 3],
        };
        let gates = gates.into_iter().flatten();
        gates.flat_map(move |(set, width)| gate::cells(net, width).map(move |cell| (set, cell)))
    }

    /// Whether the operator's set of this family holds nothing but our elements.
    pub(crate) fn is_exclusive(&self, ip: IpFamily) -> bool {
        self.exclusive[usize::from(ip == IpFamily::V6)]
    }

    /// Whether a range is wider than may be enforced.
    pub(crate) fn is_too_wide(&self, net: IpNet) -> bool {
        net.prefix_len() < self.shortest[usize::from(net.addr().is_ipv6())]
    }
}

impl Managed {
    /// The sets of hosts, each once (two sources may share one), in the order they were made.
    pub(crate) fn host_sources(&self) -> Vec<SourceId> {
        let mut sources: Vec<_> = self.sources.values().copied().collect();
        sources.sort_unstable();
        sources.dedup();
        sources
    }

    /// The prefix lengths that a gate guards, longest first, with their maps.
    pub(crate) fn guarded_by(&self, width: u8) -> impl Iterator<Item = (u8, SetId)> {
        let lengths = self.ranges.iter().rev().map(|(length, map)| (*length, *map));
        lengths.filter(move |(length, _)| self.guards.get(length).is_some_and(|by| by.outer == width))
    }

    /// The inner gate that guards ranges of this prefix length.
    pub(crate) fn inner_gate(&self, length: u8) -> Option<(u8, SetId)> {
        let width = self.guards.get(&length)?.inner?;
        Some((width, *self.inner.get(&width)?))
    }

    /// The width of the front gate that would save look-ups and is not there.
    fn missing_front_gate(&self, ip: IpFamily) -> Option<u8> {
        let width = gate::front_width(ip).filter(|_| self.front.is_none())?;
        (self.gates.range(width..).count() > 1).then_some(width)
    }

    /// The widths of the inner gates that would save look-ups and are not there.
    fn missing_inner_gates(&self, ip: IpFamily) -> Vec<u8> {
        let hosts = gate::guards(ip, full_length(ip), 1).inner.into_iter();
        let hosts = hosts.filter(|_| self.host_sources().len() >= gate::INNER_FROM);
        let mut lengths: BTreeMap<u8, usize> = BTreeMap::new();
        for width in self.guards.values().filter_map(|guards| guards.inner) {
            *lengths.entry(width).or_default() += 1;
        }
        let ranges = lengths.into_iter().filter(|(_, sets)| *sets >= gate::INNER_FROM);
        let widths = hosts.chain(ranges.map(|(width, _)| width));
        widths.filter(|width| !self.inner.contains_key(width)).collect()
    }
}

/// A source by family, origin and (for lists) list.
type SourceName<'d> = (IpFamily, &'d str, &'d str);

/// Finds the place of decisions, and remembers each source.
#[derive(Debug)]
pub(crate) struct Placer<'l, 'd> {
    layout: &'l Layout,
    // A snapshot has many decisions of few sources, and the key of `Managed::sources` is a text that would have to be
    // built for each.
    met: HashMap<SourceName<'d>, Option<SourceId>>,
    /// The last one, since lists come in runs of one source: no hash has to be computed.
    last: Option<(SourceName<'d>, Option<SourceId>)>,
}

impl<'l, 'd> Placer<'l, 'd> {
    pub(crate) fn new(layout: &'l Layout) -> Self {
        Self { layout, met: HashMap::new(), last: None }
    }

    /// The place of an element for this prefix in a hash set. `None` when it belongs into none: its family is not
    /// enforced, it is too wide, or the operator's set takes intervals, or no ranges.
    pub(crate) fn place(&mut self, net: IpNet, decision: &Decision<'d>) -> Option<Place> {
        let (ip, layout) = (family_of(net.addr()), self.layout);
        if layout.is_too_wide(net) {
            return None;
        }
        let is_host = net.prefix_len() == net.max_prefix_len();
        match layout.part(ip) {
            FamilyLayout::Managed(managed) => {
                let list = if decision.origin == "lists" { decision.scenario } else { "" };
                let named = (ip, decision.origin, list);
                let source = match self.last {
                    Some((last, source)) if last == named => source,
                    _ => *self.met.entry(named).or_insert_with(|| {
                        let known = managed.sources.get(&decision.source());
                        known.or_else(|| managed.sources.get(OTHER_SOURCE)).copied()
                    }),
                };
                self.last = Some((named, source));
                let source = source?;
                let set = if is_host {
                    layout.source(source).hosts
                } else {
                    *managed.ranges.get(&net.prefix_len())?
                };
                Some(Place { set, source })
            }
            FamilyLayout::SetOnly(Some(place)) if is_host && !layout.target(place.set).dialect.interval => {
                Some(*place)
            }
            FamilyLayout::SetOnly(_) | FamilyLayout::Disabled => None,
        }
    }
}

/// The prefix length of a single address.
pub(crate) fn full_length(ip: IpFamily) -> u8 {
    match ip {
        IpFamily::V4 => 32,
        IpFamily::V6 => 128,
    }
}

pub(crate) fn family_of(address: IpAddr) -> IpFamily {
    match address {
        IpAddr::V4(_) => IpFamily::V4,
        IpAddr::V6(_) => IpFamily::V6,
    }
}

/// The kernel's number for the family of our own tables.
pub(crate) fn nfproto_of(ip: IpFamily) -> u8 {
    match ip {
        IpFamily::V4 => nfproto::IPV4,
        IpFamily::V6 => nfproto::IPV6,
    }
}
