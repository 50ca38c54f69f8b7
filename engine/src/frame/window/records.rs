//! Small messages that share a slot: one by one, each handed over as it is committed, or *corked*, handed over together.
//!
//! ```text
//!   one by one   claim ─ write ─ commit: one exchange a record ─▶ the reader may take it
//!   corked       write, write, write, … ─ hand over: one store or exchange a packet ─▶ the reader may take them
//! ```
//!
//! Used by the publishing thread through [`Writer`]. Guards: a record goes behind those that the reader has not sealed, or to a slot that was
//! free before it was written; what is corked is seen by nobody until it is handed over, and any other call to the writer hands it over first.

use super::writer::{Claim, ClaimError, Plain, Room, Way, Writer};
use super::{RECORD_HEADER_LEN, SlotLayout};

/// The slot at `head - 1` as the writer left it: another record may go behind those that are there, unless the reader has sealed it.
#[derive(Clone, Copy)]
pub(super) struct Open {
    at: Room,
    /// Octets of records in it; 0 when there is no such slot, or a corked one that was just begun.
    filled: u16,
    /// Those that the reader was told of; 0 when it knows nothing of the slot. Less than `filled` only while corked.
    handed: u16,
    /// Octets that corked records may fill without a further look; 0 when nothing is corked.
    corked: u16,
}

impl Open {
    /// No slot can be appended to.
    pub(super) fn nothing(layout: SlotLayout) -> Self {
        Self { at: Room::at(layout, 0), filled: 0, handed: 0, corked: 0 }
    }
}

/// Where a record and its header are written.
struct Berth {
    position: u64,
    start: u16,
    /// Behind others: else in a slot that it opens.
    appends: bool,
}

