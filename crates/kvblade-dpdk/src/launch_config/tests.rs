//! The document for SPDK, and every file and configuration that is refused.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

/// A directory with a 1 MiB file `disk`.
fn place() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    file(&place, "disk", 1 << 20);
    place
}

fn file(place: &TempDir, name: &str, bytes: u64) {
    fs::File::create(place.path().join(name)).unwrap().set_len(bytes).unwrap();
}

/// Builds with `%` standing for the directory in texts and configuration.
fn build_for(place: &TempDir, texts: &[&str], config: Option<&str>) -> Result<LaunchConfig, LaunchError> {
    let directory = place.path().to_str().unwrap();
    let exports = texts
        .iter()
        .map(|text| ExportSpec::parse(OsStr::new(&text.replace('%', directory))).unwrap())
        .collect::<Vec<_>>();
    let path = place.path().join("config.json");
    if let Some(config) = config {
        fs::write(&path, config.replace('%', directory)).unwrap();
    }
    LaunchConfig::build(&exports, config.map(|_| path.as_path()))
}

fn build(texts: &[&str], config: Option<&str>) -> LaunchConfig {
    build_for(&place(), texts, config).unwrap()
}

fn config_of<'a>(launch: &'a LaunchConfig, subsystem: &str) -> &'a [Value] {
    let subsystems = launch.document["subsystems"].as_array().unwrap();
    let mut found = subsystems.iter().filter(|one| one["subsystem"] == subsystem);
    let config = found.next().unwrap()["config"].as_array().unwrap();
    assert_eq!(found.next(), None, "{subsystem} stands twice");
    config
}

#[test]
fn nothing_to_serve_is_a_document_with_empty_subsystems() {
    let launch = build(&[], None);
    assert_eq!(
        launch.document,
        json!({"subsystems": [{"subsystem": "bdev", "config": []}, {"subsystem": "aoe", "config": []}]})
    );
    assert_eq!((launch.malloc_bytes, launch.nvme.len()), (0, 0));
}

#[test]
fn each_kind_of_bdev_is_created_and_exported() {
    let place = place();
    let disk = place.path().join("disk");
    let texts = [
        "1.1=malloc:64M",
        "1.2@eth0=aio:%/disk,ro",
        "1.3@0=nvme:01:00.0n2",
        "1.4=nvme:0000:01:00.0",
        "1.5=X",
    ];
    let launch = build_for(&place, &texts, None).unwrap();
    assert_eq!(
        config_of(&launch, "bdev"),
        [
            json!({"method": "bdev_malloc_create",
                   "params": {"name": "malloc1.1", "num_blocks": 131_072, "block_size": 512}}),
            json!({"method": "bdev_file_create",
                   "params": {"name": "file1.2", "filename": disk, "readonly": true}}),
            json!({"method": "bdev_nvme_attach_controller",
                   "params": {"name": "nvme0000:01:00.0", "trtype": "PCIe", "traddr": "0000:01:00.0"}}),
        ]
    );
    let create = |params| json!({"method": "aoe_create_export", "params": params});
    assert_eq!(
        config_of(&launch, "aoe"),
        [
            create(json!({"shelf": 1, "slot": 1, "bdev_name": "malloc1.1"})),
            create(
                json!({"shelf": 1, "slot": 2, "bdev_name": "file1.2", "ports": ["eth0"], "read_only": true})
            ),
            create(json!({"shelf": 1, "slot": 3, "bdev_name": "nvme0000:01:00.0n2", "ports": [0]})),
            create(json!({"shelf": 1, "slot": 4, "bdev_name": "nvme0000:01:00.0n1"})),
            create(json!({"shelf": 1, "slot": 5, "bdev_name": "X"})),
        ]
    );
    assert_eq!(launch.malloc_bytes, 64 << 20);
    assert_eq!(launch.nvme.iter().map(ToString::to_string).collect::<Vec<_>>(), ["0000:01:00.0"]);
}

