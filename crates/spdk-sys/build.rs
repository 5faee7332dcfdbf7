//! Finds SPDK by pkg-config, compiles the shim over its release's differences, and generates the bindings of
//! an allow-list.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

const FUNCTIONS: &[&str] = &[
    "spdk_app_stop",
    "spdk_app_fini",
    "spdk_env_get_first_core",
    "spdk_env_get_next_core",
    "spdk_env_get_current_core",
    "spdk_get_thread",
    "spdk_thread_send_msg",
    "spdk_thread_bind",
    "spdk_thread_exit",
    "spdk_thread_is_app_thread",
    "spdk_thread_is_running",
    "spdk_thread_get_id",
    "spdk_thread_get_stats",
    "spdk_poller_register",
    "spdk_poller_unregister",
    "spdk_bdev_first",
    "spdk_bdev_next",
    "spdk_bdev_get_by_name",
    "spdk_bdev_open_ext",
    "spdk_bdev_wait_for_examine",
    "spdk_bdev_close",
    "spdk_bdev_desc_get_bdev",
    "spdk_bdev_get_io_channel",
    "spdk_put_io_channel",
    "spdk_bdev_get_name",
    "spdk_bdev_get_product_name",
    "spdk_bdev_get_block_size",
    "spdk_bdev_get_md_size",
    "spdk_bdev_get_num_blocks",
    "spdk_bdev_get_buf_align",
    "spdk_bdev_has_write_cache",
    "spdk_bdev_io_type_supported",
    "spdk_bdev_readv_blocks",
    "spdk_bdev_writev_blocks",
    "spdk_bdev_comparev_and_writev_blocks",
    "spdk_bdev_flush_blocks",
    "spdk_bdev_unmap_blocks",
    "spdk_bdev_abort",
    "spdk_bdev_free_io",
    "spdk_bdev_io_get_nvme_status",
    "spdk_bdev_io_get_nvme_fused_status",
    "spdk_dma_malloc",
    "spdk_dma_free",
    "spdk_jsonrpc_begin_result",
    "spdk_jsonrpc_end_result",
    "spdk_jsonrpc_send_error_response",
    "spdk_json_write_val_raw",
    "spdk_rpc_register_method",
    "spdk_rpc_get_method_state_mask",
    "spdk_rpc_server_listen",
    "spdk_rpc_server_accept",
    "spdk_rpc_server_close",
    "spdk_subsystem_exists",
    "spdk_shim_.*",
    // For the test of the module "file" (crates/spdk/tests/file/reset.rs).
    "spdk_bdev_reset",
    // For the test of the PCI structures (crates/spdk/tests/pci.rs).
    "spdk_env_opts_init",
    "spdk_env_init",
    "spdk_pci_driver_register",
    "spdk_pci_get_driver",
    "spdk_pci_enumerate",
    "spdk_pci_device_get_addr",
    "spdk_pci_device_get_id",
    "spdk_pci_device_get_numa_id",
    "spdk_pci_device_map_bar",
    "spdk_pci_device_cfg_read",
];

const TYPES: &[&str] = &["spdk_bdev_event_type", "spdk_bdev_io_type", "iovec"];

const CONSTANTS: &[&str] = &[
    "SPDK_SHIM_.*",
    "SPDK_RPC_RUNTIME",
    "SPDK_RPC_STARTUP",
    "SPDK_JSONRPC_ERROR_.*",
    "SPDK_LOG_.*",
    "SPDK_VERSION_M.*OR",
];

/// SPDK's pkg-config packages that the target links: the event framework and its environment, the bdev subsystem with
/// every bdev module that this SPDK was built with, and the system's libraries that they call. All else follows from the
/// requirements of these.
const PACKAGES: &[&str] =
    &["spdk_event", "spdk_env_dpdk", "spdk_event_bdev", "spdk_bdev_modules", "spdk_syslibs"];

/// SPDK's own bdev module for Ceph's RBD, and the libraries it calls. The feature `rbd` has another module in its place
/// (shim/rbd), and without it a program runs on machines without Ceph's libraries.
const SPDK_RBD_LIBRARIES: &[&str] = &["spdk_bdev_rbd", "rbd", "rados"];

