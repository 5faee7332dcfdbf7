//! The state directory's disk: a directory for the real state store, that fails at any step, and of which each step shows what a
//! loss of power then would leave.
//!
//! What was not synced is there, or is not: of a file's bytes a beginning, or what was there before; of renames and removals the first
//! ones, in their order, as on a file system with a journal.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::{self, Error},
    path::PathBuf,
    rc::Rc,
};

use state_store::{Directory, Written};

use crate::dice::Dice;

/// A file's bytes.
#[derive(Debug, Clone, Default)]
struct File {
    bytes: Vec<u8>,
    /// Those that are on stable media.
    stable: Vec<u8>,
    synced: bool,
}

/// A change of the names.
#[derive(Debug, Clone)]
enum Change {
    Put(String, usize),
    Take(String),
}

/// What is in a directory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Contents {
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    /// The names on stable media, and the changes since.
    stable: BTreeMap<String, usize>,
    changes: Vec<Change>,
}

#[derive(Debug)]
struct Disk {
    contents: Contents,
    dice: Dice,
    /// Chance of a step to fail.
    fails: u64,
    steps: u64,
    /// What was there after each step.
    trail: Vec<Contents>,
}

/// A handle on the directory.
#[derive(Debug, Clone)]
pub(crate) struct StateDirectory(Rc<RefCell<Disk>>);

/// A file that was written.
pub(crate) struct WrittenFile {
    directory: StateDirectory,
    file: usize,
}

fn apply(names: &mut BTreeMap<String, usize>, change: &Change) {
    match change {
        Change::Put(name, file) => _ = names.insert(name.clone(), *file),
        Change::Take(name) => _ = names.remove(name),
    }
}

impl Contents {
    fn change(&mut self, change: Change) {
        apply(&mut self.names, &change);
        self.changes.push(change);
    }

    /// A directory with what a loss of power leaves of this one, that does not fail.
    pub(crate) fn survivor(&self, dice: Dice, subject: u64) -> StateDirectory {
        let survives = |file: usize| {
            let File { bytes, stable, synced } = &self.files[file];
            let beginning = dice.below(bytes.len() as u64 + 1, &[subject, file as u64, 1]);
            let bytes = match dice.below(3, &[subject, file as u64, 0]) {
                _ if *synced => bytes.clone(),
                0 => stable.clone(),
                1 => bytes.clone(),
                _ => bytes[..usize::try_from(beginning).unwrap_or(0)].to_vec(),
            };
            File { stable: bytes.clone(), bytes, synced: true }
        };
        let kept = usize::try_from(dice.below(self.changes.len() as u64 + 1, &[subject, 2])).unwrap_or(0);
        let mut names = self.stable.clone();
        self.changes[..kept].iter().for_each(|change| apply(&mut names, change));
        let files = (0..self.files.len()).map(survives).collect();
        let contents = Contents { files, stable: names.clone(), names, changes: Vec::new() };
        StateDirectory::of(contents, dice, 0)
    }
}

impl StateDirectory {
    /// An empty one, of whose steps so many of 1,000 fail.
    pub(crate) fn new(dice: Dice, fails: u64) -> Self {
        Self::of(Contents::default(), dice, fails)
    }

    fn of(contents: Contents, dice: Dice, fails: u64) -> Self {
        Self(Rc::new(RefCell::new(Disk { contents, dice, fails, steps: 0, trail: Vec::new() })))
    }

    /// What is in it.
    pub(crate) fn contents(&self) -> Contents {
        self.0.borrow().contents.clone()
    }

    /// What was in it after each step since this was asked last.
    pub(crate) fn take_trail(&self) -> Vec<Contents> {
        std::mem::take(&mut self.0.borrow_mut().trail)
    }

    /// Takes a step, unless it fails: then `partly`.
    fn step<R>(
        &self,
        whole: impl FnOnce(&mut Contents) -> io::Result<R>,
        partly: impl FnOnce(&mut Contents, Dice),
    ) -> io::Result<R> {
        let disk = &mut *self.0.borrow_mut();
        disk.steps += 1;
        let result = if disk.dice.permille(disk.fails, &[disk.steps]) {
            partly(&mut disk.contents, disk.dice);
            Err(Error::other("the simulated disk fails"))
        } else {
            whole(&mut disk.contents)
        };
        let left = disk.contents.clone();
        disk.trail.push(left);
        result
    }
}

