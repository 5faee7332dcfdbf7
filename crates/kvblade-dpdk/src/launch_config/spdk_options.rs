//! Options of SPDK for which this program has defaults of its own. A configuration that sets one keeps its value.
//!
//! - Sizes of the pools of I/O requests and bounce buffers, for the lcores that will use them. SPDK's defaults take 290 MB
//!   of hugepages, for programs with hundreds of connections. A request that finds a pool empty waits until another
//!   request gives its part back, so a pool needs to cover the requests that are commonly in flight, and not all that
//!   could be.
//! - A flush of an nvme bdev reaches the drive, so that write-through exports can stand on a raid0 or a partition of such
//!   drives (`durability` of crate `spdk`).

use serde_json::{Map, Value, json};

/// Bounce buffers (iobuf) that a thread keeps to itself when it opens its first bdev: 128 small and 16 large for
/// `bdev`, and as many for `accel` (`BDEV_IO_*`, lib/bdev/bdev.c; `ACCEL_*_CACHE_SIZE`, lib/accel/accel.c).
const CACHED_SMALL: u64 = 2 * 128;
const CACHED_LARGE: u64 = 2 * 16;

/// I/O requests that a thread keeps to itself (`SPDK_BDEV_IO_CACHE_SIZE`, lib/bdev/bdev.c).
const CACHED_IOS: u64 = 256;

/// Bytes of a small bounce buffer: 16 sectors, which frames of an MTU of 9000 carry, at any address of a page. With
/// SPDK's 8 KiB, each of them would take a large one of 132 KiB.
const SMALL_BYTES: u64 = 12 * 1024;

/// One option of a method.
struct Preset {
    option: &'static str,
    /// If the configuration does not say.
    default: Value,
    /// With less, a thread does not get the share that it keeps to itself, and can open no bdev.
    least: u64,
}

/// The methods that set options, by subsystem.
fn presets(lcores: u64) -> Vec<(&'static str, &'static str, Vec<Preset>)> {
    // The app's own thread, and one for each lcore.
    let threads = lcores + 1;
    let size = |option, default: u64, least| Preset { option, default: default.into(), least };
    let mut presets = vec![
        (
            "iobuf",
            "iobuf_set_options",
            vec![
                size("small_pool_count", 512 + CACHED_SMALL * threads, CACHED_SMALL * threads),
                size("large_pool_count", 64 + CACHED_LARGE * threads, CACHED_LARGE * threads),
                size("small_bufsize", SMALL_BYTES, 0),
            ],
        ),
        (
            "bdev",
            "bdev_set_options",
            // SPDK wants one more share than there are threads (spdk_bdev_set_opts). An export on another bdev takes two
            // I/O requests for each of the initiator's.
            vec![size("bdev_io_pool_size", 4096 + 2048 * lcores, CACHED_IOS * (threads + 1))],
        ),
    ];
    if spdk::NVME_HAS_ENABLE_FLUSH {
        let flush = Preset { option: "enable_flush", default: true.into(), least: 0 };
        presets.push(("bdev", "bdev_nvme_set_options", vec![flush]));
    }
    presets
}

/// Sets the options in an SPDK configuration, but for those that it sets itself. Returns a sentence for each size that it
/// sets too low for `lcores`, and raises it.
pub(super) fn preset(document: &mut Value, lcores: usize) -> Vec<String> {
    let lcores = u64::try_from(lcores).unwrap_or(u64::MAX).clamp(1, 1024);
    let mut raised = Vec::new();
    let Some(subsystems) = document.get_mut("subsystems").and_then(Value::as_array_mut) else {
        return raised;
    };
    for (subsystem, method, presets) in presets(lcores) {
        let Some(params) = params_of(subsystems, subsystem, method) else { continue };
        for Preset { option, default, least } in presets {
            match params.get(option).map(Value::as_u64) {
                None => {
                    params.insert(option.to_owned(), default);
                }
                Some(Some(given)) if given < least => {
                    raised.push(format!(
                        "{method}: {option} is {given} in the configuration, and {lcores} lcores need {least}: it is raised"
                    ));
                    params.insert(option.to_owned(), least.into());
                }
                // SPDK says what is wrong with another one.
                Some(_) => {}
            }
        }
    }
    raised
}

