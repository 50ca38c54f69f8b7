//! The NAK state machine of RFC 3208 §6.3: one missing SQN, from its detection to data or loss.
//!
//! ```text
//!               detected
//!                  v
//!   NCF  .-- BACK_OFF <--------------+---------------.
//!  <-----|     |  | timer            | timer,        | timer,
//!  |     |     |  '-> NAK is due     | ncf_retries++ | data_retries++
//!  |     | NAK |        | sent       |               |
//!  |     |     v        v            |               |
//!  |<----+-- WAIT_NCF --------------->               |
//!  | NCF      ^ NAK: anew     too often: loss        |
//!  v                                                 |
//!  WAIT_DATA ---------------------------------------->
//!    ^ NCF or NAK: anew       too often: loss
//! ```
//!
//! `repair` calls it with what happened and does what it says; nothing in here knows of rings, timers or packets. Guards the figure: [`step`] is
//! the only place that changes a [`State`].

use crate::protocol::LossCause;
use crate::time::Time;

/// Where a missing SQN stands in the figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The random back-off runs; an NCF or somebody's NAK suppresses ours.
    BackOff,
    /// The back-off is over: a NAK goes with the next transmission. Still BACK_OFF in the figure: an NCF now suppresses it as well.
    Due,
    /// A NAK was sent, by us or by another receiver: an NCF is awaited.
    WaitNcf,
    /// A NAK was confirmed: the repair is awaited.
    WaitData,
}

/// What happens to a missing SQN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Its timer has expired.
    Timer,
    /// Its timer was cut short, because the trail is near, and has expired before the interval was over.
    Hurry,
    /// A matching NCF came.
    Ncf,
    /// A matching NAK of another receiver came.
    Nak,
    /// Our NAK has left.
    Sent,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Arm the timer with a random part of NAK_BO_IVL.
    BackOff,
    /// Ask with the next transmission; no timer.
    Ask,
    /// Arm the timer with NAK_RPT_IVL.
    AwaitNcf,
    /// Arm the timer with NAK_RDATA_IVL.
    AwaitData,
    /// Nobody will repair it.
    GiveUp(LossCause),
    /// Nothing.
    Nothing,
}

/// A missing SQN.
#[derive(Clone, Copy, Debug)]
pub(super) struct Missing {
    /// When our last NAK for it left; meaningful when `asks` is not zero.
    pub(super) asked_at: Time,
    /// When the one before it left; meaningful when there was one.
    pub(super) asked_before: Time,
    /// When the present try is over. What is asked again before is no other try.
    pub(super) tried_until: Time,
    pub(super) state: State,
    ncf_retries: u8,
    data_retries: u8,
    /// NAKs that we sent for it.
    pub(super) asks: u8,
    /// NCFs heard for it.
    pub(super) ncfs: u8,
    /// A repair came and could not be held.
    pub(super) refused: bool,
}

/// How often is too often.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retries {
    pub(super) ncf: u8,
    pub(super) data: u8,
}

impl Missing {
    /// Detected just now: both retry counts are clear, the back-off begins.
    pub(super) fn detected() -> Self {
        Self {
            asked_at: Time::ZERO,
            asked_before: Time::ZERO,
            tried_until: Time::ZERO,
            state: State::BackOff,
            ncf_retries: 0,
            data_retries: 0,
            asks: 0,
            ncfs: 0,
            refused: false,
        }
    }

    /// How often it was tried in vain: the exponent of adaptive intervals.
    pub(super) fn retries(&self) -> u32 {
        u32::from(self.ncf_retries) + u32::from(self.data_retries)
    }
}

