//! The files beneath exports, looked at from time to time for a new size and for a sync that failed. An event of Linux for the size
//! (inotify) would come with each write, too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aoe_target::ExportKey;
use spdk::{AppThread, Poller};

use super::control_plane::{Target, with};

/// How often some of them are looked at.
const PERIOD: Duration = Duration::from_millis(500);

/// How many are looked at in one go: this thread polls, and each look takes a system call.
const AT_ONCE: usize = 8;

/// What is known of the bdevs of files.
#[derive(Default)]
pub(super) struct FileWatch {
    /// The poller that looks.
    poller: Option<Poller>,
    /// The name of the bdev that was looked at last.
    last: String,
    /// Bdevs whose size could not be taken over, which is logged once.
    refused: BTreeSet<String>,
    /// Bdevs that failed to bring writes to stable media, with the reason.
    failed: BTreeMap<String, String>,
}

/// Looks at the files from now on, until the target ends.
pub(super) fn watch() {
    let poller = Poller::register(PERIOD, || {
        with(Target::look_at_files);
        false
    });
    match poller {
        Ok(poller) => {
            with(|target| target.file_watch.poller = Some(poller));
        }
        Err(error) => tracing::error!(%error, "files that grow are not noticed"),
    }
}

/// Ends the looks, because the program ends.
pub(super) fn stop() {
    let poller = with(|target| target.file_watch.poller.take());
    drop(poller);
}

/// The next few names after `last`, from the first one again behind the end.
fn next_of<'a>(names: &'a BTreeSet<String>, last: &str) -> Vec<&'a str> {
    let later = names.range::<str, _>((std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded));
    later.chain(names).take(AT_ONCE.min(names.len())).map(String::as_str).collect()
}

impl Target {
    fn look_at_files(&mut self) {
        let looked = AppThread::with(|app| {
            let names: BTreeSet<String> = spdk::file::list(app).into_iter().collect();
            let watch = &mut self.file_watch;
            for name in next_of(&names, &watch.last) {
                // A new size comes back as an event of the bdev.
                match spdk::file::follow_size(app, name) {
                    Ok(_) => {
                        watch.refused.remove(name);
                    }
                    Err(error) if watch.refused.insert(name.to_owned()) => {
                        tracing::warn!(bdev = name, "its file has changed its size: {error}");
                    }
                    Err(_) => {}
                }
                match spdk::file::failure(app, name) {
                    Some(reason) => watch.failed.insert(name.to_owned(), reason),
                    None => watch.failed.remove(name),
                };
            }
            watch.last =
                next_of(&names, &watch.last).last().map_or_else(String::new, |name| (*name).to_owned());
            watch.refused.retain(|name| names.contains(name));
            watch.failed.retain(|name, _| names.contains(name));
        });
        if looked.is_ok() {
            self.bdevs_have_failed(self.exports_on_failed_files());
        }
    }

    /// The exports on files that failed, with the reason.
    fn exports_on_failed_files(&self) -> BTreeMap<ExportKey, String> {
        let failed = &self.file_watch.failed;
        if failed.is_empty() {
            return BTreeMap::new();
        }
        let reason = |key: &ExportKey| {
            let files = &self.resources.get(key)?.bdev()?.info().files;
            files.iter().find_map(|file| {
                let why = failed.get(&file.bdev)?;
                Some(format!(
                    "'{}' failed to keep what was written ({why}): what it is to make durable fails until its bdev {} is made anew, \
                     or bdev_file_rescan has clear_failure",
                    file.path, file.bdev
                ))
            })
        };
        self.resources.keys().filter_map(|key| Some((*key, reason(key)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_has_its_turn() {
        let names: BTreeSet<String> = (0..20).map(|number| format!("file{number:02}")).collect();
        let mut seen = Vec::new();
        let mut last = String::new();
        for _ in 0..5 {
            let next = next_of(&names, &last);
            assert_eq!(next.len(), AT_ONCE);
            seen.extend(next.iter().map(|name| (*name).to_owned()));
            last = next[AT_ONCE - 1].to_owned();
        }
        let all: Vec<String> = names.iter().cloned().collect();
        assert_eq!(seen, [all.clone(), all].concat());
        let few: BTreeSet<String> = ["a".to_owned(), "b".to_owned()].into();
        assert_eq!(next_of(&few, "a"), ["b", "a"], "each once");
        assert!(next_of(&BTreeSet::new(), "a").is_empty());
    }
}
