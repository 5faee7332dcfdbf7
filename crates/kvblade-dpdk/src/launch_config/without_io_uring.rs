//! Files where Linux lets this program have no io_uring: SPDK's own bdev, by Linux's aio, takes the place of the module `file`.

use std::path::Path;

use control::file_bdev::{CREATE, CREATE_AIO, to_aio};
use serde_json::Value;
use spdk::block_device::DeviceNumber;

use super::LaunchConfig;

impl LaunchConfig {
    /// Has SPDK's aio serve all files. Returns the names of the bdevs concerned.
    pub(crate) fn serve_files_by_aio(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        for entry in self.entries.iter_mut().filter(|entry| entry.method == CREATE) {
            names.extend(entry.name().map(str::to_owned));
            entry.method = CREATE_AIO.to_owned();
            entry.params = entry.params.as_ref().map(by_aio);
        }
        let subsystems = self.document.get_mut("subsystems").and_then(Value::as_array_mut);
        for call in
            subsystems.into_iter().flatten().flat_map(calls_of).filter(|call| call["method"] == CREATE)
        {
            call["params"] = by_aio(&call["params"]);
            call["method"] = CREATE_AIO.into();
        }
        names
    }
}

fn calls_of(subsystem: &mut Value) -> impl Iterator<Item = &mut Value> {
    let entries = subsystem.get_mut("config").and_then(Value::as_array_mut).into_iter().flatten();
    // A list of calls may stand in the place of one.
    entries.flat_map(|entry| match entry {
        Value::Array(calls) => calls.as_mut_slice(),
        one => std::slice::from_mut(one),
    })
}

fn by_aio(params: &Value) -> Value {
    let path = params.get("filename").and_then(Value::as_str).unwrap_or_default();
    to_aio(params, DeviceNumber::of(Path::new(path)).is_some())
}
