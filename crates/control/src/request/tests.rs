//! Every bad value is named together with what is allowed, and no good one is refused.

use serde_json::json;

use super::*;

fn address(shelf: u16, slot: u8) -> ShelfSlot {
    ShelfSlot::new(Shelf(shelf), Slot(slot))
}

fn all_options() -> ExportOptions {
    ExportOptions {
        offset: 8,
        vlan: VlanId::new(100),
        length: Some(16),
        cache: CacheMode::WriteBack,
        buffers: Some(512),
        allow: vec![MacAddr([0x52, 0x54, 0, 0, 0, 1])],
        deny: vec![MacAddr([0x52, 0x54, 0, 0, 0, 2])],
        serial: Some("s".into()),
        model: Some("m".into()),
        firmware: Some("f".into()),
    }
}

#[test]
fn options_of_the_wrong_kind_are_named() {
    for (name, value, parts) in [
        ("offset", json!(-1), ["offset is -1", "512 bytes, from 0"]),
        ("length", json!(0), ["length is 0", "from 1"]),
        ("length", json!("8"), ["length is '8'", "from 1"]),
        ("vlan", json!(4095), ["vlan is 4095", "from 1 to 4094"]),
        ("vlan", json!("7"), ["vlan is '7'", "from 1 to 4094"]),
        ("cache", json!("off"), ["cache is 'off'", "write-through or write-back"]),
        ("cache", json!(true), ["cache is true", "write-through or write-back"]),
        ("buffers", json!(1), ["buffers is 1", "from 2 to 512"]),
        ("allow", json!("52:54:00:00:00:01"), ["allow is '52:54", "a list of MAC addresses"]),
        ("deny", json!([1]), ["deny is a list", "a list of MAC addresses in text"]),
        ("deny", json!(["x"]), ["deny: 'x'", "six bytes"]),
        ("serial", json!(5), ["serial is 5", "a string"]),
        ("model", json!(""), ["model ''", "1 to 40"]),
    ] {
        let error = refusal(CREATE_EXPORT, json!({ "shelf": 1, "slot": 1, "bdev_name": "b", name: value }));
        assert_eq!(error.code(), ErrorCode::InvalidParams);
        for part in parts {
            assert!(error.message().contains(part), "{} lacks {part}", error.message());
        }
    }
}

fn refusal(method: &str, params: Value) -> RpcError {
    match Action::decode(method, Some(&params)) {
        Ok(action) => panic!("{method} took {params} as {action:?}"),
        Err(error) => error,
    }
}

#[test]
fn create_takes_every_parameter() {
    let params = json!({
        "shelf": 65534, "slot": 254, "bdev_name": "Malloc0", "ports": [1, "eth0", "2"], "read_only": true,
        "offset": 8, "length": 16, "vlan": 100, "cache": "write-back", "buffers": 512, "allow": ["52:54:00:00:00:01"], "deny": ["52:54:00:00:00:02"],
        "serial": "s", "model": "m", "firmware": "f",
    });
    let expected = CreateExport {
        address: address(65534, 254),
        bdev_name: "Malloc0".into(),
        ports: Some(vec![PortRef::Number(1), PortRef::Name("eth0".into()), PortRef::Number(2)]),
        read_only: true,
        options: all_options(),
    };
    assert_eq!(Action::decode(CREATE_EXPORT, Some(&params)), Ok(Action::CreateExport(expected)));
}

#[test]
fn what_is_left_out_has_its_default() {
    let params = json!({"shelf": 0, "slot": 0, "bdev_name": "b", "ports": null});
    let expected = CreateExport {
        address: address(0, 0),
        bdev_name: "b".into(),
        ports: None,
        read_only: false,
        options: ExportOptions::default(),
    };
    assert_eq!(Action::decode(CREATE_EXPORT, Some(&params)), Ok(Action::CreateExport(expected)));
    assert_eq!(Action::decode(ANNOUNCE, None), Ok(Action::Announce(Announce { shelf: None, slot: None })));
    assert_eq!(
        Action::decode(ANNOUNCE, Some(&json!({"slot": 3}))),
        Ok(Action::Announce(Announce { shelf: None, slot: Some(Slot(3)) }))
    );
    assert_eq!(Action::decode(GET_EXPORTS, Some(&Value::Null)), Ok(Action::GetExports));
    assert_eq!(Action::decode(GET_STATS, Some(&json!({}))), Ok(Action::GetStats));
}

#[test]
fn parameters_survive_the_way_out_and_in_again() {
    let create = CreateExport {
        address: address(7, 3),
        bdev_name: "n1".into(),
        ports: Some(vec![PortRef::Name("0000:03:00.0".into()), PortRef::Number(4)]),
        read_only: true,
        options: all_options(),
    };
    assert_eq!(Action::decode(CREATE_EXPORT, Some(&create.to_params())), Ok(Action::CreateExport(create)));
    let delete = DeleteExport { address: address(7, 3), vlan: VlanId::new(9), ports: None };
    assert_eq!(Action::decode(DELETE_EXPORT, Some(&delete.to_params())), Ok(Action::DeleteExport(delete)));
    let announce = Announce { shelf: Some(Shelf(1)), slot: None };
    assert_eq!(Action::decode(ANNOUNCE, Some(&announce.to_params())), Ok(Action::Announce(announce)));
}

