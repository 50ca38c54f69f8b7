//! Kernels out of the archive: which there are, the newest of a series, its packages, unpacked and kept.
//!
//! apt does the fetching and checks the signatures; it works on lists, caches and settings of its own under `target/vm/apt`, so that the
//! host's are neither used nor changed (its proxy settings hold), nothing is installed, and no root is needed. A kernel that was fetched
//! once stays in `target/vm/kernels` and serves when the archive is out of reach.

use super::Hitch;
use crate::process::{Cmd, Output};
use crate::setup::has_command;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The archive's own mirror network, where the host names no mirror of the archive.
const DEFAULT_MIRROR: &str = "http://deb.debian.org/debian";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Lists have some 300 kB (9 MB for the oldest suite), a kernel 50 MB: a slow line needs minutes, a dead one is found by apt.
const LIST_LIMIT: Duration = Duration::from_secs(120);
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(600);
const UNPACK_LIMIT: Duration = Duration::from_secs(120);

/// Numbers of a version, as far as it begins with numbers: `6.12.95+deb12` and `6.1.0-50` are ordered by these.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(Vec<u32>);

impl Version {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let numeric = |c: char| c.is_ascii_digit() || c == '.' || c == '-';
        let head = text.split(|c| !numeric(c)).next().unwrap_or_default();
        let numbers: Vec<u32> = head.split(['.', '-']).map_while(|part| part.parse().ok()).collect();
        (numbers.len() >= 2).then_some(Self(numbers))
    }

    /// Whether this is a version of the series `6.12`.
    fn is_of(&self, series: &Self) -> bool {
        self.0.starts_with(&series.0)
    }

    /// virtio-net moves frames without a copy from 6.13 on.
    pub(super) fn has_zero_copy(&self) -> bool {
        *self >= Self(vec![6, 13])
    }
}

/// Which kernel is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The newest that the archive has.
    Newest,
    /// The newest of a series, such as `6.12`.
    Series(String),
}

impl Wanted {
    /// Suites that may have it, first the likely one. Those of a stable release carry one series each, backports what is newer.
    fn suites(&self) -> &'static [&'static str] {
        let Self::Series(series) = self else { return &["trixie-backports"] };
        match series.as_str() {
            "6.1" => &["bookworm"],
            "6.12" => &["bookworm-backports"],
            _ => &["trixie-backports", "bookworm-backports"],
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Newest => "newest",
            Self::Series(series) => series,
        }
    }
}

/// A kernel, unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kernel {
    /// As `uname -r` has it.
    pub(super) release: String,
    pub(super) version: Version,
    /// What the packages hold.
    pub(super) tree: PathBuf,
}

impl Kernel {
    /// The kernel's own file, wherever this version's packages put it.
    pub(super) fn image(&self) -> Result<PathBuf, String> {
        let modules = ["usr/lib/modules", "lib/modules"].map(|place| self.tree.join(place).join(&self.release));
        let mut places = vec![self.tree.join("boot").join(format!("vmlinuz-{}", self.release))];
        places.extend(modules.iter().flat_map(|place| [place.join("vmlinuz"), place.join("vmlinuz.unsigned")]));
        let found = places.into_iter().find(|place| place.is_file());
        found.ok_or_else(|| format!("no vmlinuz in {}; remove that directory and try again", self.tree.display()))
    }
}

/// Finds, fetches and unpacks a kernel; what was fetched before serves when the archive does not.
pub(super) fn kernel(vm: &Path, wanted: &Wanted) -> Result<Kernel, Hitch> {
    match from_archive(vm, wanted) {
        Ok(kernel) => Ok(kernel),
        Err(hitch) => match kept(vm, wanted) {
            Some(kernel) => {
                println!("kernel {}: {hitch}; taking {} from an earlier run", wanted.name(), kernel.release);
                Ok(kernel)
            }
            None => Err(hitch),
        },
    }
}

