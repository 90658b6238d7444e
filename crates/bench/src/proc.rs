//! Process statistics of Linux, from `/proc`.

use std::collections::BTreeSet;
use std::path::Path;

/// The unit of CPU time in `/proc`: 100 ticks per second on all current architectures.
const TICKS_PER_SECOND: f64 = 100.0;
/// The code of the state LISTEN in the socket tables.
const LISTEN_STATE: &str = "0A";

/// Returns the user and system CPU time of a process, optionally including its ended children.
pub(crate) fn cpu_seconds(pid: u32, with_ended: bool) -> Option<f64> {
    // The fields are user and system time, then the same of ended children.
    let times = fields(pid)?.into_iter().skip(11).take(if with_ended { 4 } else { 2 });
    let ticks: f64 = times.map(|ticks| ticks.parse::<f64>().unwrap_or(0.0)).sum();
    Some(ticks / TICKS_PER_SECOND)
}

/// Returns the fields of `stat` after the name of the process. The name can contain any character.
fn fields(pid: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// Returns the CPU time of all processes of this machine.
pub(crate) fn busy_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    let ticks = |at: usize| line.split_whitespace().nth(at).and_then(|each| each.parse::<f64>().ok());
    // The sum of user, nice, system and interrupts. The other fields are idle time or already included.
    [1, 2, 3, 6, 7].into_iter().filter_map(ticks).sum::<f64>() / TICKS_PER_SECOND
}

/// Returns the child processes.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let is_child = |pid: &u32| fields(*pid).and_then(|all| all.get(1)?.parse().ok()) == Some(parent);
    all().filter(is_child).collect()
}

fn all() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Resident memory in KiB: resident and proportional set size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) rss_kib: u64,
    pub(crate) pss_kib: u64,
}

impl Memory {
    pub(crate) fn largest(self, other: Self) -> Self {
        Self { rss_kib: self.rss_kib.max(other.rss_kib), pss_kib: self.pss_kib.max(other.pss_kib) }
    }
}

/// Returns the resident memory of a process. Without permission to read the shared pages, both values are the resident set
/// size.
pub(crate) fn memory(pid: u32) -> Option<Memory> {
    let kib = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    if let Ok(rollup) = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        && let (Some(rss_kib), Some(pss_kib)) = (kib(&rollup, "Rss:"), kib(&rollup, "Pss:"))
    {
        return Some(Memory { rss_kib, pss_kib });
    }
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let rss_kib = kib(&status, "VmRSS:")?;
    Some(Memory { rss_kib, pss_kib: rss_kib })
}

/// Returns the process of this machine that listens on a port. If a parent and its children do, returns the parent.
pub(crate) fn listens_on(port: u16) -> Option<u32> {
    let mut sockets = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let table = std::fs::read_to_string(table).unwrap_or_default();
        sockets.extend(table.lines().filter_map(|line| listening(line, port)));
    }
    let holders: Vec<u32> = all().filter(|pid| holds(*pid, &sockets)).collect();
    let parent = |pid: u32| fields(pid).and_then(|all| all.get(1)?.parse::<u32>().ok());
    let eldest = holders.iter().find(|pid| parent(**pid).is_none_or(|parent| !holders.contains(&parent)));
    eldest.copied()
}

/// Returns the socket of a line of a socket table if it listens on the port, in the form of the links in `fd`.
fn listening(line: &str, port: u16) -> Option<String> {
    let mut fields = line.split_whitespace().skip(1);
    let (local, state) = (fields.next()?, fields.nth(1)?);
    let (_, found) = local.rsplit_once(':')?;
    let socket = fields.nth(5)?;
    let is_it = state == LISTEN_STATE && u16::from_str_radix(found, 16) == Ok(port);
    is_it.then(|| format!("socket:[{socket}]"))
}

fn holds(pid: u32, sockets: &BTreeSet<String>) -> bool {
    let links = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let names = links.filter_map(|link| std::fs::read_link(link.path()).ok());
    let mut names = names.filter_map(|name| name.to_str().map(str::to_owned));
    names.any(|name| sockets.contains(&name))
}

/// Whether a path is on a memory file system, where a sync does not reach a disk.
pub(crate) fn is_in_memory(folder: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let over = mounts.filter(|(mount, _)| folder.starts_with(mount));
    // The last mount on a path hides the earlier ones.
    let nearest = over.max_by_key(|(mount, _)| mount.len());
    nearest.is_some_and(|(_, kind)| matches!(kind, "tmpfs" | "ramfs"))
}

/// Returns the model name of the processor.
pub(crate) fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map(|(_, name)| name.trim().to_owned()).unwrap_or_default()
}

/// Returns the release of the kernel.
pub(crate) fn kernel() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_socket_is_recognized() {
        let line = |state: &str| {
            format!(
                "   0: 0100007F:1F90 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  1000  0 4711 1 0"
            )
        };
        assert_eq!(listening(&line("0A"), 8080), Some("socket:[4711]".to_owned()));
        assert_eq!(listening(&line("0A"), 8081), None);
        assert_eq!(listening(&line("01"), 8080), None);
        assert_eq!(listening("  sl  local_address rem_address   st tx_queue", 8080), None);
    }

    #[test]
    fn listening_process_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(listens_on(listener.local_addr().unwrap().port()), Some(std::process::id()));
    }

    #[test]
    fn child_process_is_found() {
        let mut child = std::process::Command::new("sleep").arg("10").spawn().unwrap();
        assert!(children(std::process::id()).contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
