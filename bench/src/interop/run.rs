//! Cells, a few at a time, and what came of each.
//!
//! Called by the `interop` program. Guards: each cell is begun once, in the order of the table; one that fails stops no other; a cell whose
//! programs are not built is a gap and says what would fill it.

use std::io::{IsTerminal, Write, stderr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant};

use super::matrix::{Play, Row};
use super::scene::{Scene, Talk};
use super::{Pace, Program, Way, asks, ends, joint, late, transfer};

pub use super::scene::Programs;

/// A row over one way.
#[derive(Clone, Debug)]
pub struct Cell {
    /// The row.
    pub row: Row,
    /// The column.
    pub way: Way,
    /// A name for files.
    pub name: String,
}

/// What came of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All that was to be shown was; with a word about how.
    Held(String),
    /// Why it did not, and where the logs are.
    Broken(String, PathBuf),
    /// What is missing.
    Gap(String),
}

/// Begun, ended.
#[derive(Clone, Debug)]
pub struct Played {
    /// What.
    pub cell: Cell,
    /// What came of it.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
}

impl Cell {
    /// All cells of these rows whose words hold all of `only`.
    pub fn of(rows: &[Row], only: &[String]) -> Vec<Self> {
        let mut cells = Vec::new();
        for (number, row) in rows.iter().enumerate() {
            for &way in &row.ways {
                let name = format!("{:02}-{}", number + 1, way.name());
                cells.push(Self { row: row.clone(), way, name });
            }
        }
        cells.retain(|cell| {
            let words = cell.to_string().to_lowercase();
            only.iter().all(|word| words.contains(&word.to_lowercase()))
        });
        cells
    }

    fn play(&self, programs: &Programs, logs: &Path) -> Result<String, String> {
        let row = &self.row;
        let Row { two_ports, sizes, parts, pace, count, from, to, .. } = *row;
        let talk = Talk { way: self.way, two_ports, sizes, parts, pace, count, peer: row.peer() };
        let hosts = if matches!(row.play, Play::Joint(_)) { 3 } else { 2 };
        let scene = Scene::new(programs, hosts, talk, logs)?;
        let note = match row.play {
            Play::Transfer(loss) => transfer::play(&scene, from, to, loss),
            Play::Joint(loss) => joint::play(&scene, to, loss),
            Play::Late => late::play(&scene, from, to),
            Play::Asks => asks::play(&scene, from, to),
            Play::Finished => ends::finished(&scene, from, to),
            Play::ComesBack => ends::comes_back(&scene, from),
        }?;
        scene.forget();
        Ok(note)
    }

    fn played(self, programs: &Programs, logs: &Path) -> Played {
        let (begun, logs) = (Instant::now(), logs.join(&self.name));
        let gap = [Program::Pgmx, self.row.peer()].into_iter().find_map(|program| programs.gap(program));
        let outcome = match gap {
            Some(gap) => Outcome::Gap(gap),
            None => match self.play(programs, &logs) {
                Ok(note) => Outcome::Held(note),
                Err(why) => Outcome::Broken(why, logs),
            },
        };
        Played { cell: self, outcome, took: begun.elapsed() }
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}, {}", self.row.title(), self.row.line(), self.way.name())
    }
}

/// Plays all cells, `jobs` at a time, and tells on stderr how far it is.
///
/// # Panics
/// If a play does.
pub fn play(cells: &[Cell], programs: &Programs, logs: &Path, jobs: usize) -> Vec<Played> {
    let (all, next) = (cells.len(), AtomicUsize::new(0));
    let teller = Mutex::new(Teller { all, done: 0, line: stderr().is_terminal() });
    let played = Mutex::new(Vec::with_capacity(all));
    // Who sends as fast as it can wants the machine for itself: beside others the receiver is not there when its ring fills.
    let machine = RwLock::new(());
    // Programs die with the thread that began them, which is here for as long as it has one.
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, all.max(1)) {
            scope.spawn(|| {
                while let Some(cell) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let alone = (cell.row.pace == Pace::Blast).then(|| machine.write());
                    let _beside = alone.is_none().then(|| machine.read());
                    lock(&teller).begun(cell);
                    let cell = cell.clone().played(programs, logs);
                    lock(&teller).ended(&cell);
                    lock(&played).push(cell);
                }
            });
        }
    });
    let mut played = played.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    played.sort_by(|one, other| one.cell.name.cmp(&other.cell.name));
    played
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Says how far it is: a line that changes on a terminal, else a line for each cell. Who does not listen misses it.
struct Teller {
    all: usize,
    done: usize,
    line: bool,
}

impl Teller {
    fn begun(&self, cell: &Cell) {
        if self.line {
            let line: String = format!("[{} of {}] {cell}", self.done + 1, self.all).chars().take(110).collect();
            let _ = write!(stderr(), "\r{line}\x1b[K");
        }
    }

    fn ended(&mut self, played: &Played) {
        self.done += 1;
        let said = match &played.outcome {
            Outcome::Held(_) if self.line => return,
            Outcome::Held(note) if note.is_empty() => "holds".into(),
            Outcome::Held(note) => format!("holds, {note}"),
            Outcome::Broken(why, _) => format!("FAILED: {why}"),
            Outcome::Gap(gap) => format!("gap: {gap}"),
        };
        let clear = if self.line { "\r\x1b[K" } else { "" };
        let (cell, seconds) = (&played.cell, played.took.as_secs_f64());
        let _ = writeln!(stderr(), "{clear}[{} of {}] {cell}: {said} ({seconds:.1} s)", self.done, self.all);
        if self.done == self.all && self.line {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interop::matrix::rows;

    #[test]
    fn words_pick_cells() {
        let rows = rows(true);
        let all = Cell::of(&rows, &[]);
        let picked = Cell::of(&rows, &["zeromq ->".into(), "XDP".into()]);
        assert!(!picked.is_empty() && picked.len() < all.len());
        assert!(picked.iter().all(|cell| cell.way == Way::Xdp && cell.row.from == Program::ZeroMq));
        assert!(Cell::of(&rows, &["no such words".into()]).is_empty());
    }

    #[test]
    fn what_is_not_built_is_a_gap_and_is_named() {
        let nowhere = Programs { pgmx: "/nonexistent/pgmx".into(), peers: "/nonexistent/peers".into() };
        let cells = Cell::of(&rows(true), &[]);
        let played = cells[0].clone().played(&nowhere, Path::new("/nonexistent/logs"));
        assert!(matches!(played.outcome, Outcome::Gap(why) if why.contains("/nonexistent/pgmx is not built")));
    }
}