fn from_archive(vm: &Path, wanted: &Wanted) -> Result<Kernel, Hitch> {
    if !has_command("apt-get") || !has_command("dpkg-deb") {
        return Err(Hitch::Absent("this host has no apt, which fetches kernels".into()));
    }
    if !Path::new(KEYRING).exists() {
        return Err(Hitch::Absent(format!("no {KEYRING} (package debian-archive-keyring) to check kernels with")));
    }
    let mut hitch = None;
    for suite in wanted.suites() {
        for mirror in mirrors() {
            let found = Suite::open(vm, suite, &mirror).and_then(|suite| {
                let release = newest(&suite.names()?, wanted).ok_or_else(|| {
                    Hitch::Absent(format!("{mirror} has no cloud kernel {} in {}", wanted.name(), suite.name))
                })?;
                suite.fetch(vm, &release)
            });
            match found {
                Ok(kernel) => return Ok(kernel),
                Err(other) => hitch = hitch.or(Some(other)),
            }
        }
    }
    Err(hitch.unwrap_or_else(|| Hitch::Absent("no suite to look in".into())))
}

/// The newest kernel of those kept that is what is wanted.
fn kept(vm: &Path, wanted: &Wanted) -> Option<Kernel> {
    let entries = fs::read_dir(vm.join("kernels")).ok()?;
    let releases: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let fits = |release: &&String| Version::parse(release).is_some_and(|version| fits(&version, wanted));
    let release = releases
        .iter()
        .filter(|name| !name.ends_with(PARTIAL))
        .filter(fits)
        .max_by_key(|release| Version::parse(release))?;
    Some(Kernel { version: Version::parse(release)?, tree: vm.join("kernels").join(release), release: release.clone() })
}

fn fits(version: &Version, wanted: &Wanted) -> bool {
    match wanted {
        // What has no zero-copy is not what the newest kernel is wanted for.
        Wanted::Newest => version.has_zero_copy(),
        Wanted::Series(series) => Version::parse(series).is_some_and(|series| version.is_of(&series)),
    }
}

/// A directory of this ending is being unpacked, or was when a run was cut short.
const PARTIAL: &str = ".partial";

/// The host's mirror of the archive, if it has one, then the archive's own.
fn mirrors() -> Vec<String> {
    let fields = ["--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian", "Label: Debian"];
    let told = Cmd::new(Path::new("."), "apt-get", &["indextargets"]).args(fields.map(String::from)).stdout();
    mirrors_in(&told.unwrap_or_default())
}

fn mirrors_in(told: &str) -> Vec<String> {
    let mut mirrors: Vec<String> = Vec::new();
    for uri in told.lines().map(|line| line.trim().trim_end_matches('/')).chain([DEFAULT_MIRROR]) {
        if (uri.starts_with("http://") || uri.starts_with("https://")) && !mirrors.iter().any(|known| known == uri) {
            mirrors.push(uri.to_owned());
        }
    }
    mirrors
}

/// A suite of the archive, with apt's view of it.
struct Suite {
    name: &'static str,
    settings: PathBuf,
}

impl Suite {
    /// Fetches the suite's list, or finds that it has not changed.
    fn open(vm: &Path, name: &'static str, mirror: &str) -> Result<Self, Hitch> {
        let root = vm.join("apt").join(name);
        let settings = write_settings(&root, name, mirror)
            .map_err(|why| Hitch::Broken(format!("writing apt's settings to {}: {why}", root.display())))?;
        let suite = Self { name, settings };
        let update = suite.apt(Path::new("."), "apt-get", &["update"]).bounded(LIST_LIMIT, Output::Show);
        match update.and_then(|ended| ended.verdict()) {
            Ok(()) => Ok(suite),
            Err(why) => Err(Hitch::Absent(format!("{mirror} {name} is out of reach ({why})"))),
        }
    }

    fn apt(&self, directory: &Path, program: &str, args: &[&str]) -> Cmd {
        let settings = self.settings.to_string_lossy().into_owned();
        Cmd::new(directory, program, &["-q", "-c"]).arg(settings).args(args.iter().map(|&arg| arg.to_owned()))
    }

    fn names(&self) -> Result<String, Hitch> {
        let names = self.apt(Path::new("."), "apt-cache", &["pkgnames", "linux-"]).stdout();
        names.ok_or_else(|| Hitch::Broken(format!("apt-cache cannot read the list of {}", self.name)))
    }

