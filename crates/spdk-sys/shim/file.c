#include "shim.h"

#include <spdk/bdev_module.h>
#include <spdk/string.h>
#include <spdk/uuid.h>

/* The largest read or write that Linux carries out in one call, MAX_RW_COUNT, is one page below 2 GiB: longer ones end early. */
#define IO_BYTES_MAX (1U << 30)

/* How often a reset looks whether the kernel has requests, in microseconds. */
#define RESET_PERIOD_US 1000

struct file {
	struct spdk_bdev bdev;
	void *disk;
};

struct channel {
	void *own;
	/* The module's channel of this thread, which has the ring. */
	struct spdk_io_channel *ring_channel;
};

struct ring_channel {
	void *own;
	struct spdk_poller *poller;
};

/* What a bdev_io has room for. */
union room {
	struct spdk_shim_file_io io;
	/* Of a reset. */
	struct spdk_poller *poller;
	uint8_t bytes[SPDK_SHIM_FILE_IO_ROOM];
};

static const struct spdk_shim_file_side *side;

void spdk_shim_file_attach(const struct spdk_shim_file_side *other)
{
	side = other;
}

/* --- The module: a ring for each thread --------------------------------------------------------------------- */

static struct spdk_bdev_module module;

static int open_ring(void *device, void *ctx)
{
	struct ring_channel *ring = ctx;

	(void)device;
	ring->own = side->open_ring();
	if (ring->own == NULL)
		return -ENOMEM;
	ring->poller = spdk_poller_register_named(side->poll_ring, ring->own, 0, "file_ring");
	if (ring->poller == NULL) {
		side->close_ring(ring->own);
		return -ENOMEM;
	}
	return 0;
}

static void close_ring(void *device, void *ctx)
{
	struct ring_channel *ring = ctx;

	(void)device;
	spdk_poller_unregister(&ring->poller);
	side->close_ring(ring->own);
}

static int module_init(void)
{
	spdk_io_device_register(&module, open_ring, close_ring, sizeof(struct ring_channel), "file");
	return 0;
}

static void module_fini(void)
{
	spdk_io_device_unregister(&module, NULL);
}

static int get_ctx_size(void)
{
	return sizeof(union room);
}

static struct spdk_bdev_module module = {
	.name = "file",
	.module_init = module_init,
	.module_fini = module_fini,
	.get_ctx_size = get_ctx_size,
};

SPDK_BDEV_MODULE_REGISTER(file, &module)

/* --- Channels and requests: on the channel's thread ---------------------------------------------------------- */

static int open_channel(void *device, void *ctx)
{
	struct file *file = device;
	struct channel *channel = ctx;
	struct ring_channel *ring;

	channel->ring_channel = spdk_get_io_channel(&module);
	if (channel->ring_channel == NULL)
		return -ENOMEM;
	ring = spdk_io_channel_get_ctx(channel->ring_channel);
	channel->own = side->open_channel(file->disk, ring->own);
	if (channel->own == NULL) {
		spdk_put_io_channel(channel->ring_channel);
		return -ENOMEM;
	}
	return 0;
}

static void close_channel(void *device, void *ctx)
{
	struct channel *channel = ctx;

	(void)device;
	side->close_channel(channel->own);
	spdk_put_io_channel(channel->ring_channel);
}

static void pass_on(struct spdk_io_channel *ch, struct spdk_bdev_io *bdev_io)
{
	struct channel *channel = spdk_io_channel_get_ctx(ch);
	union room *room = (union room *)bdev_io->driver_ctx;
	const struct spdk_bdev_io_block_params *params = &bdev_io->u.bdev;

	room->io.bdev_io = bdev_io;
	room->io.iovs = params->iovs;
	room->io.iov_count = params->iovcnt;
	room->io.type = bdev_io->type;
	room->io.offset = params->offset_blocks * bdev_io->bdev->blocklen;
	room->io.bytes = params->num_blocks * bdev_io->bdev->blocklen;
	side->submit(channel->own, &room->io);
}