#[cfg(feature = "rbd")]
#[test]
fn an_image_is_one_bdev_however_many_exports_serve_it() {
    let launch = build(
        &["1.1@0=rbd:p/d,user=kv", "1.1@1=rbd:p/d,user=kv", "1.2=rbd:p/n/d,ro", "1.3=rbd:p/d,ro,conf=/c"],
        None,
    );
    let create = |params| json!({"method": "bdev_rbd_create", "params": params});
    assert_eq!(
        config_of(&launch, "bdev"),
        [
            create(
                json!({"name": "rbd1.1", "pool_name": "p", "rbd_name": "d", "block_size": 512, "user_id": "kv"})
            ),
            create(json!({"name": "rbd1.2", "pool_name": "p", "namespace_name": "n", "rbd_name": "d",
                          "block_size": 512, "read_only": true})),
            create(json!({"name": "rbd1.3", "pool_name": "p", "rbd_name": "d", "block_size": 512,
                          "config_file": "/c", "read_only": true})),
        ]
    );
    let error = build_for(&place(), &["1.1=rbd:p/d", "1.2=rbd:p/d"], None).unwrap_err().to_string();
    assert!(error.contains("serve one image as two disks"), "{error}");
}

#[cfg(not(feature = "rbd"))]
#[test]
fn a_program_without_ceph_says_which_package_has_it() {
    let error = build_for(&place(), &["1.1=rbd:p/d"], None).unwrap_err().to_string();
    assert!(
        error.contains("1.1=rbd:p/d")
            && error.contains("kvblade-dpdk-ceph")
            && error.contains("--features rbd"),
        "{error}"
    );
}

