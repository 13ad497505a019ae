//! What the server's processes cost, read from /proc.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Linux reports process times in hundredths of a second, whatever the kernel's own tick.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a measurement cost the server.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// CPU seconds of all its processes; `None` when no process was named.
    pub cpu_seconds: Option<f64>,
    /// Highest resident memory of all its processes since the measurement began.
    pub peak_bytes: Option<u64>,
    /// What its directory grew by.
    pub disk_bytes: Option<u64>,
}

/// A measurement under way.
#[derive(Debug)]
pub struct Observed<'a> {
    pids: &'a [u32],
    disk: Option<&'a Path>,
    ticks: u64,
    disk_bytes: u64,
}

/// Starts to observe; processes that can't be read show up at the end.
pub fn observe<'a>(pids: &'a [u32], disk: Option<&'a Path>) -> Observed<'a> {
    for pid in pids {
        // "5" resets the peak; without the right to do so the peak is that of the process's life.
        let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
    }
    let ticks = pids.iter().filter_map(|pid| cpu_ticks(*pid).ok()).sum();
    Observed { pids, disk, ticks, disk_bytes: disk.map_or(0, disk_usage) }
}

impl Observed<'_> {
    /// Ends the measurement.
    pub fn finish(self) -> Result<Cost> {
        if self.pids.is_empty() {
            let disk_bytes = self.disk.map(|disk| disk_usage(disk).saturating_sub(self.disk_bytes));
            return Ok(Cost { cpu_seconds: None, peak_bytes: None, disk_bytes });
        }
        let mut ticks = 0;
        let mut peak_bytes = 0;
        for pid in self.pids {
            ticks += cpu_ticks(*pid)?;
            peak_bytes += peak(*pid)?;
        }
        Ok(Cost {
            cpu_seconds: Some((ticks - self.ticks) as f64 / TICKS_PER_SECOND),
            peak_bytes: Some(peak_bytes),
            disk_bytes: self.disk.map(|disk| disk_usage(disk).saturating_sub(self.disk_bytes)),
        })
    }
}

fn cpu_ticks(pid: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
    // The command's name may hold spaces; the fields after its closing parenthesis are plain.
    let (_, fields) = stat.rsplit_once(") ").context("the form of /proc/PID/stat")?;
    let mut fields = fields.split(' ').skip(11);
    let user: u64 = fields.next().context("utime")?.parse()?;
    let system: u64 = fields.next().context("stime")?.parse()?;
    Ok(user + system)
}

fn peak(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("VmHWM")?;
    Ok(line.split_whitespace().nth(1).context("a number")?.parse::<u64>()? * 1024)
}

/// Allocated bytes of everything under `root`: sparse and preallocated files count what they take.
fn disk_usage(root: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    let mut pending: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(dir) = pending.pop() {
        // Files come and go under a running server.
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => pending.push(entry.path()),
                Ok(metadata) => bytes += metadata.blocks() * 512,
                Err(_) => {}
            }
        }
    }
    bytes
}
