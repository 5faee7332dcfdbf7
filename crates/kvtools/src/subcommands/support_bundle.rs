//! `kv support-bundle`: what a report of a fault needs, in one archive.

mod sources;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use tar::{Builder, Header};

use self::sources::Source;
use crate::progress::{Measure, Progress};
use rpc_client::command::{CommandError, Connection, Outcome};

/// Collect what a report of a fault needs (configuration, versions, counters, log, hardware), without keys and tokens, in one tar archive
///
/// It also works without a running target: then its answers are left out. The archive names disks, initiators and interfaces. File
/// MANIFEST in it says what could not be had, and why.
#[derive(Debug, Args)]
pub(super) struct SupportBundleArgs {
    /// Archive to write, which must not be there yet [default: kvblade-support-SECONDS.tar]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Settings file of the target
    #[arg(long, value_name = "FILE", default_value = "/etc/kvblade/kvblade.toml")]
    settings: PathBuf,
}

impl SupportBundleArgs {
    /// Carries it out.
    pub(super) fn carry_out(&self, connection: &Connection) -> Result<Outcome, CommandError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let name = format!("kvblade-support-{now}");
        let path = self.output.clone().unwrap_or_else(|| format!("{name}.tar").into());
        let failed =
            |error: io::Error| CommandError::Refused(format!("--output '{}': {error}", path.display()));
        // Before the work, which takes some seconds.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        let sources = {
            let _progress = Progress::start(
                "answers and programs",
                Measure::AtMost(connection.timeout() + sources::programs_max()),
            );
            let mut sources = sources::of_target(connection);
            sources.extend(sources::of_machine(&self.settings));
            sources
        };
        archive(file, &name, &sources, now).map_err(failed)?;
        let missing = sources.iter().filter(|(_, content)| content.is_err()).count();
        let count = sources.len() - missing;
        Ok(format!(
            "{}: {count} files; {missing} could not be had, for the reasons in MANIFEST\n",
            path.display()
        )
        .into())
    }
}

/// Writes the archive: a directory `name` with the sources, and a manifest of them. `now`: in seconds since 1970.
fn archive(file: File, name: &str, sources: &[Source], now: u64) -> io::Result<()> {
    let mut archive = Builder::new(file);
    let mut add = |path: &str, content: &[u8]| {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(now);
        archive.append_data(&mut header, format!("{name}/{path}"), content)
    };
    let mut manifest = format!("kv {}\n\n", env!("CARGO_PKG_VERSION"));
    for (path, content) in sources {
        match content {
            Ok(content) => {
                add(path, content)?;
                manifest += &format!("{path}: {} bytes\n", content.len());
            }
            Err(why) => manifest += &format!("{path}: not here: {why}\n"),
        }
    }
    add("MANIFEST", manifest.as_bytes())?;
    archive.into_inner()?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_archive_has_what_was_had_and_the_manifest_why_something_was_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("b.tar");
        let long = format!("system/{}", "n".repeat(200));
        let sources = [
            ("target/a.json".to_owned(), Ok(b"{}\n".to_vec())),
            (long.clone(), Ok(Vec::new())),
            ("system/lspci".to_owned(), Err("lspci: No such file or directory".to_owned())),
        ];
        archive(File::create(&path).unwrap(), "kv-1", &sources, 1_764_500_000).unwrap();
        let tar = Command::new("tar").arg("-xvf").arg(&path).current_dir(&directory).output().unwrap();
        assert!(tar.status.success() && tar.stderr.is_empty(), "{tar:?}");
        let listed = String::from_utf8(tar.stdout).unwrap();
        assert_eq!(listed, format!("kv-1/target/a.json\nkv-1/{long}\nkv-1/MANIFEST\n"));
        let manifest = std::fs::read_to_string(directory.path().join("kv-1/MANIFEST")).unwrap();
        assert!(manifest.contains("target/a.json: 3 bytes\n"), "{manifest}");
        assert!(manifest.contains("system/lspci: not here: lspci: No such file"), "{manifest}");
    }
}
