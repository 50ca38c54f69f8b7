//! Many receivers and one loss: suppression, in the population that it was made for.
//!
//! A small network: every receiver hears the source after the same delay, the source answers at once, repeats an NCF for one SQN not before a
//! given interval (and then drops or delays it), and a repair once an interval.

use std::collections::BTreeMap;

use super::*;

enum Way {
    /// To every receiver.
    Down(Vec<u8>),
    /// To the source: an SQN asked for.
    Up(u32),
    /// The source's own timer: repeat the NCF for an SQN.
    Repeat(u32),
}

struct Town {
    receivers: Vec<Bench>,
    delay: u64,
    ncf_ivl: u64,
    rdata_ivl: u64,
    /// NCFs that come too soon are sent later, not dropped.
    delays_ncfs: bool,
    now: u64,
    queue: BTreeMap<(u64, u64), Way>,
    number: u64,
    spm_sqn: u32,
    /// When an NCF went out last, when RDATA did, and whether another NCF is waiting, by SQN.
    answered: BTreeMap<u32, (u64, u64, bool)>,
    naks: u32,
    rdatas: u32,
}

impl Town {
    fn new(config: &ReceiverConfig, population: u64, delay: u64, ncf_ivl: u64, seed: u64) -> Self {
        let receivers = (0..population).map(|n| {
            let mut config = config.clone();
            (config.window_slots, config.sessions_max) = (64, 1);
            let mut bench = Bench::small(&config, seed * 10_000 + n);
            bench.now = 0;
            bench
        });
        Self {
            receivers: receivers.collect(),
            delay,
            ncf_ivl,
            rdata_ivl: ncf_ivl * 2,
            delays_ncfs: true,
            now: SECOND,
            queue: BTreeMap::new(),
            number: 0,
            spm_sqn: 0,
            answered: BTreeMap::new(),
            naks: 0,
            rdatas: 0,
        }
    }

    fn later(&mut self, after: u64, way: Way) {
        self.number += 1;
        self.queue.insert((self.now + after, self.number), way);
    }

    fn odata(&mut self, data_type: DataType, sqn: u32) {
        let mut packet = vec![0; build::DATA_HEADER_LEN];
        let session = build::Session { tsi: TSI, data_port: PORT };
        let template = DataTemplate::new(&session);
        let options = DataOptions::NONE;
        let (sqn, trail) = (Sqn::new(sqn), Sqn::new(1));
        template.data(&mut packet, data_type, Content::Original, sqn, trail, &options, 0, sum(&[])).expect("data");
        self.later(self.delay, Way::Down(packet));
    }

    fn spm(&mut self, lead: u32) {
        self.spm_sqn += 1;
        let mut packet = [0; 100];
        let session = build::Session { tsi: TSI, data_port: PORT };
        let len = build::spm(&mut packet, &session, &spm(self.spm_sqn, 1, lead), &PLAIN).expect("an SPM");
        self.later(self.delay, Way::Down(packet[..len].to_vec()));
    }

    fn ncf(&mut self, sqn: u32) {
        let mut packet = [0; 100];
        let session = build::Session { tsi: TSI, data_port: PORT };
        let nak = Nak { sqn: Sqn::new(sqn), source: SOURCE, group: GROUP };
        let len = build::nak(&mut packet, NakType::Ncf, &session, false, &nak, &[], &NakOptions::NONE).expect("an NCF");
        self.later(self.delay, Way::Down(packet[..len].to_vec()));
    }

    fn asked(&mut self, sqn: u32) {
        self.naks += 1;
        let (ncf_at, rdata_at, waiting) = self.answered.get(&sqn).copied().unwrap_or((0, 0, false));
        let mut state = (ncf_at, rdata_at, waiting);
        if self.now >= ncf_at + self.ncf_ivl {
            self.ncf(sqn);
            state.0 = self.now;
        } else if !waiting && self.delays_ncfs {
            self.later(ncf_at + self.ncf_ivl - self.now, Way::Repeat(sqn));
            state.2 = true;
        }
        if self.now >= rdata_at + self.rdata_ivl {
            self.odata(DataType::Rdata, sqn);
            self.rdatas += 1;
            state.1 = self.now;
        }
        self.answered.insert(sqn, state);
    }

