//! Project automation: `cargo xtask help`.
//!
//! One subcommand is one file. Nothing here needs more than std, so that it starts in seconds on a bare machine;
//! everything it does is a command that a person could type, and it prints that command before it runs it.

mod args;
mod conformance;
mod demo;
mod fuzz;
mod interop;
mod lanes;
mod loom;
mod mutants;
mod peers;
mod process;
mod proving;
mod sanitize;
mod setup;
mod test;
mod toml;
mod vm;

use args::Args;
use process::cargo;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND: everything this repository does for itself

  setup                      install what the build and the tests need from apt (only what is missing)
  demo [ARGS]                one publisher and three subscribers on four hosts of their own, 1 % loss; prints a table
  test [--long] [FILTER]     every test lane, with its seconds (--lane NAME picks lanes; FILTER picks tests by name)
  ci                         fmt, clippy, doc, build, then test: what .ci/run runs
  sim [ARGS]                 play seeds on the simulator (--seeds N, --seed S to replay one)
  budget                     instructions per packet, by callgrind; fails above the budget + 10 %
  fuzz [--seconds N]         coverage-guided fuzzing on nightly (--target parse|source|receiver|zmq)
  loom [FILTER]              every interleaving of our own rings, bells and counters, by loom
  sanitize                   the tests of every module with `unsafe`, under AddressSanitizer (nightly)
  mutants [--seeds N]        break one rule of docs/mutants.toml at a time; the simulator must notice (--only NAME)
  bench [ARGS]               everything from end to end, beside every peer, into bench/report (root, two idle cores; --quick, --help)
  bench links [ARGS]         what each link moves between two namespaces, beside bare AF_XDP rings (root)
  bench ping [ARGS]          round trips of `pgmx ping` over xdp and raw, beside bare AF_XDP rings (root, two idle cores)
  bench batch [ARGS]         small messages in batches, `pgmx send` to `pgmx recv`, beside bare AF_XDP rings (likewise)
  bench receive [ARGS]       what is received without loss from packets made in the kernel, beside bare AF_XDP rings (likewise)
  bench memory [ARGS]        one core doing both ends over the memory link, how flat that stays, and instructions per packet
  bench micro [ARGS]         each mechanism by itself (criterion): FILTER picks some
  peers                      build what others speak, from bench/peers: OpenPGM, ZeroMQ, NORM; says what is missing
  interop [ARGS]             pgmx beside OpenPGM and ZeroMQ, both ways, over every link (root; --quick, --only WORDS, --list)
  metal                      `bench links` with bare rings and `xdp` alone, 64 and 1400 octets
  vm [--kernel K] [--part P] the privileged tests under other kernels, in virtual machines (K: 6.1, 6.12, 7.2, newest, all)
  conformance [--check]      requirement, code, test or why not yet (--unopen drops `open` where both citations exist)
  help                       this page

Examples
  cargo xtask demo                          all that a fresh machine needs, then the demo
  cargo xtask demo --seconds 5 --loss 20    `cargo xtask demo --help` lists the rest
  cargo xtask test                          all lanes, at most 8 minutes once built
  cargo xtask test --lane unit serial       unit and doc tests whose name contains `serial`
  cargo xtask test --lane sim --lane budget
  cargo xtask sim --seeds 10000
  cargo xtask sim --seed 4711               replay the seed that a failure printed
  cargo xtask fuzz --seconds 600 --target parse
  cargo xtask vm --kernel 6.1 --kernel 6.12  two older kernels, one after the other
";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_else(|| "help".into());
    let words: Vec<String> = words.collect();
    if words.iter().any(|w| w == "--help" || w == "-h") && !passes_arguments_on(&command) {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match run(&command, words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("xtask {command}: {why}");
            ExitCode::FAILURE
        }
    }
}

