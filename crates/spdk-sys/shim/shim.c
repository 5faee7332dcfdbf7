#include "shim.h"

#include <errno.h>
#include <libaio.h>
#include <linux/close_range.h>
#include <openssl/conf.h>
#include <openssl/crypto.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <spdk/bdev_module.h>
#include <spdk/nvme_spec.h>
#include <spdk/queue.h>
#include <spdk/string.h>
#include <spdk/uuid.h>

#include "subsystem.h"

#if SPDK_VERSION < SPDK_VERSION_NUM(24, 5, 0)
#error "kvblade-dpdk needs SPDK 24.05 to 26.05: scripts/setup builds 26.01"
#endif
#if SPDK_VERSION >= SPDK_VERSION_NUM(25, 9, 0)
#include <spdk/module/bdev/nvme.h>
#endif

static spdk_shim_log_sink log_sink;
static enum spdk_log_level log_level;

static void log_line(int level, const char *file, const int line, const char *function, const char *format,
		     va_list args)
{
	char text[1024];
	int length;

	if (level > (int)log_level || level == SPDK_LOG_DISABLED)
		return;
	length = vsnprintf(text, sizeof(text), format, args);
	if (length < 0)
		return;
	if ((size_t)length >= sizeof(text))
		length = sizeof(text) - 1;
	while (length > 0 && text[length - 1] == '\n')
		length--;
	log_sink(level, file != NULL ? file : "", line, function != NULL ? function : "", text, (size_t)length);
}

/* SPDK has OpenSSL load its configuration and ends where that file is missing, though nothing of the target's uses OpenSSL.
 * Debian has the file in the package openssl and not with the library, so a small image may lack it: an empty file does.
 * One that the user names stays as it is. */
static void need_no_openssl_configuration(void)
{
	char *file;

	if (getenv("OPENSSL_CONF") != NULL)
		return;
	file = CONF_get1_default_config_file();
	if (file != NULL && access(file, F_OK) != 0)
		setenv("OPENSSL_CONF", "/dev/null", 0);
	OPENSSL_free(file);
}

int spdk_shim_app_start(const struct spdk_shim_app *app, spdk_msg_fn start, void *arg)
{
	struct spdk_app_opts opts = {};

	need_no_openssl_configuration();
	spdk_app_opts_init(&opts, sizeof(opts));
	opts.name = app->name;
	opts.rpc_addr = app->rpc_addr;
	opts.json_config_file = app->json_config_file;
	if (app->reactor_mask != NULL)
		opts.reactor_mask = app->reactor_mask;
	if (app->main_core >= 0)
		opts.main_core = app->main_core;
	if (app->mem_size_mb >= 0)
		opts.mem_size = app->mem_size_mb;
	opts.no_pci = app->no_pci;
	opts.no_huge = app->no_huge;
	opts.iova_mode = app->iova_mode;
	opts.hugepage_single_segments = app->single_file_segments;
	if (app->base_virtaddr != 0)
		opts.base_virtaddr = app->base_virtaddr;
	/* EAL takes neither of these together with it. */
	opts.unlink_hugepage = app->huge_unlink && !app->no_huge && !app->single_file_segments;
	opts.env_context = (void *)app->env_context;
	opts.shutdown_cb = app->shutdown;
#if SPDK_VERSION >= SPDK_VERSION_NUM(24, 9, 0)
	/* Two programs on one core are slow, and no reason to refuse the second one. SPDK 24.05 refuses it. */
	opts.disable_cpumask_locks = true;
#endif
	/* No trace: it takes 135 MB of locked memory, which a killed process leaves in /dev/shm. */
	opts.num_entries = 0;
	/* Whether a crash leaves a core, and of what size, is the operator's to say (RLIMIT_CORE). */
	opts.enable_coredump = false;
	/* Every line goes to the sink; SPDK's own printing to a console is slow enough to ask for ten seconds. */
	opts.print_level = SPDK_LOG_ERROR;
	if (app->log != NULL) {
		log_sink = app->log;
		log_level = app->log_level;
		opts.log = log_line;
		/* From the first line on; the app does so only once EAL has started. */
		spdk_log_open(log_line);
	}
	return spdk_app_start(&opts, start, arg);
}