/// The module of the feature `rbd`.
const RBD_SOURCES: &[&str] =
    &["shim/rbd/work.c", "shim/rbd/cluster.c", "shim/rbd/image.c", "shim/rbd/bdev.c", "shim/rbd/rpc.c"];

/// SPDK as pkg-config describes it.
#[derive(Default)]
struct Spdk {
    include_paths: Vec<PathBuf>,
    link_paths: Vec<PathBuf>,
    libraries: Vec<String>,
    /// Archives named by their paths: those of ISA-L, where SPDK was built with it.
    archives: Vec<PathBuf>,
}

fn probe(package: &str) -> Result<pkg_config::Library, pkg_config::Error> {
    pkg_config::Config::new().cargo_metadata(false).env_metadata(false).statik(true).probe(package)
}

/// Looks first at the SPDK that PKG_CONFIG_PATH offers, which is a user's own, then at the one that scripts/setup
/// installed.
fn find() -> Result<Spdk, String> {
    if probe(PACKAGES[0]).is_err() {
        add_cache_to_path();
        if probe(PACKAGES[0]).is_err() {
            return Err("SPDK is not installed: run scripts/setup, or point PKG_CONFIG_PATH at the .pc files of your own \
                        SPDK (24.05 to 26.05) and of the DPDK it was built for"
                .to_owned());
        }
    }
    let mut spdk = Spdk::default();
    for package in PACKAGES {
        let library = probe(package).map_err(|_| {
            format!(
                "{package} of the SPDK that pkg-config finds can't be used: pkg-config --print-errors --static --libs \
                 {package} says why"
            )
        })?;
        extend_new(&mut spdk.include_paths, library.include_paths);
        extend_new(&mut spdk.link_paths, library.link_paths);
        extend_new(&mut spdk.libraries, library.libs);
        extend_new(&mut spdk.archives, library.link_files);
    }
    spdk.libraries.retain(|library| !SPDK_RBD_LIBRARIES.contains(&library.as_str()));
    check_dpdk()?;
    check_archives(&spdk)?;
    Ok(spdk)
}

/// Adds the directory that scripts/setup installs SPDK in to PKG_CONFIG_PATH, if there is one.
fn add_cache_to_path() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dpdk-build/cache-dir");
    println!("cargo:rerun-if-changed={}", script.display());
    let Ok(output) = Command::new(&script).output() else { return };
    let Ok(directory) = String::from_utf8(output.stdout) else { return };
    if !output.status.success() {
        return;
    }
    let packages = PathBuf::from(directory.trim_end()).join("lib/pkgconfig");
    println!("cargo:rerun-if-changed={}", packages.join("spdk_event.pc").display());
    let mut path = packages.into_os_string();
    if let Some(existing) = env::var_os("PKG_CONFIG_PATH").filter(|value| !value.is_empty()) {
        path.push(":");
        path.push(existing);
    }
    // SAFETY: a build script's only thread.
    unsafe { env::set_var("PKG_CONFIG_PATH", path) };
}

/// SPDK's archives hold offsets into DPDK's structs: both crates must have found the DPDK that SPDK was built
/// for. SPDK says where that is, unless it is where the linker looks anyway.
fn check_dpdk() -> Result<(), String> {
    let (Ok(spdks), Ok(libdir)) = (probe("spdk_dpdklibs"), pkg_config::get_variable("libdpdk", "libdir"))
    else {
        return Ok(());
    };
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let ours = real(Path::new(&libdir));
    let holds_dpdk =
        |path: &&PathBuf| path.join("librte_eal.so").exists() || path.join("librte_eal.a").exists();
    match spdks.link_paths.iter().find(holds_dpdk) {
        Some(path) if real(path) != ours => Err(format!(
            "SPDK was built for the DPDK in {}, but pkg-config finds the one in {}: put {} first in PKG_CONFIG_PATH",
            path.display(),
            ours.display(),
            path.join("pkgconfig").display()
        )),
        _ => Ok(()),
    }
}

