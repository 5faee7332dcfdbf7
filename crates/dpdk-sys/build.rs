//! Finds DPDK by pkg-config, compiles the shim and generates the bindings of an allow-list.

use std::{
    env,
    path::{Path, PathBuf},
};

/// Functions bound from DPDK's shared libraries, and the shim's.
const FUNCTIONS: &[&str] = &[
    "rte_eal_init",
    "rte_version",
    "rte_version_year",
    "rte_version_month",
    "rte_strerror",
    "rte_openlog_stream",
    "rte_eal_has_hugepages",
    "rte_eal_get_runtime_dir",
    "rte_pktmbuf_pool_create",
    "rte_pktmbuf_pool_init",
    "rte_mbuf_best_mempool_ops",
    "rte_mempool_create_empty",
    "rte_mempool_set_ops_byname",
    "rte_mempool_get_page_size",
    "rte_mempool_populate_iova",
    "rte_mempool_obj_iter",
    "rte_mempool_free",
    "rte_memzone_reserve",
    "rte_memzone_free",
    "rte_zmalloc_socket",
    "rte_free",
    "rte_mempool_avail_count",
    "rte_eth_find_next_owned_by",
    "rte_eth_dev_get_name_by_port",
    "rte_eth_dev_get_port_by_name",
    "rte_eth_dev_info_get",
    "rte_eth_dev_configure",
    "rte_eth_dev_adjust_nb_rx_tx_desc",
    "rte_eth_rx_queue_setup",
    "rte_eth_tx_queue_setup",
    "rte_eth_dev_start",
    "rte_eth_dev_stop",
    "rte_eth_dev_close",
    "rte_eth_dev_get_mtu",
    "rte_eth_dev_set_mtu",
    "rte_eth_dev_socket_id",
    "rte_eth_macaddr_get",
    "rte_eth_promiscuous_enable",
    "rte_get_tsc_hz",
    "rte_eth_stats_get",
    "rte_eth_dev_mac_addr_add",
    "rte_eth_dev_rx_intr_enable",
    "rte_eth_dev_rx_intr_disable",
    "rte_eth_promiscuous_enable",
    "rte_eth_promiscuous_disable",
    "rte_eth_promiscuous_get",
    "rte_eth_from_rings",
    "rte_flow_flush",
    "rte_vdev_init",
    "rte_vdev_uninit",
    "rte_ring_create",
    "rte_ring_free",
    "dpdk_shim_.*",
];

const TYPES: &[&str] = &[
    "rte_mbuf",
    "rte_mempool",
    "rte_memzone",
    "rte_pktmbuf_pool_private",
    "dpdk_shim_mbuf_shift",
    "rte_eth_dev_info",
    "rte_eth_conf",
    "rte_eth_stats",
    "rte_ether_addr",
    "rte_ring",
    "rte_tel_data",
];

const CONSTANTS: &[&str] = &[
    "RING_F_.*",
    "RTE_ETH_MQ_RX_.*",
    "RTE_PKTMBUF_HEADROOM",
    "RTE_MAX_ETHPORTS",
    "RTE_ETH_NAME_MAX_LEN",
    "RTE_MBUF_F_.*",
    "RTE_MEMPOOL_F_.*",
    "DPDK_SHIM_.*",
];

fn main() {
    println!("cargo:rerun-if-changed=shim");
    println!("cargo:rerun-if-env-changed=PKG_CONFIG_PATH");

    let dpdk = match pkg_config::Config::new().atleast_version("22.11").cargo_metadata(false).probe("libdpdk")
    {
        Ok(library) => library,
        Err(error) => {
            println!(
                "cargo::error=DPDK 22.11 or newer is not installed: run scripts/setup, or point PKG_CONFIG_PATH at its libdpdk.pc"
            );
            eprintln!("{error}");
            std::process::exit(1);
        }
    };
    // EAL loads PMDs as plugins, and SPDK shares them with us.
    if let Some(directory) = without_shared_libraries() {
        println!(
            "cargo::error=the DPDK in {directory} has no shared libraries: build it with -Ddefault_library=shared"
        );
        std::process::exit(1);
    }
    for path in &dpdk.link_paths {
        println!("cargo:rustc-link-search=native={}", path.display());
    }
    // Libraries a PMD registers itself through are kept although no symbol of theirs is named: see the
    // ring PMD below; all other PMDs are plugins that EAL loads by itself.
    for library in &dpdk.libs {
        println!("cargo:rustc-link-lib=dylib={library}");
    }
    println!("cargo:rustc-link-lib=dylib=rte_net_ring");
    // af_packet ports are made again at run time.
    println!("cargo:rustc-link-lib=dylib=rte_bus_vdev");

    let mut shim = cc::Build::new();
    shim.file("shim/shim.c")
        .file("shim/flow.c")
        .file("shim/telemetry.c")
        .flag("-march=x86-64-v2")
        .flag("-include")
        .flag("rte_config.h")
        .warnings(true);
    if env::var_os("CI").is_some() {
        shim.flag("-Werror");
    }
    let mut bindings = bindgen::Builder::default()
        .header("shim/shim.h")
        .clang_args(["-march=x86-64-v2", "-include", "rte_config.h"])
        .layout_tests(true)
        .derive_debug(false)
        .derive_default(true)
        .generate_comments(false)
        .prepend_enum_name(false)
        // Their members are packed and aligned at once, which Rust cannot say; nothing here reads them.
        .opaque_type("rte_mbuf|rte_mempool|rte_ring")
        .opaque_type("rte_arp_.*|rte_l2tpv2.*|rte_gtp_psc.*|rte_ether_hdr|rte_vxlan.*|rte_flow_.*")
        .wrap_unsafe_ops(true);
    for path in &dpdk.include_paths {
        // An upgrade in place is built against anew.
        let config = path.join("rte_build_config.h");
        if config.exists() {
            println!("cargo:rerun-if-changed={}", config.display());
        }
        // As system headers: their warnings are not ours.
        shim.flag("-isystem").flag(path.to_str().expect("an include path in UTF-8"));
        bindings = bindings.clang_arg(format!("-isystem{}", path.display()));
    }
    for name in FUNCTIONS {
        bindings = bindings.allowlist_function(name);
    }
    for name in TYPES {
        bindings = bindings.allowlist_type(name);
    }
    for name in CONSTANTS {
        bindings = bindings.allowlist_var(name);
    }
    shim.compile("dpdk_shim");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets OUT_DIR"));
    bindings
        .generate()
        .expect("bindgen reads DPDK's headers")
        .write_to_file(out.join("bindings.rs"))
        .expect("OUT_DIR is writable");
}

/// The directory of a DPDK that was installed with archives alone.
fn without_shared_libraries() -> Option<String> {
    let directory = pkg_config::get_variable("libdpdk", "libdir").ok()?;
    let has = |name: &str| Path::new(&directory).join(name).exists();
    (has("librte_eal.a") && !has("librte_eal.so")).then_some(directory)
}
