//! A rig from its command line to its status: what every measuring program asks, refuses and ends with in the same way.
//!
//! ```text
//!   main ── run(name, usage, plan, play) ──▶ plan: Options, word by word ──▶ Plan ──▶ play ──▶ status
//! ```
//!
//! | status | what it means |
//! |---|---|
//! | 0 | measured, and as good as the house promises (or `--help`) |
//! | 1 | it could not measure |
//! | 2 | the command line makes no sense |
//! | 3 | measured, and not good enough |
//!
//! For the programs in `bin`. Guards: nothing is measured that was not asked for; every number has its bounds.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::process::ExitCode;

/// Measured, and not good enough.
const MISSED: u8 = 3;

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoPlan {
    /// Nothing is to be measured: `--help`.
    Help,
    /// What is wrong with the command line.
    Wrong(String),
}

impl<S: Into<String>> From<S> for NoPlan {
    fn from(wrong: S) -> Self {
        Self::Wrong(wrong.into())
    }
}

/// The words of a command line, taken option by option.
///
/// ```
/// use pgmx_bench::rig::{NoPlan, Options};
///
/// fn plan(mut options: Options) -> Result<(u64, bool), NoPlan> {
///     let (mut rounds, mut json) = (7, false);
///     while let Some(option) = options.next()? {
///         match option.as_str() {
///             "--rounds" => rounds = options.number(1..=1_000)?,
///             "--json" => json = true,
///             _ => return Err(options.unknown()),
///         }
///     }
///     Ok((rounds, json))
/// }
///
/// assert_eq!(plan(Options::of("--json --rounds 3")), Ok((3, true)));
/// assert_eq!(plan(Options::of("--rounds 0")), Err("--rounds 0 refused: 1 to 1000".into()));
/// ```
#[derive(Debug)]
pub struct Options {
    words: VecDeque<String>,
    /// The option that was taken last.
    option: String,
}

impl Options {
    /// Those that this program was begun with.
    pub fn given() -> Self {
        Self { words: std::env::args().skip(1).collect(), option: String::new() }
    }

    /// Those of a line, for tests.
    pub fn of(line: &str) -> Self {
        Self { words: line.split_whitespace().map(String::from).collect(), option: String::new() }
    }

    /// The next option, if there is one.
    ///
    /// # Errors
    /// If it asks for help.
    #[allow(clippy::should_implement_trait)] // no iterator: between two calls the values are taken
    pub fn next(&mut self) -> Result<Option<String>, NoPlan> {
        let Some(option) = self.words.pop_front() else { return Ok(None) };
        if option == "--help" || option == "-h" {
            return Err(NoPlan::Help);
        }
        self.option.clone_from(&option);
        Ok(Some(option))
    }

    /// The value of the option that was taken last.
    ///
    /// # Errors
    /// If the line ends.
    pub fn value(&mut self) -> Result<String, NoPlan> {
        self.words.pop_front().ok_or_else(|| format!("{} wants a value", self.option).into())
    }

    /// Its value, a number within bounds.
    ///
    /// # Errors
    /// If there is none, or it is none, or it is out of bounds.
    pub fn number(&mut self, bounds: RangeInclusive<u64>) -> Result<u64, NoPlan> {
        let text = self.value()?;
        self.number_in(&text, &bounds)
    }

    fn number_in(&self, text: &str, bounds: &RangeInclusive<u64>) -> Result<u64, NoPlan> {
        let option = &self.option;
        let number = text.parse().map_err(|error| format!("{option} {text}: {error}"))?;
        if bounds.contains(&number) {
            Ok(number)
        } else {
            Err(format!("{option} {text} refused: {} to {}", bounds.start(), bounds.end()).into())
        }
    }

    /// Its value, numbers between commas, each within bounds.
    ///
    /// # Errors
    /// As [`Options::number`], for any of them.
    pub fn numbers(&mut self, bounds: RangeInclusive<u64>) -> Result<Vec<u64>, NoPlan> {
        let text = self.value()?;
        text.split(',').map(|text| self.number_in(text, &bounds)).collect()
    }

    /// Its value, some of `all` by their names, between commas.
    ///
    /// # Errors
    /// If there is none, or one that is not among them.
    pub fn some_of<T: Copy>(&mut self, all: &[T], name: impl Fn(T) -> &'static str) -> Result<Vec<T>, NoPlan> {
        let text = self.value()?;
        let named = |wanted: &str| all.iter().copied().find(|one| name(*one) == wanted);
        let refused = |wanted: &str| {
            let names: Vec<&str> = all.iter().map(|one| name(*one)).collect();
            format!("{} {wanted} refused: {}", self.option, names.join(", ")).into()
        };
        text.split(',').map(|wanted| named(wanted).ok_or_else(|| refused(wanted))).collect()
    }

    /// Refuses the option that was taken last.
    pub fn unknown(&self) -> NoPlan {
        format!("{} is not known", self.option).into()
    }
}

