/* An open image as a bdev: its requests, its size, its end. */
#include "rbd.h"

#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include <spdk/env.h>
#include <spdk/log.h>

/* How long the end of a bdev, and of the program, waits for Ceph. */
#define CLOSE_LIMIT_S 20
#define EXIT_LIMIT_S 5

struct rbd_disks rbd_disks = TAILQ_HEAD_INITIALIZER(rbd_disks);

struct request {
	struct spdk_thread *thread;
	enum spdk_bdev_io_status status;
};

struct channel {
	/* An image has one handle, which all threads may use. */
	char unused;
};

/* --- Requests: on the thread of the channel ---------------------------------------------------------------- */

static void report_request(void *arg)
{
	struct request *request = arg;

	spdk_bdev_io_complete(spdk_bdev_io_from_ctx(request), request->status);
}

/* Any thread. Says once why requests fail, until they fail for another reason. */
static void log_failure(struct rbd_disk *disk, int rc)
{
	if (atomic_exchange(&disk->logged, rc) == rc)
		return;
	if (rc == -ESHUTDOWN)
		SPDK_ERRLOG("bdev %s: the Ceph cluster refuses this program (blocklist): another head took the lock of image %s "
			    "while this one was silent. Delete the bdev and its export here\n",
			    disk->bdev.name, disk->image_name);
	else
		SPDK_ERRLOG("bdev %s: a request failed: %s\n", disk->bdev.name, spdk_strerror(-rc));
}

/* On a thread of librbd's. */
static void completed(rbd_completion_t completion, void *arg)
{
	struct spdk_bdev_io *io = arg;
	struct request *request = (struct request *)io->driver_ctx;
	ssize_t result = rbd_aio_get_return_value(completion);
	uint64_t bytes = io->u.bdev.num_blocks * io->bdev->blocklen;
	bool success = io->type == SPDK_BDEV_IO_TYPE_READ ? result == (ssize_t)bytes : result == 0;

	rbd_aio_release(completion);
	request->status = success ? SPDK_BDEV_IO_STATUS_SUCCESS : SPDK_BDEV_IO_STATUS_FAILED;
	if (!success)
		log_failure(io->bdev->ctxt, result < 0 ? (int)result : -EIO);
	spdk_thread_send_msg(request->thread, report_request, request);
}

/* librbd puts a request in a queue of its own and returns (rbd_non_blocking_aio, its default). */
static int start(struct rbd_disk *disk, struct spdk_bdev_io *io, rbd_completion_t completion)
{
	uint64_t offset = io->u.bdev.offset_blocks * io->bdev->blocklen;
	uint64_t bytes = io->u.bdev.num_blocks * io->bdev->blocklen;
	struct iovec *iovs = io->u.bdev.iovs;
	int count = io->u.bdev.iovcnt;

	switch (io->type) {
	case SPDK_BDEV_IO_TYPE_READ:
		if (count == 1)
			return rbd_aio_read(disk->image, offset, iovs[0].iov_len, iovs[0].iov_base, completion);
		return rbd_aio_readv(disk->image, iovs, count, offset, completion);
	case SPDK_BDEV_IO_TYPE_WRITE:
		if (count == 1)
			return rbd_aio_write(disk->image, offset, iovs[0].iov_len, iovs[0].iov_base, completion);
		return rbd_aio_writev(disk->image, iovs, count, offset, completion);
	case SPDK_BDEV_IO_TYPE_FLUSH:
		return rbd_aio_flush(disk->image, completion);
	case SPDK_BDEV_IO_TYPE_UNMAP:
		return rbd_aio_discard(disk->image, offset, bytes, completion);
	case SPDK_BDEV_IO_TYPE_WRITE_ZEROES:
		return rbd_aio_write_zeroes(disk->image, offset, bytes, completion, 0, 0);
	default:
		return -ENOTSUP;
	}
}

static void submit(struct rbd_disk *disk, struct spdk_bdev_io *io)
{
	rbd_completion_t completion;
	int rc = rbd_aio_create_completion(io, completed, &completion);

	if (rc == 0) {
		rc = start(disk, io, completion);
		if (rc < 0)
			rbd_aio_release(completion);
	}
	if (rc < 0) {
		log_failure(disk, rc);
		spdk_bdev_io_complete(io, SPDK_BDEV_IO_STATUS_FAILED);
	}
}

