//! What happens, by chance, and what must hold.

use palisade_model::{Commit, StoredDecision, Target};
use palisade_replica::{CursorSigner, StreamRequest};
use palisade_stream::Failure;
use palisade_wire::UnixMillis;
use palisade_wire::follow::{Content, FullReason};

use crate::client::{Client, Holds, Phase};
use crate::lapi::{Lapi, Reply, filter};
use crate::log::{Log, Rows};

/// Steps of one schedule.
const STEPS: usize = 220;
/// Clocks are off by at most this, in milliseconds.
const SKEW: i64 = 1_500;
/// Answers are under way for at most this.
const LATE: i64 = 2_500;
/// Ends that a client has are rounded, late and by clocks that differ.
const ABOUT: i64 = 2 * SKEW + 2 * LATE + 1_500;

type Passes = fn(&StoredDecision) -> bool;

/// The clients' filters, and the same ones in other notation.
const FILTERS: [(&[(&str, &str)], Passes); 4] = [
    (&[], |_| true),
    (&[("origins", "cscli")], |row| &*row.origin == "cscli"),
    (&[("scenarios_not_containing", "ssh")], |row| !row.scenario.contains("ssh")),
    (&[("type", "ban")], |row| &*row.remediation == "ban"),
];

pub(crate) struct World {
    chance: fastrand::Rng,
    now: i64,
    log: Log,
    /// States to put back.
    backup: Option<Log>,
    signer: CursorSigner,
    lapis: Vec<Lapi>,
    clients: Vec<(Client, StreamRequest, Passes)>,
    /// Answers under way, and when they arrive.
    under_way: Vec<(i64, Reply)>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut log = Log::new();
        let now = 1_790_000_000_000;
        let lapis = (0..chance.usize(1..4))
            .map(|_| {
                let skew = chance.i64(-SKEW..=SKEW);
                Lapi::start(&mut log, now, skew, &mut chance)
            })
            .collect();
        let clients = (0..chance.usize(1..6))
            .map(|_| {
                let (query, passes) = FILTERS[chance.usize(..FILTERS.len())];
                (Client::new(), filter(query), passes)
            })
            .collect();
        let signer = CursorSigner::new(b"a key");
        Self { chance, now, log, backup: None, signer, lapis, clients, under_way: Vec::new() }
    }

    /// Faults of all kinds.
    pub(crate) fn play(&mut self) {
        for _ in 0..STEPS {
            match self.chance.u32(..100) {
                0..34 => self.commit(),
                34..60 => self.catch_up(),
                60..86 => self.pass(1..4_000),
                86..89 => self.lose(),
                89..92 => self.kill(),
                92..95 => self.revive(),
                95..97 => self.sleep(),
                97 => self.backup = Some(self.log.clone()),
                98 => self.put_back(),
                _ => self.pass(1..120_000),
            }
            self.go_on();
        }
    }

    /// The final state: no faults, and time for every client to catch up.
    pub(crate) fn settle(&mut self) {
        for at in 0..self.lapis.len() {
            if !self.lapis[at].alive {
                self.start(at);
            }
        }
        // The shortest delay of any client.
        self.pass(340_000..341_000);
        self.clients.iter_mut().for_each(|(client, _, _)| client.asleep_until = 0);
        self.under_way.iter_mut().for_each(|(at, _)| *at = (*at).min(self.now));
        // Longer than any wait.
        for _ in 0..12 {
            self.pass(20_000..23_000);
            for lapi in &mut self.lapis {
                lapi.catch_up(&self.log, self.now, usize::MAX);
            }
            self.go_on();
        }
        let rows = self.log.rows().clone();
        for at in 0..self.clients.len() {
            let wanted = holds(&rows, self.clients[at].2, self.now, 0);
            let held = self.clients[at].0.holds(self.now);
            self.same(at, &wanted, &held, self.now, "when all was quiet");
        }
    }

    /// Advances the time, in steps that are short compared with a response in progress.
    fn pass(&mut self, span: std::ops::Range<i64>) {
        let end = self.now + self.chance.i64(span);
        while self.now < end {
            self.now = end.min(self.now + LATE);
            self.go_on();
        }
    }

    fn commit(&mut self) {
        let now = UnixMillis(self.now + self.chance.i64(-SKEW..=SKEW));
        let ids: Vec<i64> = self.log.rows().keys().copied().collect();
        let some = |chance: &mut fastrand::Rng| -> Vec<i64> {
            (0..chance.usize(1..4)).filter_map(|_| chance.choice(&ids).copied()).collect()
        };
        match self.chance.u32(..10) {
            0..6 => {
                let rows = (0..self.chance.usize(1..5)).map(|_| self.row(now)).collect();
                self.log.commit(now, rows, &[]);
            }
            6..8 => {
                let mut ids = some(&mut self.chance);
                ids.sort_unstable();
                ids.dedup();
                let ended = |id: &i64| StoredDecision { until: now, ..self.log.rows()[id].clone() };
                let active = |row: &StoredDecision| row.until > now;
                let rows = ids.iter().map(ended).zip(&ids);
                let rows = rows.filter(|(_, id)| active(&self.log.rows()[*id])).map(|(row, _)| row).collect();
                self.log.commit(now, rows, &[]);
            }
            _ => {
                let ids = some(&mut self.chance);
                self.log.commit(now, Vec::new(), &ids);
            }
        }
    }

    fn row(&mut self, now: UnixMillis) -> StoredDecision {
        let pick = |chance: &mut fastrand::Rng, words: &[&str]| words[chance.usize(..words.len())].to_owned();
        let chance = &mut self.chance;
        let value = pick(
            chance,
            &["10.0.0.1", "10.0.0.1/32", "10.0.0.2", "10.0.0.3", "10.0.0.0/30", "2001:db8::1", "2001:DB8::1"],
        );
        StoredDecision {
            id: 0,
            commit: Commit(0),
            until: UnixMillis(now.0 + chance.i64(20..4_000) * 1_000),
            alert: 1,
            simulated: false,
            uuid: None,
            origin: pick(chance, &["cscli", "CAPI", "lists"]).into(),
            scenario: pick(chance, &["ssh-bf", "by hand"]).into(),
            target: Target::stored(if value.contains('/') { "Range" } else { "Ip" }, &value),
            remediation: pick(chance, &["ban", "ban", "captcha"]).into(),
        }
    }

    /// A LAPI applies some of the others' commits, and broadcasts them.
    fn catch_up(&mut self) {
        let at = self.chance.usize(..self.lapis.len());
        let some = if self.chance.bool() { usize::MAX } else { self.chance.usize(1..4) };
        if self.lapis[at].alive {
            self.lapis[at].catch_up(&self.log, self.now, some);
        }
    }

    /// An answer under way, or a request that is held, is lost.
    fn lose(&mut self) {
        if self.under_way.is_empty() || self.chance.bool() {
            let client = self.chance.usize(..self.clients.len());
            self.cut(client);
        } else {
            let (_, reply) = self.under_way.swap_remove(self.chance.usize(..self.under_way.len()));
            self.cut(reply.client);
        }
    }

    /// The client's connection breaks, whatever was on it.
    fn cut(&mut self, client: usize) {
        self.lapis.iter_mut().for_each(|lapi| lapi.hang_up(client));
        self.under_way.retain(|(_, reply)| reply.client != client);
        let (one, _, _) = &mut self.clients[client];
        if matches!(one.phase, Phase::Asking(_)) {
            let elsewhere = self.chance.bool();
            if elsewhere {
                one.at = self.chance.usize(..self.lapis.len());
            }
            let failure = Failure { may_have_reached_lapi: true, may_end_a_hold: true, elsewhere };
            one.failed(self.now, failure, self.chance.i64(0..2_000));
        }
    }

    fn kill(&mut self) {
        let at = self.chance.usize(..self.lapis.len());
        self.lapis[at].alive = false;
        self.cut_all(at);
    }

    fn revive(&mut self) {
        if let Some(at) = self.lapis.iter().position(|lapi| !lapi.alive) {
            self.start(at);
        }
    }

    fn start(&mut self, at: usize) {
        let skew = self.chance.i64(-SKEW..=SKEW);
        self.lapis[at] = Lapi::start(&mut self.log, self.now, skew, &mut self.chance);
    }

    /// A client's machine is suspended for an hour; what arrives meanwhile stays in its buffers, or is lost.
    fn sleep(&mut self) {
        let client = self.chance.usize(..self.clients.len());
        self.clients[client].0.asleep_until = self.now + self.chance.i64(340_000..3_600_000);
    }

    /// The database is put back to an earlier state; every LAPI is started again on it.
    fn put_back(&mut self) {
        let Some(backup) = self.backup.take() else { return };
        self.log = backup;
        for at in 0..self.lapis.len() {
            self.cut_all(at);
            self.start(at);
        }
    }

    /// All parked requests of a LAPI are aborted.
    fn cut_all(&mut self, at: usize) {
        let waiting = self.lapis[at].waiting();
        waiting.into_iter().for_each(|client| self.cut(client));
    }

    /// What is due now: broadcasts, arrivals, requests.
    fn go_on(&mut self) {
        for at in 0..self.lapis.len() {
            if self.lapis[at].alive {
                self.lapis[at].expire(self.now);
                let replies = self.lapis[at].broadcast(&self.signer, self.now);
                replies.into_iter().for_each(|reply| self.send(reply));
            }
        }
        let now = self.now;
        self.under_way.sort_by_key(|(at, _)| *at);
        let arrived = self.under_way.iter().filter(|(at, _)| *at <= now).count();
        let mut arrived: Vec<(i64, Reply)> = self.under_way.drain(..arrived).collect();
        arrived.retain(|(at, reply)| {
            let asleep = self.clients[reply.client].0.asleep_until;
            if asleep > now {
                self.under_way.push((asleep.max(*at), reply.clone()));
            }
            asleep <= now
        });
        for (_, reply) in arrived {
            self.arrive(&reply);
        }
        for at in 0..self.clients.len() {
            let due = matches!(self.clients[at].0.phase, Phase::Idle(until) if until <= now);
            if due && self.clients[at].0.asleep_until <= now {
                self.next_request(at);
            }
        }
    }

    fn next_request(&mut self, at: usize) {
        let (client, filter, _) = &mut self.clients[at];
        let request = client.next_request(self.now);
        let lapi = &mut self.lapis[client.at];
        if !lapi.alive {
            client.at = self.chance.usize(..self.lapis.len());
            let failure = Failure { may_have_reached_lapi: false, may_end_a_hold: false, elsewhere: true };
            return client.failed(self.now, failure, self.chance.i64(100..2_000));
        }
        if let Some(reply) = lapi.take(&self.log, &self.signer, self.now, at, filter, request) {
            self.send(reply);
        }
    }

    fn send(&mut self, reply: Reply) {
        let arrives = self.now + if self.chance.bool() { 0 } else { self.chance.i64(..LATE) };
        self.under_way.push((arrives, reply));
    }

    fn arrive(&mut self, reply: &Reply) {
        let spread = self.chance.f64();
        let before = self.clients[reply.client].0.cursor().to_owned();
        if !self.clients[reply.client].0.take(self.now, reply, spread) {
            return;
        }
        if let Content::Everything(why) = reply.head.content {
            assert_ne!(why, FullReason::Forged, "no cursor here is forged");
            assert_ne!(why, FullReason::OtherFilter, "nobody changes what they ask for");
            assert!(
                why != FullReason::Start || before.is_empty() || reply.request.resync_reason.is_some(),
                "{reply:?}"
            );
        }
        let cursor = self.clients[reply.client].0.cursor().to_owned();
        let Some(token) = self.signer.verify(&cursor) else { return };
        let Some(rows) = self.log.at(token.cursor.commit) else { return };
        if !self.log.scope().contains(&token) {
            // Of a history that was undone while the answer was under way.
            return;
        }
        let wanted =
            holds(rows, self.clients[reply.client].2, token.cursor.time.0, token.cursor.time.0 - reply.made);
        let held = self.clients[reply.client].0.holds(self.now);
        self.same(reply.client, &wanted, &held, self.now, "after an answer");
    }

    /// Compares what a client holds with what it should, but for what ends about now.
    fn same(&self, client: usize, wanted: &Holds, held: &Holds, now: i64, when: &str) {
        for (key, until) in wanted {
            if *until <= now + ABOUT {
                continue;
            }
            let has = held.get(key);
            assert!(
                has.is_some_and(|has| has.abs_diff(*until) <= ABOUT.unsigned_abs()),
                "client {client} misses {key:?} until {} {when}: has {:?}",
                until - now,
                has.map(|has| has - now),
            );
        }
        for (key, until) in held {
            assert!(
                *until <= now + ABOUT || wanted.contains_key(key),
                "client {client} still holds {key:?} for {} {when}",
                until - now
            );
        }
    }
}

/// The decisions in force according to the rows, by address, with exact ends.
fn holds(rows: &Rows, passes: Passes, at: i64, off: i64) -> Holds {
    let mut holds = Holds::new();
    for row in rows.values().filter(|row| row.until.0 > at && passes(row)) {
        let Some(net) = row.target.prefix() else { continue };
        let until = row.until.0 - off;
        let longest = holds.entry((net.to_string(), row.remediation.to_string())).or_insert(until);
        *longest = until.max(*longest);
    }
    holds
}
