/* Rules of rte_flow.h that bring AoE's frames to rx queues. Their structures are packed and full of unions: no thing for Rust. */
#ifndef DPDK_SHIM_FLOW_H
#define DPDK_SHIM_FLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dpdk_shim_flow_action {
	/* By a hash of both Ethernet addresses, over the rule's queues, or all the port has if it names none. */
	DPDK_SHIM_FLOW_HASH,
	/* To the rule's first queue. */
	DPDK_SHIM_FLOW_QUEUE,
};

struct dpdk_shim_flow {
	/* Only frames of this EtherType; 0 for all. */
	uint16_t ethertype;
	/* Only frames to `destination`. */
	bool to_destination;
	uint8_t destination[6];
	enum dpdk_shim_flow_action action;
	const uint16_t *queues;
	uint32_t queue_count;
};

/*
 * Asks the port's PMD whether it takes the rule, and if `create`, has it take it. Returns 0 or a negative errno; then
 * `reason` has what the PMD says, or nothing.
 */
int dpdk_shim_flow(uint16_t port, const struct dpdk_shim_flow *flow, bool create, char *reason, size_t size);

/*
 * Writes the rule as it is given to the PMD, in the words of testpmd's "flow create", which is read back from the
 * structures. Returns its length, cut to `size` - 1.
 */
size_t dpdk_shim_flow_describe(const struct dpdk_shim_flow *flow, char *text, size_t size);

#endif
