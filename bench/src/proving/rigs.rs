//! What other benchmarks of the house measure: instructions, the memory link, receiving from the in-kernel generator.
//!
//! Each is a program of its own, asked for its figures in words that programs read. Guards: one that is not there, or fails, is a gap with a
//! reason.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::results::Rig;
use super::statistics::Figure;
use crate::netns::Host;
use crate::process::Running;

/// Receiving from the generator.
pub const GENERATOR: &str = "generator";
/// The memory link, and how flat it stays.
pub const MEMORY: &str = "memory";
/// Instructions per packet.
pub const BUDGET: &str = "budget";
/// All of them.
pub const ALL: [&str; 3] = [GENERATOR, MEMORY, BUDGET];

/// Callgrind takes half a minute on an idle machine.
const LONGEST: Duration = Duration::from_secs(180);

/// Asks one of them.
pub fn ask(name: &str, pgmx: &Path, repetitions: usize) -> Rig {
    let beside = |name: &str| pgmx.with_file_name(name);
    let rounds = repetitions.to_string();
    let (program, words): (PathBuf, Vec<&str>) = match name {
        GENERATOR => (pgmx.into(), vec!["bench", "receive", "--loopback", "veth", "--rounds", &rounds, "--json"]),
        MEMORY => (beside("memory"), vec!["--rounds", &rounds, "--json"]),
        _ => (beside("budget"), vec![]),
    };
    let command = std::iter::once(program.to_string_lossy().into_owned()).chain(words.iter().map(ToString::to_string));
    let command = command.collect::<Vec<_>>().join(" ");
    let asked =
        if name == BUDGET { budget(&program) } else { object(&program, &words).and_then(|said| read(name, &said)) };
    let (figures, gap) = match asked {
        Ok(figures) => (figures, None),
        Err(why) => (BTreeMap::new(), Some(why)),
    };
    Rig { name: name.into(), command, figures, gap }
}

fn object(program: &Path, words: &[&str]) -> Result<Value, String> {
    if !program.exists() {
        return Err(format!("{} was not built", program.display()));
    }
    let ended = Running::begin(&Host::current()?, program, words)?.end(LONGEST)?;
    // Status 3: a bar of its own was missed, which we judge ourselves.
    if matches!(ended.code, Some(0 | 3)) { Ok(ended.said) } else { Err(ended.failure()) }
}

/// Two lines of text, and no object: what gates the budget reads them as well.
fn budget(program: &Path) -> Result<BTreeMap<String, Figure>, String> {
    if !program.exists() {
        return Err(format!("{} was not built", program.display()));
    }
    let said = std::process::Command::new(program).output().map_err(|error| error.to_string())?;
    let figures = instructions(&String::from_utf8_lossy(&said.stdout));
    if figures.len() == 2 {
        Ok(figures)
    } else {
        Err(format!("says no instructions: {}", String::from_utf8_lossy(&said.stderr).trim()))
    }
}

fn one(value: f64) -> Figure {
    Figure { median: value, least: value, most: value, count: 1 }
}

/// `send N instructions/packet` and the same of `receive`.
fn instructions(text: &str) -> BTreeMap<String, Figure> {
    let read = |line: &str| {
        let mut words = line.split_whitespace();
        let (side, number, unit) = (words.next()?, words.next()?, words.next()?);
        let number: f64 = number.parse().ok().filter(|number| *number > 0.0)?;
        (unit == "instructions/packet").then(|| (side.to_owned(), one(number)))
    };
    text.lines().filter_map(read).collect()
}

fn spread(value: &Value) -> Option<Figure> {
    let of = |key: &str| value.get(key).and_then(Value::as_f64);
    Some(Figure { median: of("median")?, least: of("least")?, most: of("most")?, count: 0 })
}

/// Reads the object of a benchmark.
fn read(name: &str, said: &Value) -> Result<BTreeMap<String, Figure>, String> {
    let mut figures = BTreeMap::new();
    let rows = said.get("rows").and_then(Value::as_array).ok_or("says no rows")?;
    for row in rows {
        let text = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default();
        let number = |key: &str| row.get(key).and_then(Value::as_u64).unwrap_or(0);
        if name == GENERATOR {
            let payload = number("payload");
            if let Some(ratio) = row.get("ratio").and_then(spread) {
                figures.insert(format!("ratio-{payload}"), ratio);
            } else if let Some(rate) = row.get("packets_per_s").and_then(spread) {
                figures.insert(format!("{}-{payload}", text("who")), rate);
                figures.insert(format!("{}-{payload}-lost", text("who")), one(number("lost") as f64));
            }
        } else if let Some(flat) = row.get("of_first").and_then(spread) {
            figures.insert(format!("{}-{}", text("what"), number("number")), flat);
        }
    }
    if let Some(rate) = said.get("packets_per_s").and_then(spread) {
        figures.insert("packets_per_s".into(), rate);
    }
    if figures.is_empty() { Err(format!("says nothing that we know: {said}")) } else { Ok(figures) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn instructions_are_read_as_the_budget_prints_them() {
        let figures =
            instructions("noise\nsend 287 instructions/packet\nreceive 318.5 instructions/packet\nsend 0 apples\n");
        assert_eq!((figures["send"].median, figures["receive"].median, figures.len()), (287.0, 318.5, 2));
        assert!(instructions("send NaN instructions/packet").is_empty());
    }

    #[test]
    fn the_objects_of_other_benchmarks_are_read_by_their_rows() {
        let three = json!({ "least": 1.0, "median": 2.0, "most": 3.0 });
        let said = json!({ "rows": [
            { "who": "pgmx", "payload": 64, "packets_per_s": three, "lost": 4 }, { "payload": 64, "ratio": three },
        ] });
        let figures = read(GENERATOR, &said).expect("rows");
        assert_eq!(
            (figures["ratio-64"].median, figures["pgmx-64"].most, figures["pgmx-64-lost"].median),
            (2.0, 3.0, 4.0)
        );
        let said = json!({ "packets_per_s": three, "rows": [{ "what": "slots", "number": 1024, "of_first": three }] });
        let figures = read(MEMORY, &said).expect("rows");
        assert_eq!((figures["packets_per_s"].median, figures["slots-1024"].least), (2.0, 1.0));
        assert!(read(MEMORY, &json!({ "rows": [] })).is_err());
    }
}
