//! A socket, its four rings and its memory, as xsk-rs gives them: what the bare contestants share.
//!
//! Opened by them alone. Guards nothing: whoever holds it keeps count of the frames that rings have.

use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;

use pgmx::wire::build::{Content, DataTemplate, DataType, Session};
use pgmx::wire::net::{Envelope, EnvelopeConfig, LinkLayer, Transport, Vlans, multicast_mac};
use pgmx::wire::{Gsi, Sqn, Tsi, checksum};
use pgmx_ebpf::{Attach, Steering, SteeringConfig};
use xsk_rs::config::{BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfig, UmemConfigBuilder};
use xsk_rs::socket::{RxQueue, Socket, TxQueue};
use xsk_rs::umem::frame::FrameDesc;
use xsk_rs::umem::{CompQueue, FillQueue, Umem};

use super::{GROUP, HEADERS, SOURCE_PORT};
use crate::netns::Port;

const FRAME_SIZE: u32 = 2048;
const SOL_XDP: i32 = 283;
const XDP_MAX_TX_SKB_BUDGET: i32 = 9;

/// What a socket is given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Entries of each ring.
    pub(crate) ring: u32,
    /// Frames in all.
    pub(crate) frames: u32,
    /// Where something is heard, the first so many frames begin in the fill ring.
    pub(crate) filled: u32,
    /// Packets that one call may send.
    pub(crate) budget: u32,
    /// The data port whose packets come in.
    pub(crate) heard: Option<u16>,
}

/// A socket and its rings. The program leaves the interface before the socket closes.
pub(crate) struct Rings {
    _steering: Steering,
    pub(crate) tx: TxQueue,
    pub(crate) rx: RxQueue,
    pub(crate) fill: FillQueue,
    pub(crate) completion: CompQueue,
    pub(crate) umem: Umem,
    pub(crate) frames: Vec<FrameDesc>,
}

/// Puts what was attempted in front of an error.
pub(crate) fn words<T: core::fmt::Display>(what: &'static str) -> impl FnOnce(T) -> String {
    move |error| format!("{what}: {error}")
}

impl Rings {
    /// Binds a socket to queue 0 of the port, native and with copies.
    pub(crate) fn open(port: &Port, shape: &Shape) -> Result<Self, String> {
        let index = interface_index(&port.interface)?;
        let mut steering =
            Steering::attach(&SteeringConfig { attach: Attach::Native, ..SteeringConfig::new(&port.interface, index) })
                .map_err(words("attaching"))?;
        let ring = QueueSize::new(shape.ring).map_err(words("ring"))?;
        let config = UmemConfigBuilder::new()
            .frame_size(FrameSize::new(FRAME_SIZE).map_err(words("frame size"))?)
            .fill_queue_size(ring)
            .comp_queue_size(ring)
            .build()
            .map_err(words("memory"))?;
        let count = shape.frames.try_into().map_err(words("frames"))?;
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
        set_budget(rx.fd().as_raw_fd(), shape.budget);
        if let Some(data_port) = shape.heard {
            // SAFETY: frames of this memory, in no ring yet.
            let filled = unsafe { fill.produce(&frames[..shape.filled as usize]) };
            assert_eq!(filled, shape.filled as usize, "an empty fill ring takes as many frames as it has entries");
            steering.claim_group(GROUP.into(), data_port).map_err(words("claiming"))?;
            steering.open_queue(0, rx.fd().as_raw_fd()).map_err(words("opening the queue"))?;
        }
        Ok(Self { _steering: steering, tx, rx, fill, completion, umem, frames })
    }

    /// Writes a whole packet into a frame.
    ///
    /// # Safety
    /// The frame is one of this memory and in no ring.
    pub(crate) unsafe fn write(umem: &Umem, frame: &mut FrameDesc, packet: &[u8]) -> Result<(), String> {
        // SAFETY: as the caller promises.
        let mut data = unsafe { umem.data_mut(frame) };
        let mut cursor = data.cursor();
        cursor.set_pos(0);
        std::io::Write::write_all(&mut cursor, packet).map_err(words("writing a frame"))
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

/// The frame that the engine would send to this port.
pub(crate) fn packet(source: Ipv4Addr, data_port: u16, payload: usize) -> Vec<u8> {
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
    let template = DataTemplate::new(&Session { tsi, data_port });
    let (front, rest) = frame.split_at_mut(envelope.header_len());
    envelope.write(front, rest.len()).expect("headers of the length of headers");
    let head = rest.first_chunk_mut().expect("a data header");
    template.plain(head, DataType::Odata, Content::Original, Sqn::new(0), Sqn::new(0), payload as u16, sum);
    frame
}
