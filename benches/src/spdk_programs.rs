//! SPDK's own programs, as scripts/setup built them: `bdevperf`, `nvmf_tgt` and `spdk_nvme_perf`, and what they print.

pub mod bdevperf;
pub mod nvme_perf;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The NVMe subsystem that `nvmf_tgt` serves.
pub const NQN: &str = "nqn.2016-06.io.spdk:bench";
/// The name of the malloc bdev.
const BDEV: &str = "Malloc0";

/// Where they are.
#[derive(Clone, Debug)]
pub struct Programs {
    directory: PathBuf,
}

impl Programs {
    /// Finds them: in `bin` of the SPDK that pkg-config offers, or of the one that scripts/setup built.
    ///
    /// # Errors
    /// Says where they were looked for.
    pub fn find() -> Result<Self> {
        let packages = words(Command::new("pkg-config").args(["--variable=pcfiledir", "spdk_event"]));
        let offered = packages.map(|packages| format!("{packages}/../.."));
        let cache_dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dpdk-build/cache-dir");
        let prefixes = offered.into_iter().chain(words(&mut Command::new(cache_dir)));
        let directories: Vec<PathBuf> = prefixes.map(|prefix| Path::new(&prefix).join("bin")).collect();
        let Some(directory) = directories.iter().find(|directory| directory.join("bdevperf").exists()) else {
            let places: Vec<String> = directories.iter().map(|place| place.display().to_string()).collect();
            bail!("SPDK's bdevperf is in none of [{}]: run scripts/setup", places.join(", "));
        };
        Ok(Self { directory: directory.clone() })
    }

    /// Those that another checkout was built with.
    ///
    /// # Errors
    /// If it has no dpdk-build/cache-dir, or no nvmf_tgt is where that says.
    pub fn of_checkout(checkout: &Path) -> Result<Self> {
        let script = checkout.join("dpdk-build/cache-dir");
        let prefix = words(&mut Command::new(&script))
            .with_context(|| format!("{} does not name a directory", script.display()))?;
        let found = Self { directory: Path::new(&prefix).join("bin") };
        found.path("nvmf_tgt")?;
        Ok(found)
    }

    /// The path of one of them.
    ///
    /// # Errors
    /// If it is not there.
    pub fn path(&self, name: &str) -> Result<PathBuf> {
        let path = self.directory.join(name);
        if path.exists() {
            return Ok(path);
        }
        Err(anyhow!("{} does not exist: run scripts/setup", path.display()))
    }
}

/// The option by which this one of SPDK's programs takes no lock of its cores, if it knows one: those before SPDK 24.01
/// neither lock nor know it.
///
/// # Errors
/// If the program cannot be run.
pub fn without_core_locks(program: &Path) -> Result<Option<&'static str>> {
    const OPTION: &str = "--disable-cpumask-locks";
    let help = Command::new(program).arg("--help").output()?;
    let is_known =
        [help.stdout, help.stderr].iter().any(|text| String::from_utf8_lossy(text).contains(OPTION));
    Ok(is_known.then_some(OPTION))
}

/// What a command prints on one line; `None` if it fails or prints nothing.
fn words(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// SPDK's configuration of the malloc bdev alone, with sectors of 512 bytes.
pub fn bdev_config(mib: u32) -> Value {
    json!({ "subsystems": [malloc(mib)] })
}

/// SPDK's configuration of an NVMe/TCP target on loopback with the same bdev.
pub fn nvmf_config(mib: u32, port: u16) -> Value {
    let call = |method: &str, params: Value| json!({ "method": method, "params": params });
    let nvmf = json!({ "subsystem": "nvmf", "config": [
        call("nvmf_create_transport", json!({ "trtype": "TCP" })),
        call("nvmf_create_subsystem", json!({ "nqn": NQN, "allow_any_host": true, "serial_number": "bench" })),
        call("nvmf_subsystem_add_ns", json!({ "nqn": NQN, "namespace": { "bdev_name": BDEV } })),
        call("nvmf_subsystem_add_listener", json!({ "nqn": NQN, "listen_address": {
            "trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.1", "trsvcid": port.to_string(),
        } })),
    ] });
    json!({ "subsystems": [malloc(mib), nvmf] })
}

fn malloc(mib: u32) -> Value {
    json!({ "subsystem": "bdev", "config": [{
        "method": "bdev_malloc_create",
        "params": { "name": BDEV, "num_blocks": u64::from(mib) << 11, "block_size": 512 },
    }] })
}

/// Seconds as SPDK's programs take them: whole, at least one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 1 to 3600")]
pub fn whole_seconds(seconds: f64) -> u64 {
    seconds.ceil().clamp(1.0, 3600.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spdk_gets_whole_seconds() {
        assert_eq!([0.1, 1.0, 1.2, 3.0].map(whole_seconds), [1, 1, 2, 3]);
    }

    #[test]
    fn both_configurations_have_the_same_bdev() {
        let (bdev, nvmf) = (bdev_config(64), nvmf_config(64, 4420));
        assert_eq!(bdev["subsystems"][0], nvmf["subsystems"][0]);
        assert_eq!(bdev["subsystems"][0]["config"][0]["params"]["num_blocks"], 131_072);
    }
}
