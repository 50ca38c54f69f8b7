//! `pgmx send`.

use std::process::ExitCode;

use crate::common::{Common, Purpose};

/// Publishes lines of stdin, a file, or generated messages.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
pub(crate) fn main(wanted: &Arguments) -> ExitCode {
    match wanted.common.open(Purpose::SEND) {
        Ok(_) => ExitCode::SUCCESS,
        Err(failure) => failure.exit("send"),
    }
}
