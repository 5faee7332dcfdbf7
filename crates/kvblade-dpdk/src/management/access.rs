//! Who may connect to the management socket: its permissions and its group (`--rpc-mode`, `--rpc-group`).

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::unistd::{Gid, Group, chown};

/// Permissions of a socket whose group is chosen and whose permissions are not.
const MODE_OF_GROUP: u32 = 0o660;

/// The permissions and the group of the socket, as far as they are chosen. Otherwise the process's umask decides, and its
/// group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SocketAccess {
    /// Permissions: three octal digits.
    pub(crate) mode: Option<u32>,
    /// Number of the group.
    pub(crate) group: Option<u32>,
}

impl SocketAccess {
    /// Gives a socket that was just made these permissions. Before, connecting takes those of the umask, which are narrower or
    /// equal: a socket is made without write permission for others.
    ///
    /// # Errors
    /// One sentence.
    pub(super) fn apply(self, path: &Path) -> Result<(), String> {
        if let Some(group) = self.group {
            chown(path, None, Some(Gid::from_raw(group)))
                .map_err(|error| format!("--rpc-group {group} can't be given to it: {error}"))?;
        }
        if let Some(mode) = self.mode.or(self.group.map(|_| MODE_OF_GROUP)) {
            std::fs::set_permissions(path, Permissions::from_mode(mode))
                .map_err(|error| format!("--rpc-mode {mode:o} can't be set: {error}"))?;
        }
        Ok(())
    }
}

/// The permissions of a socket.
///
/// # Errors
/// What is allowed.
pub(crate) fn parse_mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix('0').filter(|rest| rest.len() == 3).unwrap_or(text);
    let is_octal = digits.len() == 3 && digits.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
    let mode = u32::from_str_radix(digits, 8).ok().filter(|_| is_octal);
    mode.ok_or_else(|| "the permissions of a socket are three octal digits, such as 600 or 660".into())
}

/// The number of a group of this machine.
///
/// # Errors
/// What is allowed.
pub(crate) fn parse_group(text: &str) -> Result<u32, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let found = Group::from_name(text).map_err(|error| format!("groups can't be looked up: {error}"))?;
    let group = found.map(|group| group.gid.as_raw());
    group.ok_or_else(|| {
        format!("there is no group '{text}': the name or number of a group of this machine is needed")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_octal_digits_and_groups_exist() {
        assert_eq!((parse_mode("660"), parse_mode("0600")), (Ok(0o660), Ok(0o600)));
        for text in ["", "66", "6600", "678", "0o660", "rw-", "-660", "+66"] {
            assert!(parse_mode(text).unwrap_err().contains("three octal digits"), "{text}");
        }
        assert_eq!((parse_group("root"), parse_group("12")), (Ok(0), Ok(12)));
        assert!(parse_group("no such group").unwrap_err().contains("'no such group'"));
    }

    #[test]
    fn a_socket_gets_what_was_chosen() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("s");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let mode = || path.metadata().unwrap().permissions().mode() & 0o777;
        let own = nix::unistd::getegid().as_raw();
        let before = mode();
        SocketAccess::default().apply(&path).unwrap();
        assert_eq!(mode(), before);
        SocketAccess { mode: Some(0o600), group: Some(own) }.apply(&path).unwrap();
        assert_eq!(mode(), 0o600);
        SocketAccess { mode: None, group: Some(own) }.apply(&path).unwrap();
        assert_eq!(mode(), MODE_OF_GROUP);
    }
}
