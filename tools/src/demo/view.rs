//! The live view: the table of the demo, drawn over itself on a terminal.
//!
//! Called by the demo only. Guards: nothing is written where no terminal is, and what was drawn is gone when the end comes.

use std::io::{IsTerminal, Write as _};

use super::outcome::{self, Part};

/// Draws on standard error, if that is a terminal.
pub(super) struct View {
    is_live: bool,
    /// Lines that stand there now.
    lines: usize,
}

impl View {
    pub(super) fn new() -> Self {
        Self { is_live: std::io::stderr().is_terminal(), lines: 0 }
    }

    /// Draws how far it is.
    pub(super) fn draw(&mut self, parts: &[Part]) {
        if self.is_live {
            let table = outcome::table(parts);
            self.put(&table);
        }
    }

    /// Takes away what stands there.
    pub(super) fn clear(&mut self) {
        if self.is_live {
            self.put("");
        }
    }

    fn put(&mut self, text: &str) {
        let up = if self.lines > 0 { format!("\x1b[{}A", self.lines) } else { String::new() };
        // In one write, so that nothing flickers. A terminal that is gone is no reason to end.
        let _ = std::io::stderr().write_all(format!("{up}\r\x1b[J{text}").as_bytes());
        self.lines = text.lines().count();
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.clear();
    }
}