/// One step in the figure.
#[allow(clippy::match_same_arms, reason = "an arrow of the figure is an arm of the match")]
pub(super) fn step(missing: &mut Missing, input: Input, limit: Retries) -> Action {
    let (state, action) = match (missing.state, input) {
        // RFC 3208 §6.3, conformance 93: a matching NCF ends the back-off without a NAK of our own.
        (State::BackOff | State::Due, Input::Ncf) => (State::WaitData, Action::AwaitData),
        // RFC 3208 §6.3, conformance 94: so does a matching NAK; the figure has WAIT_NCF, the prose NAK_RDATA_IVL: we follow the figure.
        (State::BackOff | State::Due, Input::Nak) => (State::WaitNcf, Action::AwaitNcf),
        (State::BackOff, Input::Timer) => (State::Due, Action::Ask),
        (State::Due, Input::Timer) => (State::Due, Action::Nothing),
        (_, Input::Sent) => (State::WaitNcf, Action::AwaitNcf),

        // Asked again within the interval: the arrows of the figure, and no other try.
        (State::WaitNcf | State::WaitData, Input::Hurry) => (State::BackOff, Action::BackOff),
        (state, Input::Hurry) => (state, Action::Nothing),

        (State::WaitNcf, Input::Ncf) => (State::WaitData, Action::AwaitData),
        (State::WaitNcf, Input::Nak) => (State::WaitNcf, Action::AwaitNcf),
        // RFC 3208 §6.3, conformance 95: no NCF: ask again, NAK_NCF_RETRIES times.
        (State::WaitNcf, Input::Timer) => {
            missing.ncf_retries = missing.ncf_retries.saturating_add(1);
            if missing.ncf_retries > limit.ncf {
                (State::WaitNcf, Action::GiveUp(LossCause::NoConfirmation))
            } else {
                (State::BackOff, Action::BackOff)
            }
        }

        // RFC 3208 §6.3, conformance 97: whoever hears of it again while waiting for data waits anew.
        (State::WaitData, Input::Ncf | Input::Nak) => (State::WaitData, Action::AwaitData),
        // RFC 3208 §6.3, conformance 96: confirmed but not repaired: ask again, NAK_DATA_RETRIES times.
        (State::WaitData, Input::Timer) => {
            missing.data_retries = missing.data_retries.saturating_add(1);
            if missing.data_retries > limit.data {
                (State::WaitData, Action::GiveUp(LossCause::NoRepair))
            } else {
                (State::BackOff, Action::BackOff)
            }
        }
    };
    missing.state = state;
    match (action, missing.refused) {
        // The repairs came, only we had no room.
        (Action::GiveUp(_), true) => Action::GiveUp(LossCause::Resources),
        _ => action,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Retries = Retries { ncf: 2, data: 1 };

    fn in_state(state: State) -> Missing {
        Missing { state, ..Missing::detected() }
    }

    /// RFC 3208 §6.3, conformance 93, 94, 97
    #[test]
    fn every_arrow_of_the_figure_is_there() {
        use {Action as A, Input as I, State as S};
        for (from, input, to, action) in [
            (S::BackOff, I::Ncf, S::WaitData, A::AwaitData),
            (S::BackOff, I::Nak, S::WaitNcf, A::AwaitNcf),
            (S::BackOff, I::Timer, S::Due, A::Ask),
            (S::Due, I::Ncf, S::WaitData, A::AwaitData),
            (S::Due, I::Nak, S::WaitNcf, A::AwaitNcf),
            (S::Due, I::Sent, S::WaitNcf, A::AwaitNcf),
            (S::WaitNcf, I::Ncf, S::WaitData, A::AwaitData),
            (S::WaitNcf, I::Nak, S::WaitNcf, A::AwaitNcf),
            (S::WaitNcf, I::Timer, S::BackOff, A::BackOff),
            (S::WaitData, I::Ncf, S::WaitData, A::AwaitData),
            (S::WaitData, I::Nak, S::WaitData, A::AwaitData),
            (S::WaitData, I::Timer, S::BackOff, A::BackOff),
        ] {
            let mut missing = in_state(from);
            assert_eq!((step(&mut missing, input, LIMIT), missing.state), (action, to), "{from:?} {input:?}");
        }
    }

    /// RFC 3208 §6.3, conformance 95
    #[test]
    fn without_ncfs_the_nak_is_repeated_as_often_as_allowed_and_no_more() {
        let mut missing = in_state(State::WaitNcf);
        for _ in 0..2 {
            assert_eq!(step(&mut missing, Input::Timer, LIMIT), Action::BackOff);
            assert_eq!(step(&mut missing, Input::Timer, LIMIT), Action::Ask);
            assert_eq!(step(&mut missing, Input::Sent, LIMIT), Action::AwaitNcf);
        }
        assert_eq!(step(&mut missing, Input::Timer, LIMIT), Action::GiveUp(LossCause::NoConfirmation));
    }

    /// RFC 3208 §6.3, conformance 96
    #[test]
    fn confirmed_but_never_repaired_is_lost_and_says_whose_fault_it_is() {
        for (refused, cause) in [(false, LossCause::NoRepair), (true, LossCause::Resources)] {
            let mut missing = Missing { refused, ..in_state(State::WaitData) };
            assert_eq!(step(&mut missing, Input::Timer, LIMIT), Action::BackOff);
            assert_eq!(step(&mut missing, Input::Ncf, LIMIT), Action::AwaitData);
            assert_eq!(step(&mut missing, Input::Timer, LIMIT), Action::GiveUp(cause));
        }
    }
}
