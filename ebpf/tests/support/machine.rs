//! A machine for the program's instructions that counts them: the kernel counts none, and its time depends on whose day it is.
//!
//! It runs what the loader would give to the verifier, on the real maps. So a call counts as one, whatever is behind it; branches on
//! options count, which the verifier removes; and what the kernel adds when it writes out a call is missing.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd};

use libbpf_rs::{MapCore, MapFlags, Object};

/// Longest way through the program that is still believed to end.
const STEPS_MAX: usize = 10_000;

const FRAME: u64 = 0x1000_0000;
const CONTEXT: u64 = 0x2000_0000;
const STACK: u64 = 0x3000_0000;
const STACK_OCTETS: usize = 512;
/// Values of maps, each with room of its own.
const VALUES: u64 = 0x4000_0000;
const VALUE_ROOM: u64 = 0x1000;

/// What a run took.
pub struct Took {
    pub action: u32,
    pub instructions: usize,
    pub calls: usize,
}

struct Machine<'a> {
    object: &'a Object,
    registers: [u64; 11],
    /// Pieces of memory by where they begin.
    memory: HashMap<u64, Vec<u8>>,
}

/// Runs the program on a frame; a socket is there for it.
pub fn count(object: &Object, options: &[u8], frame: &[u8]) -> Took {
    let program = object.progs().find(|program| program.name() == "steer").expect("the program");
    let instructions = program.insns();
    let ends = [FRAME, FRAME + frame.len() as u64, FRAME, 0, 0, 0];
    let context = ends.iter().flat_map(|word| (*word as u32).to_ne_bytes()).collect();
    let memory =
        [(FRAME, frame.to_vec()), (CONTEXT, context), (STACK, vec![0; STACK_OCTETS]), (VALUES, options.to_vec())];
    let mut machine = Machine { object, registers: [0; 11], memory: memory.into() };
    machine.registers[1] = CONTEXT;
    machine.registers[10] = STACK + STACK_OCTETS as u64;
    let (mut at, mut steps, mut calls) = (0, 0, 0);
    loop {
        let instruction = instructions[at];
        let (code, off, imm) = (instruction.code, i64::from(instruction.off), instruction.imm);
        let (to, from) = (usize::from(instruction.dst_reg()), usize::from(instruction.src_reg()));
        at += 1;
        steps += 1;
        assert!(steps < STEPS_MAX, "a program that does not end");
        // Either a register or the number in the instruction, as bit 3 says.
        let operand = if code & 8 == 0 { i64::from(imm) as u64 } else { machine.registers[from] };
        let width = [4, 2, 1, 8][usize::from(code >> 3 & 3)];
        match code & 7 {
            // A number of 64 bits in two instructions, which the processor has as one.
            0 => {
                machine.registers[to] = match from {
                    0 => u64::from(imm as u32) | u64::from(instructions[at].imm as u32) << 32,
                    1 => imm as u64,
                    2 => VALUES + instructions[at].imm as u64,
                    other => panic!("a number of kind {other}"),
                };
                at += 1;
            }
            1 => machine.registers[to] = machine.load(machine.registers[from].wrapping_add_signed(off), width),
            2 => machine.store(machine.registers[to].wrapping_add_signed(off), width, i64::from(imm) as u64),
            3 => {
                let place = machine.registers[to].wrapping_add_signed(off);
                let sum = if code & 0xe0 == 0xc0 { machine.load(place, width) } else { 0 };
                machine.store(place, width, sum.wrapping_add(machine.registers[from]));
            }
            4 | 7 if code & 0xf0 == 0xd0 => {
                assert!(code & 8 != 0 && imm == 16, "only 16 bits are swapped here");
                machine.registers[to] = u64::from((machine.registers[to] as u16).to_be());
            }
            kind @ (4 | 7) => {
                let (left, right) = (machine.registers[to], operand);
                let mask = if kind == 4 { u64::from(u32::MAX) } else { u64::MAX };
                machine.registers[to] = compute(code >> 4, left & mask, right & mask, kind == 7) & mask;
            }
            5 if code >> 4 == 9 => {
                return Took { action: machine.registers[0] as u32, instructions: steps, calls };
            }
            5 if code >> 4 == 8 => {
                calls += 1;
                machine.call(imm);
            }
            kind => {
                let mask = if kind == 6 { u64::from(u32::MAX) } else { u64::MAX };
                if holds(code >> 4, machine.registers[to] & mask, operand & mask) {
                    at = at.wrapping_add_signed(off as isize);
                }
            }
        }
    }
}

fn compute(operation: u8, left: u64, right: u64, wide: bool) -> u64 {
    let shift = right as u32 & if wide { 63 } else { 31 };
    match operation {
        0x0 => left.wrapping_add(right),
        0x1 => left.wrapping_sub(right),
        0x2 => left.wrapping_mul(right),
        0x4 => left | right,
        0x5 => left & right,
        0x6 => left << shift,
        0x7 => left >> shift,
        0xa => left ^ right,
        0xb => right,
        0xc if wide => (left as i64 >> shift) as u64,
        other => panic!("operation {other:#x}"),
    }
}

fn holds(condition: u8, left: u64, right: u64) -> bool {
    match condition {
        0x0 => true,
        0x1 => left == right,
        0x2 => left > right,
        0x3 => left >= right,
        0x4 => left & right != 0,
        0x5 => left != right,
        0xa => left < right,
        0xb => left <= right,
        other => panic!("condition {other:#x}"),
    }
}

impl Machine<'_> {
    /// The piece of memory with this address in it, and where in it.
    fn place(&mut self, address: u64, octets: usize) -> &mut [u8] {
        let holds = |base: &u64, piece: &Vec<u8>| (*base..=*base + piece.len() as u64).contains(&address);
        let piece = self.memory.iter_mut().find(|(base, piece)| holds(base, piece));
        let (base, piece) = piece.unwrap_or_else(|| panic!("no memory at {address:#x}"));
        let start = (address - base) as usize;
        &mut piece[start..start + octets]
    }

    fn load(&mut self, address: u64, octets: usize) -> u64 {
        let mut word = [0; 8];
        // As a little-endian processor does it.
        word[..octets].copy_from_slice(self.place(address, octets));
        u64::from_le_bytes(word)
    }

    fn store(&mut self, address: u64, octets: usize, value: u64) {
        self.place(address, octets).copy_from_slice(&value.to_le_bytes()[..octets]);
    }

    fn call(&mut self, helper: i32) {
        let [_, map, key, ..] = self.registers;
        self.registers[0] = match helper {
            1 => {
                let map = self.object.maps().find(|one| one.as_fd().as_raw_fd() as u64 == map).expect("a map");
                let key = self.place(key, map.key_size() as usize).to_vec();
                let found = if map.map_type().is_percpu() {
                    Some(vec![0; map.value_size() as usize])
                } else {
                    map.lookup(&key, MapFlags::ANY).expect("a map that can be read")
                };
                found.map_or(0, |value| {
                    let base = VALUES + VALUE_ROOM * self.memory.len() as u64;
                    self.memory.insert(base, value);
                    base
                })
            }
            2 => 0,
            5 => 1,
            51 => 4,
            other => panic!("helper {other}"),
        };
    }
}
