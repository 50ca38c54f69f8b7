//! The report: what people see first.
//!
//! ```text
//!   results ─▶ figures   which figures there are, and what stands in them
//!                 └─▶ charts   how a figure of each kind is drawn
//!              page      index.html: one file, nothing from elsewhere, read in a terminal as well
//!              headline  the picture for the README
//!              style     colours and type, light and dark
//! ```
//!
//! Called once, at the end, or again from `results.json`. Guards: every figure has its conditions, its commands and its numbers as a table
//! beside it; a figure without numbers is not drawn.

mod charts;
mod figures;
mod headline;
mod page;
mod style;

pub use headline::headline;
pub use page::page;
