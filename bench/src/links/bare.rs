//! Bare `AF_XDP`: rings, descriptors and nothing else. The yardstick.
//!
//! The sender writes its frames once and posts them round and round; the receiver reads each payload and posts the frame again.
//! Neither keeps books. What is safe here rests on the order of the rings: a frame is posted again only after everything before it.

use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::time::Instant;

use pgmx_ebpf::{Attach, Steering, SteeringConfig};
use xsk_rs::config::{BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfig, UmemConfigBuilder};
use xsk_rs::socket::{RxQueue, Socket, TxQueue};
use xsk_rs::umem::frame::FrameDesc;
use xsk_rs::umem::{CompQueue, FillQueue, Umem};

use super::{Contestant, DATA_PORT, GROUP, HEADERS, Outcome, PATIENCE, Run, SOURCE_PORT, Watch, Workload, read};
use crate::netns::Port;

const BATCH: usize = 64;
const FRAME_SIZE: u32 = 2048;
const SOL_XDP: i32 = 283;
const XDP_MAX_TX_SKB_BUDGET: i32 = 9;

/// A socket and its rings.
pub struct Bare {
    _steering: Steering,
    tx: TxQueue,
    rx: RxQueue,
    fill: FillQueue,
    completion: CompQueue,
    umem: Umem,
    frames: Vec<FrameDesc>,
    address: Ipv4Addr,
}

fn words<T: core::fmt::Display>(what: &'static str) -> impl FnOnce(T) -> String {
    move |error| format!("{what}: {error}")
}

impl Bare {
    /// Opens a socket on the port. A receiver puts `ring` frames into its fill ring; all are for one or the other.
    pub fn open(port: &Port, workload: &Workload, receives: bool) -> Result<Self, String> {
        let index = interface_index(&port.interface)?;
        let mut steering =
            Steering::attach(&SteeringConfig { attach: Attach::Native, ..SteeringConfig::new(&port.interface, index) })
                .map_err(words("attaching"))?;
        let ring = QueueSize::new(workload.ring).map_err(words("ring"))?;
        let config = UmemConfigBuilder::new()
            .frame_size(FrameSize::new(FRAME_SIZE).map_err(words("frame size"))?)
            .fill_queue_size(ring)
            .comp_queue_size(ring)
            .build()
            .map_err(words("memory"))?;
        let count = if receives { workload.ring * 2 } else { workload.frames };
        let count = count.try_into().map_err(words("frames"))?;
        let (umem, frames) = Umem::new(config, count, false).map_err(words("memory"))?;
        let config = SocketConfig::builder()
            .rx_queue_size(ring)
            .tx_queue_size(ring)
            .bind_flags(BindFlags::XDP_COPY | BindFlags::XDP_USE_NEED_WAKEUP)
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .build();
        let interface: Interface = port.interface.parse().map_err(words("interface"))?;
        // SAFETY: libxdp's own program is inhibited.
        let (tx, rx, rings) = unsafe { Socket::new(config, &umem, &interface, 0) }.map_err(words("socket"))?;
        let (mut fill, completion) = rings.ok_or("the queue is bound already")?;
        set_budget(rx.fd().as_raw_fd(), workload.budget);
        if receives {
            // SAFETY: frames of this memory, in no ring yet.
            let filled = unsafe { fill.produce(&frames[..workload.ring as usize]) };
            assert_eq!(filled, workload.ring as usize, "an empty fill ring takes as many frames as it has entries");
            steering.claim_group(GROUP.into(), DATA_PORT).map_err(words("claiming"))?;
            steering.open_queue(0, rx.fd().as_raw_fd()).map_err(words("opening the queue"))?;
        }
        Ok(Self { _steering: steering, tx, rx, fill, completion, umem, frames, address: port.address })
    }
}

