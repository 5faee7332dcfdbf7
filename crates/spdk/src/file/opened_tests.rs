//! What files there are, and what is said of those that make no bdev.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use super::*;

fn options(path: &Path) -> FileBdevOptions {
    FileBdevOptions::new("f", path.to_string_lossy())
}

fn refusal(options: &FileBdevOptions) -> FileError {
    Opened::open(options).expect_err("no bdev")
}

#[test]
fn a_file_has_its_whole_blocks() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("image");
    fs::write(&path, vec![1; 512 * 20 + 100]).expect("room");
    let buffered = FileBdevOptions { buffered: Some(true), ..options(&path) };
    let opened = Opened::open(&buffered).expect("a file");
    assert_eq!((opened.bytes, opened.block_size, opened.blocks(opened.bytes)), (10_340, 512, 20));
    assert_eq!((opened.alignment, opened.is_direct), (1, false));
    let large = Opened::open(&FileBdevOptions { block_size: Some(4096), ..buffered }).expect("a file");
    assert_eq!((large.block_size, large.blocks(large.bytes)), (4096, 2));
    // What the file system says of direct I/O holds for a read.
    let direct = Opened::open(&options(&path)).expect("a file");
    if direct.is_direct {
        assert!(direct.alignment.is_power_of_two() && direct.alignment <= 4096, "{}", direct.alignment);
        assert_eq!(probe_direct(&direct.file).map(|probed| probed <= direct.block_size), Some(true));
    }
    assert_eq!(fs::metadata(&path).expect("there").len(), 10_340, "looking changes nothing");
}

#[test]
fn a_refusal_names_the_file_and_what_helps() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    fs::write(path("empty"), "").expect("room");
    fs::write(path("short"), "x").expect("room");
    fs::write(path("locked"), vec![0; 4096]).expect("room");
    fs::set_permissions(path("locked"), Permissions::from_mode(0o000)).expect("ours");
    for (name, errno, part) in [
        ("none", ENOENT, "No such file"),
        (".", EISDIR, "is a directory"),
        ("empty", EINVAL, "has 0 bytes, which is less than one block"),
        ("short", EINVAL, "has 1 bytes"),
    ] {
        let refusal = refusal(&options(&path(name)));
        assert_eq!(refusal.errno, errno, "{refusal}");
        assert!(refusal.sentence.contains(part) && refusal.sentence.contains(name), "{refusal}");
    }
    let device = refusal(&options(Path::new("/dev/null")));
    assert!(device.sentence.contains("'/dev/null' is neither"), "{device}");
    // Root may open it.
    if let Err(refusal) = Opened::open(&options(&path("locked"))) {
        assert!(refusal.errno == EACCES && refusal.sentence.contains("the right to it"), "{refusal}");
    }
}

#[test]
fn block_sizes_are_powers_of_two_and_no_smaller_than_the_devices() {
    let path = Path::new("/x");
    assert_eq!(block_size(None, 512, path).expect("the least"), 512);
    assert_eq!(block_size(Some(4096), 512, path).expect("larger"), 4096);
    for (asked, least, part) in [
        (0, 512, "block_size is 0: a power of two from 512 to 65536"),
        (1000, 512, "block_size is 1000"),
        (256, 512, "block_size is 256"),
        (131_072, 512, "block_size is 131072"),
        (512, 4096, "'/x' has blocks of 4096 bytes"),
    ] {
        let refusal = block_size(Some(asked), least, path).expect_err("refused");
        assert!(refusal.errno == EINVAL && refusal.sentence.contains(part), "{refusal}");
    }
}