    fn pass(&mut self, ns: u64) {
        let until = self.now + ns;
        loop {
            let event = self.queue.keys().next().map_or(u64::MAX, |key| key.0);
            let timer = self.receivers.iter().filter_map(|bench| bench.receiver.deadline()).min();
            let timer = timer.map_or(u64::MAX, Time::as_nanos).max(self.now);
            let next = event.min(timer);
            if next > until {
                break;
            }
            self.now = next;
            if event <= timer {
                match self.queue.pop_first().map(|(_, way)| way) {
                    Some(Way::Down(packet)) => {
                        for bench in &mut self.receivers {
                            bench.now = self.now;
                            bench.packet(&packet);
                        }
                    }
                    Some(Way::Up(sqn)) => self.asked(sqn),
                    Some(Way::Repeat(sqn)) => {
                        self.ncf(sqn);
                        self.answered.entry(sqn).and_modify(|state| (state.0, state.2) = (self.now, false));
                    }
                    None => {}
                }
            } else {
                for bench in &mut self.receivers {
                    if bench.receiver.deadline().is_some_and(|at| at.as_nanos() <= self.now) {
                        bench.now = self.now;
                        bench.poll();
                    }
                }
            }
            let asked: Vec<u32> = self
                .receivers
                .iter_mut()
                .flat_map(|bench| {
                    let asked = bench.naked();
                    bench.sent.clear();
                    asked
                })
                .collect();
            for sqn in asked {
                self.later(self.delay, Way::Up(sqn));
            }
        }
        self.now = until;
    }

    /// One loss that all share; returns NAKs and repairs.
    fn lose(&mut self, sqn: u32, calm: u64) -> (u32, u32) {
        (self.naks, self.rdatas) = (0, 0);
        self.odata(DataType::Odata, sqn + 1);
        self.pass(calm);
        for bench in &mut self.receivers {
            let expected = bench.receiver.sessions().next().expect("the session").expected;
            assert_eq!(expected, Some(Sqn::new(sqn + 2)), "not repaired");
            bench.application.said.clear();
            bench.application.payloads.clear();
        }
        (self.naks, self.rdatas)
    }
}

fn low_latency(population: u64, losses: u32, delays_ncfs: bool, seed: u64) -> (f64, f64) {
    let mut town = Town::new(&config(Profile::LowLatency), population, 20 * US, 20 * US, seed);
    town.delays_ncfs = delays_ncfs;
    town.spm(0);
    town.odata(DataType::Odata, 1);
    town.pass(5 * MS);
    let mut counts = Vec::new();
    for loss in 0..losses {
        counts.push(town.lose(2 + 2 * loss, 20 * MS));
        if loss % 100 == 99 {
            town.spm(3 + 2 * loss);
        }
    }
    if std::env::var_os("PGMX_SHOW").is_some() {
        println!("{population} {delays_ncfs}: {counts:?}");
    }
    let settled = &counts[20..];
    let mean = |pick: fn(&(u32, u32)) -> u32| settled.iter().map(pick).sum::<u32>() as f64 / settled.len() as f64;
    (mean(|count| count.0), mean(|count| count.1))
}

/// RFC 3208 §6.3, conformance 93
#[test]
fn a_crowd_learns_to_be_quiet_and_a_lone_receiver_stays_quick() {
    for population in [1, 2, 10, 100, 1000] {
        for delays_ncfs in [true, false] {
            let (naks, rdatas) = low_latency(population, 60, delays_ncfs, 1);
            let quiet = (1.0..=20.0).contains(&naks) && rdatas <= 2.0;
            assert!(quiet, "{population} receivers: {naks} NAKs, {rdatas} RDATA a loss");
        }
    }
    let mut town = Town::new(&config(Profile::LowLatency), 1, 20 * US, 20 * US, 1);
    town.spm(0);
    town.odata(DataType::Odata, 1);
    town.pass(5 * MS);
    for loss in 0..30 {
        town.lose(2 + 2 * loss, 20 * MS);
    }
    let info = town.receivers[0].receiver.sessions().next().expect("the session");
    assert_eq!(info.nak_bo_ivl_ns, 5 * US);
}

/// RFC 3208 §6.3, conformance 93
#[test]
fn with_a_fixed_back_off_a_thousand_receivers_send_few_naks_for_one_loss() {
    let mut total = 0;
    let seeds = if std::env::var_os("PGMX_LONG").is_some() { 100 } else { 4 };
    for seed in 0..seeds {
        let mut town = Town::new(&plain(), 1000, MS, 2 * MS, seed);
        town.rdata_ivl = 100 * MS;
        town.spm(0);
        town.odata(DataType::Odata, 1);
        town.pass(5 * MS);
        let (naks, rdatas) = town.lose(2, 200 * MS);
        assert!(naks <= 70 && rdatas == 1, "{naks} NAKs, {rdatas} RDATA");
        total += naks;
    }
    assert!(total <= 50 * seeds as u32, "{} NAKs on average", total as u64 / seeds);
}
