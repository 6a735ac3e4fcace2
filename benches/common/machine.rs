//! A machine that is as calm as one can have it.
//!
//! Two effects of virtual machines make figures wander by factors if they are left alone: memory that the
//! guest has given back to its host, and a thread that wakes on a busy processor and waits for its next
//! tick. So memory and page cache are made resident beforehand, and single threads are pinned.
#![expect(clippy::disallowed_methods, reason = "a benchmark looks at the real clock, and waits in real time")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Result;

/// Now, of the monotonic clock.
#[inline]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Lets `time` pass.
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Seconds that `work` takes.
pub(crate) fn seconds<T>(work: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    let start = now();
    let result = work()?;
    Ok((start.elapsed().as_secs_f64(), result))
}

/// Makes memory resident: of the process, and of the page cache below `dir`.
pub(crate) fn prewarm(dir: &Path, megabytes: usize) -> Result<()> {
    let mut memory = vec![0_u8; megabytes << 20];
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    std::hint::black_box(&memory);
    drop(memory);
    let path = dir.join("prewarm");
    let mut file = fs::File::create(&path)?;
    let piece = vec![0x5a; 1 << 20];
    for _ in 0..megabytes * 6 / 10 {
        file.write_all(&piece)?;
    }
    drop(file);
    fs::remove_file(path)?;
    Ok(())
}

/// Pins this thread to a processor; nothing where that cannot be done.
pub(crate) fn pin(processor: usize) {
    #[cfg(target_os = "linux")]
    {
        let mut set = rustix::thread::CpuSet::new();
        set.set(processor);
        let _ = rustix::thread::sched_setaffinity(None, &set);
    }
    let _ = processor;
}

/// The processor that has least to do.
pub(crate) fn calm_processor() -> usize {
    let before = idle_times();
    pause(Duration::from_millis(100));
    let after = idle_times();
    let idle = before.iter().zip(&after).map(|(before, after)| after.saturating_sub(*before));
    idle.enumerate().max_by_key(|(_, idle)| *idle).map_or(0, |(number, _)| number)
}

fn idle_times() -> Vec<u64> {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let processors = text.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "));
    processors.filter_map(|line| line.split_whitespace().nth(4)?.parse().ok()).collect()
}

/// Bytes of this process that are in memory.
pub(crate) fn resident_bytes() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS here")?;
    let kib: u64 = line.split_whitespace().nth(1).ok_or("no figure")?.parse()?;
    Ok(kib << 10)
}

/// Those of the resident bytes that are this process's own, and no pages of files (its code among them).
pub(crate) fn anonymous_bytes() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find(|line| line.starts_with("RssAnon:")).ok_or("no RssAnon here")?;
    let kib: u64 = line.split_whitespace().nth(1).ok_or("no figure")?.parse()?;
    Ok(kib << 10)
}

/// Bytes that the files below `dir` take on the disk.
pub(crate) fn disk_bytes(dir: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut sum = fs::metadata(dir)?.blocks() * 512;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        sum += match entry.file_type()?.is_dir() {
            true => disk_bytes(&entry.path())?,
            false => entry.metadata()?.blocks() * 512,
        };
    }
    Ok(sum)
}

/// The middle one of the figures.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// The figure below which `share` of all lie.
pub(crate) fn percentile(sorted: &[u64], share: f64) -> u64 {
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0)
}
