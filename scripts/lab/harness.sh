# shellcheck shell=bash  # sourced by the tests in tests/
# Functions of the lab's tests: results, the target, guests. scripts/lab/run starts each test as the first process of its own
# network, mount and process namespaces, so processes and mounts end with the test.
set -euo pipefail

: "${LAB:?start tests through scripts/lab/run}" "${LAB_TEST:?}" "${LAB_DIR:?}" "${LAB_IMAGE:?}" "${LAB_RESULTS:?}"
: "${LAB_TARGET:?}" "${LAB_BINARY?}" "${LAB_TIMEOUT:?}" "${LAB_CUTS:?}"

# The line that the target prints when it serves every export.
LAB_READY='\<ready\>.*\<exports\>'

target_pids=()
boot_pid=

# --- results --------------------------------------------------------------------------------------------------------

ok() {
	echo "ok    $LAB_TEST: $1"
	echo "ok $1" >>"$LAB_RESULTS"
}

fail() {
	echo "FAIL  $LAB_TEST: $1"
	echo "FAIL $1" >>"$LAB_RESULTS"
}

# check NAME COMMAND...: makes one result. The command's output goes to the log; its end is shown if it fails.
check() {
	local name=$1
	shift
	if "$@" >"$LAB_DIR/check" 2>&1; then
		ok "$name"
	else
		fail "$name"
		tail -n 5 "$LAB_DIR/check" | sed 's/^/        /'
		cat "$LAB_DIR/check" >>"$LAB_DIR/host.log"
		return 1
	fi
}

# Ends the test; this counts as a failure.
give_up() {
	fail "$1"
	exit 1
}

# wait_for SECONDS COMMAND...: waits until the command succeeds; fails after this time.
wait_for() {
	local left=$(($1 * 5))
	shift
	until "$@"; do
		[ $((left -= 1)) -gt 0 ] || return 1
		sleep 0.2
	done
}

# --- the network ----------------------------------------------------------------------------------------------------

# make_tap NAME MTU: makes a tap device for a guest, on which the host's network stack sends nothing.
make_tap() {
	ip tuntap add dev "$1" mode tap
	echo 1 >"/proc/sys/net/ipv6/conf/$1/disable_ipv6"
	ip link set dev "$1" mtu "$2" up
}

carrier() {
	[ "$(cat "/sys/class/net/$1/carrier" 2>/dev/null)" = 1 ]
}

# --- the target -----------------------------------------------------------------------------------------------------

# start_target INTERFACE[,INTERFACE...] MALLOC_MIB FILE: serves 1.1 from memory and 1.2 from FILE on each INTERFACE. vblade
# supports one interface only.
start_target() {
	case $LAB_TARGET in
	kvblade-dpdk) start_kvblade_dpdk "$@" ;;
	vblade) start_vblade "$@" ;;
	esac
}

# The first CPU that this process may use.
first_cpu() {
	sed -n 's/^Cpus_allowed_list:[[:space:]]*\([0-9]*\).*/\1/p' /proc/self/status
}

start_kvblade_dpdk() {
	serve_exports "$1" "1.1=malloc:$2M" "1.2=aio:$3"
}

# serve_exports INTERFACE[,INTERFACE...] EXPORT...: kvblade-dpdk with other exports than start_target's, each as its
# option --export takes it.
serve_exports() {
	local interfaces number ports=() options=() one
	IFS=, read -ra interfaces <<<"$1"
	for one in "${@:2}"; do
		options+=(--export "$one")
	done
	for number in "${!interfaces[@]}"; do
		ports+=(--vdev="net_af_packet$number,iface=${interfaces[number]},framesz=16384,blocksz=65536,framecnt=512,qdisc_bypass=1")
	done
	mkdir -p "$LAB_DIR/huge"
	mount -t hugetlbfs -o pagesize=2M lab "$LAB_DIR/huge"
	: >"$LAB_DIR/target.log"
	"$LAB_BINARY" -l "$(first_cpu)" --no-pci --file-prefix="lab$LAB_SEED" --huge-dir="$LAB_DIR/huge" \
		"${ports[@]}" \
		-- --rpc-socket "$LAB_DIR/rpc.sock" --state-dir "$LAB_DIR/claims" "${options[@]}" \
		</dev/null >"$LAB_DIR/target.log" 2>&1 &
	target_pids=($!)
	wait_for 60 target_settled
	grep -Eq "$LAB_READY" "$LAB_DIR/target.log" || show_target_and_give_up
}

# Until it prints that it serves, or has ended.
target_settled() {
	grep -Eq "$LAB_READY" "$LAB_DIR/target.log" || ! kill -0 "${target_pids[0]}" 2>/dev/null
}

