//! Every bad value is named together with what is allowed, and no good one is refused.

use aoe_target::MacAddr;
use serde_json::json;

use super::*;
use crate::options::CacheMode;

fn address(shelf: u16, slot: u8) -> ShelfSlot {
    ShelfSlot::new(Shelf(shelf), Slot(slot))
}

#[allow(clippy::needless_update, reason = "an option that is added need not be named here")]
fn many_options() -> ExportOptions {
    ExportOptions {
        read_only: true,
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
        ..ExportOptions::default()
    }
}

/// A value in text for each option that differs from its default.
fn some_text(option: &Field) -> Option<String> {
    use crate::schema::Kind;
    Some(match option.kind() {
        Kind::Flag => return None,
        Kind::Number { min, .. } => (min + 1).to_string(),
        Kind::Choice(choices) => choices.last().unwrap().word.clone(),
        Kind::List { .. } => "52:54:00:00:00:01+52:54:00:00:00:02".to_owned(),
        Kind::Text | Kind::Other => "text".to_owned(),
    })
}

#[test]
fn every_option_survives_the_way_from_text_to_an_rpc_and_back() {
    for option in ExportOptions::fields() {
        let mut options = ExportOptions::default();
        options.set(option, some_text(option).as_deref()).unwrap();
        assert_ne!(options, ExportOptions::default(), "{}", option.name());
        let create = CreateExport { address: address(1, 1), bdev_name: "b".to_owned(), ports: None, options };
        let params = create.to_params();
        assert!(!params[option.name()].is_null(), "{params} lacks {}", option.name());
        assert_eq!(params.as_object().unwrap().len(), 4, "defaults are left out: {params}");
        assert_eq!(Action::decode(CreateExport::NAME, Some(&params)), Ok(Action::CreateExport(create)));
        assert!(!option.summary().is_empty() && option.summary().len() < 80, "{}", option.summary());
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
        let error =
            refusal(CreateExport::NAME, json!({ "shelf": 1, "slot": 1, "bdev_name": "b", name: value }));
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
        options: many_options(),
    };
    assert_eq!(Action::decode(CreateExport::NAME, Some(&params)), Ok(Action::CreateExport(expected)));
}

#[test]
fn limits_are_set_together_and_those_left_out_are_lifted() {
    let params =
        json!({ "shelf": 1, "slot": 2, "vlan": 5, "port": "eth0", "iops": 100, "initiator_bandwidth": 8192 });
    let expected = SetQos {
        export: OneExport {
            address: address(1, 2),
            vlan: VlanId::new(5),
            port: Some(PortRef::Name("eth0".into())),
        },
        limits: RateLimits { iops: Some(100), initiator_bandwidth: Some(8192), ..RateLimits::default() },
    };
    assert_eq!(Action::decode(SetQos::NAME, Some(&params)), Ok(Action::SetQos(expected)));
    for (name, value, parts) in [
        ("iops", json!(0), ["iops is 0", "from 1 to 100000000"]),
        ("initiator_iops", json!("5"), ["initiator_iops is '5'", "from 1 to 100000000"]),
        ("bandwidth", json!(8191), ["bandwidth is 8191", "from 8192 to 1099511627776"]),
        ("initiator_bandwidth", json!(-1), ["initiator_bandwidth is -1", "from 8192"]),
        ("iop", json!(1), ["unknown parameter 'iop', the nearest is 'iops'", "initiator_bandwidth"]),
    ] {
        let error = refusal(SetQos::NAME, json!({ "shelf": 1, "slot": 2, name: value }));
        assert!(parts.iter().all(|part| error.message().contains(part)), "{}", error.message());
    }
}

