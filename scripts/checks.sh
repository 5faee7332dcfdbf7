# shellcheck shell=bash
# For sourcing by tests: counts checks, and ends with "N passed, N failed".

passed=${passed:-0}
failed=${failed:-0}

# check WHAT COMMAND...: shows what a command printed if it fails.
check() {
	local what=$1 output
	shift
	if output=$("$@" 2>&1); then
		passed=$((passed + 1))
		echo "ok: $what"
	else
		failed=$((failed + 1))
		echo "FAIL: $what"
		printf '%s\n' "$output" | tail -n 30 | sed 's/^/    /'
		return 1
	fi
}

# checks_end: a run without a check has failed.
checks_end() {
	echo "$passed passed, $failed failed"
	((failed == 0 && passed > 0))
}
