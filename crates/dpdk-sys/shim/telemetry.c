#define _GNU_SOURCE
#define ALLOW_EXPERIMENTAL_API
#include "telemetry.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/un.h>

#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_version.h>

/*
 * The library's start, which its public header lacks: EAL alone is meant to call it. Until 23.11 EAL lent it its log. Both
 * forms are those of lib/telemetry/telemetry_internal.h.
 */
#if RTE_VERSION >= RTE_VERSION_NUM(23, 11, 0, 0)
int rte_telemetry_init(const char *runtime_dir, const char *version, rte_cpuset_t *cpus);
#else
typedef int (*log_function)(uint32_t level, uint32_t type, const char *format, ...);
int rte_telemetry_init(const char *runtime_dir, const char *version, rte_cpuset_t *cpus, log_function log,
		       uint32_t log_type);
#endif

/* The library keeps pointers to both. */
static char kept_directory[sizeof(((struct sockaddr_un *)0)->sun_path)];
static rte_cpuset_t kept_cpus;

int dpdk_shim_telemetry_start(const char *directory, const uint32_t *cpus, size_t count)
{
	int rc;

	if (strlen(directory) >= sizeof(kept_directory))
		return -ENAMETOOLONG;
	strcpy(kept_directory, directory);
	CPU_ZERO(&kept_cpus);
	for (size_t i = 0; i < count; i++) {
		if (cpus[i] < CPU_SETSIZE)
			CPU_SET(cpus[i], &kept_cpus);
	}
#if RTE_VERSION >= RTE_VERSION_NUM(23, 11, 0, 0)
	rc = rte_telemetry_init(kept_directory, rte_version(), &kept_cpus);
#else
	int type = rte_log_register_type_and_pick_level("lib.telemetry", RTE_LOG_WARNING);

	rc = rte_telemetry_init(kept_directory, rte_version(), &kept_cpus, rte_log,
				type < 0 ? RTE_LOGTYPE_EAL : (uint32_t)type);
#endif
	return rc == 0 ? 0 : -EIO;
}

int dpdk_shim_telemetry_register(const char *command, const char *help, dpdk_shim_telemetry_answer answer)
{
	return rte_telemetry_register_cmd(command, answer, help);
}

int dpdk_shim_telemetry_fields(struct rte_tel_data *answer)
{
	return rte_tel_data_start_dict(answer);
}

int dpdk_shim_telemetry_texts(struct rte_tel_data *answer)
{
	return rte_tel_data_start_array(answer, RTE_TEL_STRING_VAL);
}

int dpdk_shim_telemetry_add_text_field(struct rte_tel_data *answer, const char *name, const char *text)
{
	return rte_tel_data_add_dict_string(answer, name, text);
}

int dpdk_shim_telemetry_add_text(struct rte_tel_data *answer, const char *text)
{
	return rte_tel_data_add_array_string(answer, text);
}

/* The names before 23.03. */
#if RTE_VERSION < RTE_VERSION_NUM(23, 3, 0, 0)
#define RTE_TEL_UINT_VAL RTE_TEL_U64_VAL
#define rte_tel_data_add_dict_uint rte_tel_data_add_dict_u64
#define rte_tel_data_add_array_uint rte_tel_data_add_array_u64
#endif

int dpdk_shim_telemetry_numbers(struct rte_tel_data *answer)
{
	return rte_tel_data_start_array(answer, RTE_TEL_UINT_VAL);
}

int dpdk_shim_telemetry_add_number_field(struct rte_tel_data *answer, const char *name, uint64_t number)
{
	return rte_tel_data_add_dict_uint(answer, name, number);
}

int dpdk_shim_telemetry_add_number(struct rte_tel_data *answer, uint64_t number)
{
	return rte_tel_data_add_array_uint(answer, number);
}