static void got_buffer(struct spdk_io_channel *channel, struct spdk_bdev_io *io, bool success)
{
	(void)channel;
	if (success)
		submit(io->bdev->ctxt, io);
	else
		spdk_bdev_io_complete(io, SPDK_BDEV_IO_STATUS_NOMEM);
}

static void submit_request(struct spdk_io_channel *channel, struct spdk_bdev_io *io)
{
	struct request *request = (struct request *)io->driver_ctx;

	request->thread = spdk_io_channel_get_thread(channel);
	if (io->type == SPDK_BDEV_IO_TYPE_READ)
		spdk_bdev_io_get_buf(io, got_buffer, io->u.bdev.num_blocks * io->bdev->blocklen);
	else
		submit(io->bdev->ctxt, io);
}

static bool io_type_supported(void *ctx, enum spdk_bdev_io_type type)
{
	struct rbd_disk *disk = ctx;

	switch (type) {
	case SPDK_BDEV_IO_TYPE_READ:
	case SPDK_BDEV_IO_TYPE_FLUSH:
		return true;
	case SPDK_BDEV_IO_TYPE_WRITE:
	case SPDK_BDEV_IO_TYPE_UNMAP:
	case SPDK_BDEV_IO_TYPE_WRITE_ZEROES:
		return !disk->read_only;
	default:
		return false;
	}
}

static int make_channel(void *device, void *ctx)
{
	(void)device;
	(void)ctx;
	return 0;
}

static void drop_channel(void *device, void *ctx)
{
	(void)device;
	(void)ctx;
}

static struct spdk_io_channel *get_io_channel(void *ctx)
{
	return spdk_get_io_channel(ctx);
}

/* --- Size -------------------------------------------------------------------------------------------------- */

static void ask_size(struct rbd_work *work)
{
	struct rbd_disk *disk = SPDK_CONTAINEROF(work, struct rbd_disk, size_work);
	int rc = rbd_get_size(disk->image, &disk->bytes);

	if (rc < 0)
		log_failure(disk, rc);
}

static void start_close(struct rbd_disk *disk);
static void size_changed(void *arg);

static void got_size(struct rbd_work *work)
{
	struct rbd_disk *disk = SPDK_CONTAINEROF(work, struct rbd_disk, size_work);
	int rc;

	disk->sizing = false;
	if (disk->closing) {
		start_close(disk);
		return;
	}
	rc = spdk_bdev_notify_blockcnt_change(&disk->bdev, disk->bytes / disk->bdev.blocklen);
	if (rc != 0)
		SPDK_ERRLOG("bdev %s: its image has %" PRIu64 " bytes now, which is less, and it is in use: what lies beyond fails\n",
			    disk->bdev.name, disk->bytes);
	if (disk->size_again) {
		disk->size_again = false;
		size_changed(disk);
	}
}

static void size_changed(void *arg)
{
	struct rbd_disk *disk = arg;
	int rc;

	/* Not a bdev yet, which will find its size when it is one; or none any more. */
	if (disk->bdev.name == NULL || disk->closing)
		return;
	if (disk->sizing) {
		disk->size_again = true;
		return;
	}
	disk->size_work.run = ask_size;
	disk->size_work.done = got_size;
	rc = rbd_work_start(&disk->size_work);
	disk->sizing = rc == 0;
	if (rc != 0)
		SPDK_ERRLOG("bdev %s: no thread to ask for its new size with: %s\n", disk->bdev.name, spdk_strerror(-rc));
}

/* The watch ends before the disk does, so this message comes before the one that says that the image is closed. */
void rbd_disk_changed(void *disk)
{
	spdk_thread_send_msg(spdk_thread_get_app_thread(), size_changed, disk);
}

/* --- End --------------------------------------------------------------------------------------------------- */

static void disk_free(struct rbd_disk *disk)
{
	TAILQ_REMOVE(&rbd_disks, disk, link);
	rbd_cluster_put(disk->cluster);
	free(disk->bdev.name);
	free(disk->pool);
	free(disk->pool_namespace);
	free(disk->image_name);
	free(disk);
}