    /// Downloads and unpacks a kernel, unless that was done before.
    fn fetch(&self, vm: &Path, release: &str) -> Result<Kernel, Hitch> {
        let broken = |what: &str, why: &dyn std::fmt::Display| Hitch::Broken(format!("{what} of {release}: {why}"));
        let version = Version::parse(release).ok_or_else(|| broken("the version", &"no number"))?;
        let kernels = vm.join("kernels");
        let kernel = Kernel { release: release.into(), version, tree: kernels.join(release) };
        if kernel.tree.is_dir() {
            return Ok(kernel);
        }
        let partial = kernels.join(format!("{release}{PARTIAL}"));
        // What an earlier run left.
        let _ = fs::remove_dir_all(&partial);
        fs::create_dir_all(&partial).map_err(|why| broken("the directory", &why))?;
        let download = self.apt(&partial, "apt-get", &["download"]).args(packages(&self.names()?, release));
        let fetched = download.bounded(DOWNLOAD_LIMIT, Output::Show).and_then(|ended| ended.verdict());
        fetched.map_err(|why| Hitch::Absent(format!("fetching {release} failed ({why})")))?;
        let debs = fs::read_dir(&partial).map_err(|why| broken("the packages", &why))?;
        for deb in debs.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "deb"))
        {
            let name = deb.to_string_lossy().into_owned();
            let unpack = Cmd::new(&partial, "dpkg-deb", &["-x", &name, "."]);
            let unpacked = unpack.bounded(UNPACK_LIMIT, Output::Show).and_then(|ended| ended.verdict());
            unpacked.map_err(|why| broken("unpacking", &why))?;
            let _ = fs::remove_file(deb);
        }
        // Under its name only when it is whole.
        fs::rename(&partial, &kernel.tree).map_err(|why| broken("the directory", &why))?;
        Ok(kernel)
    }
}

/// The host's settings, its hooks aside, with places of our own.
fn write_settings(root: &Path, suite: &str, mirror: &str) -> std::io::Result<PathBuf> {
    for place in ["lists/partial", "cache/archives/partial", "nothing"] {
        fs::create_dir_all(root.join(place))?;
    }
    fs::write(root.join("status"), "")?;
    fs::write(
        root.join("sources.list"),
        format!("deb [arch=amd64 signed-by={KEYRING} target=Packages] {mirror} {suite} main\n"),
    )?;
    let settings = root.join("apt.conf");
    fs::write(&settings, settings_text(&root.to_string_lossy()))?;
    Ok(settings)
}

fn settings_text(root: &str) -> String {
    format!(
        r#"#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Dir::Etc::sourcelist "{root}/sources.list";
Dir::Etc::sourceparts "{root}/nothing";
Dir::Etc::preferences "{root}/none";
Dir::Etc::preferencesparts "{root}/nothing";
Dir::State "{root}";
Dir::State::lists "{root}/lists";
Dir::State::status "{root}/status";
Dir::Cache "{root}/cache";
Dir::Cache::archives "{root}/cache/archives";
APT::Architecture "amd64";
APT::Architectures "amd64";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "1";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
"#
    )
}

/// The release of the newest kernel among these packages that is what is wanted.
fn newest(names: &str, wanted: &Wanted) -> Option<String> {
    let releases = names.lines().filter_map(|name| {
        let release =
            ["linux-image-", "linux-binary-unsigned-", "linux-binary-"].iter().find_map(|p| name.strip_prefix(p))?;
        let version = Version::parse(release)?;
        // Of every form there are packages of symbols and unsigned images; `packages` knows which to take.
        let plain = release.ends_with("-cloud-amd64") && fits(&version, wanted) && !packages(names, release).is_empty();
        plain.then(|| (version, release.to_owned()))
    });
    releases.max().map(|(_, release)| release)
}

