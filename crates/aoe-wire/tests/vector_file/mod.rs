//! Reads the golden frames in `vectors`; their form is described there.

use std::fs;
use std::path::Path;

/// A golden frame.
pub(crate) struct Vector {
    /// File name without its ending.
    pub(crate) name: String,
    /// The frame.
    pub(crate) frame: Vec<u8>,
    /// What it means, line by line.
    pub(crate) meaning: Vec<String>,
}

impl Vector {
    /// Every golden frame, by name.
    pub(crate) fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../aoe-wire/tests/vectors");
        let mut vectors: Vec<Self> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "hex"))
            .map(|path| Self::read(&path))
            .collect();
        assert!(vectors.len() >= 25, "only {} golden frames in {}", vectors.len(), folder.display());
        vectors.sort_by(|one, two| one.name.cmp(&two.name));
        vectors
    }

    fn read(path: &Path) -> Self {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(path).unwrap();
        let mut vector = Self { name, frame: Vec::new(), meaning: Vec::new() };
        for line in text.lines() {
            if let Some(meaning) = line.strip_prefix("= ") {
                vector.meaning.push(meaning.to_owned());
                continue;
            }
            let bytes = line.split('#').next().unwrap_or_default();
            for word in bytes.split_whitespace() {
                let (byte, times) = word.split_once('*').unwrap_or((word, "1"));
                let byte = u8::from_str_radix(byte, 16).unwrap_or_else(|_| panic!("{}: {word}", vector.name));
                let times: usize = times.parse().unwrap_or_else(|_| panic!("{}: {word}", vector.name));
                vector.frame.extend(std::iter::repeat_n(byte, times));
            }
        }
        assert!(!vector.frame.is_empty() && !vector.meaning.is_empty(), "{}: empty", vector.name);
        vector
    }
}
