//! Running callgrind, and reading what it writes.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// A function, as callgrind names it: the object (program or library) it is in, and its symbol.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Function {
    pub(crate) object: String,
    pub(crate) name: String,
}

/// Instructions executed in each function, those it calls not included.
pub(crate) type Profile = BTreeMap<Function, u64>;

/// Runs a program with these arguments; returns what callgrind said.
pub(crate) fn run(options: &[&str], program: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .args(options)
        .arg(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("valgrind: {error}; scripts/setup --tests installs it"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        Ok(said)
    } else {
        Err(format!("{} under valgrind: {}: {said}", program.display(), output.status))
    }
}

/// The instructions of the whole run, by what callgrind said.
pub(crate) fn collected(said: &str) -> Result<u64, String> {
    said.lines()
        .find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
        .ok_or_else(|| format!("valgrind counted nothing: {said}"))
}

/// Reads an output file, made with `--compress-strings=no --compress-pos=no`.
pub(crate) fn read(text: &str) -> Result<Profile, String> {
    let mut profile = Profile::new();
    let mut function = Function { object: String::new(), name: String::new() };
    let mut is_call = false;
    for line in text.lines() {
        if let Some(object) = line.strip_prefix("ob=") {
            object.clone_into(&mut function.object);
        } else if let Some(name) = line.strip_prefix("fn=") {
            name.clone_into(&mut function.name);
        } else if line.starts_with("calls=") {
            // The line after it has the cost of what was called.
            is_call = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit()) {
            let cost = line.split_whitespace().nth(1).unwrap_or("0");
            let cost: u64 = cost.parse().map_err(|_| format!("callgrind's output has a line '{line}'"))?;
            if !std::mem::take(&mut is_call) {
                *profile.entry(function.clone()).or_default() += cost;
            }
        }
    }
    Ok(profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "version: 1\nevents: Ir\n\nob=/bin/a\nfl=a.c\nfn=outer\n10 3\n+1 0\ncob=/lib/b.so\ncfn=inner\n\
                          calls=2 0\n11 40\n12 4\nfi=b.h\n7 5\n\nob=/lib/b.so\nfl=b.c\nfn=inner\n1 40\n\ntotals: 52\n";

    #[test]
    fn cost_of_a_call_is_not_the_callers_own() {
        let profile = read(OUTPUT).unwrap();
        let own = |object: &str, name: &str| {
            profile.get(&Function { object: object.into(), name: name.into() }).copied()
        };
        assert_eq!((own("/bin/a", "outer"), own("/lib/b.so", "inner")), (Some(12), Some(40)));
        assert_eq!(profile.values().sum::<u64>(), 52, "as in the totals");
        assert!(read("fn=x\n1 many\n").unwrap_err().contains("1 many"));
    }

    #[test]
    fn the_sum_is_found() {
        assert_eq!(collected("==1== \n==1== Collected : 3908980\n"), Ok(3_908_980));
        assert!(collected("==1== nothing").is_err());
    }
}