impl Directory for StateDirectory {
    type Written = WrittenFile;

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.0.borrow().contents.names.keys().cloned().collect())
    }

    fn has(&self, name: &str) -> bool {
        self.0.borrow().contents.names.contains_key(name)
    }

    fn read(&self, name: &str, limit: usize) -> Result<Vec<u8>, String> {
        let contents = &self.0.borrow().contents;
        let file = contents.names.get(name).ok_or("there is no such file")?;
        let bytes = &contents.files[*file].bytes;
        if bytes.len() > limit { Err("it is too large".into()) } else { Ok(bytes.clone()) }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<WrittenFile> {
        let write = |contents: &mut Contents, bytes: &[u8]| {
            let file = contents.names.get(name).copied().unwrap_or(contents.files.len());
            if file == contents.files.len() {
                contents.files.push(File::default());
                contents.change(Change::Put(name.to_owned(), file));
            }
            (contents.files[file].bytes, contents.files[file].synced) = (bytes.to_vec(), false);
            file
        };
        let file = self.step(
            |contents| Ok(write(contents, bytes)),
            |contents, dice| {
                let written = dice.below(bytes.len() as u64 + 1, &[contents.files.len() as u64]);
                write(contents, &bytes[..usize::try_from(written).unwrap_or(0)]);
            },
        )?;
        Ok(WrittenFile { directory: self.clone(), file })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let whole = |contents: &mut Contents| -> io::Result<()> {
            let file = *contents.names.get(from).ok_or(io::ErrorKind::NotFound)?;
            // A loss of power may leave both names of the file, and never none.
            contents.change(Change::Put(to.to_owned(), file));
            contents.names.remove(from);
            contents.changes.push(Change::Take(from.to_owned()));
            Ok(())
        };
        self.step(whole, |_, _| ())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let whole = |contents: &mut Contents| -> io::Result<()> {
            contents.names.get(name).ok_or(io::ErrorKind::NotFound)?;
            contents.change(Change::Take(name.to_owned()));
            Ok(())
        };
        self.step(whole, |_, _| ())
    }

    fn sync(&self) -> io::Result<()> {
        let whole = |contents: &mut Contents| -> io::Result<()> {
            contents.stable = contents.names.clone();
            contents.changes.clear();
            Ok(())
        };
        self.step(whole, |_, _| ())
    }

    fn path(&self, name: &str) -> PathBuf {
        name.into()
    }
}

impl Written for WrittenFile {
    fn sync(self) -> io::Result<()> {
        let whole = |contents: &mut Contents| -> io::Result<()> {
            let file = &mut contents.files[self.file];
            (file.stable, file.synced) = (file.bytes.clone(), true);
            Ok(())
        };
        self.directory.step(whole, |_, _| ())
    }
}

#[cfg(test)]
mod tests {
    use state_store::{Store, Stored};

    use super::*;

    fn store(directory: StateDirectory) -> Store<StateDirectory> {
        Store::of(directory, |text| Ok(text.to_owned())).expect("it reads").store
    }

    /// The payloads of `1.1` that losses of power at this moment leave.
    fn left(contents: &Contents) -> Vec<Option<String>> {
        let left = (0..200).map(|cut| {
            let survivor = contents.survivor(Dice::new(1, "cut"), cut);
            let opened = Store::of(survivor, |text| Ok(text.to_owned())).expect("it reads");
            assert!(opened.set_aside.is_empty(), "{:?}", opened.set_aside);
            match opened.stored.get("1.1") {
                None => None,
                Some(Stored::Intact(text)) => Some(text.clone()),
                Some(Stored::Unknown(why)) => panic!("{why}"),
            }
        });
        let mut left: Vec<_> = left.collect();
        left.sort();
        left.dedup();
        left
    }

    #[test]
    fn each_step_of_a_save_leaves_the_old_or_the_new_state_and_its_end_the_new_one() {
        let directory = StateDirectory::new(Dice::new(1, "state"), 0);
        let store = store(directory.clone());
        store.save("1.1", "old").expect("nothing fails");
        let steps = directory.take_trail();
        assert_eq!(left(steps.last().expect("steps")), [Some("old".into())]);
        store.save("1.1", "new").expect("nothing fails");
        let steps = directory.take_trail();
        let (last, steps) = steps.split_last().expect("steps");
        assert!(
            steps.iter().flat_map(left).all(|text| text == Some("old".into()) || text == Some("new".into()))
        );
        assert_eq!(left(last), [Some("new".into())]);
        assert_eq!(left(&directory.contents()), [Some("new".into())]);
    }

    #[test]
    fn what_was_not_synced_may_be_torn_or_gone() {
        let directory = StateDirectory::new(Dice::new(1, "state"), 0);
        let written = directory.write("1.1", b"torn or not").expect("nothing fails");
        let read = |contents: &Contents| {
            (0..200)
                .map(|cut| contents.survivor(Dice::new(1, "cut"), cut).read("1.1", 100).ok())
                .collect::<std::collections::BTreeSet<_>>()
        };
        let survivors = read(&directory.contents());
        assert!(survivors.len() > 3 && survivors.contains(&None), "{survivors:?}");
        written.sync().expect("nothing fails");
        let whole = Some(b"torn or not".to_vec());
        assert_eq!(read(&directory.contents()), [None, whole.clone()].into(), "its name is not synced");
        directory.sync().expect("nothing fails");
        assert_eq!(read(&directory.contents()), [whole].into());
    }
}