/// The parameters of the call of `method` in the configuration, which is added if there is none.
fn params_of<'a>(
    subsystems: &'a mut Vec<Value>,
    subsystem: &str,
    method: &str,
) -> Option<&'a mut Map<String, Value>> {
    let is_named = |one: &Value| one["subsystem"] == subsystem;
    let at = match subsystems.iter().position(is_named) {
        Some(at) => at,
        None => {
            subsystems.insert(0, json!({ "subsystem": subsystem, "config": [] }));
            0
        }
    };
    let config = subsystems.get_mut(at)?.get_mut("config")?;
    if config.is_null() {
        *config = json!([]);
    }
    let config = config.as_array_mut()?;
    let calls = |entry: &Value| entry["method"] == method;
    let at = match config.iter().position(calls) {
        Some(at) => at,
        None => {
            config.insert(0, json!({ "method": method, "params": {} }));
            0
        }
    };
    let entry = config.get_mut(at)?.as_object_mut()?;
    entry.entry("params").or_insert_with(|| json!({})).as_object_mut()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params<'a>(document: &'a Value, subsystem: &str, method: &str) -> &'a Value {
        let subsystems = document["subsystems"].as_array().expect("a list");
        let mut named = subsystems.iter().filter(|one| one["subsystem"] == subsystem);
        let config = named.next().expect("the subsystem")["config"].as_array().expect("a list");
        assert!(named.next().is_none(), "{subsystem} stands once");
        let mut calls = config.iter().filter(|entry| entry["method"] == method);
        let call = calls.next().expect("the call");
        assert!(calls.next().is_none(), "{method} stands once");
        &call["params"]
    }

    #[test]
    fn a_configuration_without_sizes_gets_those_for_its_lcores() {
        for (lcores, small, large, ios) in [(1, 1024, 128, 6144), (24, 6912, 864, 53248)] {
            let mut document = json!({ "subsystems": [
                { "subsystem": "bdev", "config": [{ "method": "bdev_null_create", "params": {} }] },
                { "subsystem": "aoe", "config": [] },
            ]});
            assert_eq!(preset(&mut document, lcores), [""; 0]);
            assert_eq!(
                params(&document, "iobuf", "iobuf_set_options"),
                &json!({ "small_pool_count": small, "large_pool_count": large, "small_bufsize": 12288 })
            );
            assert_eq!(params(&document, "bdev", "bdev_set_options"), &json!({ "bdev_io_pool_size": ios }));
            assert_eq!(params(&document, "bdev", "bdev_nvme_set_options"), &json!({ "enable_flush": true }));
        }
    }

    #[test]
    fn options_that_the_configuration_sets_stay() {
        let mut document = json!({ "subsystems": [
            { "subsystem": "iobuf", "config": [
                { "method": "iobuf_set_options", "params": { "small_pool_count": 8192, "large_pool_count": 1024 } }] },
            { "subsystem": "bdev", "config": [
                { "method": "bdev_set_options", "params": { "bdev_io_pool_size": 65535, "bdev_io_cache_size": 100 } },
                { "method": "bdev_nvme_set_options", "params": { "enable_flush": false } }] },
        ]});
        assert_eq!(preset(&mut document, 2), [""; 0]);
        assert_eq!(
            params(&document, "iobuf", "iobuf_set_options"),
            &json!({ "small_pool_count": 8192, "large_pool_count": 1024, "small_bufsize": 12288 })
        );
        assert_eq!(
            params(&document, "bdev", "bdev_set_options"),
            &json!({ "bdev_io_pool_size": 65535, "bdev_io_cache_size": 100 })
        );
        assert_eq!(params(&document, "bdev", "bdev_nvme_set_options"), &json!({ "enable_flush": false }));
    }

    #[test]
    fn a_configuration_saved_with_fewer_lcores_is_raised() {
        let mut document =
            json!({ "subsystems": [{ "subsystem": "iobuf", "config": null }, { "subsystem": "bdev" }] });
        assert_eq!(
            preset(&mut document, 1),
            [""; 0],
            "a subsystem without a list of calls is SPDK's to refuse"
        );
        let mut document = json!({ "subsystems": [] });
        preset(&mut document, 1);
        let raised = preset(&mut document, 24);
        assert_eq!(
            raised,
            [
                "iobuf_set_options: small_pool_count is 1024 in the configuration, and 24 lcores need 6400: it is raised",
                "iobuf_set_options: large_pool_count is 128 in the configuration, and 24 lcores need 800: it is raised",
                "bdev_set_options: bdev_io_pool_size is 6144 in the configuration, and 24 lcores need 6656: it is raised",
            ]
        );
        assert_eq!(params(&document, "bdev", "bdev_set_options")["bdev_io_pool_size"], 6656);
    }

    #[test]
    fn what_makes_no_sense_is_left_to_spdk() {
        for nonsense in [
            json!(null),
            json!({}),
            json!({ "subsystems": 1 }),
            json!({ "subsystems": [1, { "subsystem": "bdev", "config": 3 }] }),
        ] {
            let mut document = nonsense.clone();
            assert_eq!(preset(&mut document, 1), [""; 0]);
        }
        let mut document = json!({ "subsystems": [{ "subsystem": "bdev", "config": [
            { "method": "bdev_set_options", "params": { "bdev_io_pool_size": "many" } }] }] });
        assert_eq!(preset(&mut document, 1), [""; 0]);
        assert_eq!(params(&document, "bdev", "bdev_set_options")["bdev_io_pool_size"], "many");
    }
}
