//! Users who can write a file or replace a part of its path.

#[cfg(not(unix))]
pub(crate) fn is_writable_by_others(_: &std::path::Path) -> bool {
    false
}

#[cfg(unix)]
pub(crate) use unix::is_writable_by_others;

#[cfg(unix)]
mod unix {
    use std::{
        ffi::OsString,
        fs::{self, Metadata},
        os::unix::fs::MetadataExt as _,
        path::{Component, Path, PathBuf},
    };

    /// The largest number of links on one path, as in Linux.
    const MAX_LINKS: usize = 40;

    const WRITABLE_BY_ALL: u32 = 0o002;
    const STICKY: u32 = 0o1000;

    /// Returns whether an untrusted user can write the file or replace a part of its path.
    ///
    /// Root and the user of this process are trusted. A path that cannot be followed has no risk.
    pub(crate) fn is_writable_by_others(path: &Path) -> bool {
        let own = rustix::process::geteuid().as_raw();
        let is_trusted = |it: &Metadata| [0, own].contains(&it.uid());
        let is_open = |it: &Metadata| !is_trusted(it) || it.mode() & WRITABLE_BY_ALL != 0;
        let (mut folder, mut names, mut links) = (PathBuf::from("/"), Vec::new(), 0);
        push(&mut names, path);
        while let Some(name) = names.pop() {
            let Ok(inside) = fs::metadata(&folder) else { return false };
            let entry_path = folder.join(&name);
            let Ok(entry) = fs::symlink_metadata(&entry_path) else { return false };
            // In a sticky folder only the owner of an entry can replace it.
            let is_protected = inside.mode() & STICKY != 0 && is_trusted(&entry);
            if !is_trusted(&inside) || is_open(&inside) && !is_protected {
                return true;
            }
            if name == ".." {
                folder.pop();
            } else if entry.is_symlink() {
                links += 1;
                let Ok(target) = fs::read_link(&entry_path) else { return false };
                if links > MAX_LINKS {
                    return false;
                }
                if target.is_absolute() {
                    folder = PathBuf::from("/");
                }
                push(&mut names, &target);
            } else if entry.is_dir() {
                folder = entry_path;
            } else {
                return is_open(&entry);
            }
        }
        false
    }

    /// Pushes the names of a path, the last name first.
    fn push(names: &mut Vec<OsString>, path: &Path) {
        names.extend(path.components().rev().filter_map(|component| match component {
            Component::Normal(_) | Component::ParentDir => Some(component.as_os_str().to_owned()),
            _ => None,
        }));
    }
}
