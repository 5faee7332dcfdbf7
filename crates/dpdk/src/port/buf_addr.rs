//! The PMDs that find a frame by its mbuf's `buf_addr`, and so take the mbufs of an aligned mempool.

/// PMDs whose sources were searched, in DPDK 22.11, 24.11 and 25.11 (drivers/net and drivers/common), for computing the
/// place of a buffer from its mbuf: `rte_mbuf_buf_addr`, `rte_mbuf_data_addr_default`, `rte_mbuf_to_baddr`, and sums of
/// `sizeof(struct rte_mbuf)` and the size of the private area. None of these PMDs does.
///
/// Those that do in one of the releases are not here: af_xdp (zero copy), bnxt (tx), hinic3, sfc, nfp, fm10k, and the
/// NICs with mempools in hardware (cnxk, dpaa, dpaa2, octeontx, pfe).
const READ_BUF_ADDR: [&str; 38] = [
    "mlx5_auxiliary",
    "mlx5_pci",
    "net_af_packet",
    "net_cxgbe",
    "net_cxgbevf",
    "net_e1000_em",
    "net_e1000_igb",
    "net_e1000_igb_vf",
    "net_ena",
    "net_enic",
    "net_gve",
    "net_hns3",
    "net_hns3_vf",
    "net_i40e",
    "net_iavf",
    "net_ice",
    "net_ice_dcf",
    "net_igc",
    "net_ionic",
    "net_ionic_pci",
    "net_ixgbe",
    "net_ixgbe_vf",
    "net_mana",
    "net_memif",
    "net_mlx4",
    "net_ngbe",
    "net_null",
    "net_pcap",
    "net_qede",
    "net_qede_vf",
    "net_ring",
    "net_tap",
    "net_txgbe",
    "net_txgbe_vf",
    "net_vhost",
    "net_virtio",
    "net_virtio_user",
    "net_vmxnet3",
];

/// Whether a PMD is known to read `buf_addr` and `buf_iova` of the mbufs that it fills and sends, in place of computing
/// them. Only such a PMD works with a [`crate::Mempool::aligned`], and [`crate::Port::start`] refuses others.
#[must_use]
pub fn reads_buf_addr(driver: &str) -> bool {
    READ_BUF_ADDR.binary_search(&driver).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_pmds_are_found_and_others_are_not() {
        assert!(READ_BUF_ADDR.is_sorted(), "for the binary search");
        assert!(READ_BUF_ADDR.into_iter().all(reads_buf_addr));
        for other in ["net_af_xdp", "net_bnxt", "net_cn10k", "net_dpaa", "net_unknown", "", "net_i40"] {
            assert!(!reads_buf_addr(other), "{other}");
        }
    }
}