impl Contestant for Bare {
    fn send(&mut self, workload: &Workload, run: &Run) -> Result<(), String> {
        let packet = packet(self.address, workload.payload);
        for frame in &mut self.frames {
            // SAFETY: a frame of this memory; no ring holds one: the last run ended when all had come back.
            let mut data = unsafe { self.umem.data_mut(frame) };
            let mut cursor = data.cursor();
            cursor.set_pos(0);
            std::io::Write::write_all(&mut cursor, &packet).map_err(words("writing a frame"))?;
        }
        let mut done = [FrameDesc::default(); BATCH];
        let (mut in_flight, mut next, mut sent) = (0, 0, 0_u64);
        let (budget, ring) = (workload.budget as usize, workload.ring as usize);
        let watch = Watch::start();
        let end = Instant::now() + workload.time;
        let mut over = false;
        while !over || in_flight > 0 {
            loop {
                // SAFETY: only descriptors are overwritten.
                let came = unsafe { self.completion.consume(&mut done) };
                in_flight -= came;
                if came < BATCH {
                    break;
                }
            }
            let now = Instant::now();
            if now > end + PATIENCE {
                return Err(format!("{in_flight} frames did not come back"));
            }
            over = now >= end;
            let free = (ring - in_flight).min(self.frames.len() - in_flight);
            let posted = if over { 0 } else { budget.min(free).min(self.frames.len() - next) };
            // SAFETY: frames of this memory; those from `next` on came back already, because rings keep their order and no more are
            // in flight than there are others.
            let posted = unsafe { self.tx.produce(&self.frames[next..next + posted]) };
            next = (next + posted) % self.frames.len();
            in_flight += posted;
            sent += posted as u64;
            if in_flight > 0 && self.tx.needs_wakeup() {
                self.tx.wakeup().map_err(words("sending"))?;
            }
        }
        run.finish(sent, watch);
        Ok(())
    }

    fn receive(&mut self, workload: &Workload, run: &Run) -> Result<Outcome, String> {
        let mut came = [FrameDesc::default(); BATCH];
        let mut sum = 0_u64;
        let Self { rx, fill, umem, .. } = self;
        let outcome = run.collect(workload, || {
            // The kernel publishes what came before it publishes the room that this left in the fill ring.
            let most = BATCH.min(fill.nb_free(BATCH as u32) as usize);
            // SAFETY: only descriptors are overwritten.
            let count = unsafe { rx.consume(&mut came[..most]) };
            for desc in &came[..count] {
                // SAFETY: a frame of this memory that just came out of the ring.
                let data = unsafe { umem.data(desc) };
                sum = sum.wrapping_add(read(data.contents().get(HEADERS..).unwrap_or_default()));
            }
            // SAFETY: the frames that just came out, read by now.
            let filled = unsafe { fill.produce(&came[..count]) };
            assert_eq!(filled, count, "a fill ring takes as many frames as it has room for");
            Ok(count as u64)
        });
        core::hint::black_box(sum);
        outcome
    }

    fn form(&self) -> String {
        "bare AF_XDP rings, native, copy".into()
    }

    fn close(self: Box<Self>) -> Result<(), String> {
        Ok(())
    }
}

fn interface_index(name: &str) -> Result<u32, String> {
    let name = std::ffi::CString::new(name).map_err(words("interface"))?;
    // SAFETY: the name ends with a zero and lives through the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(format!("interface {name:?}: {}", std::io::Error::last_os_error())),
        index => Ok(index),
    }
}

/// Older kernels have no such option: then both contestants go without.
fn set_budget(socket: i32, budget: u32) {
    let octets = size_of::<u32>() as libc::socklen_t;
    // SAFETY: the kernel reads four octets of a value that lives through the call.
    unsafe { libc::setsockopt(socket, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, (&raw const budget).cast(), octets) };
}

/// The frame that the engine would send.
fn packet(source: Ipv4Addr, payload: usize) -> Vec<u8> {
    use pgmx::wire::build::{Content, DataTemplate, DataType, Session};
    use pgmx::wire::net::{Envelope, EnvelopeConfig, LinkLayer, Transport, Vlans, multicast_mac};
    use pgmx::wire::{Gsi, Sqn, Tsi, checksum};

    let mut frame = vec![0x5a; HEADERS + payload];
    let sum = checksum::sum(&frame[HEADERS..]);
    let envelope = Envelope::new(&EnvelopeConfig {
        link: Some(LinkLayer { source: [2; 6], destination: multicast_mac(GROUP.into()), vlans: Vlans::NONE }),
        source: source.into(),
        destination: GROUP.into(),
        ttl: 16,
        tos: 0,
        router_alert: false,
        transport: Transport::Pgm,
    })
    .expect("one family");
    let tsi = Tsi { gsi: Gsi::from_host_name("bare"), port: SOURCE_PORT };
    let template = DataTemplate::new(&Session { tsi, data_port: DATA_PORT });
    let (front, rest) = frame.split_at_mut(envelope.header_len());
    envelope.write(front, rest.len()).expect("headers of the length of headers");
    let head = rest.first_chunk_mut().expect("a data header");
    template.plain(head, DataType::Odata, Content::Original, Sqn::new(0), Sqn::new(0), payload as u16, sum);
    frame
}