#[test]
fn disks_of_one_address_have_bdevs_of_their_own_in_whatever_order_they_are_given() {
    let names = |texts: &[&str]| {
        let launch = build(texts, None);
        let bdevs = config_of(&launch, "bdev").iter();
        bdevs.map(|bdev| bdev["params"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (inside, outside, elsewhere) = ("1.3=malloc:1M,vlan=5", "1.3=malloc:1M", "1.3@eth1=malloc:1M");
    assert_eq!(names(&[outside, inside]), ["malloc1.3", "malloc1.3.v5"]);
    assert_eq!(names(&[inside, outside]), ["malloc1.3", "malloc1.3.2"]);
    assert_eq!(names(&[elsewhere, inside]), ["malloc1.3", "malloc1.3.v5"]);
}

#[test]
fn a_file_that_is_only_read_is_opened_read_only() {
    let place = place();
    let launch = build_for(&place, &["1.1=aio:%/disk,ro"], None).unwrap();
    assert_eq!(config_of(&launch, "bdev")[0]["params"]["readonly"], true);
    let launch = build_for(&place, &["1.1=aio:%/disk"], None).unwrap();
    assert_eq!(config_of(&launch, "bdev")[0]["params"].get("readonly"), None);
}

#[test]
fn the_options_of_a_file_are_those_of_its_bdev() {
    let place = place();
    file(&place, "odd", 1025);
    let made = |texts: &[&str]| {
        let launch = build_for(&place, texts, None).unwrap();
        let [call] = config_of(&launch, "bdev") else { panic!("{texts:?}: one bdev") };
        let mut params = call["params"].clone();
        params.as_object_mut().unwrap().remove("filename").unwrap();
        (call["method"].as_str().unwrap().to_owned(), params)
    };
    let file = |params| ("bdev_file_create".to_owned(), params);
    for (texts, call) in [
        (&["1.1=%/disk"][..], file(json!({ "name": "file1.1" }))),
        (
            &["1.1=%/disk,sync=each,buffered"],
            file(json!({ "name": "file1.1", "buffered": true, "sync": "each" })),
        ),
        (&["1.1=%/disk,ro,direct"], file(json!({ "name": "file1.1", "readonly": true, "buffered": false }))),
        // An export that is written back asks for durability by its flushes.
        (&["1.1=%/disk,cache=write-back"], file(json!({ "name": "file1.1", "sync": "none" }))),
        (&["1.1=%/disk,cache=write-back,sync=group"], file(json!({ "name": "file1.1", "sync": "group" }))),
        (&["1.1@0=%/disk,cache=write-back", "1.1@1=%/disk"], file(json!({ "name": "file1.1" }))),
        (
            &["1.1@0=%/disk,sync=each", "1.1@1=%/disk,direct"],
            file(json!({ "name": "file1.1", "buffered": false, "sync": "each" })),
        ),
        (&["1.1=%/odd"], file(json!({ "name": "file1.1" }))),
        (
            &["1.1=spdk-aio:%/disk"],
            ("bdev_aio_create".to_owned(), json!({ "name": "aio1.1", "block_size": 512 })),
        ),
    ] {
        assert_eq!(made(texts), call, "{texts:?}");
    }
    for (texts, part) in [
        (["1.1@0=%/disk,sync=each", "1.1@1=%/disk,sync=group"], "different values of sync"),
        (["1.1@0=%/disk,buffered", "1.1@1=%/disk,direct"], "different values of buffered"),
        (["1.1@0=%/disk", "1.1@1=spdk-aio:%/disk"], "different kinds of bdev"),
        (["1.1@0=spdk-aio:%/disk", "1.1@1=%/disk"], "different kinds of bdev"),
    ] {
        let error = build_for(&place, &texts, None).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn without_io_uring_every_file_is_served_by_aio() {
    let config = r#"{"subsystems": [{"subsystem": "bdev", "config": [
        {"method": "bdev_wait_for_examine"},
        {"method": "bdev_file_create", "params": {"name": "f", "filename": "%/disk", "sync": "each"}}]}]}"#;
    let place = place();
    let disk = place.path().join("disk");
    let mut launch = build_for(&place, &["1.1=%/odd,ro,buffered"], Some(config)).unwrap();
    assert_eq!(launch.serve_files_by_aio(), ["f", "file1.1"]);
    let odd = place.path().join("odd");
    let expected = [
        json!({"method": "bdev_wait_for_examine"}),
        json!({"method": "bdev_aio_create", "params": {"name": "f", "filename": disk, "block_size": 512}}),
        json!({"method": "bdev_aio_create",
               "params": {"name": "file1.1", "filename": odd, "readonly": true, "block_size": 512}}),
    ];
    assert_eq!(config_of(&launch, "bdev"), expected);
    let entries: Vec<Value> = launch.entries.iter().map(Entry::to_json).collect();
    assert_eq!(entries[..3], expected);
    assert_eq!(launch.serve_files_by_aio(), [""; 0]);
}

#[test]
fn one_address_on_two_ports_may_serve_different_bdevs() {
    let launch = build(&["1.1@0=malloc:1M", "1.1@1=malloc:2M", "1.1@2=malloc1.1"], None);
    let names: Vec<_> = config_of(&launch, "aoe").iter().map(|call| &call["params"]["bdev_name"]).collect();
    assert_eq!(names, ["malloc1.1", "malloc1.1@1", "malloc1.1"]);
}

#[test]
fn one_file_is_one_bdev_by_whatever_path() {
    let place = place();
    symlink(place.path().join("disk"), place.path().join("link")).unwrap();
    for texts in [
        ["1.1@0=aio:%/disk", "1.1@1=aio:%/./link", "1.1@2=aio:%/disk,ro"],
        ["1.1=aio:%/disk,ro", "2.1=aio:%/link,ro", "3.1=aio:%/disk,ro"],
    ] {
        let launch = build_for(&place, &texts, None).unwrap();
        assert_eq!(config_of(&launch, "bdev").len(), 1, "{texts:?}");
        for call in config_of(&launch, "aoe") {
            assert_eq!(call["params"]["bdev_name"], "file1.1", "{texts:?}");
        }
    }
}

#[test]
fn one_file_as_two_disks_is_refused_unless_nobody_writes() {
    let place = place();
    for texts in [
        &["1.1=aio:%/disk", "1.2=aio:%/disk"][..],
        &["1.1=aio:%/disk,ro", "1.2=aio:%/disk"],
        &["1.1=aio:%/disk,length=9", "1.2=aio:%/disk,offset=8"],
        &["1.1@0=aio:%/disk", "1.1@1=aio:%/disk", "2.1=aio:%/disk,ro"],
    ] {
        let error = build_for(&place, texts, None).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let message = error.to_string();
        assert!(message.contains("two disks") && message.contains("option ro"), "{message}");
    }
    let parts = ["1.1=aio:%/disk,length=1", "1.2=aio:%/disk,offset=1,length=1,serial=two"];
    let launch = build_for(&place, &parts, None).unwrap();
    let params: Vec<_> = config_of(&launch, "aoe").iter().map(|call| call["params"].clone()).collect();
    assert_eq!(params[0], json!({"shelf": 1, "slot": 1, "bdev_name": "file1.1", "length": 1}));
    assert_eq!(
        params[1],
        json!({"shelf": 1, "slot": 2, "bdev_name": "file1.1", "offset": 1, "length": 1, "serial": "two"})
    );
}

#[test]
fn files_that_cannot_be_served_are_named_with_the_reason() {
    let place = place();
    file(&place, "empty", 0);
    file(&place, "small", 511);
    file(&place, "odd", 1025);
    fs::create_dir(place.path().join("directory")).unwrap();
    symlink(place.path().join("nowhere"), place.path().join("dangling")).unwrap();
    for (text, parts) in [
        ("1.1=aio:%/directory", &["/directory'", "a directory", "regular file or block device"][..]),
        ("1.1=aio:/dev/null", &["'/dev/null'", "regular file or block device"]),
        ("1.1=aio:%/empty", &["/empty'", "0 bytes", "at least 512"]),
        ("1.1=aio:%/small", &["/small'", "511 bytes", "at least 512"]),
        ("1.1=spdk-aio:%/odd", &["/odd'", "1025 bytes", "multiple of 512", "file:"]),
    ] {
        let error = build_for(&place, &[text], None).unwrap_err();
        assert_eq!(error.exit_code(), 1, "{text}");
        for part in parts {
            assert!(error.to_string().contains(part), "{text}: {error} lacks {part}");
        }
    }
}

#[test]
fn files_that_are_missing_are_named_with_the_reason_and_exported_all_the_same() {
    let place = place();
    symlink(place.path().join("nowhere"), place.path().join("dangling")).unwrap();
    for (text, parts) in [
        ("1.1=aio:%/missing", &["/missing'", "No such file", "regular file or block device"][..]),
        ("1.1=aio:%/dangling", &["/dangling'", "No such file"]),
        ("1.1=aio:%/disk/below", &["/disk/below'", "Not a directory"]),
    ] {
        let launch = build_for(&place, &[text, "1.2=aio:%/disk"], None).unwrap();
        let [missing] = launch.missing.as_slice() else { panic!("{text}: {:?}", launch.missing) };
        for part in parts {
            assert!(missing.contains(part), "{text}: {missing} lacks {part}");
        }
        assert_eq!((config_of(&launch, "bdev").len(), config_of(&launch, "aoe").len()), (2, 2));
    }
    // One path is one disk, whether it is there or not.
    for (texts, bdevs) in
        [(["1.1@0=aio:%/missing", "1.1@1=aio:%/missing"], 1), (["1.1=aio:%/missing", "1.2=aio:%/other"], 2)]
    {
        assert_eq!(config_of(&build_for(&place, &texts, None).unwrap(), "bdev").len(), bdevs, "{texts:?}");
    }
    let error = build_for(&place, &["1.1=aio:%/missing", "1.2=aio:%/missing"], None).unwrap_err();
    assert!(error.to_string().contains("two disks"), "{error}");
}

#[test]
fn what_waited_for_its_disk_when_it_was_saved_is_made_before_the_exports() {
    let config = r#"{"subsystems": [
        {"subsystem": "aoe", "config": [
            {"method": "bdev_aio_create", "params": {"name": "aio1.1", "filename": "/gone", "block_size": 512}},
            {"method": "aoe_create_export", "params": {"shelf": 1, "slot": 1, "bdev_name": "aio1.1"}}]},
        {"subsystem": "bdev", "config": [{"method": "bdev_null_create", "params": {"name": "n"}}]}]}"#;
    let launch = build(&["1.2=malloc:1M"], Some(config));
    let names: Vec<_> =
        config_of(&launch, "bdev").iter().map(|call| call["params"]["name"].clone()).collect();
    assert_eq!(names, ["n", "aio1.1", "malloc1.2"]);
    assert_eq!(config_of(&launch, "aoe").len(), 2);
    let awaited = launch.entries.iter().find(|entry| entry.name() == Some("aio1.1")).unwrap();
    assert!(
        awaited.to_string().contains("entry 1 of subsystem 'aoe': bdev_aio_create of 'aio1.1'"),
        "{awaited}"
    );
    let clash = build_for(&place(), &["1.1@0=aio:%/disk"], Some(config)).unwrap_err();
    assert!(clash.to_string().contains("config.json' exports 1.1"), "{clash}");
}

