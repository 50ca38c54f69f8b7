//! The rows: who talks to whom about what.
//!
//! Paces are measured ones: a third or less of what the peer at the other end took on two busy cores. What it cannot take shows otherwise
//! than as a low rate: `OpenPGM` as a receiver rescans its window for each packet once something has been missing for long, and ends the process
//! when it gives a fragment up twice.

use super::{Loss, Pace, Program, Sizes, Way};

/// What is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Play {
    /// One sends, one receives with losses.
    Transfer(Loss),
    /// `pgmx` sends to a peer and to `pgmx`, who lose other packets.
    Joint(Loss),
    /// The receiver comes late.
    Late,
    /// The receiver comes late and asks for an SPM.
    Asks,
    /// The session ends.
    Finished,
    /// The source is killed, and comes back.
    ComesBack,
}

/// A row of the matrix.
#[derive(Clone, Debug)]
pub struct Row {
    /// Who sends.
    pub from: Program,
    /// Who receives.
    pub to: Program,
    /// What of it, for people.
    pub what: String,
    /// What is played.
    pub play: Play,
    /// Columns that it has.
    pub ways: Vec<Way>,
    /// Whether UDP has two ports.
    pub two_ports: bool,
    /// Octets of a message.
    pub sizes: Sizes,
    /// Parts of a message.
    pub parts: u32,
    /// How fast.
    pub pace: Pace,
    /// Messages.
    pub count: u64,
    /// Messages of the quick form.
    pub quick: u64,
}

impl Row {
    fn new(from: Program, to: Program, play: Play, sizes: Sizes, pace: Pace, count: u64) -> Self {
        let (ways, quick) = (Way::ALL.to_vec(), count.min(QUICK));
        Self { from, to, what: String::new(), play, ways, two_ports: false, sizes, parts: 1, pace, count, quick }
    }

    /// Says for people what is peculiar to it.
    fn named(mut self, what: impl Into<String>) -> Self {
        self.what = what.into();
        self
    }

    fn parts(self, parts: u32) -> Self {
        Self { parts, ..self }
    }

    /// Takes another rate and count, where it has a rate.
    pub fn bend(&mut self, rate: Option<u32>, count: Option<u64>) {
        if let Pace::Megabits(usual) = self.pace {
            self.pace = Pace::Megabits(rate.unwrap_or(usual));
            self.count = count.unwrap_or(self.count);
        }
    }

    /// The peer.
    pub fn peer(&self) -> Program {
        if self.from == Program::Pgmx { self.to } else { self.from }
    }

    /// Who talks to whom.
    pub fn title(&self) -> String {
        match self.play {
            Play::Joint(_) => format!("pgmx -> {} and pgmx", self.peer()),
            _ => format!("{} -> {}", self.from, self.to),
        }
    }

    /// Its line in the table, below its title.
    pub fn line(&self) -> String {
        let Self { what, sizes, pace, count, parts, .. } = self;
        let parts = if *parts > 1 { format!(" in {parts} parts") } else { String::new() };
        match self.play {
            Play::Transfer(loss) | Play::Joint(loss) => {
                let what = if what.is_empty() { String::new() } else { format!(", {what}") };
                format!("{count} of {sizes} octets{parts}, {loss}, {pace}{what}")
            }
            _ => what.clone(),
        }
    }
}

/// Messages of the quick form.
const QUICK: u64 = 2_000;

/// All rows, from top to bottom; `quick` for their small form.
pub fn rows(quick: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    from_openpgm(&mut rows);
    to_openpgm(&mut rows);
    from_zeromq(&mut rows);
    to_zeromq(&mut rows);
    lives(&mut rows);
    if quick {
        for row in &mut rows {
            row.count = row.quick;
        }
    }
    rows
}

fn from_openpgm(rows: &mut Vec<Row>) {
    let row = |play, sizes, pace, count| Row::new(Program::OpenPgm, Program::Pgmx, play, sizes, pace, count);
    let sizes = Sizes(16, 1424);
    for loss in [0, 100, 500] {
        rows.push(row(Play::Transfer(Loss(loss)), sizes, Pace::Megabits(200), 100_000));
    }
    for loss in [0, 100] {
        let row = row(Play::Transfer(Loss(loss)), Sizes(1, 20_000), Pace::Megabits(200), 100_000);
        rows.push(Row { quick: 500, ..row });
    }
    let ports = row(Play::Transfer(Loss::NONE), sizes, Pace::Megabits(200), 100_000);
    rows.push(Row { ways: vec![Way::Udp], two_ports: true, ..ports }.named("ports 3055 and 3056"));
    for (size, count) in [(64, 500_000), (1424, 300_000)] {
        let blast = row(Play::Transfer(Loss::NONE), Sizes(size, size), Pace::Blast, count);
        rows.push(Row { quick: 20_000, ..blast });
    }
}