impl Writer {
    /// [`Writer::claim`] for a message that is not a packet by itself: a record where the window batches, too long where it does not.
    pub(crate) fn claim_record(&mut self, len: usize) -> Result<Claim<'_>, ClaimError> {
        let Berth { position, start, appends } = self.berth(len)?;
        self.shared.shadow.write(self.shared.slot(position), start, RECORD_HEADER_LEN + len);
        let bytes = self.slot_bytes(position, start + RECORD_HEADER_LEN as u16, len);
        // SAFETY: `slot_bytes` checked that they lie in the chunk. A slot at the head is the writer's, as `berth` proved. Of
        // the slot before it these octets lie behind every length that the writer ever gave it, and the reader touches none there,
        // whether it seals it meanwhile or not; nor does the slot become anybody else's, since the writer alone claims. `&mut self`
        // makes this the only reference, for as long as the claim lives.
        let bytes = unsafe { core::slice::from_raw_parts_mut(bytes, len) };
        Ok(Claim { bytes, way: Way::Record { writer: self, appends } })
    }

    /// Where a record of `len` octets goes.
    fn berth(&mut self, len: usize) -> Result<Berth, ClaimError> {
        self.hand_over();
        let max = usize::from(self.layout.message_max(self.head));
        if len > max || !self.layout.batch {
            return Err(ClaimError::TooLong { len, max });
        }
        // A slot beyond the open one, because that may be sealed by the time of the commit.
        self.reserve(1)?;
        let Open { at, filled, .. } = self.open;
        let appends = filled > 0
            && RECORD_HEADER_LEN + len <= usize::from(at.len - filled)
            && self.shared.state(self.head - 1).is_open(at.start, filled);
        Ok(if appends {
            Berth { position: self.head - 1, start: at.start + filled, appends }
        } else {
            Berth { position: self.head, start: self.next.start, appends }
        })
    }

    /// Commits the record in `bytes`, which was claimed behind those of the open slot (`appends`) or in the next one; its header goes in
    /// front of it. Returns the position of its slot.
    pub(super) fn commit_record(&mut self, bytes: &[u8], appends: bool) -> u64 {
        let taken = (RECORD_HEADER_LEN + bytes.len()) as u16;
        if appends {
            let Open { at, filled, .. } = self.open;
            let position = self.head - 1;
            self.write_record_header(position, at.start + filled, bytes.len());
            if self.shared.state(position).grow(at.start, filled, filled + taken) {
                self.open.filled += taken;
                self.open.handed = self.open.filled;
                return position;
            }
            self.move_octets(RECORD_HEADER_LEN as u16, bytes.as_ptr(), bytes.len());
        }
        let (position, at) = (self.head, Room::at(self.layout, self.head));
        self.write_record_header(position, at.start, bytes.len());
        self.open_with(position, at, taken);
        position
    }

    /// Hands over the slot at the head, with records of so many octets, as the open one.
    pub(super) fn open_with(&mut self, position: u64, at: Room, filled: u16) {
        self.shared.state(position).store_plain(at.start, filled);
        self.open = Open { at, filled, handed: filled, corked: 0 };
        self.release(position + 1);
    }

    /// The reader sealed the slot that octets were written to: copies them to `offset` of the room in the next one, which was free
    /// before they were written.
    #[cold]
    fn move_octets(&mut self, offset: u16, from: *const u8, len: usize) {
        let (position, start) = (self.head, self.next.start + offset);
        self.shared.shadow.write(self.shared.slot(position), self.next.start, usize::from(offset) + len);
        let to = self.slot_bytes(position, start, len);
        // SAFETY: `slot_bytes` checked the bounds, and the position is the writer's: it was reserved before the octets were written, and
        // the head has not moved since. They lie in another chunk, behind the sealed length, where nobody else reads or writes.
        unsafe { core::ptr::copy_nonoverlapping(from, to, len) };
    }

    /// Writes the header of a record at `start` of a slot: its length.
    pub(super) fn write_record_header(&mut self, position: u64, start: u16, len: usize) {
        let header = (len as u16).to_be_bytes();
        let to = self.slot_bytes(position, start, header.len());
        // SAFETY: `slot_bytes` checked the bounds. The octets belong to the claim that is being committed (see `claim_record`), and the
        // reference that it gave out begins behind them.
        unsafe { to.cast::<[u8; RECORD_HEADER_LEN]>().write(header) };
    }

    /// Publishes a message of `len` octets that fits one packet, which `write` writes in place. As a record it is corked: seen by nobody
    /// until [`Writer::hand_over`].
    #[inline(always)]
    #[allow(clippy::inline_always)] // `write` is compiled into the loop that publishes
    pub(crate) fn publish_corked(&mut self, len: usize, write: impl FnOnce(&mut [u8])) -> Result<(), ClaimError> {
        if len < usize::from(self.next.end) {
            let mut claim = self.claim_slot(len)?;
            write(&mut claim);
            claim.commit();
            return Ok(());
        }
        // Saturating: the application names the length, and none may wrap round to one that fits.
        let taken = RECORD_HEADER_LEN.saturating_add(len);
        if taken > usize::from(self.open.corked) {
            self.uncork(len)?;
        }
        let (position, start) = (self.head - 1, self.open.at.start + self.open.filled);
        self.shared.shadow.write(self.shared.slot(position), start, taken);
        // SAFETY: `start + taken` is not beyond the room of the slot, which lies in its chunk. The octets are the writer's: they
        // lie behind every length that it gave the slot, which the reader never passes, and `uncork` saw that the slot is not free
        // again. `&mut self` makes this the only reference.
        let bytes = unsafe {
            let to = self.shared.octet(position, start);
            to.cast::<[u8; RECORD_HEADER_LEN]>().write((len as u16).to_be_bytes());
            core::slice::from_raw_parts_mut(to.add(RECORD_HEADER_LEN), len)
        };
        write(bytes);
        self.open.filled += taken as u16;
        self.open.corked -= taken as u16;
        Ok(())
    }

    /// Makes room for a corked record of `len` octets: behind those of the open slot, or in the next one.
    #[inline(never)]
    fn uncork(&mut self, len: usize) -> Result<(), ClaimError> {
        let Berth { position, appends, .. } = self.berth(len)?;
        if appends {
            self.open.corked = self.open.at.len - self.open.filled;
            return Ok(());
        }
        let at = Room::at(self.layout, position);
        self.open = Open { at, filled: 0, handed: 0, corked: at.len };
        self.head = position + 1;
        self.next = self.later;
        Ok(())
    }

    /// Hands what is corked to the reader.
    #[inline]
    pub(crate) fn hand_over(&mut self) {
        if self.open.corked > 0 || self.open.filled > self.open.handed {
            self.hand_over_corked();
        }
    }

    fn hand_over_corked(&mut self) {
        self.open.corked = 0;
        let Open { at, filled, handed, .. } = self.open;
        let position = self.head - 1;
        if filled == 0 {
            // Whoever was to write the first record of the slot has panicked.
            self.head = position;
            self.next = Plain::at(self.layout, position);
        } else if handed == 0 {
            self.open_with(position, at, filled);
        } else if filled > handed {
            if self.shared.state(position).grow(at.start, handed, filled) {
                self.open.handed = filled;
                return;
            }
            let moved = filled - handed;
            let from = self.slot_bytes(position, at.start + handed, usize::from(moved));
            self.move_octets(0, from, usize::from(moved));
            self.open_with(self.head, Room::at(self.layout, self.head), moved);
        }
    }
}
