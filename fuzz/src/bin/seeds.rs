//! `seeds VECTORS CORPUS`: writes the golden frames (`*.hex` in VECTORS) as inputs of each fuzzer, in CORPUS/frame and
//! CORPUS/target.

use std::fs;
use std::path::Path;

use kvblade_fuzz::scenario::raw_step;

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [vectors, corpus] = arguments.as_slice() else {
        eprintln!("usage: seeds VECTORS CORPUS");
        std::process::exit(2);
    };
    let corpus = Path::new(corpus);
    for fuzzer in ["frame", "target"] {
        fs::create_dir_all(corpus.join(fuzzer))?;
    }
    let mut all = vec![0];
    for entry in fs::read_dir(vectors)? {
        let path = entry?.path();
        let (Some(name), Some("hex")) =
            (path.file_stem(), path.extension().and_then(|ending| ending.to_str()))
        else {
            continue;
        };
        let frame = bytes(&fs::read_to_string(&path)?);
        fs::write(corpus.join("frame").join(name), [&[0], frame.as_slice()].concat())?;
        let step = raw_step(&frame);
        all.extend(&step);
        fs::write(corpus.join("target").join(name), [&[0], step.as_slice()].concat())?;
    }
    fs::write(corpus.join("target/all"), all)
}

/// The bytes of a golden frame: hex, `00*20` for repeats, `#` and `=` for what is not bytes.
fn bytes(text: &str) -> Vec<u8> {
    let words = text
        .lines()
        .filter(|line| !line.starts_with('='))
        .flat_map(|line| line.split('#').next().unwrap_or_default().split_whitespace());
    words
        .flat_map(|word| {
            let (byte, times) = word.split_once('*').unwrap_or((word, "1"));
            let byte = u8::from_str_radix(byte, 16).expect("a hex byte");
            std::iter::repeat_n(byte, times.parse().expect("a number"))
        })
        .collect()
}