/// `Ok(false)` is a failure that has already been reported in full.
fn run(command: &str, words: Vec<String>) -> Result<bool, String> {
    let root = root();
    match command {
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(true)
        }
        "setup" => {
            Args::new(words).finish()?;
            setup::run()
        }
        "test" => {
            // Without them the lanes themselves say what is missing.
            if let Err(why) = setup::ensure_test_packages() {
                println!("setup is not complete ({why})");
            }
            test::run(&root, Args::new(words))
        }
        "ci" => {
            Args::new(words).finish()?;
            Ok(test::ci(&root))
        }
        "sim" => test::sim_command(&root).args(words).foreground(),
        "budget" => {
            Args::new(words).finish()?;
            Ok(test::budget(&root))
        }
        "fuzz" => fuzz::run(&root, Args::new(words)),
        "loom" => loom::run(&root, Args::new(words)),
        "sanitize" => sanitize::run(&root, Args::new(words)),
        "mutants" => mutants::run(&root, Args::new(words)),
        "metal" => {
            let alone = ["links", "--only", "bare,xdp", "--payload", "64,1400", "--rounds", "51"].map(String::from);
            bench(&root, &[&alone[..], &words].concat())
        }
        "bench" if words.first().is_none_or(|word| word.starts_with('-')) => proving::run(&root, words),
        "bench" => bench(&root, &words),
        "interop" => interop::run(&root, words),
        "peers" => {
            Args::new(words).finish()?;
            peers::run(&root)
        }
        "vm" => vm::run(&root, Args::new(words)),
        "demo" => demo::run(&root, words),
        "conformance" => conformance::run(&root, Args::new(words)),
        other => Err(format!("no such command `{other}`; `cargo xtask help` lists them")),
    }
}

/// These hand every word to the program behind them, `--help` included.
fn passes_arguments_on(command: &str) -> bool {
    matches!(command, "sim" | "metal" | "bench" | "demo" | "interop")
}

/// What a benchmark is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Benchmark {
    /// A program of `bench` that needs root.
    Rig,
    /// One that measures the command, which is built beside it.
    OfCommand,
    /// `pgmx bench` itself, with these arguments first.
    Command(&'static [&'static str]),
    /// A program of `bench` that needs no rights, with the instructions counted behind it.
    Inside,
    /// Those of criterion.
    Micro,
}

/// The benchmarks by name.
const BENCHMARKS: [(&str, Benchmark); 6] = [
    ("links", Benchmark::Rig),
    ("ping", Benchmark::OfCommand),
    ("batch", Benchmark::OfCommand),
    ("receive", Benchmark::Command(&["bench", "receive", "--loopback", "veth", "--expect", "0.95"])),
    ("memory", Benchmark::Inside),
    ("micro", Benchmark::Micro),
];

/// Runs a benchmark; the first word names it.
fn bench(root: &Path, words: &[String]) -> Result<bool, String> {
    let names = BENCHMARKS.map(|(name, _)| name).join(", ");
    let asked = words.first().map(String::as_str).unwrap_or_default();
    let Some((name, kind)) = BENCHMARKS.into_iter().find(|(name, _)| *name == asked) else {
        return Err(format!("which benchmark? there are: {names} (`cargo xtask bench links --help`)"));
    };
    let words = &words[1..];
    let is_help = words.iter().any(|word| word == "--help" || word == "-h");
    let needs_root = !matches!(kind, Benchmark::Inside | Benchmark::Micro);
    if needs_root && !setup::is_root() && !is_help {
        return Err("makes network namespaces and AF_XDP sockets, which needs root; run it as root".into());
    }
    if kind == Benchmark::OfCommand && !is_help {
        let built = cargo(root, &["build", "--release", "-p", "pgmx-tools"]).foreground()?;
        if !built {
            return Ok(false);
        }
    }
    let rig = ["run", "--release", "-p", "pgmx-bench", "--bin", name, "--"];
    match kind {
        Benchmark::Micro => {
            cargo(root, &["bench", "-p", "pgmx-bench", "--bench", name, "--"]).args(words.to_vec()).foreground()
        }
        Benchmark::Command(first) => {
            let command = [&["run", "--release", "-p", "pgmx-tools", "--"], first].concat();
            cargo(root, &command).args(words.to_vec()).foreground()
        }
        Benchmark::Inside => {
            let is_enough = cargo(root, &rig).args(words.to_vec()).foreground()?;
            // An object for programs stands alone.
            let is_alone = is_help || words.iter().any(|word| word == "--json");
            Ok((is_alone || test::budget(root)) && is_enough)
        }
        Benchmark::Rig | Benchmark::OfCommand => cargo(root, &rig).args(words.to_vec()).foreground(),
    }
}

/// The workspace root: the directory above this crate, wherever `cargo xtask` was called from.
fn root() -> PathBuf {
    // Cargo says where the crate is now; the path it was built in is for those who start the binary itself.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&here).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}
