//! Which set a decision belongs to: the map from family and source to the sets in the kernel.
//!
//! ```text
//!  managed    one hash set for the hosts and one interval set for the ranges of each source, one allow set
//!  set-only   the operator's one set, spoken to in the dialect its flags allow
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use palisade_cache::{Decision, Snapshot};

use crate::config::{Config, Family, IpFamily};
use crate::names;
use crate::netlink::nfproto;

/// One of the sets in a [`Layout`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SetId(pub(crate) u16);

/// A set in the kernel that we fill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Addresses it holds.
    pub(crate) ip: IpFamily,
    /// Family of its table, `NFPROTO_*`; `inet` is possible in set-only mode.
    pub(crate) nfproto: u8,
    /// Its table.
    pub(crate) table: String,
    /// Its name.
    pub(crate) name: String,
    /// What may be put in, and how.
    pub(crate) dialect: Dialect,
    /// What its elements are there for.
    pub(crate) purpose: Purpose,
}

/// What a set's flags allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// Elements are intervals, two halves each; otherwise single addresses.
    pub(crate) interval: bool,
    /// Elements may end by themselves; otherwise we take them out.
    pub(crate) timeout: bool,
}

/// What the elements of a set are there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Banned addresses of one source.
    Hosts,
    /// Banned ranges of one source.
    Ranges,
    /// What is let through.
    Allow,
    /// Everything banned, in the operator's set.
    Everything,
}

/// The sets of one source in a managed table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SourceSets {
    /// Its hash set.
    pub(crate) hosts: SetId,
    /// Its interval set.
    pub(crate) ranges: SetId,
}

/// One family's part of the layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FamilyLayout {
    /// Not enforced.
    Disabled,
    /// Our own table.
    Managed {
        /// By source (`CAPI`, `lists:name`, ...).
        sources: BTreeMap<String, SourceSets>,
        /// The set of what is let through, when there is anything.
        allow: Option<SetId>,
    },
    /// The operator's set; `None` while its table or the set cannot be found.
    SetOnly(Option<SetId>),
}

/// All sets that we fill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    targets: Vec<Target>,
    v4: FamilyLayout,
    v6: FamilyLayout,
}

impl Layout {
    /// The sets for these sources, in this order, and for what is let through. Set-only families start without
    /// their set: [`Layout::adopt_operators_set`] adds it.
    pub(crate) fn new(config: &Config, sources: &[(IpFamily, String)], allow: &[IpFamily]) -> Self {
        let mut layout = Self { targets: Vec::new(), v4: FamilyLayout::Disabled, v6: FamilyLayout::Disabled };
        for (ip, family) in config.families() {
            let part = if family.set_only {
                FamilyLayout::SetOnly(None)
            } else {
                let allow = allow.contains(&ip).then(|| layout.add_managed(ip, family, Purpose::Allow, ""));
                FamilyLayout::Managed { sources: BTreeMap::new(), allow }
            };
            *layout.part_mut(ip) = part;
        }
        for (ip, source) in sources {
            if let Some((_, family)) = config.families().find(|(found, _)| found == ip) {
                layout.add_source(*ip, family, source);
            }
        }
        layout
    }

    /// Adds the sets of a source to a managed family. Does nothing when it is known, or not managed.
    pub(crate) fn add_source(&mut self, ip: IpFamily, family: &Family, source: &str) {
        let FamilyLayout::Managed { sources, .. } = self.part(ip) else { return };
        if sources.contains_key(source) || self.targets.len() > usize::from(u16::MAX) - 2 {
            return;
        }
        // Two sources may share a set: a name that was cut, and the same name found in the kernel.
        let name = names::host_set(family, source);
        let taken = sources.values().find(|sets| self.target(sets.hosts).name == name).copied();
        let sets = taken.unwrap_or_else(|| SourceSets {
            hosts: self.add_managed(ip, family, Purpose::Hosts, source),
            ranges: self.add_managed(ip, family, Purpose::Ranges, source),
        });
        if let FamilyLayout::Managed { sources, .. } = self.part_mut(ip) {
            sources.insert(source.to_owned(), sets);
        }
    }

    /// Puts the operator's set into a set-only family.
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
        let id = self.push(target);
        *self.part_mut(ip) = FamilyLayout::SetOnly(Some(id));
    }

    fn add_managed(&mut self, ip: IpFamily, family: &Family, purpose: Purpose, source: &str) -> SetId {
        let (name, interval, timeout) = match purpose {
            Purpose::Hosts => (names::host_set(family, source), false, true),
            Purpose::Ranges => (names::range_set(family, source), true, true),
            Purpose::Allow | Purpose::Everything => (names::allow_set(family), true, false),
        };
        let dialect = Dialect { interval, timeout };
        self.push(Target { ip, nfproto: nfproto_of(ip), table: family.table.clone(), name, dialect, purpose })
    }

    fn push(&mut self, target: Target) -> SetId {
        let id = SetId(u16::try_from(self.targets.len()).expect("sources are bounded where they are added"));
        self.targets.push(target);
        id
    }

    /// A set by its id.
    pub(crate) fn target(&self, id: SetId) -> &Target {
        &self.targets[usize::from(id.0)]
    }

    /// All sets with their ids.
    pub(crate) fn targets(&self) -> impl Iterator<Item = (SetId, &Target)> {
        (0..).map(SetId).zip(&self.targets)
    }

    /// One family's part.
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

    /// Sources of the snapshot's decisions that have no sets yet.
    pub(crate) fn missing_sources(&self, snapshot: &Snapshot) -> BTreeSet<(IpFamily, String)> {
        let mut missing = BTreeSet::new();
        for count in snapshot.counts() {
            for (ip, held) in [(IpFamily::V4, count.v4), (IpFamily::V6, count.v6)] {
                if let FamilyLayout::Managed { sources, .. } = self.part(ip)
                    && held > 0
                    && !sources.contains_key(&count.source())
                {
                    missing.insert((ip, count.source()));
                }
            }
        }
        missing
    }

    /// Which source a set stands for.
    pub(crate) fn source_of(&self, id: SetId) -> Option<&str> {
        [&self.v4, &self.v6].into_iter().find_map(|part| match part {
            FamilyLayout::Managed { sources, .. } => sources
                .iter()
                .find(|(_, sets)| sets.hosts == id || sets.ranges == id)
                .map(|(source, _)| source.as_str()),
            FamilyLayout::Disabled | FamilyLayout::SetOnly(_) => None,
        })
    }
}

/// Looks sets up by decision, remembering each source it has met: a snapshot has many decisions and few sources.
#[derive(Debug)]
pub(crate) struct Placer<'l, 'd> {
    layout: &'l Layout,
    met: HashMap<(IpFamily, &'d str, &'d str), Option<SourceSets>>,
}

impl<'l, 'd> Placer<'l, 'd> {
    /// Has met nobody yet.
    pub(crate) fn new(layout: &'l Layout) -> Self {
        Self { layout, met: HashMap::new() }
    }

    /// The sets of a decision's source; `None` when its family is not managed by us.
    pub(crate) fn sets(&mut self, ip: IpFamily, decision: &Decision<'d>) -> Option<SourceSets> {
        let list = if decision.origin == "lists" { decision.scenario } else { "" };
        let layout = self.layout;
        *self.met.entry((ip, decision.origin, list)).or_insert_with(|| match layout.part(ip) {
            FamilyLayout::Managed { sources, .. } => sources.get(&decision.source()).copied(),
            FamilyLayout::Disabled | FamilyLayout::SetOnly(_) => None,
        })
    }
}

/// The family of an address.
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
