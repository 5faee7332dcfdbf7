//! Checks that the program will be able to listen at the RPC socket's path, and SPDK beside.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::launch_error::LaunchError;

/// Longest path, in bytes. `sun_path` holds 108 with the terminating zero, and while the
/// configuration is carried out we listen at this path with `.<pid>_config` appended ([`own_socket`]); a pid has at most
/// seven digits.
pub(super) const RPC_PATH_MAX: usize = 108 - 1 - ".4194304_config".len();

/// The socket on which the program calls itself while it carries out the configuration.
pub(crate) fn own_socket(path: &Path) -> PathBuf {
    let mut own = path.as_os_str().to_owned();
    own.push(format!(".{}_config", std::process::id()));
    own.into()
}

/// The socket at which SPDK's own server listens. That of a program which takes over has the number of its process, for the other
/// program still has its own.
pub(crate) fn spdk_socket(path: &Path, take_over: bool) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    if take_over {
        beside.push(format!(".{}", std::process::id()));
    }
    beside.push(".spdk");
    beside.into()
}

/// What is found at a path where the program will bind: it locks `PATH.lock`, then unlinks and binds `PATH`, as SPDK does
/// beside (`spdk_rpc_listen` in `lib/rpc/rpc.c`). With `take_over` another program listens there now, and will have ended.
pub(super) fn check(path: &Path, take_over: bool) -> Result<(), LaunchError> {
    let refuse = |what: String| {
        Err(LaunchError::environment(format!("cannot listen at --rpc-socket '{}': {what}", path.display())))
    };
    let length = path.as_os_str().as_bytes().len();
    if length > RPC_PATH_MAX {
        return refuse(format!("the path has {length} bytes; at most {RPC_PATH_MAX} are allowed"));
    }
    if path.to_str().is_none() {
        return refuse("the path is not UTF-8; a path that is UTF-8 is needed".into());
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    match fs::metadata(directory) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => {
            return refuse(format!(
                "'{}' is no directory; give a path in a directory that exists",
                directory.display()
            ));
        }
        Err(error) => {
            return refuse(format!(
                "{error}, '{}'; give a path in a directory that exists",
                directory.display()
            ));
        }
    }
    for bound in [path, &spdk_socket(path, take_over)] {
        match fs::symlink_metadata(bound) {
            Ok(found) if !found.file_type().is_socket() => {
                let there = if bound == path { "there".into() } else { format!("at '{}'", bound.display()) };
                return refuse(format!(
                    "something that is no socket is {there}; remove it or give another path"
                ));
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return refuse(format!("{error}; give another path")),
        }
    }
    if !take_over && (UnixStream::connect(path).is_ok() || is_locked(path)) {
        return refuse(
            "another process listens there; stop it or give another path with --rpc-socket".into(),
        );
    }
    Ok(())
}

/// Whether a running SPDK holds the lock it takes before it binds.
fn is_locked(path: &Path) -> bool {
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    let Ok(file) = File::open(lock) else { return false };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(_held_until_here) => false,
        Err((_, errno)) => errno == Errno::EWOULDBLOCK,
    }
}