static void got_buffer(struct spdk_io_channel *ch, struct spdk_bdev_io *bdev_io, bool success)
{
	if (success)
		pass_on(ch, bdev_io);
	else
		spdk_bdev_io_complete(bdev_io, SPDK_BDEV_IO_STATUS_NOMEM);
}

static int look_at_channels(void *arg);

static void look_at_channel(struct spdk_io_channel_iter *i)
{
	struct channel *channel = spdk_io_channel_get_ctx(spdk_io_channel_iter_get_channel(i));

	spdk_for_each_channel_continue(i, side->drain(channel->own) ? 0 : -EBUSY);
}

static void looked_at_channels(struct spdk_io_channel_iter *i, int status)
{
	struct spdk_bdev_io *reset = spdk_io_channel_iter_get_ctx(i);
	union room *room = (union room *)reset->driver_ctx;

	if (status == 0)
		spdk_bdev_io_complete(reset, SPDK_BDEV_IO_STATUS_SUCCESS);
	else
		room->poller = SPDK_POLLER_REGISTER(look_at_channels, reset, RESET_PERIOD_US);
	if (status != 0 && room->poller == NULL)
		spdk_bdev_io_complete(reset, SPDK_BDEV_IO_STATUS_NOMEM);
}

/* A reset ends when the kernel has no request any more: Linux can't take back what a disk has. */
static int look_at_channels(void *arg)
{
	struct spdk_bdev_io *reset = arg;
	union room *room = (union room *)reset->driver_ctx;

	spdk_poller_unregister(&room->poller);
	spdk_for_each_channel(reset->bdev->ctxt, look_at_channel, reset, looked_at_channels);
	return SPDK_POLLER_BUSY;
}

static void submit_request(struct spdk_io_channel *ch, struct spdk_bdev_io *bdev_io)
{
	union room *room = (union room *)bdev_io->driver_ctx;

	switch (bdev_io->type) {
	case SPDK_BDEV_IO_TYPE_READ:
	case SPDK_BDEV_IO_TYPE_WRITE:
		/* SPDK copies what does not lie at the bdev's alignment. */
		spdk_bdev_io_get_buf(bdev_io, got_buffer, bdev_io->u.bdev.num_blocks * bdev_io->bdev->blocklen);
		break;
	case SPDK_BDEV_IO_TYPE_FLUSH:
	case SPDK_BDEV_IO_TYPE_UNMAP:
	case SPDK_BDEV_IO_TYPE_WRITE_ZEROES:
		pass_on(ch, bdev_io);
		break;
	case SPDK_BDEV_IO_TYPE_RESET:
		room->poller = NULL;
		look_at_channels(bdev_io);
		break;
	default:
		spdk_bdev_io_complete(bdev_io, SPDK_BDEV_IO_STATUS_FAILED);
	}
}

void spdk_shim_file_complete(struct spdk_bdev_io *bdev_io, int rc)
{
	if (rc == 0)
		spdk_bdev_io_complete(bdev_io, SPDK_BDEV_IO_STATUS_SUCCESS);
	else if (rc == -ECANCELED)
		spdk_bdev_io_complete(bdev_io, SPDK_BDEV_IO_STATUS_ABORTED);
	else
		spdk_bdev_io_complete_aio_status(bdev_io, rc);
}

/* --- Bdevs: on the app's thread -------------------------------------------------------------------------------- */

static void file_free(struct file *file)
{
	free(file->bdev.name);
	free(file);
}

static void device_gone(void *device)
{
	struct file *file = device;

	side->close_disk(file->disk);
	spdk_bdev_destruct_done(&file->bdev, 0);
	file_free(file);
}

static int destruct(void *ctx)
{
	spdk_io_device_unregister(ctx, device_gone);
	return 1;
}

static bool io_type_supported(void *ctx, enum spdk_bdev_io_type type)
{
	const struct file *file = ctx;

	return type == SPDK_BDEV_IO_TYPE_RESET || side->supports(file->disk, type);
}