#[test]
fn bad_values_are_named_with_what_is_allowed() {
    let long = "x".repeat(5000);
    for (method, params, parts) in [
        (CREATE_EXPORT, json!([1]), &["a list", "must be an object"][..]),
        (CREATE_EXPORT, json!({}), &["shelf is missing", "0 to 65534"]),
        (CREATE_EXPORT, json!({"shelf": 1}), &["slot is missing", "0 to 254"]),
        (CREATE_EXPORT, json!({"shelf": 1, "slot": 1}), &["bdev_name is missing", "name of a bdev"]),
        (CREATE_EXPORT, json!({"shelf": 65535, "slot": 1}), &["shelf is 65535", "0 to 65534"]),
        (CREATE_EXPORT, json!({"shelf": -1, "slot": 1}), &["shelf is -1", "0 to 65534"]),
        (CREATE_EXPORT, json!({"shelf": 1.5, "slot": 1}), &["shelf is 1.5", "0 to 65534"]),
        (CREATE_EXPORT, json!({"shelf": "1", "slot": 1}), &["shelf is '1'", "0 to 65534"]),
        (CREATE_EXPORT, json!({"shelf": 1, "slot": 255}), &["slot is 255", "0 to 254"]),
        (CREATE_EXPORT, json!({"shelf": 1, "slot": [2]}), &["slot is a list", "0 to 254"]),
        (CREATE_EXPORT, json!({"shelf": 1, "slot": 1, "bdev_name": ""}), &["bdev_name is ''", "not empty"]),
        (CREATE_EXPORT, json!({"shelf": 1, "slot": 1, "bdev_name": 7}), &["bdev_name is 7", "a string"]),
        (
            CREATE_EXPORT,
            json!({"shelf": 1, "slot": 1, "bdev_name": "b", "read_only": "yes"}),
            &["read_only is 'yes'", "true or false"],
        ),
        (
            CREATE_EXPORT,
            json!({"shelf": 1, "slot": 1, "bdev_name": "b", "read-only": true}),
            &["unknown parameter 'read-only'", "shelf, slot, bdev_name, ports, read_only"],
        ),
        (
            CREATE_EXPORT,
            json!({"shelf": 1, "slot": 1, "bdev_name": "b", "ports": []}),
            &["ports is an empty list", "left out for all ports"],
        ),
        (
            CREATE_EXPORT,
            json!({"shelf": 1, "slot": 1, "bdev_name": "b", "ports": "eth0"}),
            &["ports is 'eth0'", "a list"],
        ),
        (
            CREATE_EXPORT,
            json!({"shelf": 1, "slot": 1, "bdev_name": "b", "ports": [0, "eth0", 0]}),
            &["lists '0' twice", "once"],
        ),
        (
            CREATE_EXPORT,
            json!({"shelf": 1, "slot": 1, "bdev_name": "b", "ports": [70000]}),
            &["70000", "0 to 65535"],
        ),
        (
            CREATE_EXPORT,
            json!({"shelf": 1, "slot": 1, "bdev_name": "b", "ports": ["eth 0"]}),
            &["'eth 0'", "white space"],
        ),
        (
            CREATE_EXPORT,
            json!({"shelf": 1, "slot": 1, "bdev_name": "b", "ports": vec![1; 257]}),
            &["257 ports", "at most 256"],
        ),
        (DELETE_EXPORT, json!({"shelf": 1}), &["slot is missing", "0 to 254"]),
        (
            DELETE_EXPORT,
            json!({"shelf": 1, "slot": 2, "bdev_name": "b"}),
            &["unknown parameter 'bdev_name'", "shelf, slot, vlan, ports"],
        ),
        (ANNOUNCE, json!({"shelf": 70000}), &["shelf is 70000", "0 to 65534"]),
        (GET_EXPORTS, json!({"all": 1}), &["unknown parameter 'all'", "takes no parameters"]),
        (GET_STATS, json!({ long: 1 }), &["unknown parameter 'xxx", "takes no parameters"]),
    ] {
        let error = refusal(method, params.clone());
        assert_eq!(error.code(), ErrorCode::InvalidParams, "{params}");
        assert!(error.message().starts_with(method), "{error}");
        for part in parts {
            assert!(error.message().contains(part), "{params}: {error} lacks {part}");
        }
    }
}

#[test]
fn an_unknown_method_is_answered_with_the_methods_there_are() {
    let error = refusal("aoe_make_export", json!({}));
    assert_eq!(error.code(), ErrorCode::MethodNotFound);
    assert!(error.message().contains("'aoe_make_export'") && error.message().contains("aoe_create_export"));
}

#[test]
fn claims_are_cleared_whole_or_in_part() {
    let decode = |params| Action::decode(CLEAR_CLAIMS, Some(&params));
    let whole = ClearClaims {
        address: ShelfSlot::new(Shelf(1), Slot(2)),
        vlan: None,
        port: None,
        what: Claimed::All,
    };
    assert_eq!(decode(json!({ "shelf": 1, "slot": 2 })), Ok(Action::ClearClaims(whole.clone())));
    for (word, what) in [
        ("config", Claimed::Config),
        ("mask", Claimed::Mask),
        ("reservation", Claimed::Reservation),
        ("all", Claimed::All),
    ] {
        let part = ClearClaims { what, port: Some(PortRef::Number(3)), ..whole.clone() };
        let params = json!({ "shelf": 1, "slot": 2, "port": 3, "what": word });
        assert_eq!(decode(params), Ok(Action::ClearClaims(part)));
    }
    let refused = |params| decode(params).expect_err("refused").message().to_owned();
    assert_eq!(
        refused(json!({ "shelf": 1, "slot": 2, "what": "every" })),
        "aoe_clear_claims: what is 'every': it must be config, mask, reservation or all"
    );
    let message = refused(json!({ "shelf": 1, "slot": 2, "port": 65536 }));
    assert!(message.contains("port is 65536") && message.contains("0 to 65535"), "{message}");
}
