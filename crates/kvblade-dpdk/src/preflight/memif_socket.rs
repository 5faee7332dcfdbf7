//! The sockets at which memif ports listen.
//!
//! DPDK's memif PMD binds its socket's path and never unlinks it when it is killed; at the next start the path is "in use".

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::launch_error::LaunchError;

/// The path at which the port of this vdev will listen; `None` if it connects, or listens at an abstract address, which
/// goes with its process (DPDK `rte_eth_memif.c`: clients and abstract addresses are the defaults).
fn path_of(vdev: &str) -> Option<PathBuf> {
    let mut words = vdev.split(',');
    if !words.next()?.starts_with("net_memif") {
        return None;
    }
    let value = |key: &str| words.clone().rev().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let listens = matches!(value("role"), Some("server" | "master"));
    let is_path = value("socket-abstract") == Some("no");
    value("socket").filter(|_| listens && is_path).map(PathBuf::from)
}

/// Removes sockets that killed processes have left behind.
///
/// # Errors
/// One sentence about a path at which a port can't listen: another process does, or something else is there.
pub(super) fn check<'a>(vdevs: impl Iterator<Item = &'a str>) -> Result<(), LaunchError> {
    vdevs.filter_map(|vdev| Some((vdev, path_of(vdev)?))).try_for_each(|(vdev, path)| {
        remove_stale(&path).map_err(|what| {
            LaunchError::environment(format!("--vdev={vdev} can't listen at '{}': {what}", path.display()))
        })
    })
}

fn remove_stale(path: &Path) -> Result<(), String> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err("something that is no socket is there; remove it or give another path".into());
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("{error}; give another path")),
    }
    match UnixStream::connect(path) {
        // Nobody listens there any more.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => match fs::remove_file(path) {
            Ok(()) => {
                tracing::info!(path = %path.display(), "removed the socket of a process that has ended");
                Ok(())
            }
            Err(error) => Err(format!("its process has ended, and the file can't be removed: {error}")),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // memif's sockets are of type SOCK_SEQPACKET: such a listener refuses this type, and is not disturbed.
        Err(error) if error.raw_os_error() != Some(Errno::EPROTOTYPE as i32) => {
            Err(format!("{error}; give another path"))
        }
        _ => Err("another process listens at its socket; stop it or give another path".into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn vdev(path: &Path) -> String {
        format!("net_memif0,role=server,socket={},socket-abstract=no", path.display())
    }

    #[test]
    fn only_servers_at_a_path_listen_at_one() {
        assert_eq!(path_of("net_memif0,role=server,socket=/a,socket-abstract=no"), Some("/a".into()));
        assert_eq!(path_of("net_memif1,socket-abstract=no,socket=/b,role=master"), Some("/b".into()));
        for vdev in [
            "net_memif0,role=server,socket=/a",
            "net_memif0,role=server,socket=/a,socket-abstract=yes",
            "net_memif0,role=client,socket=/a,socket-abstract=no",
            "net_memif0,socket=/a,socket-abstract=no",
            "net_memif0",
            "net_af_packet0,role=server,socket=/a,socket-abstract=no",
        ] {
            assert_eq!(path_of(vdev), None, "{vdev}");
        }
    }

    #[test]
    fn a_socket_is_removed_only_if_nobody_listens_there() {
        let directory = tempfile::TempDir::new().expect("a directory");
        let path = directory.path().join("memif");
        let check = |path: &Path| check([vdev(path).as_str()].into_iter());
        check(&path).expect("nothing is there");
        let listener = UnixListener::bind(&path).expect("a listener");
        let error = check(&path).expect_err("somebody listens").to_string();
        assert!(error.contains("another process listens at its socket") && path.exists(), "{error}");
        drop(listener);
        check(&path).expect("removed");
        assert!(!path.exists());
        fs::write(&path, "no socket").expect("a file");
        let error = check(&path).expect_err("a file").to_string();
        assert!(error.contains("no socket") && path.exists(), "{error}");
        assert!(check(&directory.path().join("none/memif")).is_ok(), "the PMD reports that");
    }
}
