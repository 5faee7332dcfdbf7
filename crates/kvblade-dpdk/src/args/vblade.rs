//! vblade's command line: `SHELF SLOT INTERFACE PATH`.

use std::ffi::{OsStr, OsString};

use control::error::Quoted;

use crate::export_spec::ExportSpec;
use crate::launch_error::LaunchError;

/// The interface and the export of the words that are no options, if there are any.
///
/// # Errors
/// A usage error, when they are not vblade's four.
pub(super) fn read(words: &[OsString]) -> Result<Option<(String, ExportSpec)>, LaunchError> {
    let [shelf, slot, interface, path] = words else {
        let Some(first) = words.first() else { return Ok(None) };
        return Err(LaunchError::usage(format!(
            "'{}' is no option: without an option stand vblade's four words alone, SHELF SLOT INTERFACE PATH, and here \
             are {} (see kvblade-dpdk --help)",
            first.display(),
            words.len()
        )));
    };
    let text = |word: &OsStr| {
        word.to_str().map(str::to_owned).ok_or_else(|| {
            LaunchError::usage(format!("{word:?} is not UTF-8, as SPDK's configuration must be"))
        })
    };
    let interface = text(interface)?;
    crate::interfaces::check_name(&interface)
        .map_err(|sentence| LaunchError::usage(format!("interface {}: {sentence}", Quoted(&interface))))?;
    // A path may be relative, and may contain commas.
    let path = std::path::absolute(path)
        .map_err(|error| LaunchError::usage(format!("'{}': {error}: give a path", path.display())))?;
    let path = text(path.as_os_str())?.replace(',', ",,");
    let export = format!("{}.{}@{interface}={path}", text(shelf)?, text(slot)?);
    Ok(Some((interface, ExportSpec::parse(OsStr::new(&export))?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export_spec::BdevSpec;

    fn read_line(line: &str) -> Result<Option<(String, ExportSpec)>, LaunchError> {
        read(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn four_words_are_an_interface_and_an_export_on_it() {
        let (interface, export) = read_line("1 3 eth1 /srv/a,b.img").expect("right").expect("four words");
        assert_eq!((interface.as_str(), export.place().as_str()), ("eth1", "1.3@eth1"));
        assert_eq!(export.bdev, BdevSpec::at("/srv/a,b.img"));
        let (_, export) = read_line("1 3 eth1 disk.img").expect("right").expect("four words");
        assert!(export.bdev.path().is_some_and(|path| path.is_absolute() && path.ends_with("disk.img")));
        assert_eq!(read_line(""), Ok(None));
    }

    #[test]
    fn other_words_are_refused() {
        for (line, part) in [
            ("stray", "'stray'"),
            ("1 3 eth1", "here are 3"),
            ("1 3 eth1 /a /b", "here are 5"),
            ("65535 3 eth1 /a", "65535"),
            ("x 3 eth1 /a", "'x.3"),
            ("1 3 lo /a", "'lo'"),
        ] {
            let error = read_line(line).expect_err(line);
            assert!(error.to_string().contains(part), "{line}: {error}");
        }
    }
}
