use std::collections::BTreeSet;

use super::*;

fn port(driver: &str) -> PortInfo {
    PortInfo {
        number: 0,
        name: "port".into(),
        driver: driver.into(),
        mac: [0, 0x25, 0x90, 1, 2, 3],
        mtu: 1500,
        max_mtu: 1500,
        max_queues: 8,
        numa_node: None,
        interface_index: None,
    }
}

fn way(driver: &str, queues: usize, option: &str, takes_rules: bool) -> Result<Way, String> {
    let rule = FlowRule::HashAddresses { aoe_only: true, queues: vec![0, 1] };
    let ask = || if takes_rules { Ok(rule) } else { Err("no such thing".to_owned()) };
    let option = DistributionOption::parse(option)?;
    plan(&port(driver), queues, 4, option, ask).map(|plan| plan.way)
}

#[test]
fn options_are_a_way_and_a_number() {
    let parsed = |text| DistributionOption::parse(text).map(|option| (option.mode, option.lcores));
    assert_eq!(parsed("auto"), Ok((DistributionMode::Auto, None)));
    assert_eq!(parsed("rss"), Ok((DistributionMode::Rss, None)));
    assert_eq!(parsed("macs:2"), Ok((DistributionMode::Macs, Some(2))));
    assert_eq!(parsed("software:64"), Ok((DistributionMode::Software, Some(64))));
    for (text, part) in [
        ("", "auto, off, rss, macs and software"),
        ("RSS", "auto, off, rss, macs and software"),
        ("software:1", "2 to 64"),
        ("software:65", "2 to 64"),
        ("software:", "2 to 64"),
        ("macs:two", "2 to 64"),
        ("off:2", "no number"),
    ] {
        assert!(parsed(text).is_err_and(|refused| refused.contains(part)), "{text}");
    }
}

#[test]
fn auto_takes_what_initiators_do_not_see() {
    assert!(matches!(way("net_i40e", 4, "auto", true), Ok(Way::Rss(_))));
    assert_eq!(way("net_ixgbe", 4, "auto", false), Ok(Way::Software));
    assert_eq!(way("net_memif", 4, "auto", false), Ok(Way::AsTheyCome));
    assert_eq!(way("net_af_packet", 1, "auto", false), Ok(Way::AsTheyCome));
    assert_eq!(way("net_i40e", 4, "off", true), Ok(Way::AsTheyCome));
}

#[test]
fn a_way_that_is_wanted_is_gone_or_refused() {
    assert_eq!(way("net_i40e", 4, "software", true), Ok(Way::Software));
    assert!(matches!(way("net_i40e", 4, "macs", true), Ok(Way::Macs(macs)) if macs.len() == 4));
    for (driver, queues, option, parts) in [
        ("net_virtio", 4, "rss", ["net_virtio", "no such thing"]),
        ("net_af_packet", 1, "software", ["one queue pair", "qpairs=N"]),
        ("net_virtio", 1, "macs", ["can't be spread", "one queue pair"]),
        ("net_i40e", 17, "macs", ["17 MAC addresses", "macs:16"]),
    ] {
        let refused = way(driver, queues, option, false).expect_err(option);
        assert!(parts.iter().all(|part| refused.contains(part)), "{refused}");
    }
    let one_core = plan(
        &port("net_i40e"),
        1,
        1,
        DistributionOption { mode: DistributionMode::Rss, lcores: None },
        || unreachable!("nothing to ask"),
    );
    assert!(one_core.is_err_and(|refused| refused.contains("-l")));
}

#[test]
fn further_addresses_are_stable_local_and_distinct() {
    for own in [[0, 0x25, 0x90, 1, 2, 3], [0x52, 0x54, 0, 1, 2, 3], [0xfe, 0, 0, 0, 0, 0]] {
        let macs = addresses(own, 16).expect("16 are allowed");
        assert_eq!(macs[0], MacAddr(own), "the port's own comes first");
        assert_eq!(macs.iter().collect::<BTreeSet<_>>().len(), 16);
        for mac in &macs[1..] {
            assert_eq!((mac.0[0] & 3, &mac.0[1..]), (2, &own[1..]), "local, no group");
        }
        assert_eq!(addresses(own, 3).expect("three"), macs[..3]);
    }
    assert_eq!(addresses([0; 6], 17), None);
}