static struct spdk_io_channel *get_io_channel(void *ctx)
{
	return spdk_get_io_channel(ctx);
}

static int dump_info_json(void *ctx, struct spdk_json_write_ctx *w)
{
	const struct file *file = ctx;

	spdk_json_write_name(w, "file");
	side->describe(file->disk, w);
	return 0;
}

static void write_config_json(struct spdk_bdev *bdev, struct spdk_json_write_ctx *w)
{
	const struct file *file = bdev->ctxt;
	char uuid[SPDK_UUID_STRING_LEN];

	spdk_uuid_fmt_lower(uuid, sizeof(uuid), &bdev->uuid);
	spdk_json_write_object_begin(w);
	spdk_json_write_named_string(w, "method", "bdev_file_create");
	spdk_json_write_name(w, "params");
	side->write_params(file->disk, uuid, w);
	spdk_json_write_object_end(w);
}

static const struct spdk_bdev_fn_table functions = {
	.destruct = destruct,
	.submit_request = submit_request,
	.io_type_supported = io_type_supported,
	.get_io_channel = get_io_channel,
	.dump_info_json = dump_info_json,
	.write_config_json = write_config_json,
};

int spdk_shim_file_register(const struct spdk_shim_file_params *params, void *disk)
{
	struct file *file = calloc(1, sizeof(*file));
	int rc = -ENOMEM;

	if (file == NULL)
		return rc;
	file->disk = disk;
	file->bdev.name = strdup(params->name);
	if (file->bdev.name == NULL)
		goto failed;
	rc = -EINVAL;
	if (params->uuid != NULL && spdk_uuid_parse(&file->bdev.uuid, params->uuid) != 0)
		goto failed;
	file->bdev.product_name = "file";
	file->bdev.module = &module;
	file->bdev.fn_table = &functions;
	file->bdev.ctxt = file;
	file->bdev.blocklen = params->block_size;
	file->bdev.blockcnt = params->blocks;
	file->bdev.required_alignment = params->alignment_log2;
	file->bdev.write_cache = params->write_cache;
#if SPDK_VERSION >= SPDK_VERSION_NUM(24, 9, 0)
	file->bdev.max_rw_size = IO_BYTES_MAX / params->block_size;
#endif
	spdk_io_device_register(file, open_channel, close_channel, sizeof(struct channel), params->name);
	rc = spdk_bdev_register(&file->bdev);
	if (rc == 0)
		return 0;
	spdk_io_device_unregister(file, NULL);
failed:
	file_free(file);
	return rc;
}

static struct spdk_bdev *find(const char *name)
{
	struct spdk_bdev *bdev = spdk_bdev_get_by_name(name);

	return bdev != NULL && bdev->module == &module ? bdev : NULL;
}

void *spdk_shim_file_disk(const char *name)
{
	const struct spdk_bdev *bdev = find(name);

	return bdev == NULL ? NULL : ((struct file *)bdev->ctxt)->disk;
}

int spdk_shim_file_unregister(const char *name, void (*done)(void *arg, int rc), void *arg)
{
	struct spdk_bdev *bdev = find(name);

	if (bdev == NULL)
		return -ENODEV;
	spdk_bdev_unregister(bdev, done, arg);
	return 0;
}

int spdk_shim_file_resize(const char *name, uint64_t blocks, uint64_t *before)
{
	struct spdk_bdev *bdev = find(name);

	if (bdev == NULL)
		return -ENODEV;
	*before = bdev->blockcnt;
	return spdk_bdev_notify_blockcnt_change(bdev, blocks);
}

/* --- What SPDK gives as macros and inline functions ------------------------------------------------------------ */

bool spdk_shim_thread_is_bound(void)
{
	struct spdk_thread *thread = spdk_get_thread();

	return thread != NULL && spdk_thread_is_bound(thread);
}

void spdk_shim_log(enum spdk_log_level level, const char *text)
{
	spdk_log(level, NULL, 0, NULL, "%s\n", text);
}
