/*
 * What SPDK gives as macros, and what differs between its releases 24.05 to 26.05, as functions that stay the same
 * for Rust. Everything here runs on an SPDK thread unless it says otherwise.
 */
#ifndef SPDK_SHIM_H
#define SPDK_SHIM_H

#include <spdk/stdinc.h>

#include <spdk/bdev.h>
#include <spdk/env.h>
#include <spdk/event.h>
#include <spdk/init.h>
#include <spdk/json.h>
#include <spdk/jsonrpc.h>
#include <spdk/log.h>
#include <spdk/rpc.h>
#include <spdk/thread.h>
#include <spdk/version.h>

#include "file.h"

/* A log line without its line end. `level` is enum spdk_log_level. Any thread. */
typedef void (*spdk_shim_log_sink)(int level, const char *file, int line, const char *function, const char *text,
				   size_t length);

/* What the app is started with; NULL, negative numbers and a base_virtaddr of 0 leave SPDK's default. */
struct spdk_shim_app {
	const char *name;
	const char *reactor_mask;
	const char *env_context;
	const char *rpc_addr;
	const char *json_config_file;
	const char *iova_mode;
	bool no_huge;
	bool single_file_segments;
	uint64_t base_virtaddr;
	int main_core;
	int mem_size_mb;
	bool no_pci;
	bool huge_unlink;
	spdk_shim_log_sink log;
	enum spdk_log_level log_level;
	/* Hears of SIGINT or SIGTERM, once, on the app's thread; NULL is spdk_app_stop(0). */
	void (*shutdown)(void);
};

/* Runs the event framework on the calling thread until spdk_app_stop; returns the app's exit code. */
int spdk_shim_app_start(const struct spdk_shim_app *app, spdk_msg_fn start, void *arg);

/*
 * Adds a subsystem after those named in `depends`. Before spdk_shim_app_start, from the main thread. The names
 * must stay. Returns a negative errno.
 */
int spdk_shim_add_subsystem(const char *name, const char *const *depends, size_t depend_count, void (*init)(void),
			    void (*fini)(void), void (*write_config)(struct spdk_json_write_ctx *w));
void spdk_shim_subsystem_init_next(int rc);
void spdk_shim_subsystem_fini_next(void);

/*
 * Closes every RPC server, and removes its socket. On the app's thread, also where there is none any more. SPDK does
 * so only after it has finished the subsystems.
 */
void spdk_shim_rpc_finish(void);

/* A thread that only the reactor of `core`, which there must be, runs; NULL without memory for it. */
struct spdk_thread *spdk_shim_thread_create(const char *name, uint32_t core);
/* SPDK_ENV_LCORE_ID_ANY after the last. */
uint32_t spdk_shim_no_core(void);
/* NUMA node of a core; negative if unknown. */
int32_t spdk_shim_core_numa_node(uint32_t core);

/* Receives a piece of JSON text. */
typedef void (*spdk_shim_text_sink)(void *ctx, const char *text, size_t length);
/* The bdev module's own description of a bdev, as a JSON object. */
int spdk_shim_bdev_describe(struct spdk_bdev *bdev, spdk_shim_text_sink sink, void *ctx);

/* True if this is a name or an alias of a bdev. On the app's thread. */
bool spdk_shim_bdev_is_called(struct spdk_bdev *bdev, const char *name);
/* A bdev's UUID as text, SPDK_UUID_STRING_LEN bytes with the zero. */
void spdk_shim_bdev_uuid(struct spdk_bdev *bdev, char *text, size_t size);

/*
 * Claims the bdev of a descriptor that was opened for reading; closing the descriptor ends the claim. To write: the
 * descriptor may write then, and so may others that claim like this; nobody else may. To read: nobody may write.
 * Returns 0, or a negative errno: -EBUSY where another module has claimed it, or where a claim to read meets one to
 * write; -EPERM where somebody has it open to write without a claim, as modules do that look whether a new bdev is
 * theirs. On the app's thread.
 */
int spdk_shim_bdev_claim(struct spdk_bdev_desc *desc, bool write);

/* A decoded JSON value as text; nothing for NULL. */
int spdk_shim_json_text(const struct spdk_json_val *value, spdk_shim_text_sink sink, void *ctx);

/* Whether the flush of an nvme bdev sends NVMe FLUSH to the drive: the option enable_flush, which there is since 25.09. */
bool spdk_shim_nvme_flushes(void);

/* NVMe FLUSH (opcode 00h) to the drive itself, for a bdev of the nvme module. As spdk_bdev_nvme_io_passthru. */
int spdk_shim_nvme_flush(struct spdk_bdev_desc *desc, struct spdk_io_channel *channel, spdk_bdev_io_completion_cb cb,
			 void *arg);

/*
 * NVMe WRITE (opcode 01h) with these dwords 10 to 12, of `bytes` at `data`, which DMA reaches, in one piece and from a
 * multiple of 4 on. As spdk_shim_nvme_flush.
 */
int spdk_shim_nvme_write(struct spdk_bdev_desc *desc, struct spdk_io_channel *channel, uint32_t cdw10, uint32_t cdw11,
			 uint32_t cdw12, void *data, size_t bytes, spdk_bdev_io_completion_cb cb, void *arg);

/*
 * NVMe's log page of SMART and health information (02h, 512 bytes) of the drive, into `log`, which DMA reaches and
 * which starts at a multiple of 4. As spdk_bdev_nvme_admin_passthru: the drive is asked without waiting for it.
 */
int spdk_shim_nvme_health(struct spdk_bdev_desc *desc, struct spdk_io_channel *channel, void *log,
			  spdk_bdev_io_completion_cb cb, void *arg);

/*
 * Linux's asynchronous fdatasync (io_submit(2), IOCB_CMD_FDSYNC). `open` returns NULL and sets `*rc` on failure;
 * `submit` returns a negative errno, -EAGAIN when too many are in flight; `poll` stores the number and the result (0 or a
 * negative errno) of up to `max` that have ended, returns how many, and makes no system call while none has.
 */
struct spdk_shim_fdsync;
struct spdk_shim_fdsync *spdk_shim_fdsync_open(unsigned int depth, int *rc);
int spdk_shim_fdsync_submit(struct spdk_shim_fdsync *sync, int fd, uint64_t number);
int spdk_shim_fdsync_poll(struct spdk_shim_fdsync *sync, uint64_t *numbers, int64_t *results, int max);
void spdk_shim_fdsync_close(struct spdk_shim_fdsync *sync);

/* SPDK_VERSION_STRING. Any thread. */
const char *spdk_shim_version(void);

/*
 * From now on the programs that this process starts get no descriptor of it but 0, 1 and 2: DPDK and SPDK open theirs without
 * O_CLOEXEC, and locks and memory would stay with them. Returns an errno, 0 on success. Any thread.
 */
int spdk_shim_close_on_exec(void);

#endif
