//! A bounded number of seeds, in each run of the tests; scripts/simulate runs more.

use std::process::Command;

/// A seed takes about 20 ms of a CPU.
const SEEDS: &str = "300";

fn simulate(arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_simulate"));
    let output = command.args(arguments).output().expect("the simulation starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn no_seed_breaks_a_promise() {
    let (passed, said) = simulate(&["--seeds", SEEDS]);
    assert!(passed, "{said}");
    assert!(said.contains(&format!("{SEEDS} seeds in ")), "{said}");
}

#[test]
fn a_seed_takes_the_same_steps_again() {
    // Copies of requests, deadlines and deletions are in some of these.
    for seed in 3..9 {
        let steps = || {
            let (passed, said) = simulate(&["--seed", &seed.to_string(), "--trace"]);
            assert!(passed, "{said}");
            let steps: Vec<String> =
                said.lines().filter(|line| line.contains("tag ")).map(str::to_owned).collect();
            assert!(steps.len() > 100, "{said}");
            steps
        };
        assert_eq!(steps(), steps(), "seed {seed}");
    }
}
