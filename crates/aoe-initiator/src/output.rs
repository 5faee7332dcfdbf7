//! Text for standard output and standard error, whose readers may have gone: `aoeperf ... | head`.

use std::io::{self, ErrorKind, Write};

/// Prints to standard output. If its reader has gone, the text is lost, as that is what the reader wants.
///
/// # Errors
/// All else, such as a full file system.
pub fn print(text: &str) -> io::Result<()> {
    write_to(&mut io::stdout(), text)
}

/// Prints to standard error. Text that can't be written is lost: there is no other place for it.
pub fn note(text: &str) {
    write_to(&mut io::stderr(), text).unwrap_or_default();
}

fn write_to(out: &mut impl Write, text: &str) -> io::Result<()> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, pipe};

    use super::*;

    #[test]
    fn text_for_a_reader_that_has_gone_is_no_error_and_other_failures_are() {
        let (mut reader, mut writer) = pipe().unwrap();
        write_to(&mut writer, "one\n").unwrap();
        let mut read = [0; 4];
        reader.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"one\n");
        drop(reader);
        write_to(&mut writer, "two\n").unwrap();
        let mut full = File::options().write(true).open("/dev/full").unwrap();
        assert_eq!(write_to(&mut full, "three\n").unwrap_err().kind(), ErrorKind::StorageFull);
    }
}
