//! The engine's lower floors: window, frames, wire, and a link, driven inline as an endpoint would.
//!
//! Every payload is written in place by a publisher, summed, dressed and lent; every packet received is parsed, its checksum checked,
//! its SQN held against the one expected, and its payload read.

use std::time::Instant;

use pgmx::frame::{ClaimError, Outgoing, Pool, Reader, RxBatch, SlotLayout, To, TxBatch, Writer, window};
use pgmx::link::raw::{RawConfig, RawLink};
use pgmx::link::udp::{UdpConfig, UdpLink};
use pgmx::link::xdp::{DataPath, XdpConfig, XdpLink};
use pgmx::link::{Channel, Link};
use pgmx::time::Time;
use pgmx::wire::build::{Content, DATA_HEADER_LEN, DataTemplate, DataType, Session};
use pgmx::wire::net::{UDP_MULTICAST_PORT, UDP_UNICAST_PORT};
use pgmx::wire::{Gsi, Kind, Limits, Sqn, Tsi, checksum, parse};

use super::{Contestant, DATA_PORT, GROUP, Outcome, PATIENCE, Run, SOURCE_PORT, Watch, Workload, read};
use crate::netns::Port;

/// Packets received at a time.
const BATCH: usize = 64;

/// Messages that publisher and worker take turns at, as they share a processor here: few enough that what was just written is still in
/// the first-level cache when its sum is taken.
const TURN: usize = 8;

/// A link and its pool.
struct Engine<L> {
    link: L,
    pool: Pool,
    form: String,
}

fn words<T: core::fmt::Display>(what: &'static str) -> impl FnOnce(T) -> String {
    move |error| format!("{what}: {error}")
}