static void close_image(struct rbd_work *work)
{
	rbd_image_close(SPDK_CONTAINEROF(work, struct rbd_disk, close_work));
}

static void image_closed(struct rbd_work *work)
{
	struct rbd_disk *disk = SPDK_CONTAINEROF(work, struct rbd_disk, close_work);

	/* Without a limit it was no bdev, or SPDK has been told already. */
	if (disk->close_limit != NULL) {
		spdk_poller_unregister(&disk->close_limit);
		spdk_bdev_destruct_done(&disk->bdev, 0);
	}
	disk_free(disk);
}

static int close_takes_long(void *arg)
{
	struct rbd_disk *disk = arg;

	SPDK_ERRLOG("bdev %s: image %s could not be closed within %d s, as Ceph does not answer: it keeps its lock until it can\n",
		    disk->bdev.name, disk->image_name, CLOSE_LIMIT_S);
	spdk_poller_unregister(&disk->close_limit);
	spdk_bdev_destruct_done(&disk->bdev, 0);
	return SPDK_POLLER_BUSY;
}

static void start_close(struct rbd_disk *disk)
{
	int rc;

	disk->close_work.run = close_image;
	disk->close_work.done = image_closed;
	rc = rbd_work_start(&disk->close_work);
	if (rc == 0)
		return;
	SPDK_ERRLOG("no thread to close image %s with: %s; it stays open\n", disk->image_name, spdk_strerror(-rc));
	if (disk->close_limit != NULL) {
		spdk_poller_unregister(&disk->close_limit);
		spdk_bdev_destruct_done(&disk->bdev, 0);
	}
}

void rbd_disk_discard(struct rbd_disk *disk)
{
	disk->closing = true;
	if (disk->image != NULL)
		start_close(disk);
	else
		disk_free(disk);
}

/* No thread has a channel any more. */
static void device_gone(void *device)
{
	struct rbd_disk *disk = device;

	disk->closing = true;
	disk->close_limit = SPDK_POLLER_REGISTER(close_takes_long, disk, CLOSE_LIMIT_S * SPDK_SEC_TO_USEC);
	if (!disk->sizing)
		start_close(disk);
}

static void unregister_device(void *arg)
{
	spdk_io_device_unregister(arg, device_gone);
}

static int destruct(void *ctx)
{
	/* By a message in any case: those of channels that were closed on this thread come before it. */
	spdk_thread_send_msg(spdk_thread_get_app_thread(), unregister_device, ctx);
	return 1;
}

/* --- Description ------------------------------------------------------------------------------------------- */

static void write_image(const struct rbd_disk *disk, struct spdk_json_write_ctx *w)
{
	spdk_json_write_named_string(w, "pool_name", disk->pool);
	if (disk->pool_namespace != NULL)
		spdk_json_write_named_string(w, "namespace_name", disk->pool_namespace);
	spdk_json_write_named_string(w, "rbd_name", disk->image_name);
	if (disk->names_cluster)
		spdk_json_write_named_string(w, "cluster_name", disk->cluster->name);
	else
		rbd_cluster_write(disk->cluster, w);
}

static int dump_info_json(void *ctx, struct spdk_json_write_ctx *w)
{
	const struct rbd_disk *disk = ctx;

	spdk_json_write_named_object_begin(w, "rbd");
	write_image(disk, w);
	spdk_json_write_named_bool(w, "read_only", disk->read_only);
	spdk_json_write_named_bool(w, "exclusive_lock", !disk->read_only);
	spdk_json_write_named_bool(w, "rbd_cache", disk->cached);
	spdk_json_write_object_end(w);
	return 0;
}

static void write_config_json(struct spdk_bdev *bdev, struct spdk_json_write_ctx *w)
{
	const struct rbd_disk *disk = bdev->ctxt;

	spdk_json_write_object_begin(w);
	spdk_json_write_named_string(w, "method", "bdev_rbd_create");
	spdk_json_write_named_object_begin(w, "params");
	spdk_json_write_named_string(w, "name", bdev->name);
	write_image(disk, w);
	spdk_json_write_named_uint32(w, "block_size", bdev->blocklen);
	spdk_json_write_named_uuid(w, "uuid", &bdev->uuid);
	if (disk->read_only)
		spdk_json_write_named_bool(w, "read_only", true);
	spdk_json_write_object_end(w);
	spdk_json_write_object_end(w);
}