/// Only whole archives keep what registers itself in constructors.
fn check_archives(spdk: &Spdk) -> Result<(), String> {
    let missing = |library: &&String| {
        let archive = format!("lib{library}.a");
        library.starts_with("spdk_") && !spdk.link_paths.iter().any(|path| path.join(&archive).exists())
    };
    // Without a search path they are among the system's libraries, where the linker looks.
    match spdk.libraries.iter().find(missing) {
        Some(library) if !spdk.link_paths.is_empty() => Err(format!(
            "lib{library}.a is missing in {}: this SPDK must be built with its static libraries",
            spdk.link_paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
        )),
        _ => Ok(()),
    }
}

fn extend_new<T: PartialEq>(list: &mut Vec<T>, items: Vec<T>) {
    for item in items {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}

fn main() {
    println!("cargo:rerun-if-changed=shim");
    for variable in ["PKG_CONFIG_PATH", "KVBLADE_CACHE", "XDG_CACHE_HOME", "CI"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }

    let spdk = match find() {
        Ok(spdk) => spdk,
        Err(sentence) => {
            println!("cargo::error={sentence}");
            std::process::exit(1);
        }
    };

    let mut compiler = cc::Build::new();
    compiler.flag("-march=x86-64-v2").warnings(true);
    if env::var_os("CI").is_some() {
        compiler.flag("-Werror");
    }
    let mut bindings = bindgen::Builder::default()
        .header("shim/shim.h")
        .clang_arg("-march=x86-64-v2")
        .layout_tests(true)
        .derive_debug(false)
        .derive_default(true)
        .generate_comments(false)
        .prepend_enum_name(false)
        // Bit fields packed and aligned at once, which Rust cannot say; nothing here looks into them.
        .opaque_type("spdk_nvme_.*|spdk_bdev_nvme_.*|spdk_bdev_ext_io_opts|spdk_app_opts")
        .wrap_unsafe_ops(true);
    for path in &spdk.include_paths {
        // An upgrade in place is built against anew.
        let version = path.join("spdk/version.h");
        if version.exists() {
            println!("cargo:rerun-if-changed={}", version.display());
        }
        // As system headers: their warnings are not ours.
        compiler.flag("-isystem").flag(path.to_str().expect("an include path in UTF-8"));
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
    // The shim calls SPDK, so it comes first on the linker's line.
    compiler.clone().files(["shim/shim.c", "shim/file.c"]).compile("spdk_shim");
    let has_rbd = env::var_os("CARGO_FEATURE_RBD").is_some();
    if has_rbd {
        // Whole, for the constructors that register the module and its RPC methods.
        compiler
            .define("_GNU_SOURCE", None)
            .files(RBD_SOURCES)
            .link_lib_modifier("+whole-archive")
            .compile("spdk_shim_rbd");
    }
    link(&spdk);
    if has_rbd {
        println!("cargo:rustc-link-lib=dylib=rbd");
        println!("cargo:rustc-link-lib=dylib=rados");
    }

    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets OUT_DIR"));
    bindings
        .generate()
        .expect("bindgen reads SPDK's headers")
        .write_to_file(out.join("bindings.rs"))
        .expect("OUT_DIR is writable");
}

/// SPDK's archives are linked whole: their bdev modules, subsystems and RPC methods register themselves in
/// constructors that nothing refers to.
fn link(spdk: &Spdk) {
    for path in &spdk.link_paths {
        println!("cargo:rustc-link-search=native={}", path.display());
    }
    for library in &spdk.libraries {
        if library.starts_with("spdk_") {
            println!("cargo:rustc-link-lib=static:+whole-archive,-bundle={library}");
        } else if !library.starts_with("rte_") {
            // dpdk-sys links DPDK.
            println!("cargo:rustc-link-lib=dylib={library}");
        }
    }
    // Behind SPDK's, which call them.
    for archive in &spdk.archives {
        let (Some(directory), Some(name)) = (archive.parent(), archive.file_name().and_then(OsStr::to_str))
        else {
            continue;
        };
        println!("cargo:rustc-link-search=native={}", directory.display());
        if name.ends_with(".a") {
            println!("cargo:rustc-link-lib=static:+verbatim,-bundle={name}");
        } else {
            println!("cargo:rustc-link-lib=dylib:+verbatim={name}");
        }
    }
    // SPDK's env drives the PCI bus itself, which pkg-config counts among DPDK's plugins.
    println!("cargo:rustc-link-lib=dylib=rte_bus_pci");
}
