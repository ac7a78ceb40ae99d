use std::path::Path;

/// Returns whether a file is on a network file system. Only Linux reports it.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn is_network(path: &Path) -> bool {
    // The type is a signed number on some machines and an unsigned number on others.
    #[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation, clippy::unnecessary_cast)]
    rustix::fs::statfs(path).is_ok_and(|it| is_network_type(it.f_type as u32))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn is_network(_: &Path) -> bool {
    false
}

/// Returns whether several machines can mount a file system with this number of `statfs`.
///
/// A file system of a user's program (FUSE) counts, because `sshfs` and most mounts of object stores are such.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_network_type(number: u32) -> bool {
    const NETWORK: [u32; 15] = [
        0x0000_6969, // NFS
        0x0000_517b, // SMB
        0xfe53_4d42, // SMB 2
        0xff53_4d42, // CIFS
        0x0000_564c, // NCP
        0x5346_414f, // AFS, OpenAFS
        0x6b41_4653, // AFS of the kernel
        0x7375_7245, // Coda
        0x0102_1997, // 9P
        0x00c3_6400, // Ceph
        0x0bd0_0bd0, // Lustre
        0x4750_4653, // GPFS
        0x0116_1970, // GFS 2
        0x7461_636f, // OCFS 2
        0x6573_5546, // FUSE
    ];
    NETWORK.contains(&number)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn local_file_systems_are_no_network_file_systems() {
        let local = [0xef53, 0x0102_1994, 0x5846_5342, 0x9123_683e, 0x794c_7630, 0x2fc1_2fc1];
        assert!(!local.into_iter().any(is_network_type), "ext4, tmpfs, XFS, Btrfs, overlay, ZFS");
        assert!(is_network_type(0x6969) && is_network_type(0xff53_4d42));
        assert!(!is_network(&std::env::temp_dir()) && !is_network(Path::new("/no/such/file")));
    }
}