/* --- Module ------------------------------------------------------------------------------------------------ */

static int module_init(void)
{
	return 0;
}

/* Before librados' destructors, which do not expect threads that still use it. */
static void leave_at_once(int status, void *arg)
{
	(void)arg;
	fflush(NULL);
	_exit(status);
}

static struct spdk_poller *exit_poller;
static uint64_t exit_limit;

static void finish(void)
{
	spdk_poller_unregister(&exit_poller);
	if (rbd_work_count() > 0) {
		SPDK_ERRLOG("Ceph has not answered for %d s: leaving without it. Locks of its images are free 30 s after the end\n",
			    EXIT_LIMIT_S);
		rbd_work_forget();
		if (on_exit(leave_at_once, NULL) != 0)
			SPDK_ERRLOG("on_exit: librados may crash at the end\n");
	}
	spdk_bdev_module_fini_done();
}

static int wait_for_works(void *arg)
{
	(void)arg;
	if (rbd_work_count() > 0 && spdk_get_ticks() < exit_limit)
		return SPDK_POLLER_IDLE;
	finish();
	return SPDK_POLLER_BUSY;
}

static void module_fini(void)
{
	struct rbd_cluster *cluster, *next;

	TAILQ_FOREACH_SAFE(cluster, &rbd_clusters, link, next) {
		if (cluster->registered) {
			cluster->registered = false;
			cluster->users++;
			rbd_cluster_put(cluster);
		}
	}
	exit_limit = spdk_get_ticks() + EXIT_LIMIT_S * spdk_get_ticks_hz();
	exit_poller = SPDK_POLLER_REGISTER(wait_for_works, NULL, 10000);
}

static int config_json(struct spdk_json_write_ctx *w)
{
	struct rbd_cluster *cluster;

	TAILQ_FOREACH(cluster, &rbd_clusters, link) {
		if (!cluster->registered)
			continue;
		spdk_json_write_object_begin(w);
		spdk_json_write_named_string(w, "method", "bdev_rbd_register_cluster");
		spdk_json_write_named_object_begin(w, "params");
		spdk_json_write_named_string(w, "name", cluster->name);
		rbd_cluster_write(cluster, w);
		spdk_json_write_object_end(w);
		spdk_json_write_object_end(w);
	}
	return 0;
}

static int get_ctx_size(void)
{
	return sizeof(struct request);
}

static struct spdk_bdev_module module = {
	.name = "rbd",
	.module_init = module_init,
	.module_fini = module_fini,
	.async_fini = true,
	.config_json = config_json,
	.get_ctx_size = get_ctx_size,
};
SPDK_BDEV_MODULE_REGISTER(rbd, &module)

static const struct spdk_bdev_fn_table functions = {
	.destruct = destruct,
	.submit_request = submit_request,
	.io_type_supported = io_type_supported,
	.get_io_channel = get_io_channel,
	.dump_info_json = dump_info_json,
	.write_config_json = write_config_json,
};

struct spdk_bdev_module *rbd_module(void)
{
	return &module;
}

bool rbd_disk_owns(const struct spdk_bdev *bdev)
{
	return bdev->module == &module;
}

int rbd_disk_register(struct rbd_disk *disk, const char *name, const struct spdk_uuid *uuid, uint32_t block_size)
{
	int rc;

	disk->bdev.name = strdup(name);
	if (disk->bdev.name == NULL)
		return -ENOMEM;
	disk->bdev.product_name = "Ceph Rbd Disk";
	disk->bdev.uuid = *uuid;
	disk->bdev.write_cache = disk->cached;
	disk->bdev.blocklen = block_size;
	disk->bdev.blockcnt = disk->bytes / block_size;
	disk->bdev.ctxt = disk;
	disk->bdev.fn_table = &functions;
	disk->bdev.module = &module;
	spdk_io_device_register(disk, make_channel, drop_channel, sizeof(struct channel), disk->bdev.name);
	rc = spdk_bdev_register(&disk->bdev);
	if (rc != 0) {
		spdk_io_device_unregister(disk, NULL);
		free(disk->bdev.name);
		disk->bdev.name = NULL;
	}
	return rc;
}
