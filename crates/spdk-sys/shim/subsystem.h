/*
 * How a subsystem is declared to SPDK's event framework. Public since 26.05. Before that it is in an internal header
 * (spdk_internal/init.h), which SPDK does not install; so it is declared here, and the linker finds the functions.
 */
#ifndef SPDK_SHIM_SUBSYSTEM_H
#define SPDK_SHIM_SUBSYSTEM_H

#include <spdk/init.h>
#include <spdk/version.h>

#if SPDK_VERSION < SPDK_VERSION_NUM(26, 5, 0)
#include <spdk/json.h>
#include <spdk/queue.h>

struct spdk_subsystem {
	const char *name;
	void (*init)(void);
	void (*fini)(void);
	void (*write_config_json)(struct spdk_json_write_ctx *w);
	TAILQ_ENTRY(spdk_subsystem) tailq;
};

struct spdk_subsystem_depend {
	const char *name;
	const char *depends_on;
	TAILQ_ENTRY(spdk_subsystem_depend) tailq;
};

void spdk_add_subsystem(struct spdk_subsystem *subsystem);
void spdk_add_subsystem_depend(struct spdk_subsystem_depend *depend);
void spdk_subsystem_init_next(int rc);
void spdk_subsystem_fini_next(void);
#endif

#endif
