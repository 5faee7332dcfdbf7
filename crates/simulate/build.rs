//! Has the linker put the simulation's functions in the places of SPDK's and of the clock's: see `spdk::simulated`.

const WRAPPED: &[&str] = &[
    "kvblade_tsc_hz",
    "kvblade_tsc_now",
    "spdk_bdev_abort",
    "spdk_bdev_close",
    "spdk_bdev_comparev_and_writev_blocks",
    "spdk_bdev_desc_get_bdev",
    "spdk_bdev_flush_blocks",
    "spdk_bdev_free_io",
    "spdk_bdev_get_io_channel",
    "spdk_bdev_get_num_blocks",
    "spdk_bdev_io_get_nvme_fused_status",
    "spdk_bdev_io_get_nvme_status",
    "spdk_bdev_readv_blocks",
    "spdk_bdev_unmap_blocks",
    "spdk_bdev_writev_blocks",
    "spdk_put_io_channel",
    "spdk_shim_nvme_flush",
    "spdk_shim_nvme_write",
];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for function in WRAPPED {
        println!("cargo:rustc-link-arg-bins=-Wl,--wrap={function}");
    }
}
