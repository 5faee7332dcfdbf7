//! What bdev_file_create refuses, and what it leaves in a saved configuration.

use std::fs;

use serde_json::{Value, json};

use crate::directory::directory;
use crate::step::{Step, asks, chain, once};

pub(crate) fn all() -> Vec<(&'static str, Step)> {
    vec![("a_refusal_says_what_is_allowed", refusals()), ("a_bdev_is_saved_as_it_was_made", saved())]
}

fn refused(method: &'static str, params: Value, code: i32, part: &'static str) -> Step {
    asks(method, params, move |answer| {
        assert_eq!(answer["error"]["code"], json!(code), "{answer}");
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains(part), "{message:?} has no {part:?}");
    })
}

fn refusals() -> Step {
    let place = directory();
    let (good, small) = (place.join("good"), place.join("small"));
    fs::write(&good, vec![0; 8192]).expect("room");
    fs::write(&small, "x").expect("room");
    let create = |params: Value, code, part| {
        let mut all = json!({ "name": "f0", "filename": good });
        for (key, value) in params.as_object().expect("an object") {
            all[key] = value.clone();
        }
        refused("bdev_file_create", all, code, part)
    };
    chain(vec![
        refused("bdev_file_create", json!({ "name": "f0" }), -32602, "missing field `filename`"),
        create(json!({ "aio": 1 }), -32602, "unknown field `aio`, expected one of `name`, `filename`"),
        create(
            json!({ "sync": "always" }),
            -32602,
            "unknown variant `always`, expected one of `group`, `each`, `none`",
        ),
        create(json!({ "name": "" }), -22, "name is ''"),
        create(json!({ "filename": place.join("none") }), -2, "make it first"),
        create(json!({ "filename": place }), -21, "is a directory"),
        create(json!({ "filename": "/dev/null" }), -22, "neither"),
        create(json!({ "filename": small }), -22, "has 1 bytes, which is less than one block of 512"),
        create(json!({ "block_size": 513 }), -22, "block_size is 513: a power of two from 512 to 65536"),
        create(json!({ "uuid": "12" }), -22, "uuid is '12'"),
        asks("bdev_file_create", json!({ "name": "f0", "filename": good }), |answer| {
            assert_eq!(answer["result"], "f0", "{answer}");
        }),
        create(json!({}), -17, "there is a bdev 'f0' already"),
        refused("bdev_file_delete", json!({ "name": "f1" }), -19, "there is no bdev 'f1' on a file"),
        refused("bdev_file_rescan", json!({ "name": "f1" }), -19, "there is no bdev 'f1' on a file"),
        refused("bdev_file_delete", json!({}), -32602, "missing field `name`"),
        // A bdev of another module.
        asks("bdev_malloc_create", json!({ "name": "m0", "num_blocks": 64, "block_size": 512 }), |_| ()),
        refused("bdev_file_delete", json!({ "name": "m0" }), -19, "there is no bdev 'm0' on a file"),
        create(json!({ "name": "m0" }), -17, "there is a bdev 'm0' already"),
        asks("bdev_malloc_delete", json!({ "name": "m0" }), |answer| assert_eq!(answer["result"], true)),
        asks("bdev_file_delete", json!({ "name": "f0" }), |answer| assert_eq!(answer["result"], true)),
        once(move || {
            let left = crate::step::list();
            assert!(left.is_empty(), "a refusal leaves nothing: {left:?}");
            [good, small].iter().for_each(|path| fs::remove_file(path).expect("it is there"));
        }),
    ])
}

fn saved() -> Step {
    let path = directory().join("saved");
    fs::write(&path, vec![0; 8192]).expect("room");
    let params = json!({
        "name": "saved",
        "filename": path,
        "block_size": 4096,
        "readonly": true,
        "buffered": true,
        "sync": "none",
        "uuid": "4a2c5ef8-7d7c-4c3b-9c7e-0123456789ab",
    });
    let expected = params.clone();
    chain(vec![
        asks("bdev_file_create", params, |answer| assert_eq!(answer["result"], "saved", "{answer}")),
        asks("framework_get_config", json!({ "name": "bdev" }), move |answer| {
            let calls = answer["result"].as_array().expect("a list");
            let ours = calls.iter().find(|call| call["method"] == "bdev_file_create").expect("it is saved");
            assert_eq!(ours["params"], expected);
        }),
        asks("bdev_get_bdevs", json!({ "name": "saved" }), |answer| {
            let bdev = &answer["result"][0];
            assert_eq!((&bdev["block_size"], &bdev["num_blocks"]), (&json!(4096), &json!(2)));
            assert_eq!(bdev["uuid"], "4a2c5ef8-7d7c-4c3b-9c7e-0123456789ab");
            let supports = |kind: &str| bdev["supported_io_types"][kind].as_bool();
            assert_eq!(
                (supports("read"), supports("write"), supports("unmap")),
                (Some(true), Some(false), Some(false))
            );
        }),
        asks("bdev_file_delete", json!({ "name": "saved" }), move |answer| {
            assert_eq!(answer["result"], true);
            fs::remove_file(&path).expect("it is there");
        }),
    ])
}
