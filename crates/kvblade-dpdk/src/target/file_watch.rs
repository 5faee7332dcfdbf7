//! What is known of the files beneath exports: their sizes, and syncs that failed. They are looked at from time to time. An event of
//! Linux for the size (inotify) would come with each write, too.

use std::collections::{BTreeMap, BTreeSet};

use spdk::{AppThread, FileBeneath};

/// How many are looked at in one go: this thread polls, and each look takes a system call.
const AT_ONCE: usize = 8;

/// What is known of the bdevs of files.
#[derive(Default)]
pub(super) struct FileWatch {
    /// The name of the bdev that was looked at last.
    last: String,
    /// Bdevs whose size could not be taken over, since their files became shorter, with the reason. It is logged once.
    refused: BTreeMap<String, String>,
    /// Bdevs that failed to bring writes to stable media, with the reason.
    failed: BTreeMap<String, String>,
}

impl FileWatch {
    /// Looks at the next few files. A new size comes back as an event of the bdev.
    pub(super) fn look(&mut self, app: AppThread<'_>) {
        let names: BTreeSet<String> = spdk::file::list(app).into_iter().collect();
        let looked_at = next_of(&names, &self.last);
        for name in &looked_at {
            match spdk::file::follow_size(app, name) {
                Ok(_) => {
                    self.refused.remove(*name);
                }
                Err(error) => {
                    if self.refused.insert((*name).to_owned(), error.to_string()).is_none() {
                        tracing::warn!(bdev = name, "its file has changed its size: {error}");
                    }
                }
            }
            match spdk::file::failure(app, name) {
                Some(reason) => self.failed.insert((*name).to_owned(), reason),
                None => self.failed.remove(*name),
            };
        }
        self.last = looked_at.last().map_or_else(String::new, |name| (*name).to_owned());
        self.refused.retain(|name, _| names.contains(name));
        self.failed.retain(|name, _| names.contains(name));
    }

    /// Whether a file has failed to keep what was written.
    pub(super) fn has_failed(&self) -> bool {
        !self.failed.is_empty() || !self.refused.is_empty()
    }

    /// The reason, if one of these files has failed to keep what was written, or became shorter.
    pub(super) fn failure_among(&self, files: &[FileBeneath]) -> Option<String> {
        files.iter().find_map(|file| {
            let Some(why) = self.failed.get(&file.bdev) else { return self.refused.get(&file.bdev).cloned() };
            Some(format!(
                "'{}' failed to keep what was written ({why}): what it is to make durable fails until its bdev {} is made anew, \
                 or bdev_file_rescan has clear_failure",
                file.path, file.bdev
            ))
        })
    }
}

/// The next few names after `last`, from the first one again behind the end.
fn next_of<'a>(names: &'a BTreeSet<String>, last: &str) -> Vec<&'a str> {
    let later = names.range::<str, _>((std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded));
    later.chain(names).take(AT_ONCE.min(names.len())).map(String::as_str).collect()
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