int spdk_shim_add_subsystem(const char *name, const char *const *depends, size_t depend_count, void (*init)(void),
			    void (*fini)(void), void (*write_config)(struct spdk_json_write_ctx *w))
{
	struct spdk_subsystem *subsystem = calloc(1, sizeof(*subsystem));
	struct spdk_subsystem_depend *depend = calloc(depend_count, sizeof(*depend));

	if (subsystem == NULL || (depend == NULL && depend_count > 0)) {
		free(subsystem);
		free(depend);
		return -ENOMEM;
	}
	subsystem->name = name;
	subsystem->init = init;
	subsystem->fini = fini;
	subsystem->write_config_json = write_config;
	spdk_add_subsystem(subsystem);
	for (size_t i = 0; i < depend_count; i++) {
		depend[i].name = name;
		depend[i].depends_on = depends[i];
		spdk_add_subsystem_depend(&depend[i]);
	}
	return 0;
}

void spdk_shim_subsystem_init_next(int rc)
{
	spdk_subsystem_init_next(rc);
}

void spdk_shim_subsystem_fini_next(void)
{
	spdk_subsystem_fini_next();
}

void spdk_shim_rpc_finish(void)
{
	spdk_rpc_finish();
}

struct spdk_thread *spdk_shim_thread_create(const char *name, uint32_t core)
{
	struct spdk_cpuset mask = {};

	spdk_cpuset_set_cpu(&mask, core, true);
	return spdk_thread_create(name, &mask);
}

uint32_t spdk_shim_no_core(void)
{
	return UINT32_MAX;
}

int32_t spdk_shim_core_numa_node(uint32_t core)
{
#if SPDK_VERSION < SPDK_VERSION_NUM(24, 9, 0)
	uint32_t node = spdk_env_get_socket_id(core);

	return node == (uint32_t)SPDK_ENV_SOCKET_ID_ANY ? -1 : (int32_t)node;
#else
	return spdk_env_get_numa_id(core);
#endif
}

struct text_writer {
	spdk_shim_text_sink sink;
	void *ctx;
};

static int write_text(void *ctx, const void *data, size_t size)
{
	struct text_writer *writer = ctx;

	writer->sink(writer->ctx, data, size);
	return 0;
}

int spdk_shim_bdev_describe(struct spdk_bdev *bdev, spdk_shim_text_sink sink, void *ctx)
{
	struct text_writer writer = {sink, ctx};
	struct spdk_json_write_ctx *w = spdk_json_write_begin(write_text, &writer, 0);

	if (w == NULL)
		return -ENOMEM;
	spdk_json_write_object_begin(w);
	spdk_bdev_dump_info_json(bdev, w);
	spdk_json_write_object_end(w);
	return spdk_json_write_end(w);
}

bool spdk_shim_bdev_is_called(struct spdk_bdev *bdev, const char *name)
{
	struct spdk_bdev_alias *alias;

	if (strcmp(spdk_bdev_get_name(bdev), name) == 0)
		return true;
	TAILQ_FOREACH(alias, spdk_bdev_get_aliases(bdev), tailq) {
		if (strcmp(alias->alias.name, name) == 0)
			return true;
	}
	return false;
}

void spdk_shim_bdev_uuid(struct spdk_bdev *bdev, char *text, size_t size)
{
	spdk_uuid_fmt_lower(text, size, spdk_bdev_get_uuid(bdev));
}

static int no_init(void)
{
	return 0;
}

/* In whose name served bdevs are claimed. It has no bdevs of its own. */
static struct spdk_bdev_module claimant = {
	.name = "aoe",
	.module_init = no_init,
};

SPDK_BDEV_MODULE_REGISTER(aoe, &claimant)

int spdk_shim_bdev_claim(struct spdk_bdev_desc *desc, bool write)
{
	/* Any number but 0: it tells our claims to write from those of other modules. */
	const uint64_t key = 0x616f65;
	const enum spdk_bdev_claim_type type =
		write ? SPDK_BDEV_CLAIM_READ_MANY_WRITE_SHARED : SPDK_BDEV_CLAIM_READ_MANY_WRITE_NONE;
	enum spdk_bdev_claim_type held = spdk_bdev_desc_get_bdev(desc)->internal.claim_type;
	struct spdk_bdev_claim_opts opts;

	/* Asked for, SPDK would say so in the log as an error. */
	if (held != SPDK_BDEV_CLAIM_NONE && held != type)
		return -EBUSY;
	if (!write)
		return spdk_bdev_module_claim_bdev_desc(desc, type, NULL, &claimant);
	spdk_bdev_claim_opts_init(&opts, sizeof(opts));
	opts.shared_claim_key = key;
	return spdk_bdev_module_claim_bdev_desc(desc, type, &opts, &claimant);
}

