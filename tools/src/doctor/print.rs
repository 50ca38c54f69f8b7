//! The report for people.
//!
//! Used by `mod`. Guards: every line begins with its state, so that `grep BLOCKS` finds what matters, and nothing that was
//! read makes the terminal do anything.

use core::fmt::Write as _;

use super::check::{Check, State};
use super::verdict::Verdict;
use super::{Interface, Report};

/// Columns of the state and of the key.
const STATE: usize = 8;
const KEY: usize = 18;

/// The report on one interface, or a summary of several.
pub(super) fn table(report: &Report, one: bool) -> String {
    let mut text = String::from("this host\n");
    lines(&mut text, &report.host);
    for interface in &report.interfaces {
        let _ = writeln!(text, "\n{}", interface.name);
        if one {
            lines(&mut text, &interface.checks);
        }
        verdicts(&mut text, interface);
    }
    if report.interfaces.is_empty() {
        text.push_str("\nno interface is up\n");
    } else if !one {
        text.push_str("\n`pgmx doctor INTERFACE` says everything about one of them.\n");
    }
    // Names of interfaces, drivers and programs may hold anything; a terminal obeys some of it.
    text.replace(|c: char| c.is_control() && c != '\n', "?")
}

fn lines(text: &mut String, checks: &[Check]) {
    for Check { key, state, says, remedy, instead } in checks {
        let word = match state {
            State::Ok => "ok",
            State::Unknown => "?",
            State::Better => "better",
            State::Blocks => "BLOCKS",
        };
        let _ = writeln!(text, "  {word:<STATE$}{key:<KEY$}{says}");
        let indent = 2 + STATE + KEY;
        if let Some(remedy) = remedy {
            let _ = writeln!(text, "{:indent$}do: {remedy}", "");
        }
        if let Some(instead) = instead {
            let _ = writeln!(text, "{:indent$}until then: {instead}", "");
        }
    }
}

fn verdicts(text: &mut String, interface: &Interface) {
    for Verdict { endpoint, io, way, refusals } in &interface.verdicts {
        let scheme = format!("{endpoint}://");
        let _ = match io {
            Some(io) => write!(text, "  {scheme:<8}auto takes --io {io}: {way}"),
            None => write!(text, "  {scheme:<8}nothing works"),
        };
        for refusal in refusals {
            let _ = write!(text, "; no {}: {}", refusal.attempt, refusal.reason);
        }
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(interfaces: Vec<Interface>) -> Report {
        let host = vec![
            Check::ok("kernel", "Linux"),
            Check::blocks("rights", "none\u{1b}[2J", "grant them", "--io udp"),
            Check::unknown("clock", "not visible"),
        ];
        Report { host, interfaces }
    }

    #[test]
    fn each_line_begins_with_its_state_and_what_to_do_stands_below() {
        let verdict = |endpoint, io| Verdict { endpoint, io, way: "somehow", refusals: Vec::new() };
        let verdicts = [verdict("pgm", None), verdict("epgm", Some("udp"))];
        let interface = Interface { name: "eth0".into(), checks: vec![Check::better("mtu", "9", "8")], verdicts };
        let text = table(&report(vec![interface]), true);
        let expected = "\
this host
  ok      kernel            Linux
  BLOCKS  rights            none?[2J
                            do: grant them
                            until then: --io udp
  ?       clock             not visible

eth0
  better  mtu               9
                            do: 8
  pgm://  nothing works
  epgm:// auto takes --io udp: somehow
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_host_without_interfaces_is_told_so() {
        assert!(table(&report(Vec::new()), false).ends_with("\nno interface is up\n"));
    }
}
