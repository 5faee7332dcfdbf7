//! What log lines are written to: standard error, a file, or journald. Everything here may wait, so the writing thread alone does it.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Permissions of a file that is made anew.
const MODE: u32 = 0o640;

/// Most bytes that go to standard error without a wait: so much room has a pipe that is ready (`PIPE_BUF`).
const REPEATED_MAX: usize = 4096;

/// An open target.
pub(super) struct Output {
    to: To,
    /// Only the beginning of a line was written.
    cut: bool,
}

enum To {
    Stream(File),
    File { file: File, path: PathBuf },
    Journal { socket: UnixDatagram, path: PathBuf },
}

impl Output {
    /// Standard error, by a descriptor of its own: `Stderr` has a lock, which would be held while nobody reads.
    pub(super) fn standard_error() -> io::Result<Self> {
        Ok(Self::stream(File::from(io::stderr().as_fd().try_clone_to_owned()?)))
    }

    /// Something that is open.
    pub(super) const fn stream(out: File) -> Self {
        Self { to: To::Stream(out), cut: false }
    }

    /// The end of a file.
    pub(super) fn file(path: &Path) -> io::Result<Self> {
        Ok(Self { to: To::File { file: open(path)?, path: path.to_owned() }, cut: false })
    }

    /// journald.
    pub(super) fn journal(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        Ok(Self { to: To::Journal { socket, path: path.to_owned() }, cut: false })
    }

    /// Opens a file anew, which may have another name by now. The former one stays if that fails.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let To::File { file, path } = &mut self.to {
            *file = open(path)?;
            self.cut = false;
        }
        Ok(())
    }

    /// Why lines may be lost.
    pub(super) fn why_lost(&self) -> String {
        match &self.to {
            To::Stream(_) => "standard error was full or not read".into(),
            To::File { path, .. } => format!("'{}' was full or slow", path.display()),
            To::Journal { .. } => "journald did not take them".into(),
        }
    }

    /// Writes a line, or sends a record.
    pub(super) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if let To::Journal { socket, path } = &self.to {
            return send(socket, path, line);
        }
        if self.cut {
            self.write_piece(b"\n")?;
            self.cut = false;
        }
        let mut rest = line;
        while !rest.is_empty() {
            match self.write_piece(rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) => {
                    self.cut = rest.len() < line.len();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Waits here if nobody reads.
    fn write_piece(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let out = match &mut self.to {
            To::Stream(file) | To::File { file, .. } => file,
            To::Journal { .. } => return Ok(bytes.len()),
        };
        loop {
            match out.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Another process that shares the pipe has made it non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let mut events = [PollFd::new(out.as_fd(), PollFlags::POLLOUT)];
                    match poll(&mut events, PollTimeout::NONE) {
                        Ok(_) | Err(nix::Error::EINTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                other => return other,
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(MODE).open(path)
}

/// Sends a record; to a new journald, if the one before has ended.
fn send(socket: &UnixDatagram, path: &Path, record: &[u8]) -> io::Result<()> {
    let mut connected = true;
    loop {
        match socket.send(record) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if connected && is_gone(&error) => {
                socket.connect(path)?;
                connected = false;
            }
            Err(error) => return Err(error),
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::NotConnected
            | ErrorKind::BrokenPipe
            | ErrorKind::NotFound
    )
}

/// Writes the beginning of a text to standard error, if that takes it without a wait.
pub(super) fn repeat_on_standard_error(text: &[u8]) {
    let stderr = io::stderr();
    let mut events = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut events, PollTimeout::ZERO).is_ok_and(|ready| ready > 0) {
        let piece = text.get(..REPEATED_MAX).unwrap_or(text);
        // The log has these words too; nothing is left to report a failure to.
        stderr.lock().write_all(piece).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_renamed_is_opened_anew() {
        let directory = tempfile::tempdir().unwrap();
        let [path, old] = ["log", "log.1"].map(|name| directory.path().join(name));
        let mut output = Output::file(&path).unwrap();
        output.write(b"one\n").unwrap();
        std::fs::rename(&path, &old).unwrap();
        output.write(b"two\n").unwrap();
        output.reopen().unwrap();
        output.write(b"three\n").unwrap();
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
        std::fs::remove_dir_all(directory.path()).unwrap();
        assert!(output.reopen().is_err());
        output.write(b"four\n").unwrap();
    }

    /// A datagram socket stands for journald, and another one for the next journald at its path.
    #[test]
    fn records_go_to_the_next_journald_when_one_has_ended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let mut piece = [0; 64];
        let journald = UnixDatagram::bind(&path).unwrap();
        let mut output = Output::journal(&path).unwrap();
        output.write(b"MESSAGE=one\n").unwrap();
        assert_eq!(journald.recv(&mut piece).unwrap(), b"MESSAGE=one\n".len());
        drop(journald);
        assert!(output.write(b"MESSAGE=lost\n").is_err());
        std::fs::remove_file(&path).unwrap();
        assert!(output.write(b"MESSAGE=lost\n").is_err());
        let journald = UnixDatagram::bind(&path).unwrap();
        output.write(b"MESSAGE=two\n").unwrap();
        let length = journald.recv(&mut piece).unwrap();
        assert_eq!(piece.get(..length).unwrap(), b"MESSAGE=two\n");
    }
}
