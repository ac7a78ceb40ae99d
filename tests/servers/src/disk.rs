use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{program::run, run_as_server_user};

/// A small file system in memory for the files of a server, which is unmounted on drop.
#[derive(Debug)]
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts a file system of a size, such as `64m`, at a new folder that belongs to the user of servers.
    ///
    /// # Panics
    ///
    /// Panics if this process is not root, or if root cannot mount on this machine.
    #[must_use]
    pub fn mount(at: PathBuf, size: &str) -> Self {
        run(run_as_server_user("mkdir").arg(&at));
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("mode=1777,size={size}"), "none"]).arg(&at);
        let status = mount.status().unwrap();
        assert!(status.success(), "this test needs root and a machine on which root can mount");
        let disk = Self(at);
        run(Command::new("chown").args(["--reference=..", "."]).current_dir(&disk.0));
        run(Command::new("chmod").arg("700").arg(&disk.0));
        disk
    }

    /// Returns the path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Fills the file system with a file, until there is no room.
    pub fn fill(&self) {
        let script = "! head -c 1G /dev/zero >filler 2>/dev/null";
        run(Command::new("sh").args(["-c", script]).current_dir(&self.0));
    }

    /// Deletes the file that fills the file system.
    pub fn free(&self) {
        run(Command::new("rm").arg("filler").current_dir(&self.0));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
