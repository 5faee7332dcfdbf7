//! The directory over crashes, damage and second openers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc::channel;

use state_store::{OpenError, Opened, Store, Stored, Writer};
use tempfile::TempDir;

fn open(path: &Path) -> Opened<String> {
    Store::open(path, |payload| Ok(payload.to_owned())).unwrap()
}

fn intact(text: &str) -> Option<Stored<String>> {
    Some(Stored::Intact(text.to_owned()))
}

#[test]
fn what_was_saved_is_there_when_it_is_opened_again() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("made/when/missing");
    let opened = open(&path);
    assert!(opened.stored.is_empty() && opened.set_aside.is_empty());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    opened.store.save("1.2", "first").unwrap();
    opened.store.save("1.2", "second").unwrap();
    opened.store.save("1.2@t0", "other").unwrap();
    drop(opened);
    let opened = open(&path);
    assert_eq!(opened.stored.len(), 2);
    assert_eq!(opened.stored.get("1.2").cloned(), intact("second"));
    assert_eq!(opened.stored.get("1.2@t0").cloned(), intact("other"));
}

#[test]
fn a_second_opener_is_refused_in_one_sentence() {
    let directory = TempDir::new().unwrap();
    let first = open(directory.path());
    let refused = Store::open(directory.path(), |_| Ok(())).unwrap_err();
    assert!(matches!(refused, OpenError::InUse(_)), "{refused:?}");
    assert_eq!(
        refused.to_string(),
        format!(
            "the state directory {} is in use by another kvblade-dpdk: give this one its own with --state-dir",
            directory.path().display()
        )
    );
    drop(first);
    open(directory.path());
}

#[test]
fn a_crash_before_the_rename_leaves_what_was_there() {
    let directory = TempDir::new().unwrap();
    open(directory.path()).store.save("1.2", "old").unwrap();
    for part in ["", "kvblade-cla", "kvblade-claims 1 3 00000000\nnew\n"] {
        let temporary = directory.path().join(".1.2.new");
        fs::write(&temporary, part).unwrap();
        let opened = open(directory.path());
        assert_eq!(opened.stored.get("1.2").cloned(), intact("old"));
        assert_eq!(opened.set_aside, []);
        assert!(!temporary.exists());
    }
}

#[test]
fn a_truncated_or_altered_file_is_set_aside_at_every_byte() {
    let directory = TempDir::new().unwrap();
    open(directory.path()).store.save("1.2", "payload").unwrap();
    let path = directory.path().join("1.2");
    let whole = fs::read(&path).unwrap();
    let cut = (0..whole.len()).map(|length| whole[..length].to_vec());
    let altered = (0..whole.len()).map(|at| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        bytes
    });
    for bytes in cut.chain(altered) {
        fs::write(&path, &bytes).unwrap();
        let opened = open(directory.path());
        assert!(matches!(opened.stored.get("1.2"), Some(Stored::Unknown(_))), "{bytes:?}");
        let aside = opened.set_aside[0].moved_to.clone().unwrap();
        assert_eq!(fs::read(&aside).unwrap(), bytes, "kept as it was");
        assert!(!path.exists());
        fs::remove_file(aside).unwrap();
    }
}

#[test]
fn what_was_damaged_stays_unknown_until_it_is_saved_again() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("1.2");
    fs::write(&path, "nonsense").unwrap();
    for _ in 0..3 {
        let opened = open(directory.path());
        assert!(matches!(opened.stored.get("1.2"), Some(Stored::Unknown(_))), "{opened:?}");
    }
    let opened = open(directory.path());
    let Some(Stored::Unknown(why)) = opened.stored.get("1.2") else { panic!("{opened:?}") };
    assert_eq!(why, "1.2.damaged-1 was set aside as damaged");
    opened.store.save("1.2", "anew").unwrap();
    drop(opened);
    assert_eq!(open(directory.path()).stored.get("1.2").cloned(), intact("anew"));
    fs::write(&path, "worse").unwrap();
    let opened = open(directory.path());
    assert!(opened.set_aside[0].moved_to.as_ref().unwrap().ends_with("1.2.damaged-2"), "{opened:?}");
    assert_eq!(fs::read(directory.path().join("1.2.damaged-1")).unwrap(), b"nonsense");
}

#[test]
fn a_payload_its_owner_refuses_counts_as_damage() {
    let directory = TempDir::new().unwrap();
    open(directory.path()).store.save("1.2", "five").unwrap();
    let opened =
        Store::open(directory.path(), |text| text.parse::<u8>().map_err(|error| error.to_string())).unwrap();
    assert_eq!(opened.set_aside[0].name, "1.2");
    assert_eq!(opened.set_aside[0].reason, "invalid digit found in string");
}

#[test]
fn what_is_no_plain_file_or_too_large_is_set_aside() {
    let directory = TempDir::new().unwrap();
    fs::create_dir(directory.path().join("1.1")).unwrap();
    fs::write(directory.path().join("1.2"), vec![b'x'; 8 << 20]).unwrap();
    nix::unistd::mkfifo(&directory.path().join("1.3"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::write(directory.path().join("README"), "not ours").unwrap();
    let opened = open(directory.path());
    assert_eq!(opened.set_aside.len(), 3, "{opened:?}");
    assert!(directory.path().join("README").exists());
}

#[test]
fn what_can_not_be_saved_changes_nothing() {
    let directory = TempDir::new().unwrap();
    let opened = open(directory.path());
    opened.store.save("1.2", "old").unwrap();
    // A directory in the temporary file's place; root ignores permissions.
    let obstacle = directory.path().join(".1.2.new");
    fs::create_dir(&obstacle).unwrap();
    let failed = opened.store.save("1.2", "new").unwrap_err().to_string();
    assert!(failed.contains("1.2: it can't be written: "), "{failed}");
    assert!(opened.store.save("../1.2", "new").is_err());
    assert!(opened.store.save("1.3", &"x".repeat(8 << 20)).is_err());
    drop(opened);
    fs::remove_dir(obstacle).unwrap();
    assert_eq!(open(directory.path()).stored.get("1.2").cloned(), intact("old"));
}

#[test]
fn the_writer_saves_in_order_and_ends_when_all_is_saved() {
    let directory = TempDir::new().unwrap();
    let writer = Writer::start(open(directory.path()).store).unwrap();
    let (done, results) = channel();
    for number in 0..20 {
        let done = done.clone();
        writer.save("1.2".into(), number.to_string(), move |result| {
            done.send((number, result.is_ok())).unwrap()
        });
    }
    drop(writer);
    drop(done);
    assert_eq!(results.iter().collect::<Vec<_>>(), (0..20).map(|number| (number, true)).collect::<Vec<_>>());
    assert_eq!(open(directory.path()).stored.get("1.2").cloned(), intact("19"));
}
