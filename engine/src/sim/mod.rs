//! The simulator: whole networks of endpoints in virtual time, drawn from a seed, with an oracle that knows what must come of it.
//!
//! ```text
//!   seed ─> Scenario ─> World:  source ── Endpoint ─ Tap ─ Faults ─┐
//!                               receiver ─ Endpoint ─ Tap ─ Faults ─┼─ Net
//!                               receiver ─ ...                      ┘
//!                                   │             │
//!                               Witness       WireWatch   ─> Outcome
//! ```
//!
//! * [`scenario`]: what a run is made of; [`net`]: the switch; [`ledger`]: what was sent.
//! * [`oracle`]: holds each delivery against the ledger; [`wire_watch`]: holds each packet against the rules of the wire.
//! * [`run`]: the world and its clock; [`report`]: what many runs covered.
//!
//! The endpoints are those of the product, down to the fault code; only the clock and the switch are not. The same seed gives the
//! same octets in the same order: [`run::Outcome::digest`] says so, and a failing seed can be replayed and looked at.

mod form;
pub mod ledger;
pub mod net;
pub mod oracle;
pub mod report;
pub mod run;
pub mod scenario;
mod speaker;
pub mod tap;
pub mod wire_watch;

#[cfg(test)]
mod tests;