#[test]
fn what_is_left_out_has_its_default() {
    let params = json!({"shelf": 0, "slot": 0, "bdev_name": "b", "ports": null});
    let expected = CreateExport {
        address: address(0, 0),
        bdev_name: "b".into(),
        ports: None,
        options: ExportOptions::default(),
    };
    assert_eq!(Action::decode(CreateExport::NAME, Some(&params)), Ok(Action::CreateExport(expected)));
    assert_eq!(
        Action::decode(Announce::NAME, None),
        Ok(Action::Announce(Announce { shelf: None, slot: None }))
    );
    assert_eq!(
        Action::decode(Announce::NAME, Some(&json!({"slot": 3}))),
        Ok(Action::Announce(Announce { shelf: None, slot: Some(Slot(3)) }))
    );
    assert_eq!(
        Action::decode(GetExports::NAME, Some(&Value::Null)),
        Ok(Action::GetExports(GetExports::default()))
    );
    assert_eq!(Action::decode(GetStats::NAME, Some(&json!({}))), Ok(Action::GetStats(GetStats {})));
}

#[test]
fn parameters_survive_the_way_out_and_in_again() {
    let create = CreateExport {
        address: address(7, 3),
        bdev_name: "n1".into(),
        ports: Some(vec![PortRef::Name("0000:03:00.0".into()), PortRef::Number(4)]),
        options: many_options(),
    };
    assert_eq!(
        Action::decode(CreateExport::NAME, Some(&create.to_params())),
        Ok(Action::CreateExport(create))
    );
    let delete = DeleteExport { address: address(7, 3), vlan: VlanId::new(9), ports: None, force: false };
    assert_eq!(
        Action::decode(DeleteExport::NAME, Some(&delete.to_params())),
        Ok(Action::DeleteExport(delete))
    );
    let announce = Announce { shelf: Some(Shelf(1)), slot: None };
    assert_eq!(Action::decode(Announce::NAME, Some(&announce.to_params())), Ok(Action::Announce(announce)));
}

