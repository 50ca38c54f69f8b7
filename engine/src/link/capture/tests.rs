//! The file octet for octet, and what is in it when the link, the file or the limit do not take everything.

use std::cell::RefCell;
use std::rc::Rc;

use super::*;
use crate::frame::{Incoming, Layout, Outgoing, PathFacts};
use crate::link::Channel;
use crate::wire::net::{parse_ip, parse_udp};

const GROUP: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(239, 192, 0, 1));
/// Octets of the head of the file.
const HEAD: usize = 24;

/// A link that takes as many packets as it is told, and brings in what lies ready.
struct Scripted {
    nla: IpAddr,
    takes: usize,
    comes: Vec<(IpAddr, IpAddr, Vec<u8>)>,
}

impl Link for Scripted {
    fn path(&self) -> PathFacts {
        PathFacts { nla: self.nla, mtu: 1500, front: 34, alert: 4, ip_header: 20 }
    }
    fn join(&mut self, _: Channel, _: &[IpAddr]) -> Result<(), LinkError> {
        Ok(())
    }
    fn leave(&mut self, _: Channel) -> Result<(), LinkError> {
        Ok(())
    }
    fn listen(&mut self, _: u16) -> Result<(), LinkError> {
        Ok(())
    }
    fn unlisten(&mut self, _: u16) -> Result<(), LinkError> {
        Ok(())
    }
    fn receive(&mut self, _: Time, pool: &mut Pool, into: &mut RxBatch) -> Result<usize, LinkError> {
        let came = self.comes.len();
        for (from, to, octets) in self.comes.drain(..) {
            into.push(Incoming { frame: frame(pool, &octets), from, to });
        }
        Ok(came)
    }
    fn send(&mut self, _: Time, pool: &mut Pool, from: &mut TxBatch) -> Result<usize, LinkError> {
        let takes = self.takes.min(from.len());
        for _ in 0..takes {
            pool.put(from.pop().expect("as many as there are").frame);
        }
        Ok(takes)
    }
    fn shut_down(&mut self, _: &mut Pool) {}
}

fn packet<const N: usize>(octets: &[u8; N]) -> (To, bool, &[u8]) {
    (To::Group(GROUP), false, octets)
}

fn frame(pool: &mut Pool, octets: &[u8]) -> crate::frame::Frame {
    let mut frame = pool.take().expect("a frame");
    frame.set_range(300, octets.len() as u16);
    pool.bytes_mut(&mut frame).copy_from_slice(octets);
    frame
}

/// A file that others can look into, with room for so many octets.
#[derive(Clone)]
struct Sheet {
    octets: Rc<RefCell<Vec<u8>>>,
    room: usize,
}

impl Sheet {
    fn new(room: usize) -> Self {
        Self { octets: Rc::default(), room }
    }

    fn text(&self) -> Vec<u8> {
        self.octets.borrow().clone()
    }

    /// The packets in the file.
    fn packets(&self) -> Vec<Vec<u8>> {
        let text = self.text();
        let (mut packets, mut rest) = (Vec::new(), &text[HEAD..]);
        while !rest.is_empty() {
            let len = u32::from_le_bytes(*rest[8..].first_chunk().expect("a length")) as usize;
            assert_eq!(rest[8..12], rest[12..16], "nothing is cut short");
            packets.push(rest[RECORD..RECORD + len].to_vec());
            rest = &rest[RECORD + len..];
        }
        packets
    }
}

