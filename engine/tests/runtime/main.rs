//! Engines on loopback: no rights, no cards, real threads. No test depends on how fast anything is; every wait has an end.
//!
//! | file | what is tried |
//! |---|---|
//! | `messages` | that what is published is received |
//! | `room` | back-pressure |
//! | `slow` | subscribers that do not take, or do not give back |
//! | `workers` | threads that begin, idle and fail |
//! | `ends` | sessions and engines that end |
//! | `loopback` | what all of them begin with |

mod ends;
mod loopback;
mod messages;
mod room;
mod slow;
mod workers;
