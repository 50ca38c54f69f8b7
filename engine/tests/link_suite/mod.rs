//! One suite for every link: what `pgmx::link` promises, proven on two connected links of any kind.
//!
//! ```text
//!   link_suite! { fixture }   one #[test] for each case, each on a bench of its own
//!        └── bench            two ends, and what may be done to the cable between them
//!              ├── end        a link with its pool and batches
//!              ├── packets    real PGM packets of every type
//!              └── wired      benches over a cable between two hosts (privileged)
//! ```
//!
//! One thread drives both ends, and visits their hosts when they have any: nothing races, nothing is paced by sleeping. That something
//! does *not* arrive is seen by what is sent after it and does. A case asks only for what [`bench::Promises`] says.

// Shared by several tests, none of which needs all of it.
#![allow(dead_code, unreachable_pub)]

pub mod bench;
pub mod calls;
pub mod delivery;
pub mod end;
pub mod hostile;
pub mod membership;
pub mod packets;
pub mod rings;
pub mod wired;

/// The lists of cases that a fixture names; attributes given go to every test.
///
/// `every` is for every link, `kernel` for those that the kernel serves, `cabled` for those whose bench has a cable between two hosts.
#[macro_export]
macro_rules! link_suite {
    ($(#[$attribute:meta])* $name:ident, $fixture:expr, $($list:ident)+) => {
        $crate::link_suite! { @module [$(#[$attribute])*] $name, $fixture, $($list)+ }
    };
    (@module $attributes:tt $name:ident, $fixture:expr, $($list:ident)+) => {
        mod $name {
            #[allow(unused_imports)] // some lists have no case in some rooms
            use super::suite::{calls, delivery, hostile, membership, rings};

            $($crate::link_suite! { @list $list $attributes $fixture })+
        }
    };
    (@list every $attributes:tt $fixture:expr) => {
        $crate::link_suite! { @cases $attributes $fixture;
            delivery::packets_of_every_type_arrive_octet_for_octet_wherever_they_go,
            delivery::an_empty_batch_is_no_work,
            delivery::batches_of_one_of_all_and_beyond_the_ring_arrive_in_order,
            delivery::what_fits_the_mtu_arrives_and_one_octet_more_is_counted,
            delivery::a_small_batch_takes_what_it_has_room_for_and_the_rest_waits,
            delivery::nothing_is_taken_into_a_full_batch,
            delivery::slots_of_a_window_come_home_when_they_have_left,
            rings::a_sender_far_ahead_of_a_receiver_that_does_not_look_loses_no_frame,
            rings::a_receiver_without_frames_goes_on_when_it_has_some_again,
            rings::frames_in_flight_come_home_when_the_link_shuts_down,
            membership::only_who_joined_hears_a_group_and_only_until_it_leaves,
            membership::sixteen_channels_are_told_apart,
            hostile::pgm_that_makes_no_sense_is_handed_up_as_it_came_or_counted,
        }
    };
    (@list kernel $attributes:tt $fixture:expr) => {
        $crate::link_suite! { @cases $attributes $fixture;
            rings::a_link_that_shut_down_does_nothing_more,
            membership::a_channel_is_a_group_and_a_port,
            membership::a_port_is_heard_from_listen_to_unlisten,
            membership::only_the_sources_named_are_heard,
            membership::sources_can_be_named_and_forgotten_while_joined,
            calls::a_full_batch_costs_a_fraction_of_a_call_for_each_packet,
            calls::an_idle_poll_makes_no_more_calls_than_promised,
        }
    };
    (@list cabled $attributes:tt $fixture:expr) => {
        $crate::link_suite! { @cases $attributes $fixture;
            rings::a_link_whose_cable_was_pulled_goes_on_when_it_is_back,
            hostile::garbage_from_the_network_is_counted_and_costs_no_frame,
        }
    };
    (@cases $attributes:tt $fixture:expr; $($room:ident :: $case:ident,)*) => {
        $($crate::link_suite! { @case $attributes $fixture; $room, $case })*
    };
    (@case [$(#[$attribute:meta])*] $fixture:expr; $room:ident, $case:ident) => {
        #[test]
        $(#[$attribute])*
        fn $case() {
            $room::$case(&$fixture);
        }
    };
}