#[test]
fn bad_values_are_named_with_what_is_allowed() {
    let long = "x".repeat(5000);
    for (method, params, parts) in [
        (CreateExport::NAME, json!([1]), &["a list", "must be an object"][..]),
        (CreateExport::NAME, json!({}), &["shelf is missing", "0 to 65534"]),
        (CreateExport::NAME, json!({"shelf": 1}), &["slot is missing", "0 to 254"]),
        (CreateExport::NAME, json!({"shelf": 1, "slot": 1}), &["bdev_name is missing", "name of a bdev"]),
        (CreateExport::NAME, json!({"shelf": 65535, "slot": 1}), &["shelf is 65535", "0 to 65534"]),
        (CreateExport::NAME, json!({"shelf": -1, "slot": 1}), &["shelf is -1", "0 to 65534"]),
        (CreateExport::NAME, json!({"shelf": 1.5, "slot": 1}), &["shelf is 1.5", "0 to 65534"]),
        (CreateExport::NAME, json!({"shelf": "1", "slot": 1}), &["shelf is '1'", "0 to 65534"]),
        (CreateExport::NAME, json!({"shelf": 1, "slot": 255}), &["slot is 255", "0 to 254"]),
        (CreateExport::NAME, json!({"shelf": 1, "slot": [2]}), &["slot is a list", "0 to 254"]),
        (
            CreateExport::NAME,
            json!({"shelf": 1, "slot": 1, "bdev_name": ""}),
            &["bdev_name is ''", "not empty"],
        ),
        (CreateExport::NAME, json!({"shelf": 1, "slot": 1, "bdev_name": 7}), &["bdev_name is 7", "a string"]),
        (
            CreateExport::NAME,
            json!({"shelf": 1, "slot": 1, "bdev_name": "b", "read_only": "yes"}),
            &["read_only is 'yes'", "true or false"],
        ),
        (
            CreateExport::NAME,
            json!({"shelf": 1, "slot": 1, "bdev_name": "b", "read-only": true}),
            &["unknown parameter 'read-only'", "shelf, slot, bdev_name, ports, read_only"],
        ),
        (
            CreateExport::NAME,
            json!({"shelf": 1, "slot": 1, "bdev_name": "b", "ports": []}),
            &["ports is an empty list", "left out for all ports"],
        ),
        (
            CreateExport::NAME,
            json!({"shelf": 1, "slot": 1, "bdev_name": "b", "ports": "eth0"}),
            &["ports is 'eth0'", "a list"],
        ),
        (
            CreateExport::NAME,
            json!({"shelf": 1, "slot": 1, "bdev_name": "b", "ports": [0, "eth0", 0]}),
            &["lists '0' twice", "once"],
        ),
        (
            CreateExport::NAME,
            json!({"shelf": 1, "slot": 1, "bdev_name": "b", "ports": [70000]}),
            &["70000", "0 to 65535"],
        ),
        (
            CreateExport::NAME,
            json!({"shelf": 1, "slot": 1, "bdev_name": "b", "ports": ["eth 0"]}),
            &["'eth 0'", "white space"],
        ),
        (
            CreateExport::NAME,
            json!({"shelf": 1, "slot": 1, "bdev_name": "b", "ports": vec![1; 257]}),
            &["257 ports", "at most 256"],
        ),
        (DeleteExport::NAME, json!({"shelf": 1}), &["slot is missing", "0 to 254"]),
        (
            DeleteExport::NAME,
            json!({"shelf": 1, "slot": 2, "bdev_name": "b"}),
            &["unknown parameter 'bdev_name'", "shelf, slot, vlan, ports"],
        ),
        (Announce::NAME, json!({"shelf": 70000}), &["shelf is 70000", "0 to 65534"]),
        (
            SetLogLevel::NAME,
            json!({"directives": "datapath=debug"}),
            &["directives: 'datapath' is no module", "kvblade_dpdk, state_store, spdk, dpdk"],
        ),
        (SetLogLevel::NAME, json!({"directives": "spdk=loud"}), &["'spdk=loud'", "off, error, warn, info"]),
        (SetLogLevel::NAME, json!({"directives": 7}), &["directives is 7"]),
        (GetStats::NAME, json!({"all": 1}), &["unknown parameter 'all'", "takes no parameters"]),
        (GetExports::NAME, json!({"all": 1}), &["unknown parameter 'all'", "the parameters are shelf, slot"]),
        (GetStats::NAME, json!({ long: 1 }), &["unknown parameter 'xxx", "takes no parameters"]),
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
fn initiator_state_is_cleared_whole_or_in_part() {
    let decode = |params| Action::decode(ClearInitiatorState::NAME, Some(&params));
    let whole = ClearInitiatorState {
        export: OneExport { address: ShelfSlot::new(Shelf(1), Slot(2)), vlan: None, port: None },
        part: StatePart::All,
    };
    assert_eq!(decode(json!({ "shelf": 1, "slot": 2 })), Ok(Action::ClearInitiatorState(whole.clone())));
    for (word, part) in [
        ("config", StatePart::Config),
        ("mask", StatePart::Mask),
        ("reservation", StatePart::Reservation),
        ("all", StatePart::All),
    ] {
        let cleared = ClearInitiatorState {
            part,
            export: OneExport { port: Some(PortRef::Number(3)), ..whole.export.clone() },
        };
        let params = json!({ "shelf": 1, "slot": 2, "port": 3, "part": word });
        assert_eq!(decode(params), Ok(Action::ClearInitiatorState(cleared.clone())));
        let params = cleared.to_params();
        assert_eq!(decode(params), Ok(Action::ClearInitiatorState(cleared)));
    }
    let refused = |params| decode(params).expect_err("refused").message().to_owned();
    assert_eq!(
        refused(json!({ "shelf": 1, "slot": 2, "part": "every" })),
        "aoe_clear_initiator_state: part is 'every': it must be config, mask, reservation or all"
    );
    let message = refused(json!({ "shelf": 1, "slot": 2, "port": 65536 }));
    assert!(message.contains("port is 65536") && message.contains("0 to 65535"), "{message}");
}

#[test]
fn names_of_the_release_before_are_accepted() {
    let params = json!({ "shelf": 1, "slot": 2, "what": "mask" });
    let expected = ClearInitiatorState {
        export: OneExport { address: address(1, 2), vlan: None, port: None },
        part: StatePart::Mask,
    };
    for method in ["aoe_clear_claims", "aoe_clear_initiator_state"] {
        let expected = Action::ClearInitiatorState(expected.clone());
        assert_eq!(Action::decode(method, Some(&params)), Ok(expected));
    }
    let both = json!({ "shelf": 1, "slot": 2, "what": "mask", "part": "all" });
    let error = refusal(ClearInitiatorState::NAME, both);
    assert!(error.message().ends_with("part and its former name what are both given: give part"), "{error}");
}

#[test]
fn a_misspelt_name_is_answered_with_the_nearest() {
    let error = refusal("aoe_create_exports", json!({}));
    assert!(error.message().contains("the nearest is aoe_create_export:"), "{error}");
    for (name, nearest) in [("bufers", "buffers"), ("read-only", "read_only"), ("shlef", "shelf")] {
        let error = refusal(CreateExport::NAME, json!({ "shelf": 1, "slot": 1, "bdev_name": "b", name: 1 }));
        let part = format!(
            "unknown parameter '{name}', the nearest is '{nearest}': the parameters are shelf, slot,"
        );
        assert!(error.message().contains(&part), "{error}");
    }
    let error = refusal(CreateExport::NAME, json!({ "colour": 1 }));
    assert!(error.message().contains("unknown parameter 'colour': the"), "{error}");
}

#[test]
fn a_capture_says_which_frames_are_wanted_and_its_file_lies_in_one_directory() {
    let decode = |params| match Action::decode(StartCapture::NAME, Some(&params)) {
        Ok(Action::StartCapture(request)) => request,
        other => panic!("{params}: {other:?}"),
    };
    let request = decode(json!({ "name": "a-1.b_2", "shelf": 1, "slot": 2, "vlan": 5 }));
    assert_eq!((request.max_bytes, request.max_seconds, request.snap_length), (64 << 20, 60, 65_535));
    let export = request.export().unwrap().unwrap();
    assert_eq!((export.address, export.vlan), (address(1, 2), VlanId::new(5)));
    assert_eq!(decode(request.to_params()), request);
    let request = decode(json!({ "name": "a", "initiator": "52:54:00:12:34:56", "port": 0 }));
    assert_eq!((request.export(), decode(request.to_params())), (Ok(None), request));
    for (params, part) in [
        (json!({ "name": "a" }), "nothing says which frames are wanted"),
        (json!({ "name": "a", "shelf": 1 }), "slot is missing"),
        (json!({ "name": "a", "slot": 1, "port": 0 }), "shelf is missing"),
        (json!({ "name": "a", "vlan": 1, "port": 0 }), "vlan is that of an export"),
    ] {
        let error = decode(params).export().expect_err("refused");
        assert!(error.message().contains(part), "{error}");
    }
    for (name, value, part) in [
        ("name", json!("../x"), "name is '../x'"),
        ("name", json!("a/b"), "letters, digits"),
        ("name", json!(".a"), "does not begin with '.'"),
        ("name", json!(""), "1 to 64"),
        ("name", json!("x".repeat(65)), "1 to 64"),
        ("initiator", json!("33:33:00:00:00:01"), "no initiator's MAC address"),
        ("max_bytes", json!(1), "from 4096 to 1099511627776"),
        ("max_seconds", json!(0), "from 1 to 604800"),
        ("snap_length", json!(63), "from 64 to 65535"),
    ] {
        let mut params = json!({ "name": "a", "port": 0 });
        params[name] = value;
        let error = refusal(StartCapture::NAME, params);
        assert!(error.message().contains(part), "{error}");
    }
}