/// The plan that the command line asks for; without one, says why, with the usage, and what the program ends with.
///
/// # Errors
/// The status to end with.
pub fn planned<P>(usage: &str, plan: impl FnOnce(Options) -> Result<P, NoPlan>) -> Result<P, ExitCode> {
    plan(Options::given()).map_err(|none| match none {
        NoPlan::Help => {
            println!("{usage}");
            ExitCode::SUCCESS
        }
        NoPlan::Wrong(error) => {
            eprintln!("{error}\n{usage}");
            ExitCode::from(2)
        }
    })
}

/// The whole of a rig's `main`: `play` measures, prints, and says whether it was good enough.
pub fn run<P>(
    name: &str,
    usage: &str,
    plan: impl FnOnce(Options) -> Result<P, NoPlan>,
    play: impl FnOnce(&P) -> Result<bool, String>,
) -> ExitCode {
    let plan = match planned(usage, plan) {
        Ok(plan) => plan,
        Err(status) => return status,
    };
    match play(&plan) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(MISSED),
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Both outcomes of a measurement with two sides, or what each of them complains of: one often explains the other.
///
/// # Errors
/// If either failed.
pub fn both<A, B>(one: Result<A, String>, other: Result<B, String>) -> Result<(A, B), String> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (one, other) => {
            let told: Vec<String> = [one.err(), other.err()].into_iter().flatten().collect();
            Err(told.join("; "))
        }
    }
}

/// Runs both sides of a measurement at once, each pinned to a processor of its own: 0 and 1.
///
/// # Errors
/// If a processor cannot be had, or a side fails or panics.
#[cfg(feature = "xdp")]
pub fn side_by_side<A: Send, B: Send>(
    one: impl FnOnce() -> Result<A, String> + Send,
    other: impl FnOnce() -> Result<B, String> + Send,
) -> Result<(A, B), String> {
    let on = |processor| crate::netns::pin(processor).map_err(|error| format!("processor {processor}: {error}"));
    let (one, other) = std::thread::scope(|scope| {
        let other = scope.spawn(|| on(1).and_then(|()| other()));
        let one = scope.spawn(|| on(0).and_then(|()| one()));
        (one.join(), other.join())
    });
    let died = |_| "a side of the measurement panicked".to_owned();
    both(one.map_err(died).and_then(|said| said), other.map_err(died).and_then(|said| said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_ends_a_line_whatever_comes_before_it_or_behind_it() {
        let mut options = Options::of("--count 5 --help --fast");
        assert_eq!(options.next(), Ok(Some("--count".into())));
        assert_eq!(options.number(1..=5), Ok(5));
        assert_eq!(options.next(), Err(NoPlan::Help));
        assert_eq!(Options::of("-h").next(), Err(NoPlan::Help));
        assert_eq!(Options::of("").next(), Ok(None));
    }

    #[test]
    fn what_is_refused_is_named_with_what_would_have_been_taken() {
        let refused = |line: &str, take: fn(&mut Options) -> Result<(), NoPlan>| {
            let mut options = Options::of(line);
            assert!(matches!(options.next(), Ok(Some(_))));
            match take(&mut options) {
                Err(NoPlan::Wrong(error)) => error,
                other => panic!("{line}: {other:?}"),
            }
        };
        let number = |options: &mut Options| options.number(2..=9).map(drop);
        assert_eq!(refused("--size", number), "--size wants a value");
        assert_eq!(refused("--size soon", number), "--size soon: invalid digit found in string");
        assert_eq!(refused("--size 1", number), "--size 1 refused: 2 to 9");
        let numbers = |options: &mut Options| options.numbers(2..=9).map(drop);
        assert_eq!(refused("--size 2,10", numbers), "--size 10 refused: 2 to 9");
        let names = |options: &mut Options| options.some_of(&["raw", "udp"], |name| name).map(drop);
        assert_eq!(refused("--only raw,dpdk", names), "--only dpdk refused: raw, udp");
        assert_eq!(refused("--fast", |options| Err(options.unknown())), "--fast is not known");
    }

    #[test]
    fn lists_keep_their_order() {
        let mut options = Options::of("--only udp,raw --size 7,3");
        let _ = options.next();
        assert_eq!(options.some_of(&["raw", "udp"], |name| name), Ok(vec!["udp", "raw"]));
        let _ = options.next();
        assert_eq!(options.numbers(1..=9), Ok(vec![7, 3]));
    }

    #[test]
    fn two_sides_that_fail_are_both_heard() {
        assert_eq!(both::<(), ()>(Err("deaf".into()), Err("dumb".into())), Err("deaf; dumb".into()));
        assert_eq!(both::<(), _>(Err("deaf".into()), Ok(1)), Err("deaf".into()));
        assert_eq!(both(Ok(1), Ok(2)), Ok((1, 2)));
    }
}
