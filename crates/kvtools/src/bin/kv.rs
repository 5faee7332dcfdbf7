//! Manages and watches a running kvblade-dpdk; also as `kvadd`, `kvdel`, `kvstat` and `kvannounce`, by links of these names.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    kvtools::subcommands::main()
}