show_target_and_give_up() {
	tail -n 20 "$LAB_DIR/target.log" | sed 's/^/        /'
	give_up "the target did not start"
}

start_vblade() {
	local interface=$1 mib=$2 file=$3
	truncate -s "${mib}M" "$LAB_DIR/memory.img"
	vblade 1 1 "$interface" "$LAB_DIR/memory.img" </dev/null >"$LAB_DIR/target.log" 2>&1 &
	target_pids=($!)
	vblade 1 2 "$interface" "$file" </dev/null >>"$LAB_DIR/target.log" 2>&1 &
	target_pids+=($!)
	sleep 0.5
	kill -0 "${target_pids[@]}" 2>/dev/null || show_target_and_give_up
}

# Prints the counters of the target and the kernel for the frames to and from the guest, to find a lost one.
show_counters() {
	{
		[ ! -S "$LAB_DIR/rpc.sock" ] || "$LAB/counters" "$LAB_DIR/rpc.sock" | awk '$4 != 0' || true
		ip -s -s link show type tun || true
	} 2>&1 | tee -a "$LAB_DIR/host.log" | sed 's/^/        /'
}

# SIGTERM must end the target with exit status 0. vblade has no handler, so it may die of the signal.
stop_target() {
	local pid status expected=0
	[ "$LAB_TARGET" = vblade ] && expected=143
	for pid in "${target_pids[@]}"; do
		kill -TERM "$pid" 2>/dev/null || true
		(sleep 30 && kill -KILL "$pid") 2>/dev/null &
		local guard=$!
		status=0
		wait "$pid" || status=$?
		kill "$guard" 2>/dev/null || true
		[ "$status" = "$expected" ] || echo "process $pid ended with status $status, expected $expected"
		[ "$status" = "$expected" ]
	done
}

# --- guests ---------------------------------------------------------------------------------------------------------

