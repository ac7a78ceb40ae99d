use std::fs;

/// The resources of this process at one time.
#[derive(Clone, Copy)]
pub struct Held {
    /// Resident memory in KiB.
    pub memory: u64,
    pub handles: usize,
    pub tasks: usize,
}

#[derive(Clone, Copy)]
pub struct Sample {
    pub second: u64,
    pub requests: u64,
    pub held: Held,
}

impl Held {
    pub fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        Self {
            memory: line.trim().trim_end_matches(" kB").parse().unwrap(),
            // The handle that reads the folder does not count.
            handles: fs::read_dir("/proc/self/fd").unwrap().count() - 1,
            tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
        }
    }
}
