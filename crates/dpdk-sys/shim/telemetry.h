/* EAL's telemetry socket (rte_telemetry.h), whose functions DPDK has renamed from release to release. */
#ifndef DPDK_SHIM_TELEMETRY_H
#define DPDK_SHIM_TELEMETRY_H

#include <stddef.h>
#include <stdint.h>

#include <rte_telemetry.h>

/*
 * Opens the socket in `directory` and starts its thread, on these CPUs. EAL does so itself at its start unless it was given
 * --no-telemetry, which SPDK always gives. Call it once, after EAL has started. Returns 0 or a negative errno; `reason`
 * for -EIO is in DPDK's log.
 */
int dpdk_shim_telemetry_start(const char *directory, const uint32_t *cpus, size_t count);

/*
 * Has clients' `command` answered by `answer`, on a thread of the client's. It is given the command, what stands behind its
 * first comma or NULL, and an answer to fill, and returns a negative number if there is none.
 */
typedef int (*dpdk_shim_telemetry_answer)(const char *command, const char *parameter, struct rte_tel_data *answer);
int dpdk_shim_telemetry_register(const char *command, const char *help, dpdk_shim_telemetry_answer answer);

/* Begins an answer: fields with names, a list of texts, a list of numbers. Each returns 0 or a negative errno, as do those below. */
int dpdk_shim_telemetry_fields(struct rte_tel_data *answer);
int dpdk_shim_telemetry_texts(struct rte_tel_data *answer);
int dpdk_shim_telemetry_numbers(struct rte_tel_data *answer);

/* Adds to an answer that has begun so. */
int dpdk_shim_telemetry_add_text_field(struct rte_tel_data *answer, const char *name, const char *text);
int dpdk_shim_telemetry_add_number_field(struct rte_tel_data *answer, const char *name, uint64_t number);
int dpdk_shim_telemetry_add_text(struct rte_tel_data *answer, const char *text);
int dpdk_shim_telemetry_add_number(struct rte_tel_data *answer, uint64_t number);

enum {
	/* Bytes of a text in an answer, with its NUL. */
	DPDK_SHIM_TELEMETRY_TEXT = RTE_TEL_MAX_STRING_LEN,
	DPDK_SHIM_TELEMETRY_FIELDS = RTE_TEL_MAX_DICT_ENTRIES,
	DPDK_SHIM_TELEMETRY_ELEMENTS = RTE_TEL_MAX_ARRAY_ENTRIES,
};

#endif
