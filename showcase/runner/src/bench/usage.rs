//! What a process has used: processor time of all its threads, and the most memory it ever held.
//!
//! Read from `/proc`, so on Linux only. Elsewhere nothing is known, and whoever asks says so.

use serde::{Deserialize, Serialize};
use std::fs;

/// Linux tells processor time in hundredths of a second, whatever its kernel counts in.
const TICKS_PER_SECOND: f64 = 100.0;

/// Up to one moment in the life of a process.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// User and system time, in seconds.
    pub(crate) cpu: f64,
    /// Most memory that was resident at once, in bytes.
    pub(crate) peak: u64,
    /// Memory that is resident now, in bytes.
    pub(crate) resident: u64,
}

impl Usage {
    /// Of the process with this id; `None` where there is no `/proc`, or no such process.
    pub(crate) fn of(process: u32) -> Option<Self> {
        Self::read(&process.to_string())
    }

    /// Of this process.
    pub(crate) fn own() -> Option<Self> {
        Self::read("self")
    }

    fn read(process: &str) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        Some(Self {
            cpu: cpu(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)?,
            peak: kibibytes(&status, "VmHWM:")?,
            resident: kibibytes(&status, "VmRSS:")?,
        })
    }
}

/// The 14th and 15th field of `/proc/PID/stat`. The second is the program's name in parentheses,
/// which may hold spaces and parentheses of its own.
fn cpu(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

fn kibibytes(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let number = line.trim().strip_suffix("kB")?.trim();
    Some(number.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_read_as_proc_5_has_them() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 3 4 20 0 9 0 1 2 3";
        assert_eq!(cpu(stat), Some(3.0));
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(kibibytes(status, "VmHWM:"), Some(2 * 1024 * 1024));
        assert_eq!(kibibytes(status, "VmRSS:"), Some(1024 * 1024));
        assert_eq!(cpu("nothing"), None);
        assert_eq!(kibibytes(status, "VmSwap:"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_uses_something() {
        let used = Usage::own().unwrap();
        assert!(used.resident > 0 && used.peak >= used.resident);
        assert_eq!(Usage::of(u32::MAX), None);
    }
}
