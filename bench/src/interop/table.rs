//! What came of the cells: a table for people, an object for programs.

use std::fmt::Write;

use serde_json::{Value, json};

use super::Way;
use super::run::{Cell, Outcome, Played};

/// Columns of a cell.
const WIDTH: usize = 14;

/// Whether every cell held.
pub fn all_held(played: &[Played]) -> bool {
    played.iter().all(|played| matches!(played.outcome, Outcome::Held(_)))
}

/// The table, and below it why cells failed.
pub fn table(played: &[Played]) -> String {
    let label = played.iter().map(|played| played.cell.row.line().len() + 2).max().unwrap_or(0).max(20);
    let mut text = format!("{:label$}", "");
    // Writing into a String cannot fail.
    for way in Way::ALL {
        let _ = write!(text, "  {:<WIDTH$}", way.name());
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    let (mut title, mut row) = (String::new(), String::new());
    for (place, one) in played.iter().enumerate() {
        let cell = &one.cell;
        if cell.row.title() != title {
            title = cell.row.title();
            row.clear();
            let _ = writeln!(text, "{title}");
        }
        if cell.row.line() == row {
            continue;
        }
        row = cell.row.line();
        let mut line = format!("  {row:<width$}", width = label - 2);
        for way in Way::ALL {
            let of_row = |played: &&Played| {
                played.cell.way == way && played.cell.row.line() == row && played.cell.row.title() == title
            };
            let said = played[place..].iter().find(of_row).map_or_else(|| "-".into(), word);
            let _ = write!(line, "  {said:<WIDTH$}");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    for one in played {
        match &one.outcome {
            Outcome::Held(_) => {}
            Outcome::Broken(why, logs) => {
                let _ = writeln!(text, "FAILED  {}\n        {why}\n        logs: {}", one.cell, logs.display());
            }
            Outcome::Gap(gap) => {
                let _ = writeln!(text, "gap     {}\n        {gap}", one.cell);
            }
        }
    }
    let held = played.iter().filter(|one| matches!(one.outcome, Outcome::Held(_))).count();
    let _ = writeln!(text, "{held} of {} cells hold", played.len());
    text
}

fn word(played: &Played) -> String {
    let seconds = played.took.as_secs_f64();
    match played.outcome {
        Outcome::Held(_) => format!("holds {seconds:6.1} s"),
        Outcome::Broken(..) => format!("FAILED {seconds:5.1} s"),
        Outcome::Gap(_) => "not built".into(),
    }
}

/// The same, for programs.
pub fn object(played: &[Played]) -> Value {
    let cell = |one: &Played| {
        let (result, word, logs) = match &one.outcome {
            Outcome::Held(note) => ("holds", note, None),
            Outcome::Broken(why, logs) => ("failed", why, Some(logs.display().to_string())),
            Outcome::Gap(gap) => ("gap", gap, None),
        };
        let Cell { row, way, name } = &one.cell;
        json!({
            "name": name, "title": row.title(), "row": row.line(), "way": way.name(), "messages": row.count,
            "pace": row.pace.to_string(), "result": result, "word": word, "logs": logs,
            "seconds": one.took.as_secs_f64()
        })
    };
    json!({ "cells": played.iter().map(cell).collect::<Vec<_>>(), "passed": all_held(played) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interop::matrix::rows;
    use std::time::Duration;

    fn played(outcome: impl Fn(&Cell) -> Outcome) -> Vec<Played> {
        let cells = Cell::of(&rows(true), &[]).into_iter();
        cells.map(|cell| Played { outcome: outcome(&cell), cell, took: Duration::from_millis(1500) }).collect()
    }

    #[test]
    fn one_cell_that_failed_is_seen_in_the_table_and_told_below_it() {
        let all = played(|_| Outcome::Held(String::new()));
        assert!(all_held(&all));
        let whole = table(&all);
        assert_eq!(whole.matches("holds    1.5 s").count(), all.len(), "{whole}");
        let one = all[4].cell.name.clone();
        let all = played(|cell| {
            let logs = || "target/interop/logs".into();
            if cell.name == one { Outcome::Broken("lost 3".into(), logs()) } else { Outcome::Held(String::new()) }
        });
        assert!(!all_held(&all));
        let text = table(&all);
        assert!(
            text.contains("FAILED   1.5 s") && text.contains("lost 3\n        logs: target/interop/logs"),
            "{text}"
        );
        assert_eq!(object(&all)["passed"], false);
    }

    #[test]
    fn a_column_that_a_row_does_not_have_is_a_dash() {
        let text = table(&played(|_| Outcome::Held(String::new())));
        let line = text.lines().find(|line| line.contains("3055")).expect("the row");
        assert_eq!(line.matches("  -").count(), 2, "{line}");
    }
}
