//! The `pgmx` command.

fn main() {}