#[test]
fn entries_and_document_are_the_same_calls() {
    let config = r#"{"subsystems": [{"subsystem": "bdev", "config": [
        {"method": "bdev_set_options", "params": {"bdev_io_pool_size": 1}},
        [{"method": "bdev_wait_for_examine"}, {"method": "bdev_null_create", "params": {"name": "n"}}]]}]}"#;
    let mut launch = build(&["1.1=malloc:1M"], Some(config));
    assert_eq!(launch.preset_spdk_options(1).len(), 1, "one size was too low");
    let listed = |launch: &LaunchConfig| -> Vec<Value> {
        let subsystems = launch.document["subsystems"].as_array().unwrap().iter();
        subsystems.flat_map(|one| one["config"].as_array().unwrap().clone()).collect()
    };
    let entries: Vec<Value> = launch.entries.iter().map(Entry::to_json).collect();
    assert_eq!(entries, listed(&launch));
    let places: Vec<String> = launch.entries.iter().map(ToString::to_string).collect();
    assert!(places[0].starts_with("the program's own options of SPDK: iobuf_set_options"), "{places:?}");
    let part = "entry 2.2 of subsystem 'bdev': bdev_null_create of 'n'";
    assert!(places.iter().any(|place| place.contains(part)), "{places:?}");
}

