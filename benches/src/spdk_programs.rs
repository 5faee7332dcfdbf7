//! SPDK's own programs: where they are, and the configurations that targets share.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The NVMe subsystem that `nvmf_tgt` serves.
pub(crate) const NQN: &str = "nqn.2016-06.io.spdk:bench";

/// Where one of the programs of a checkout's SPDK is: `bdevperf`, `nvmf_tgt` or `spdk_nvme_perf`.
pub(crate) fn program(checkout: &Path, name: &str) -> Result<PathBuf> {
    let script = checkout.join("dpdk-build/cache-dir");
    let output = Command::new(&script).output().with_context(|| script.display().to_string())?;
    let path = Path::new(String::from_utf8_lossy(&output.stdout).trim()).join("bin").join(name);
    ensure!(
        path.is_absolute() && path.exists(),
        "SPDK's {name} is not at '{}': run scripts/setup",
        path.display()
    );
    Ok(path)
}

/// The option by which this one of SPDK's programs takes no lock of its cores, if it knows one: those before SPDK 24.01
/// neither lock nor know it.
pub(crate) fn without_core_locks(program: &Path) -> Result<Option<&'static str>> {
    const OPTION: &str = "--disable-cpumask-locks";
    let help = Command::new(program).arg("--help").output()?;
    let is_known =
        [help.stdout, help.stderr].iter().any(|text| String::from_utf8_lossy(text).contains(OPTION));
    Ok(is_known.then_some(OPTION))
}

/// A call of one of SPDK's RPC methods, as configurations have it.
pub(crate) fn call(method: &str, params: &Value) -> Value {
    json!({ "method": method, "params": params })
}

/// A configuration of these subsystems, each with its calls.
pub(crate) fn config<const N: usize>(subsystems: [(&str, Vec<Value>); N]) -> Value {
    let subsystems = subsystems.map(|(name, calls)| json!({ "subsystem": name, "config": calls }));
    json!({ "subsystems": subsystems.to_vec() })
}

/// The calls that make NVMe over TCP on loopback, with `bdev` as its namespace.
pub(crate) fn nvmf(bdev: &str, port: u16) -> Vec<Value> {
    let listen =
        json!({ "trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.1", "trsvcid": port.to_string() });
    vec![
        call("nvmf_create_transport", &json!({ "trtype": "TCP" })),
        call(
            "nvmf_create_subsystem",
            &json!({ "nqn": NQN, "allow_any_host": true, "serial_number": "bench" }),
        ),
        call("nvmf_subsystem_add_ns", &json!({ "nqn": NQN, "namespace": { "bdev_name": bdev } })),
        call("nvmf_subsystem_add_listener", &json!({ "nqn": NQN, "listen_address": listen })),
    ]
}