# pack_guest NAME [DIRECTORY]: the initramfs of a guest: base image, the guests' scripts, and what DIRECTORY holds.
pack_guest() {
	local root=$LAB_DIR/$1.root
	mkdir -p "$root/lab"
	cp "$LAB"/guest/* "$root/lab/"
	echo "$LAB_READY" >"$root/lab/ready"
	mv "$root/lab/init" "$root/init"
	[ -z "${2:-}" ] || cp -a "$2/." "$root/"
	{ cat "$LAB_IMAGE/base.cpio" && "$LAB/pack" "$root"; } >"$LAB_DIR/$1.cpio"
	rm -rf "$root"
}

# pack_target ARGUMENT...: the initramfs of the guest "target", in which kvblade-dpdk is started with these arguments.
pack_target() {
	# The program with its libraries, and the DPDK drivers that the guests need. EAL loads every driver in the directory that
	# was set when it was built.
	local root=$LAB_DIR/target.files drivers files name
	mkdir -p "$root/lab"
	cp "$LAB_BINARY" "$root/lab/kvblade-dpdk"
	drivers=("$(pkg-config --variable=libdir libdpdk)"/dpdk/pmds-*)
	mapfile -t files < <(for name in bus_pci bus_vdev mempool_ring net_e1000 net_virtio net_vmxnet3; do
		ls "${drivers[0]}/librte_$name.so"*
	done)
	mapfile -t -O "${#files[@]}" files < <("$LAB/libraries" "$LAB_BINARY" "${files[@]}" | sort -u)
	"$LAB/copy-into" "$root" "${files[@]}"
	printf '%s\n' -l 0 "$@" --rpc-socket /run/rpc.sock --state-dir /run/claims >"$root/lab/arguments"
	pack_guest target "$root"
	rm -rf "$root"
}

# boot NAME MIB COMMAND_LINE QEMU_ARGUMENT...: starts a guest in the background; its process id is in boot_pid.
# NAME.console has its output, NAME.results its result lines.
boot() {
	local name=$1 mib=$2 command_line=$3
	shift 3
	: >"$LAB_DIR/$name.console"
	: >"$LAB_DIR/$name.results"
	# Emulation, not KVM: it behaves the same on every machine, and many have no nested KVM.
	# no_timer_check: a busy machine may tick too late for the kernel, which then panics.
	timeout --foreground --signal=KILL "$LAB_TIMEOUT" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -m "$mib" \
		-nodefaults -no-user-config -display none -no-reboot \
		-kernel "$LAB_IMAGE/vmlinuz" -initrd "$LAB_DIR/$name.cpio" \
		-append "console=ttyS0 quiet loglevel=5 panic=-1 random.trust_cpu=on mitigations=off no_timer_check $command_line" \
		-serial "file:$LAB_DIR/$name.console" -serial "file:$LAB_DIR/$name.results" \
		"$@" </dev/null >"$LAB_DIR/$name.qemu" 2>&1 &
	# shellcheck disable=SC2034  # for the test
	boot_pid=$!
}

# boot_ipxe MIB: starts iPXE in the background on a machine without a disk; its process id is in boot_pid. ipxe.console has its
# output and that of the system that it boots.
boot_ipxe() {
	# The target may start after iPXE, so iPXE tries again.
	cat >"$LAB_DIR/boot.ipxe" <<-'SCRIPT'
		#!ipxe
		ifopen net0
		:again
		sanboot aoe:e1.2 || goto again
	SCRIPT
	# Without a display, QEMU's BIOS has its console on the first serial port, and iPXE prints through the BIOS.
	timeout --foreground --signal=KILL "$LAB_TIMEOUT" qemu-system-x86_64 -accel tcg -cpu max -m "$1" \
		-machine pc,graphics=off -nodefaults -no-user-config -display none -no-reboot \
		-kernel /usr/lib/ipxe/ipxe.lkrn -initrd "$LAB_DIR/boot.ipxe" -serial "file:$LAB_DIR/ipxe.console" \
		-netdev tap,id=net0,ifname=tap0,script=no,downscript=no -device "virtio-net-pci,netdev=net0,romfile=" \
		</dev/null >"$LAB_DIR/ipxe.qemu" 2>&1 &
	# shellcheck disable=SC2034  # for the test
	boot_pid=$!
}

guest_gone() {
	! kill -0 "$1" 2>/dev/null
}

# follow NAME PID: turns a guest's result lines into results as they arrive, until the guest ends. The guest must reach its own
# end and report as many checks as it made, at least one.
follow() {
	local name=$1 pid=$2 line rest seen=0 claimed=
	while IFS= read -r line; do
		line=${line%$'\r'}
		rest=${line#lab: * }
		case $line in
		'lab: ok '*) ok "$rest" && seen=$((seen + 1)) ;;
		'lab: FAIL '*)
			fail "$rest" && seen=$((seen + 1))
			[[ $rest != 'no frame was lost:'* ]] || show_counters
			;;
		'lab: end '*) claimed=$rest ;;
		esac
	done < <(tail -n +1 -s 0.3 -f --pid="$pid" "$LAB_DIR/$name.results")
	wait "$pid" 2>/dev/null || true
	if [ "$seen" -gt 0 ] && [ "$seen" = "$claimed" ]; then
		return
	fi
	tail -n 12 "$LAB_DIR/$name.qemu" "$LAB_DIR/$name.console" | sed 's/^/        /'
	fail "the $name guest ended early: $seen results seen, ${claimed:-none} announced (limit ${LAB_TIMEOUT} s)"
}

# reported NAME KEY PID: succeeds if the guest has reported a fact; ends the test if the guest has ended.
reported() {
	grep -q "^lab: fact $2" "$LAB_DIR/$1.results" && return
	kill -0 "$3" 2>/dev/null || give_up "the $1 guest ended too early"
	return 1
}

# facts NAME KEY: prints the values that a guest reported under KEY, a line each.
facts() {
	sed -n "s/^lab: fact $2 \(.*[^\r]\)\r*\$/\1/p" "$LAB_DIR/$1.results"
}

# --- the disk, seen from the host afterwards ------------------------------------------------------------------------

# cut_partition IMAGE OUT [NUMBER]: copies a partition of the image, the first if no number is given.
cut_partition() {
	local start size
	read -r start size < <(sfdisk --dump "$1" | sed -n 's/^[^ ]* : start= *\([0-9]*\), size= *\([0-9]*\),.*/\1 \2/p' | sed -n "${3:-1}p")
	[ -n "$size" ] || { echo "no partition in $1" && return 1; }
	dd if="$1" of="$2" bs=1M iflag=skip_bytes,count_bytes skip=$((start * 512)) count=$((size * 512)) conv=sparse status=none
}

# same_sum PARTITION PATH SHA256
same_sum() {
	rm -f "$LAB_DIR/file"
	debugfs -R "dump $2 $LAB_DIR/file" "$1"
	echo "$3  $LAB_DIR/file" | sha256sum -c
}

# check_image IMAGE EXPORT GUEST: checks that the guest's data on the export is on stable storage and complete.
check_image() {
	local address sum path found=
	check "the host finds $2's partition in its image" cut_partition "$1" "$LAB_DIR/partition" || return 0
	check "the host's e2fsck finds $2's file system clean" e2fsck -f -n "$LAB_DIR/partition" || return 0
	while read -r address sum path; do
		[ "$address" = "$2" ] || continue
		found=1
		check "the host reads $2's $path as the guest wrote it" same_sum "$LAB_DIR/partition" "$path" "$sum" || return 0
	done < <(facts "$3" sha256)
	[ -n "$found" ] || fail "the guest reported no checksum for $2"
}