/// The packages that make up a kernel: one that holds all, or image and modules apart, signed if that is out already.
fn packages(names: &str, release: &str) -> Vec<String> {
    let there = |kind: &str| {
        let name = format!("linux-{kind}-{release}");
        names.lines().any(|known| known == name).then_some(name)
    };
    match (there("modules"), there("binary").or_else(|| there("binary-unsigned")), there("image")) {
        (Some(modules), Some(binary), _) => vec![binary, modules],
        // An image that is split where we do not know the pieces is of no use.
        (None, None, Some(image)) => vec![image],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str) -> Wanted {
        Wanted::Series(name.into())
    }

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        let version = |text: &str| Version::parse(text).unwrap();
        assert!(version("7.2.12+deb13-cloud-amd64") > version("7.2.9+deb13-cloud-amd64"));
        assert!(version("6.12.95+deb12") > version("6.1.0-50-cloud-amd64"));
        assert!(version("6.1.0-50-cloud-amd64") > version("6.1.0-9-cloud-amd64"));
        assert!(version("6.12.1").is_of(&version("6.12")) && !version("6.12.1").is_of(&version("6.1")));
        assert!(version("6.13.0").has_zero_copy() && version("7.0").has_zero_copy());
        assert!(!version("6.12.95+deb12").has_zero_copy());
        assert_eq!(Version::parse("cloud-amd64"), None);
    }

    #[test]
    fn the_newest_kernel_of_a_series_is_found_with_its_packages() {
        let names = "linux-image-cloud-amd64\nlinux-image-6.1.0-9-cloud-amd64\nlinux-image-6.1.0-50-cloud-amd64\n\
                     linux-image-6.1.0-51-cloud-amd64-unsigned\nlinux-image-6.1.0-52-cloud-amd64-dbg\n\
                     linux-image-6.1.0-53-amd64\nlinux-headers-6.1.0-54-cloud-amd64\n";
        assert_eq!(newest(names, &series("6.1")).unwrap(), "6.1.0-50-cloud-amd64");
        assert_eq!(packages(names, "6.1.0-50-cloud-amd64"), ["linux-image-6.1.0-50-cloud-amd64"]);
        assert_eq!(newest(names, &series("6.12")), None);
        assert_eq!(newest(names, &Wanted::Newest), None, "no zero-copy before 6.13");
    }

    #[test]
    fn a_kernel_in_two_packages_is_taken_whole_signed_or_not_or_not_at_all() {
        let names = "linux-image-7.2.9+deb13-cloud-amd64\nlinux-binary-7.2.9+deb13-cloud-amd64\n\
                     linux-binary-unsigned-7.2.9+deb13-cloud-amd64\nlinux-modules-7.2.9+deb13-cloud-amd64\n\
                     linux-binary-unsigned-7.3.4+deb13-cloud-amd64\nlinux-modules-7.3.4+deb13-cloud-amd64\n\
                     linux-image-7.4.0+deb13-cloud-amd64\nlinux-binary-7.4.0+deb13-cloud-amd64\n";
        assert_eq!(newest(names, &series("7.2")).unwrap(), "7.2.9+deb13-cloud-amd64");
        let signed = ["linux-binary-7.2.9+deb13-cloud-amd64", "linux-modules-7.2.9+deb13-cloud-amd64"];
        assert_eq!(packages(names, "7.2.9+deb13-cloud-amd64"), signed);
        assert_eq!(newest(names, &Wanted::Newest).unwrap(), "7.3.4+deb13-cloud-amd64", "7.4 has no modules");
        let unsigned = ["linux-binary-unsigned-7.3.4+deb13-cloud-amd64", "linux-modules-7.3.4+deb13-cloud-amd64"];
        assert_eq!(packages(names, "7.3.4+deb13-cloud-amd64"), unsigned);
    }

    #[test]
    fn the_hosts_mirror_comes_before_the_archives_and_what_apt_cannot_share_is_left_out() {
        assert_eq!(mirrors_in(""), [DEFAULT_MIRROR]);
        let told = "https://mirror.example/debian/\ncdrom://disc/\nhttps://mirror.example/debian/\n";
        assert_eq!(mirrors_in(told), ["https://mirror.example/debian", DEFAULT_MIRROR]);
    }

    #[test]
    fn apt_is_kept_away_from_the_hosts_lists_and_hooks() {
        let text = settings_text("/somewhere");
        for key in ["Dir::Etc::sourcelist", "Dir::State::lists", "Dir::Cache::archives"] {
            assert!(text.contains(&format!("{key} \"/somewhere/")), "{key}");
        }
        assert!(text.contains("#clear APT::Update::Post-Invoke;\n"));
    }
}
