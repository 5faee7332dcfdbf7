//! Loop devices of the tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::step::Step;

/// Makes the steps of a test when its turn comes, so that a test that failed before it leaves no device behind.
pub(crate) fn in_turn(make: impl FnOnce() -> Step + 'static) -> Step {
    let (mut make, mut step) = (Some(make), None::<Step>);
    Box::new(move || {
        if let Some(make) = make.take() {
            step = Some(make());
        }
        step.as_mut().is_none_or(|step| step())
    })
}

/// Runs a program, and gives what it prints, or why it failed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output =
        Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path of ours")
}

/// Makes a loop device of a file.
pub(crate) fn attach(file: &Path) -> Result<PathBuf, String> {
    run("losetup", &["--find", "--show", text(file)]).map(PathBuf::from)
}

/// Has Linux take the device down once nobody has it open.
pub(crate) fn detach(device: &Path) {
    run("losetup", &["-d", text(device)]).expect("it is there");
}
