//! When and on what it was measured.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::options::Options;

/// One paragraph, for whoever reads the tables.
pub fn text(options: &Options) -> String {
    format!(
        "Measured on {}: {} processors ({}), {} of memory, {}, Linux {}, {}. {} repetitions, each contender in a \
         process of its own, in turn with the others: medians [least..most].",
        date(),
        std::thread::available_parallelism().map_or(0, usize::from),
        field("/proc/cpuinfo", "model name").unwrap_or_default(),
        memory(),
        file_system(options),
        kernel(),
        compiler(),
        options.reps,
    )
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// Its version, without what a distributor adds to the name.
fn kernel() -> String {
    read("/proc/sys/kernel/osrelease").split('-').next().unwrap_or_default().to_owned()
}

/// What stands behind the colon in the first line that begins so.
fn field(path: &str, name: &str) -> Option<String> {
    let text = read(path);
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory() -> String {
    let kib = field("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    kib.map_or_else(String::new, |kib| format!("{:.1} GiB", kib as f64 / f64::from(1 << 20)))
}

/// The type of the file system that holds the data.
fn file_system(options: &Options) -> String {
    let dir = options.dir.canonicalize().unwrap_or_else(|_| options.dir.clone());
    let mounts = read("/proc/mounts");
    let mounted = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (at, kind) = (words.next()?, words.next()?);
        dir.starts_with(at).then_some((at.len(), kind))
    });
    mounted.max_by_key(|(len, _)| *len).map_or_else(String::new, |(_, kind)| kind.to_owned())
}

fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.split(" (").next().unwrap_or_default().trim().to_owned()
}

/// Year, month and day, in the calendar that the world uses.
fn date() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let days = (seconds / 86_400) as i64 + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    format!("{:04}-{month:02}-{day:02}", year + era * 400)
}