impl Write for Sheet {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let mut text = self.octets.borrow_mut();
        if text.len() + octets.len() > self.room {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        text.extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Bench {
    capture: Capture<Scripted, Sheet>,
    sheet: Sheet,
    pool: Pool,
    now: Time,
}

impl Bench {
    fn new(room: usize, config: &CaptureConfig, nla: IpAddr) -> Self {
        let sheet = Sheet::new(room);
        let link = Scripted { nla, takes: usize::MAX, comes: Vec::new() };
        let mut capture = Capture::to(link, sheet.clone(), config).expect("room for the head");
        let tape = capture.tape.as_mut().expect("a file");
        tape.clock = Some((Time::from_nanos(100), 1_700_000_000_123_456_789));
        let pool = Pool::anonymous(Layout::standard(16)).expect("a small mapping");
        Self { capture, sheet, pool, now: Time::from_nanos(100) }
    }

    fn plain() -> Self {
        Self::new(usize::MAX, &CaptureConfig::default(), [192, 0, 2, 1].into())
    }

    fn send(&mut self, packets: &[(To, bool, &[u8])]) -> usize {
        let mut batch = TxBatch::new(8);
        for &(to, router_alert, octets) in packets {
            batch.push(Outgoing { frame: frame(&mut self.pool, octets), to, router_alert });
        }
        let took = self.capture.send(self.now, &mut self.pool, &mut batch).expect("nothing fails");
        while let Some(left) = batch.pop() {
            self.pool.put(left.frame);
        }
        took
    }

    fn receive(&mut self, from: IpAddr, to: IpAddr, octets: &[u8]) {
        self.capture.inner.comes.push((from, to, octets.to_vec()));
        self.poll();
    }

    fn poll(&mut self) {
        let mut batch = RxBatch::new(8);
        self.capture.receive(self.now, &mut self.pool, &mut batch).expect("nothing fails");
        while let Some(came) = batch.pop() {
            self.pool.put(came.frame);
        }
    }

    fn counts(&self) -> (u64, u64, u64) {
        let CaptureCounts { packets, left_out, errors, .. } = self.capture.counts();
        (packets, left_out, errors)
    }
}

#[test]
fn the_file_is_a_nanosecond_pcap_of_ip_packets_octet_for_octet() {
    let mut bench = Bench::plain();
    assert_eq!(bench.send(&[(To::Neighbours(GROUP), true, b"PGM")]), 1);
    bench.now = Time::from_nanos(1_000_000_100);
    bench.receive([192, 0, 2, 7].into(), [192, 0, 2, 1].into(), b"a NAK");
    bench.capture.flush();
    #[rustfmt::skip]
    let expected: &[u8] = &[
        0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 101, 0, 0, 0,
        // 1,700,000,000 s and 123,456,789 ns; 27 octets.
        0x00, 0xf1, 0x53, 0x65, 0x15, 0xcd, 0x5b, 0x07, 27, 0, 0, 0, 27, 0, 0, 0,
        0x46, 0, 0, 27, 0, 0, 0x40, 0, 1, 113, 0x32, 0xab, 192, 0, 2, 1, 239, 192, 0, 1, 0x94, 4, 0, 0, b'P', b'G', b'M',
        // A second later; 25 octets.
        0x01, 0xf1, 0x53, 0x65, 0x15, 0xcd, 0x5b, 0x07, 25, 0, 0, 0, 25, 0, 0, 0,
        0x45, 0, 0, 25, 0, 0, 0x40, 0, 16, 113, 0xe6, 0x6b, 192, 0, 2, 7, 192, 0, 2, 1, b'a', b' ', b'N', b'A', b'K',
    ];
    assert_eq!(bench.sheet.text(), expected);
    assert_eq!(bench.capture.counts().octets, expected.len() as u64);
}

#[test]
fn what_the_link_did_not_take_is_not_in_the_file() {
    let mut bench = Bench::plain();
    bench.capture.inner.takes = 2;
    assert_eq!(bench.send(&[packet(b"one"), packet(b"two"), packet(b"three")]), 2);
    bench.capture.inner.takes = 0;
    assert_eq!(bench.send(&[packet(b"three")]), 0);
    bench.capture.inner.takes = 1;
    assert_eq!(bench.send(&[packet(b"three"), packet(b"four")]), 1);
    assert_eq!(bench.counts(), (3, 0, 0));
    drop(bench.capture);
    let ends: Vec<Vec<u8>> = bench.sheet.packets().iter().map(|packet| packet[20..].to_vec()).collect();
    assert_eq!(ends, [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
}

#[test]
fn in_udp_the_headers_are_right_whether_or_not_the_packet_has_a_checksum_of_its_own() {
    let config = CaptureConfig { encapsulation: Encapsulation::UDP, ..CaptureConfig::default() };
    for v6 in [false, true] {
        let addresses =
            if v6 { ["2001:db8::1", "2001:db8::7", "ff08::1"] } else { ["192.0.2.1", "192.0.2.7", "239.192.0.1"] };
        let [own, peer, group] = addresses.map(|text| text.parse::<IpAddr>().expect("an address"));
        let mut bench = Bench::new(usize::MAX, &config, own);
        // Sums to all ones, as a packet with its checksum does.
        bench.send(&[(To::Group(group), true, &[0x12, 0x34, 0xed, 0xca, 0x00, 0x01, 0x00])]);
        bench.receive(peer, own, b"no checksum at all");
        bench.capture.flush();
        let expected = [(own, group, 3056), (peer, own, 3055)];
        let packets = bench.sheet.packets();
        assert_eq!(packets.len(), 2);
        for (packet, (source, destination, port)) in packets.iter().zip(expected) {
            let header = parse_ip(packet).expect("right");
            assert!(!header.router_alert);
            assert_eq!((header.source, header.destination), (source, destination));
            let udp = parse_udp(packet, &header).expect("right");
            assert_eq!((udp.source_port, udp.destination_port), (3055, port));
            let octets = |address| match address {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            let datagram = header.payload(packet);
            let sum = checksum::sum(&[octets(source), octets(destination)].concat())
                .plus_u16(17)
                .plus_u16(datagram.len() as u16)
                .combine(checksum::sum(datagram));
            assert_eq!(sum.fold(), 0xffff, "{packet:02x?}");
        }
    }
}

#[test]
fn a_file_with_a_limit_ends_with_the_last_packet_that_fits() {
    let most = (HEAD + 2 * (RECORD + 20 + 4)) as u64;
    let config = CaptureConfig { octets_max: Some(most), ..CaptureConfig::default() };
    let mut bench = Bench::new(usize::MAX, &config, [192, 0, 2, 1].into());
    // What would not have fitted was not sent: the file goes on.
    bench.capture.inner.takes = 1;
    bench.send(&[packet(b"1111"), packet(b"far too long")]);
    bench.capture.inner.takes = 3;
    bench.send(&[packet(b"2222"), packet(b"3333"), packet(b"")]);
    assert_eq!(bench.counts(), (2, 2, 0));
    bench.capture.shut_down(&mut bench.pool);
    assert_eq!(bench.sheet.text().len() as u64, most);
}

#[test]
fn a_full_disk_disturbs_nobody_and_is_counted() {
    let mut bench = Bench::new(HEAD, &CaptureConfig::default(), [192, 0, 2, 1].into());
    assert_eq!(bench.send(&[packet(b"PGM"), packet(b"PGM")]), 2);
    bench.capture.flush();
    assert_eq!(bench.send(&[packet(b"PGM")]), 1);
    bench.receive([192, 0, 2, 7].into(), [192, 0, 2, 1].into(), b"a NAK");
    assert_eq!(bench.counts(), (2, 2, 1));
    assert_eq!(bench.sheet.packets(), [[0; 0]; 0]);
    assert_eq!(bench.pool.census().out, 0);
}

#[test]
fn a_quiet_link_gets_its_file_written_and_a_busy_one_as_well() {
    let mut bench = Bench::plain();
    bench.send(&[packet(b"PGM")]);
    bench.poll();
    assert!(bench.sheet.packets().is_empty());
    bench.now = bench.now.plus(PAUSE_NS);
    bench.poll();
    assert_eq!(bench.sheet.packets().len(), 1);
    let capacity = |bench: &Bench| bench.capture.tape.as_ref().expect("a file").gathered.capacity();
    let before = capacity(&bench);
    for _ in 0..200 {
        bench.send(&[packet(&[7; 1400]), packet(&[7; 1400])]);
    }
    assert!(bench.sheet.packets().len() > 100, "no silence, and yet");
    assert_eq!(capacity(&bench), before, "nothing grows");
}

#[test]
fn packets_of_two_families_at_once_are_left_out() {
    let mut bench = Bench::plain();
    bench.receive([192, 0, 2, 7].into(), IpAddr::from([0xff; 16]), b"?");
    let lacks = bench.capture.lacks();
    bench.receive([192, 0, 2, 7].into(), GROUP, b"!");
    assert_eq!((bench.counts(), lacks.packets()), ((1, 1, 0), 1));
}

#[test]
fn without_a_file_it_is_the_link_and_a_file_that_cannot_be_is_refused_by_name() {
    let link = || Scripted { nla: [192, 0, 2, 1].into(), takes: 1, comes: Vec::new() };
    let mut capture = Capture::none(link());
    let mut pool = Pool::anonymous(Layout::standard(16)).expect("a small mapping");
    let mut batch = TxBatch::new(1);
    batch.push(Outgoing { frame: frame(&mut pool, b"x"), to: To::Group(GROUP), router_alert: false });
    assert_eq!(capture.send(Time::ZERO, &mut pool, &mut batch).expect("nothing fails"), 1);
    assert_eq!(capture.counts(), CaptureCounts::default());
    let refused = Capture::to_file(link(), Path::new("/no/such/directory/x.pcap"), &CaptureConfig::default());
    let refused = refused.err().expect("nowhere to write").to_string();
    assert!(refused.starts_with("writing packets to /no/such/directory/x.pcap failed:"), "{refused}");
}
