# shellcheck shell=bash
# For sourcing by tests: counts checks, and ends with "N passed, N failed".

passed=${passed:-0}
failed=${failed:-0}

# check WHAT COMMAND...: shows what a command printed if it fails. The command is run by this shell, so that a function may
# set its variables.
check() {
	local what=$1 output status=0
	shift
	output=$(mktemp)
	"$@" >"$output" 2>&1 || status=$?
	if ((status == 0)); then
		passed=$((passed + 1))
		echo "ok: $what"
	else
		failed=$((failed + 1))
		echo "FAIL: $what"
		tail -n 30 "$output" | sed 's/^/    /'
	fi
	rm -f "$output"
	return "$((status != 0))"
}

# checks_end: a run without a check has failed.
checks_end() {
	echo "$passed passed, $failed failed"
	((failed == 0 && passed > 0))
}
