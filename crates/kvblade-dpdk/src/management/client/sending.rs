//! Sending an answer to a client that may not read it: within limits, after which its connection is closed.

use std::io::{ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Bytes of an answer that are sent at once.
const PIECE: usize = 64 << 10;

/// The times that a client has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sending {
    /// To read something.
    pub(super) pause: Duration,
    /// To read an answer.
    pub(super) answer: Duration,
}

impl Sending {
    pub(super) const LIMITS: Self = Self { pause: Duration::from_secs(5), answer: Duration::from_secs(60) };

    /// Sends all parts.
    ///
    /// # Errors
    /// Why not, when the client has taken longer, or has gone.
    pub(super) fn send(self, mut stream: &UnixStream, parts: &[&[u8]]) -> Result<(), Unsent> {
        let deadline = Instant::now() + self.answer;
        let mut bytes: usize = parts.iter().map(|part| part.len()).sum();
        for piece in parts.iter().flat_map(|part| part.chunks(PIECE)) {
            let mut left = piece;
            while !left.is_empty() {
                let time = deadline.saturating_duration_since(Instant::now()).min(self.pause);
                if time.is_zero() {
                    return Err(Unsent { bytes, why: Why::Slow(self.answer) });
                }
                let sent = stream.set_write_timeout(Some(time)).and_then(|()| stream.write(left));
                let why = match sent {
                    Ok(0) => Why::Broken(ErrorKind::WriteZero.into()),
                    Ok(length) => {
                        bytes -= length;
                        left = left.get(length..).unwrap_or_default();
                        continue;
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(error) if error.kind() != ErrorKind::WouldBlock => Why::Broken(error),
                    Err(_) if time < self.pause => Why::Slow(self.answer),
                    Err(_) => Why::Pause(self.pause),
                };
                return Err(Unsent { bytes, why });
            }
        }
        Ok(())
    }
}

/// An answer was not sent; displays as a sentence.
#[derive(Debug)]
pub(super) struct Unsent {
    bytes: usize,
    why: Why,
}

#[derive(Debug)]
enum Why {
    /// It has read nothing for so long.
    Pause(Duration),
    /// It has read something now and then.
    Slow(Duration),
    Broken(std::io::Error),
}

impl Unsent {
    /// A client that goes before its answer is nothing unusual.
    pub(super) fn log(&self, process: &str) {
        match self.why {
            Why::Broken(_) => {
                tracing::debug!(client = process, "a client has gone before its answer: {self}")
            }
            Why::Pause(_) | Why::Slow(_) => {
                tracing::warn!(client = process, "a connection to the management socket is closed: {self}");
            }
        }
    }
}

impl std::fmt::Display for Unsent {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { bytes, why } = self;
        match why {
            Why::Pause(limit) => {
                write!(formatter, "it has not read {bytes} bytes of its answer for {} s", limit.as_secs())
            }
            Why::Slow(limit) => write!(
                formatter,
                "it has read slowly: {bytes} bytes of its answer are left after {} s",
                limit.as_secs()
            ),
            Why::Broken(error) => write!(formatter, "{bytes} bytes of its answer can't be sent: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::thread;

    use super::*;

    /// More than any socket holds.
    const LARGE: usize = 16 << 20;

    /// Longer than a test.
    const LONG: Duration = Duration::from_secs(3600);

    const SHORT: Duration = Duration::from_millis(50);

    #[test]
    fn parts_arrive_as_they_are() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let reader = thread::spawn(move || {
            let mut read = Vec::new();
            theirs.read_to_end(&mut read).unwrap();
            read
        });
        let parts = [vec![1; 3], vec![2; LARGE], vec![3; PIECE]];
        let sent = Sending::LIMITS.send(&ours, &[&parts[0], &parts[1], &parts[2]]);
        assert!(sent.is_ok(), "{sent:?}");
        drop(ours);
        assert!(reader.join().unwrap() == parts.concat());
    }

    #[test]
    fn a_client_that_reads_nothing_has_a_pause() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let unsent = Sending { pause: SHORT, answer: LONG }.send(&ours, &[&vec![0; LARGE]]).unwrap_err();
        assert!(matches!(unsent.why, Why::Pause(limit) if limit == SHORT) && unsent.bytes > 0, "{unsent:?}");
        assert!(unsent.to_string().contains("has not read"), "{unsent}");
    }

    #[test]
    fn a_client_that_always_reads_a_little_has_the_time_of_an_answer() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let reader = thread::spawn(move || {
            let mut piece = [0; 4096];
            while theirs.read(&mut piece).is_ok_and(|length| length > 0) {
                thread::sleep(Duration::from_millis(1));
            }
        });
        let unsent = Sending { pause: LONG, answer: SHORT }.send(&ours, &[&vec![0; LARGE]]).unwrap_err();
        assert!(matches!(unsent.why, Why::Slow(limit) if limit == SHORT), "{unsent:?}");
        assert!(unsent.to_string().contains("has read slowly"), "{unsent}");
        drop(ours);
        reader.join().unwrap();
    }

    #[test]
    fn a_client_that_has_gone_is_neither() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let unsent = Sending::LIMITS.send(&ours, &[b"answer"]).unwrap_err();
        assert!(matches!(unsent.why, Why::Broken(_)) && unsent.bytes == 6, "{unsent:?}");
    }
}
