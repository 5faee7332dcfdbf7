# shellcheck shell=bash
# For sourcing: hugepages of 2 MiB for a run, which its end gives back.

hugepage_pool=/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages

# Adds hugepages to those there are, or takes them away again. Other programs of ours do the same at the same time.
add_hugepages() {
	(
		flock 8
		before=$(<"$hugepage_pool")
		wanted=$((before + $1))
		((wanted >= 0)) || wanted=0
		echo "$wanted" >"$hugepage_pool"
		if (($(<"$hugepage_pool") < wanted)); then
			echo 1 >/proc/sys/vm/compact_memory && echo "$wanted" >"$hugepage_pool"
		fi
		if (($(<"$hugepage_pool") < wanted)); then
			echo "$before" >"$hugepage_pool"
			exit 1
		fi
	) 8>/run/lock/kvblade-dpdk-hugepages
}