fn to_openpgm(rows: &mut Vec<Row>) {
    let row = |play, sizes, pace, count| Row::new(Program::Pgmx, Program::OpenPgm, play, sizes, pace, count);
    let whole = Sizes(1, 1400);
    for loss in [0, 10, 100] {
        rows.push(row(Play::Transfer(Loss(loss)), whole, Pace::Megabits(200), 100_000));
    }
    let fragmented = Sizes(1, 20_000);
    for (loss, pace) in [(0, 200), (10, 100), (100, 100)] {
        let row = row(Play::Transfer(Loss(loss)), fragmented, Pace::Megabits(pace), 100_000);
        rows.push(Row { quick: 200, ..row });
    }
    let ports = row(Play::Transfer(Loss::NONE), whole, Pace::Megabits(200), 100_000);
    rows.push(Row { ways: vec![Way::Udp], two_ports: true, ..ports }.named("ports 3055 and 3056"));
    for loss in [10, 100] {
        rows.push(row(Play::Joint(Loss(loss)), whole, Pace::Megabits(100), 100_000));
    }
}

fn from_zeromq(rows: &mut Vec<Row>) {
    let row = |play, pace| Row::new(Program::ZeroMq, Program::Pgmx, play, Sizes(1, 10_000), pace, 100_000);
    rows.push(row(Play::Transfer(Loss::NONE), Pace::Megabits(200)));
    rows.push(row(Play::Transfer(Loss::NONE), Pace::Megabits(200)).parts(5));
    rows.push(row(Play::Transfer(Loss(100)), Pace::Megabits(100)).parts(5));
}

fn to_zeromq(rows: &mut Vec<Row>) {
    let row = |play, pace| Row::new(Program::Pgmx, Program::ZeroMq, play, Sizes(1, 10_000), pace, 100_000);
    rows.push(row(Play::Transfer(Loss::NONE), Pace::Megabits(200)));
    rows.push(row(Play::Transfer(Loss::NONE), Pace::Megabits(200)).parts(5));
    rows.push(row(Play::Transfer(Loss(10)), Pace::Megabits(100)).parts(5));
}

/// Sessions that are joined late, asked for, ended and resumed.
fn lives(rows: &mut Vec<Row>) {
    let slow = Pace::Messages(2_000);
    let both = |peer| [(peer, Program::Pgmx), (Program::Pgmx, peer)];
    for (from, to) in both(Program::OpenPgm) {
        let row = |play, count| Row { quick: count, ..Row::new(from, to, play, Sizes(64, 64), slow, count) };
        // Who has to be there when the late one comes sends until it is told to end.
        let endless = 1_000_000;
        let is_ours = from == Program::Pgmx;
        rows.push(row(Play::Late, if is_ours { 4_000 } else { endless }).named("late join"));
        rows.push(row(Play::Asks, endless).named("SPMR is answered"));
        let fin = if is_ours { "FIN does no harm" } else { "FIN ends the session" };
        rows.push(row(Play::Finished, 500).named(fin));
        if !is_ours {
            rows.push(row(Play::ComesBack, endless).named("killed and back: heard within 1 s, the dead one expires"));
        }
    }
    for (from, to) in both(Program::ZeroMq) {
        let count = if from == Program::Pgmx { 4_000 } else { 1_000_000 };
        let row = Row::new(from, to, Play::Late, Sizes(1, 1_000), slow, count);
        rows.push(Row { quick: count, ..row }.named("late join in mid-stream"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_rows_are_called_the_same() {
        for quick in [false, true] {
            let mut names: Vec<_> = rows(quick).iter().map(|row| (row.title(), row.line())).collect();
            let all = names.len();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), all);
        }
    }

    #[test]
    fn each_row_has_us_at_one_end() {
        for row in rows(false) {
            assert_ne!(row.from == Program::Pgmx, row.to == Program::Pgmx, "{row:?}");
            assert!(row.quick <= row.count && !row.ways.is_empty(), "{row:?}");
        }
    }
}