int spdk_shim_json_text(const struct spdk_json_val *value, spdk_shim_text_sink sink, void *ctx)
{
	struct text_writer writer = {sink, ctx};
	struct spdk_json_write_ctx *w;

	if (value == NULL)
		return 0;
	w = spdk_json_write_begin(write_text, &writer, 0);
	if (w == NULL)
		return -ENOMEM;
	spdk_json_write_val(w, value);
	return spdk_json_write_end(w);
}

bool spdk_shim_nvme_flushes(void)
{
#if SPDK_VERSION >= SPDK_VERSION_NUM(25, 9, 0)
	struct spdk_bdev_nvme_opts opts = {};

	spdk_bdev_nvme_get_opts(&opts, sizeof(opts));
	return opts.enable_flush;
#else
	return false;
#endif
}

int spdk_shim_nvme_flush(struct spdk_bdev_desc *desc, struct spdk_io_channel *channel, spdk_bdev_io_completion_cb cb,
			 void *arg)
{
	/* The nvme module fills in the namespace, and copies the command. */
	struct spdk_nvme_cmd command = {.opc = SPDK_NVME_OPC_FLUSH};

	return spdk_bdev_nvme_io_passthru(desc, channel, &command, NULL, 0, cb, arg);
}

int spdk_shim_nvme_write(struct spdk_bdev_desc *desc, struct spdk_io_channel *channel, uint32_t cdw10, uint32_t cdw11,
			 uint32_t cdw12, void *data, size_t bytes, spdk_bdev_io_completion_cb cb, void *arg)
{
	struct spdk_nvme_cmd command = {.opc = SPDK_NVME_OPC_WRITE, .cdw10 = cdw10, .cdw11 = cdw11, .cdw12 = cdw12};

	return spdk_bdev_nvme_io_passthru(desc, channel, &command, data, bytes, cb, arg);
}

int spdk_shim_nvme_health(struct spdk_bdev_desc *desc, struct spdk_io_channel *channel, void *log,
			  spdk_bdev_io_completion_cb cb, void *arg)
{
	const uint32_t bytes = sizeof(struct spdk_nvme_health_information_page);
	/* Of all namespaces together; the number of dwords is given less one, in the upper half. */
	struct spdk_nvme_cmd command = {
		.opc = SPDK_NVME_OPC_GET_LOG_PAGE,
		.nsid = SPDK_NVME_GLOBAL_NS_TAG,
		.cdw10 = SPDK_NVME_LOG_HEALTH_INFORMATION | (bytes / 4 - 1) << 16,
	};

	return spdk_bdev_nvme_admin_passthru(desc, channel, &command, log, bytes, cb, arg);
}

struct spdk_shim_fdsync {
	io_context_t context;
};

struct spdk_shim_fdsync *spdk_shim_fdsync_open(unsigned int depth, int *rc)
{
	struct spdk_shim_fdsync *sync = calloc(1, sizeof(*sync));

	if (sync == NULL) {
		*rc = -ENOMEM;
		return NULL;
	}
	*rc = io_setup((int)depth, &sync->context);
	if (*rc < 0) {
		free(sync);
		return NULL;
	}
	return sync;
}

int spdk_shim_fdsync_submit(struct spdk_shim_fdsync *sync, int fd, uint64_t number)
{
	struct iocb iocb, *iocbs[1] = {&iocb};
	int rc;

	/* The kernel copies the iocb before io_submit returns. */
	io_prep_fdsync(&iocb, fd);
	iocb.data = (void *)(uintptr_t)number;
	rc = io_submit(sync->context, 1, iocbs);
	return rc == 1 ? 0 : rc == 0 ? -EAGAIN : rc;
}

int spdk_shim_fdsync_poll(struct spdk_shim_fdsync *sync, uint64_t *numbers, int64_t *results, int max)
{
	struct io_event events[16];
	struct timespec now = {};
	/* libaio looks at the completion ring, mapped into this process, before it calls the kernel. */
	int count = io_getevents(sync->context, 0, max < 16 ? max : 16, events, &now);

	for (int i = 0; i < count; i++) {
		numbers[i] = (uintptr_t)events[i].data;
		results[i] = (int64_t)events[i].res;
	}
	return count < 0 ? 0 : count;
}

void spdk_shim_fdsync_close(struct spdk_shim_fdsync *sync)
{
	io_destroy(sync->context);
	free(sync);
}

const char *spdk_shim_version(void)
{
	return SPDK_VERSION_STRING;
}

int spdk_shim_close_on_exec(void)
{
	return syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) == 0 ? 0 : errno;
}
