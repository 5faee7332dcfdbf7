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
		# Memory that is full of cached files comes in one piece after some tries.
		for ((tries = 0; tries < 5 && $(<"$hugepage_pool") < wanted; tries++)); do
			echo 1 >/proc/sys/vm/compact_memory && echo "$wanted" >"$hugepage_pool"
		done
		if (($(<"$hugepage_pool") < wanted)); then
			echo "$before" >"$hugepage_pool"
			exit 1
		fi
	) 8>/run/lock/kvblade-dpdk-hugepages
}

# Sees to so many hugepages for a test: adds them, or, where memory is in pieces, goes on with those that are free.
# Leaves in hugepages_added how many give_back_hugepages takes away.
hugepages_added=0
take_hugepages() {
	if add_hugepages "$1"; then
		hugepages_added=$1
	elif (($(sed -n 's/^HugePages_Free:[[:space:]]*//p' /proc/meminfo) < $1)); then
		echo "the kernel can't reserve $1 hugepages of 2 MiB: $(($1 * 2)) MiB of memory must be free in pieces of 2 MiB" >&2
		return 1
	fi
}
give_back_hugepages() {
	((hugepages_added == 0)) || add_hugepages "-$hugepages_added" || echo "the hugepages could not be given back" >&2
	hugepages_added=0
}