/// Writes one message in place; false when the window is full.
#[inline]
fn publish(writer: &mut Writer, message: &[u8]) -> Result<bool, String> {
    match writer.claim(message.len()) {
        Ok(mut claim) => {
            claim.copy_from_slice(message);
            claim.commit();
            Ok(true)
        }
        Err(ClaimError::Full) => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

/// Lends the slot at `position` with its header written and its payload summed.
#[inline]
fn dress(pool: &mut Pool, reader: &mut Reader, template: &DataTemplate, position: u64) -> Result<Outgoing, String> {
    let Some(mut frame) = reader.lend(pool, position, DATA_HEADER_LEN as u16) else {
        return Err(format!("slot {position} is in flight before it was sent"));
    };
    let packet = pool.bytes_mut(&mut frame).split_first_chunk_mut();
    let (header, payload) = packet.ok_or("a slot without room for its header")?;
    let (sqn, trail) = (Sqn::new(position as u32), Sqn::new(reader.trail() as u32));
    let (len, sum) = (payload.len() as u16, checksum::sum(payload));
    template.plain(header, DataType::Odata, Content::Original, sqn, trail, len, sum);
    Ok(Outgoing { frame, to: To::Group(GROUP.into()), router_alert: false })
}

impl<L: Link + 'static> Engine<L> {
    /// Takes a link that was just opened, and says what it took.
    fn over(mut link: L, pool: Pool, receives: bool, form: String) -> Result<Box<dyn Contestant>, String> {
        if receives {
            link.join(Channel { group: GROUP.into(), data_port: DATA_PORT }, &[]).map_err(words("joining"))?;
        }
        Ok(Box::new(Self { link, pool, form }))
    }
}

/// An `xdp` link on the port, with what bare rings are given.
pub fn xdp(port: &Port, workload: &Workload, receives: bool) -> Result<Box<dyn Contestant>, String> {
    let mut config = XdpConfig::new(&port.interface);
    config.data_path = DataPath::Copy;
    config.ring = workload.ring;
    config.tx_budget = workload.budget;
    config.frames = workload.ring * 3 + if receives { 0 } else { workload.frames };
    let (link, pool) = XdpLink::open(&config).map_err(words("opening the xdp link"))?;
    let form = link.taken().to_string();
    Engine::over(link, pool, receives, form)
}

/// A `raw` link on the port.
pub fn raw(port: &Port, workload: &Workload, receives: bool) -> Result<Box<dyn Contestant>, String> {
    let mut config = RawConfig::new(&port.interface);
    config.loopback = false;
    config.batch = workload.budget as usize;
    config.frames = workload.frames + 8 * workload.budget + 1;
    let (link, pool) = RawLink::open(&config).map_err(words("opening the raw link"))?;
    let form = link.taken().to_string();
    Engine::over(link, pool, receives, form)
}

/// A `udp` link on the port, with segmentation by the kernel (GSO and GRO) or without.
pub fn udp(port: &Port, workload: &Workload, receives: bool, segments: bool) -> Result<Box<dyn Contestant>, String> {
    let mut config = UdpConfig::new(&port.interface, UDP_UNICAST_PORT, UDP_MULTICAST_PORT);
    config.loopback = false;
    (config.gso, config.gro) = (segments, segments);
    config.frames = 16_384 + workload.frames;
    let (link, pool) = UdpLink::open(&config).map_err(words("opening the udp link"))?;
    let form = link.taken().to_string();
    Engine::over(link, pool, receives, form)
}

impl<L: Link> Contestant for Engine<L> {
    fn send(&mut self, workload: &Workload, run: &Run) -> Result<(), String> {
        let Self { link, pool, .. } = self;
        let path = link.path();
        let front = pool.layout().start + path.front + DATA_HEADER_LEN as u16;
        let layout = SlotLayout::plain(front, path.mtu - path.ip_header - path.alert - DATA_HEADER_LEN as u16);
        let slots = pool.take_run(workload.frames).ok_or("the pool is too small for the window")?;
        let (mut writer, mut reader) = window(pool, slots, layout);
        let template = DataTemplate::new(&Session {
            tsi: Tsi { gsi: Gsi::from_host_name("links"), port: SOURCE_PORT },
            data_port: DATA_PORT,
        });
        let mut out = TxBatch::new(workload.budget as usize);
        let mut back = RxBatch::new(BATCH);
        let pattern = vec![0x5a_u8; workload.payload];
        let watch = Watch::start();
        let (mut next, end) = (0_u64, Instant::now() + workload.time);
        loop {
            let now = Instant::now();
            let over = now >= end;
            let time = Time::from_nanos(0);
            link.receive(time, pool, &mut back).map_err(words("receiving"))?;
            while let Some(incoming) = back.pop() {
                pool.put(incoming.frame);
            }
            let mut full = over;
            loop {
                // The publisher's turn: writes messages where they will leave from.
                for _ in 0..TURN {
                    full = full || !publish(&mut writer, &pattern)?;
                }
                // The worker's turn: dresses and lends what was committed.
                let head = reader.refresh();
                while next < head && out.room() > 0 {
                    out.push(dress(pool, &mut reader, &template, next)?);
                    next += 1;
                }
                if full || out.room() == 0 {
                    break;
                }
            }
            link.send(time, pool, &mut out).map_err(words("sending"))?;
            // What is in flight stops the trail, wherever we would like to have it.
            let trail = reader.advance(pool, next);
            if over && trail == writer.position() {
                break;
            }
            if now > end + PATIENCE {
                return Err(format!("{} slots did not come back", writer.position() - trail));
            }
        }
        run.finish(next, watch);
        drop(writer);
        let slots = reader.try_into_run(pool).map_err(|_| "a slot is in flight behind the trail")?;
        pool.put_run(slots);
        Ok(())
    }

    fn receive(&mut self, workload: &Workload, run: &Run) -> Result<Outcome, String> {
        let Self { link, pool, .. } = self;
        let mut batch = RxBatch::new(BATCH);
        let (limits, mut next, mut sum) = (Limits::default(), Sqn::new(0), 0_u64);
        let outcome = run.collect(workload, || {
            let came = link.receive(Time::from_nanos(0), pool, &mut batch).map_err(words("receiving"))?;
            while let Some(incoming) = batch.pop() {
                let packet = pool.bytes(&incoming.frame);
                let header = parse(packet, &limits).map_err(words("a packet refused"))?;
                let Kind::Odata(data) = header.kind else { return Err("not ODATA".into()) };
                if data.sqn.is_before(next) {
                    return Err(format!("SQN {} after {next}", data.sqn));
                }
                next = data.sqn.next();
                sum = sum.wrapping_add(read(header.payload(packet)));
                pool.put(incoming.frame);
            }
            Ok(came as u64)
        });
        core::hint::black_box(sum);
        outcome
    }

    fn form(&self) -> String {
        self.form.clone()
    }

    fn close(mut self: Box<Self>) -> Result<(), String> {
        self.link.shut_down(&mut self.pool);
        let census = self.pool.census();
        if census.out + census.lent != 0 || !census.adds_up() {
            return Err(format!("frames are missing: {census:?}"));
        }
        Ok(())
    }
}