#[test]
fn a_file_that_cannot_be_written_is_refused_or_served_read_only() {
    // A regular file of one page that even root cannot open for writing.
    const READ_ONLY: &str = "/sys/kernel/uevent_seqnum";
    let build = |options: &str| build_for(&place(), &[&format!("1.1=aio:{READ_ONLY}{options}")], None);
    let missing = build("").unwrap().missing;
    assert!(missing[0].contains("exported read-only") && missing[0].contains(READ_ONLY), "{missing:?}");
    assert_eq!(build(",ro").unwrap().missing, [""; 0]);
}

#[test]
fn the_users_configuration_is_kept_and_exports_come_last() {
    let config = r#"{
        // SPDK allows comments
        "subsystems": [
            {"subsystem": "aoe", "config": [
                {"method": "aoe_create_export", "params": {"shelf": 9, "slot": 9, "bdev_name": "Null0"}}]},
            {"subsystem": "accel", "config": null},
            {"subsystem": "bdev", "config": [ /* two
                lines "quoted */
                {"method": "bdev_null_create", "params": {"name": "Null0", "num_blocks": 8, "block_size": 512}}]},
            {"subsystem": "nvmf", "config": [{"method": "m//x", "params": {"a": "\"/*"}}]}
        ],
        "else": 1}"#;
    let launch = build(&["1.1=malloc:1M"], Some(config));
    let order: Vec<_> = launch.document["subsystems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["subsystem"].clone())
        .collect();
    assert_eq!(order, ["accel", "bdev", "nvmf", "aoe"]);
    let methods =
        |name| config_of(&launch, name).iter().map(|call| call["method"].clone()).collect::<Vec<_>>();
    assert_eq!(methods("bdev"), ["bdev_null_create", "bdev_malloc_create"]);
    assert_eq!(config_of(&launch, "nvmf"), [json!({"method": "m//x", "params": {"a": "\"/*"}})]);
    let addresses: Vec<_> =
        config_of(&launch, "aoe").iter().map(|call| call["params"]["shelf"].clone()).collect();
    assert_eq!(addresses, [9, 1]);
}

#[test]
fn what_was_built_can_be_loaded_again() {
    let place = place();
    let first = build_for(&place, &["1.1@0=malloc:1M", "1.2=aio:%/disk,ro"], None).unwrap();
    let again = build_for(&place, &[], Some(&first.document.to_string())).unwrap();
    assert_eq!(again.document, first.document);
}

