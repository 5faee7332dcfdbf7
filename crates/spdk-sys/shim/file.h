/*
 * SPDK's side of the bdev module "file", for files and block devices of the kernel. The other side opens them and does their
 * I/O: crates/spdk/src/file.
 */
#ifndef SPDK_SHIM_FILE_H
#define SPDK_SHIM_FILE_H

#include <spdk/stdinc.h>

#include <spdk/bdev.h>
#include <spdk/json.h>

/* A request. The module's room in a bdev_io begins with it. */
struct spdk_shim_file_io {
	struct spdk_bdev_io *bdev_io;
	/* The data of a read or write. */
	struct iovec *iovs;
	int iov_count;
	enum spdk_bdev_io_type type;
	/* In bytes. */
	uint64_t offset;
	uint64_t bytes;
};

/* The module's room in a bdev_io, in bytes: the struct above, and behind it fields of the other side. */
#define SPDK_SHIM_FILE_IO_ROOM 128

/* The other side. Disks, rings and channels are pointers of its own. */
struct spdk_shim_file_side {
	/* A ring for the calling SPDK thread, or NULL. */
	void *(*open_ring)(void);
	/* Does the I/O of all channels of a ring; positive if there was some. */
	int (*poll_ring)(void *ring);
	void (*close_ring)(void *ring);
	/* The calling SPDK thread's way into a disk, or NULL. */
	void *(*open_channel)(void *disk, void *ring);
	void (*close_channel)(void *channel);
	/* Takes a request, which comes back by spdk_shim_file_complete, once. */
	void (*submit)(void *channel, struct spdk_shim_file_io *io);
	/* Ends the requests that the kernel does not have; true if it has none. */
	bool (*drain)(void *channel);
	bool (*supports)(void *disk, enum spdk_bdev_io_type type);
	/* Writes one JSON value: the disk's description, or the parameters that make it and its bdev anew. */
	void (*describe)(void *disk, struct spdk_json_write_ctx *w);
	void (*write_params)(void *disk, const char *uuid, struct spdk_json_write_ctx *w);
	/* The disk has no channel any more. */
	void (*close_disk)(void *disk);
};

/* Attaches the other side, before the app runs. */
void spdk_shim_file_attach(const struct spdk_shim_file_side *side);

/* What SPDK is told of a bdev. */
struct spdk_shim_file_params {
	const char *name;
	/* NULL: SPDK makes one. */
	const char *uuid;
	uint32_t block_size;
	uint64_t blocks;
	/* Data lies at multiples of 2 to the power of it. */
	uint8_t alignment_log2;
	bool write_cache;
};

/*
 * Makes a bdev of a disk, which belongs to the bdev then. Returns 0, or a negative errno: -EEXIST for a name that is taken,
 * -EINVAL for a UUID that is none. On the app's thread, as the functions below.
 */
int spdk_shim_file_register(const struct spdk_shim_file_params *params, void *disk);

/* The disk of a bdev of this module; NULL if there is none of this name. */
void *spdk_shim_file_disk(const char *name);

/* Removes a bdev of this module. `done` is called, once, unless the result is negative: -ENODEV if there is none. */
int spdk_shim_file_unregister(const char *name, void (*done)(void *arg, int rc), void *arg);

/* A new size; `before` is the old one. Returns 0 or a negative errno: -EBUSY for a smaller one while the bdev is open. */
int spdk_shim_file_resize(const char *name, uint64_t blocks, uint64_t *before);

/* Ends a request with 0 or a negative errno; -ECANCELED is "aborted". On the thread that submitted it. */
void spdk_shim_file_complete(struct spdk_bdev_io *bdev_io, int rc);

/* Whether the calling SPDK thread stays on its reactor, and so on one thread of the system. */
bool spdk_shim_thread_is_bound(void);

/* Writes one line of SPDK's log. */
void spdk_shim_log(enum spdk_log_level level, const char *text);

#endif