#[test]
fn entries_may_lack_params_and_stand_in_batches() {
    let config = r#"{"subsystems": [{"subsystem": "bdev", "config": [
        {"method": "bdev_wait_for_examine"},
        [{"method": "bdev_null_create", "params": {"name": "malloc1.1"}}]]}]}"#;
    let place = place();
    assert!(build_for(&place, &[], Some(config)).is_ok());
    let error = build_for(&place, &["1.1=malloc:1M"], Some(config)).unwrap_err().to_string();
    assert!(error.contains("'malloc1.1'"), "{error}");
}

#[test]
fn configurations_that_cannot_work_are_named_with_the_place() {
    let with = |subsystem: &str, entry: &str| {
        format!(r#"{{"subsystems": [{{"subsystem": "{subsystem}", "config": [{entry}]}}]}}"#)
    };
    let export = r#"{"method": "aoe_create_export", "params": {"shelf": 1, "slot": 1, "bdev_name": "b", "ports": [0]}}"#;
    for (config, texts, parts) in [
        ("{".to_owned(), &[][..], &["config.json'", "JSON", "line 1"][..]),
        ("[]".into(), &[], &["\"subsystems\""]),
        (r#"{"subsystems": {}}"#.into(), &[], &["\"subsystems\"", "save_config"]),
        (r#"{"subsystems": [{"config": []}]}"#.into(), &[], &["subsystem number 1", "\"subsystem\""]),
        (r#"{"subsystems": [{"subsystem": "x"}]}"#.into(), &[], &["subsystem 'x'", "\"config\""]),
        (with("bdev", "7"), &[], &["entry 1 of subsystem 'bdev'", "\"method\""]),
        (with("bdev", r#"{"method": "m", "params": [1]}"#), &[], &["entry 1", "\"params\" of 'm'"]),
        (with("aoe", r#"{"method": "m", "params": {}}"#), &[], &["subsystem 'aoe'", "no method 'm'"]),
        (
            with("aoe", r#"{"method": "aoe_get_stats", "params": {}}"#),
            &[],
            &["'aoe_get_stats'", "aoe_create_export"],
        ),
        (
            with("aoe", r#"{"method": "aoe_create_export", "params": {"shelf": 65535}}"#),
            &[],
            &["shelf is 65535", "0 to 65534"],
        ),
        (with("aoe", &format!("{export}, {export}")), &[], &["1.1 is exported twice", "once on a port"]),
        (with("aoe", export), &["1.1=b"], &["'1.1=b'", "config.json' exports 1.1", "once on a port"]),
        (with("aoe", export), &["1.1@0=b"], &["'1.1@0=b'", "config.json' exports 1.1"]),
        (
            with("bdev", r#"{"method": "bdev_null_create", "params": {"name": "malloc1.1"}}"#),
            &["1.1=malloc:1M"],
            &["'1.1=malloc:1M'", "'malloc1.1'", "--export 1.1=malloc1.1"],
        ),
        (
            with(
                "bdev",
                r#"{"method": "bdev_nvme_attach_controller", "params":
                {"name": "N0", "trtype": "PCIe", "traddr": "0000:01:00.0"}}"#,
            ),
            &["1.1=nvme:01:00.0n3"],
            &["attaches that drive as 'N0'", "1.1=N0n3"],
        ),
    ] {
        let error = build_for(&place(), texts, Some(&config)).unwrap_err();
        assert_eq!(error.exit_code(), 1, "{config}");
        for part in parts {
            assert!(error.to_string().contains(part), "{config}: {error} lacks {part}");
        }
    }
    let other_port = with("aoe", export);
    assert!(build_for(&place(), &["1.1@1=b"], Some(&other_port)).is_ok());
}

#[test]
fn a_configuration_that_cannot_be_read_is_named() {
    let place = place();
    for (path, part) in [("nothing.json", "No such file"), ("", "directory")] {
        let path = place.path().join(path);
        let message = LaunchConfig::build(&[], Some(&path)).unwrap_err().to_string();
        assert!(message.contains(path.to_str().unwrap()) && message.contains(part), "{message}");
    }
}
