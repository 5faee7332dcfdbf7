/*
 * The RPC methods of SPDK's own module for RBD, with its parameters, so that rpc.py, clients and configurations work as
 * with that one. Two parameters of bdev_rbd_create are more than SPDK has: config_file and key_file. `config` adds to
 * the configuration that is read, and does not take its place; block_size may be left out.
 */
#include "rbd.h"

#include <spdk/log.h>
#include <spdk/rpc.h>
#include <spdk/string.h>
#include <spdk/util.h>

/* How long a call waits for Ceph: longer than a lock takes to be had whose owner has died. */
#define CALL_LIMIT_S 50

static int decode_config(const struct spdk_json_val *value, void *out)
{
	char **config, **entry;

	if (value->type != SPDK_JSON_VAL_OBJECT_BEGIN)
		return -1;
	entry = config = calloc(value->len + 2, sizeof(*config));
	if (config == NULL)
		return -1;
	for (uint32_t i = 0; i < value->len;) {
		const struct spdk_json_val *content = &value[i + 2];

		entry[0] = spdk_json_strdup(&value[i + 1]);
		entry[1] = entry[0] == NULL ? NULL : spdk_json_strdup(content);
		if (entry[1] == NULL) {
			rbd_config_free(config);
			return -1;
		}
		i += 1 + spdk_json_val_len(content);
		entry += 2;
	}
	*(char ***)out = config;
	return 0;
}

static void key_free(struct rbd_cluster_key *key)
{
	free(key->user_id);
	free(key->config_file);
	free(key->key_file);
	rbd_config_free(key->config);
}

static void refuse(struct spdk_jsonrpc_request *request, int rc, const char *sentence)
{
	spdk_jsonrpc_send_error_response(request, rc, sentence);
}

/* --- bdev_rbd_create --------------------------------------------------------------------------------------- */

struct create_params {
	char *name;
	char *pool_name;
	char *namespace_name;
	char *rbd_name;
	char *cluster_name;
	struct rbd_cluster_key key;
	struct spdk_uuid uuid;
	uint32_t block_size;
	bool read_only;
};

static const struct spdk_json_object_decoder create_decoders[] = {
	{"name", offsetof(struct create_params, name), spdk_json_decode_string, true},
	{"pool_name", offsetof(struct create_params, pool_name), spdk_json_decode_string, false},
	{"namespace_name", offsetof(struct create_params, namespace_name), spdk_json_decode_string, true},
	{"rbd_name", offsetof(struct create_params, rbd_name), spdk_json_decode_string, false},
	{"cluster_name", offsetof(struct create_params, cluster_name), spdk_json_decode_string, true},
	{"user_id", offsetof(struct create_params, key.user_id), spdk_json_decode_string, true},
	{"config_file", offsetof(struct create_params, key.config_file), spdk_json_decode_string, true},
	{"key_file", offsetof(struct create_params, key.key_file), spdk_json_decode_string, true},
	{"config", offsetof(struct create_params, key.config), decode_config, true},
	{"uuid", offsetof(struct create_params, uuid), spdk_json_decode_uuid, true},
	{"block_size", offsetof(struct create_params, block_size), spdk_json_decode_uint32, true},
	{"read_only", offsetof(struct create_params, read_only), spdk_json_decode_bool, true},
};

/* A call of bdev_rbd_create, until the image has been opened or has not. */
struct opening {
	struct rbd_work work;
	struct rbd_disk *disk;
	struct create_params params;
	/* NULL once it has been answered. */
	struct spdk_jsonrpc_request *request;
	struct spdk_poller *limit;
	_Atomic bool given_up;
	int rc;
	char sentence[RBD_SENTENCE];
};

static void params_free(struct create_params *params)
{
	free(params->name);
	free(params->pool_name);
	free(params->namespace_name);
	free(params->rbd_name);
	free(params->cluster_name);
	key_free(&params->key);
}

static void opening_free(struct opening *opening)
{
	spdk_poller_unregister(&opening->limit);
	params_free(&opening->params);
	free(opening);
}

static void open_disk(struct rbd_work *work)
{
	struct opening *opening = SPDK_CONTAINEROF(work, struct opening, work);

	opening->rc = rbd_image_open(opening->disk, &opening->given_up, opening->sentence);
}

static void disk_opened(struct rbd_work *work)
{
	struct opening *opening = SPDK_CONTAINEROF(work, struct opening, work);
	struct create_params *params = &opening->params;
	struct rbd_disk *disk = opening->disk;
	struct spdk_json_write_ctx *w;

	if (opening->rc == 0 && opening->request != NULL) {
		opening->rc = rbd_disk_register(disk, params->name, &params->uuid, params->block_size);
		if (opening->rc != 0)
			snprintf(opening->sentence, RBD_SENTENCE, "bdev '%s' can't be made: %s", params->name,
				 spdk_strerror(-opening->rc));
	}
	if (opening->request == NULL || opening->rc != 0) {
		if (opening->request != NULL)
			refuse(opening->request, opening->rc, opening->sentence);
		rbd_disk_discard(disk);
	} else {
		w = spdk_jsonrpc_begin_result(opening->request);
		spdk_json_write_string(w, disk->bdev.name);
		spdk_jsonrpc_end_result(opening->request, w);
	}
	opening_free(opening);
}

static int open_takes_long(void *arg)
{
	struct opening *opening = arg;
	char sentence[RBD_SENTENCE];

	snprintf(sentence, sizeof(sentence),
		 "Ceph has not opened image %s of pool %s within %d s: its OSDs or monitors do not answer",
		 opening->params.rbd_name, opening->params.pool_name, CALL_LIMIT_S);
	opening->given_up = true;
	refuse(opening->request, -ETIMEDOUT, sentence);
	opening->request = NULL;
	spdk_poller_unregister(&opening->limit);
	return SPDK_POLLER_BUSY;
}

static bool same(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* A second handle of this program's own would ask in vain for the lock that the first has. */
static struct rbd_disk *disk_that_writes(const struct rbd_cluster *cluster, const struct create_params *params)
{
	struct rbd_disk *disk;

	TAILQ_FOREACH(disk, &rbd_disks, link)
		if (disk->cluster == cluster && !disk->read_only && same(disk->pool, params->pool_name) &&
		    same(disk->pool_namespace, params->namespace_name) && same(disk->image_name, params->rbd_name))
			return disk;
	return NULL;
}

/* Checks what was asked for, and finds the cluster. Returns NULL after a refusal. */
static struct rbd_cluster *admit(struct spdk_jsonrpc_request *request, struct create_params *params)
{
	static unsigned int unnamed;
	char sentence[RBD_SENTENCE];
	struct rbd_cluster *cluster;
	struct rbd_disk *other;

	/* SPDK's rpc.py can't leave it out. */
	if (params->namespace_name != NULL && params->namespace_name[0] == '\0') {
		free(params->namespace_name);
		params->namespace_name = NULL;
	}
	if (params->block_size == 0)
		params->block_size = 512;
	if (params->block_size < 512 || params->block_size > 65536 || !spdk_u32_is_pow2(params->block_size)) {
		snprintf(sentence, sizeof(sentence), "block_size is %" PRIu32 ": a power of two from 512 to 65536 is allowed",
			 params->block_size);
		refuse(request, -EINVAL, sentence);
		return NULL;
	}
	if (params->name == NULL)
		params->name = spdk_sprintf_alloc("Ceph%u", unnamed++);
	if (params->name == NULL) {
		refuse(request, -ENOMEM, spdk_strerror(ENOMEM));
		return NULL;
	}
	if (spdk_bdev_get_by_name(params->name) != NULL) {
		snprintf(sentence, sizeof(sentence), "there is a bdev '%s' already: give another name", params->name);
		refuse(request, -EEXIST, sentence);
		return NULL;
	}
	if (params->cluster_name == NULL) {
		cluster = rbd_cluster_get(NULL, &params->key);
		if (cluster == NULL)
			refuse(request, -ENOMEM, spdk_strerror(ENOMEM));
	} else {
		cluster = rbd_cluster_find(params->cluster_name);
		if (cluster != NULL) {
			cluster->users++;
		} else {
			snprintf(sentence, sizeof(sentence),
				 "there is no cluster '%s': register it first (bdev_rbd_register_cluster)", params->cluster_name);
			refuse(request, -ENOENT, sentence);
		}
	}
	other = cluster == NULL || params->read_only ? NULL : disk_that_writes(cluster, params);
	if (other == NULL)
		return cluster;
	if (other->bdev.name != NULL && !other->closing)
		snprintf(sentence, sizeof(sentence), "image %s of pool %s is bdev '%s' already: export that one",
			 params->rbd_name, params->pool_name, other->bdev.name);
	else
		snprintf(sentence, sizeof(sentence),
			 "image %s of pool %s is still being opened or closed by an earlier call: wait until Ceph has answered that",
			 params->rbd_name, params->pool_name);
	rbd_cluster_put(cluster);
	refuse(request, -EBUSY, sentence);
	return NULL;
}

/* Takes the strings that a disk keeps. */
static struct rbd_disk *disk_new(struct rbd_cluster *cluster, const struct create_params *params)
{
	struct rbd_disk *disk = calloc(1, sizeof(*disk));

	if (disk == NULL)
		return NULL;
	disk->cluster = cluster;
	disk->names_cluster = params->cluster_name != NULL;
	disk->read_only = params->read_only;
	disk->pool = strdup(params->pool_name);
	disk->pool_namespace = params->namespace_name == NULL ? NULL : strdup(params->namespace_name);
	disk->image_name = strdup(params->rbd_name);
	TAILQ_INSERT_TAIL(&rbd_disks, disk, link);
	if (disk->pool != NULL && disk->image_name != NULL &&
	    (disk->pool_namespace != NULL || params->namespace_name == NULL))
		return disk;
	rbd_disk_discard(disk);
	return NULL;
}

static void create(struct spdk_jsonrpc_request *request, const struct spdk_json_val *params)
{
	struct opening *opening = calloc(1, sizeof(*opening));
	struct rbd_cluster *cluster;
	int rc;

	if (opening == NULL) {
		refuse(request, -ENOMEM, spdk_strerror(ENOMEM));
		return;
	}
	if (spdk_json_decode_object(params, create_decoders, SPDK_COUNTOF(create_decoders), &opening->params) != 0) {
		refuse(request, SPDK_JSONRPC_ERROR_INVALID_PARAMS,
		       "the parameters are pool_name and rbd_name, and if wanted name, namespace_name, user_id, config_file, "
		       "key_file, config (an object of strings), cluster_name, uuid, block_size, read_only");
		opening_free(opening);
		return;
	}
	cluster = admit(request, &opening->params);
	if (cluster == NULL) {
		opening_free(opening);
		return;
	}
	opening->disk = disk_new(cluster, &opening->params);
	if (opening->disk == NULL) {
		refuse(request, -ENOMEM, spdk_strerror(ENOMEM));
		opening_free(opening);
		return;
	}
	opening->work.run = open_disk;
	opening->work.done = disk_opened;
	rc = rbd_work_start(&opening->work);
	if (rc != 0) {
		refuse(request, rc, spdk_strerror(-rc));
		rbd_disk_discard(opening->disk);
		opening_free(opening);
		return;
	}
	opening->request = request;
	opening->limit = SPDK_POLLER_REGISTER(open_takes_long, opening, CALL_LIMIT_S * SPDK_SEC_TO_USEC);
}
SPDK_RPC_REGISTER("bdev_rbd_create", create, SPDK_RPC_RUNTIME)

/* --- Methods with a name ----------------------------------------------------------------------------------- */

struct named {
	char *name;
};

static const struct spdk_json_object_decoder named_decoders[] = {
	{"name", offsetof(struct named, name), spdk_json_decode_string, false},
};

static bool decode_named(struct spdk_jsonrpc_request *request, const struct spdk_json_val *params, struct named *named)
{
	if (spdk_json_decode_object(params, named_decoders, SPDK_COUNTOF(named_decoders), named) == 0)
		return true;
	free(named->name);
	refuse(request, SPDK_JSONRPC_ERROR_INVALID_PARAMS, "the one parameter is name, a string");
	return false;
}

static void deleted(void *arg, int rc)
{
	struct spdk_jsonrpc_request *request = arg;

	if (rc == 0)
		spdk_jsonrpc_send_bool_response(request, true);
	else
		refuse(request, rc, spdk_strerror(-rc));
}

static void delete(struct spdk_jsonrpc_request *request, const struct spdk_json_val *params)
{
	struct named named = {};
	char sentence[RBD_SENTENCE];
	int rc;

	if (!decode_named(request, params, &named))
		return;
	rc = spdk_bdev_unregister_by_name(named.name, rbd_module(), deleted, request);
	if (rc != 0) {
		snprintf(sentence, sizeof(sentence), "there is no bdev '%s' of an RBD image", named.name);
		refuse(request, rc, sentence);
	}
	free(named.name);
}
SPDK_RPC_REGISTER("bdev_rbd_delete", delete, SPDK_RPC_RUNTIME)

/* --- Clusters ---------------------------------------------------------------------------------------------- */

struct register_params {
	char *name;
	struct rbd_cluster_key key;
};

static const struct spdk_json_object_decoder register_decoders[] = {
	{"name", offsetof(struct register_params, name), spdk_json_decode_string, false},
	{"user_id", offsetof(struct register_params, key.user_id), spdk_json_decode_string, true},
	{"config_param", offsetof(struct register_params, key.config), decode_config, true},
	{"config_file", offsetof(struct register_params, key.config_file), spdk_json_decode_string, true},
	{"key_file", offsetof(struct register_params, key.key_file), spdk_json_decode_string, true},
};

/* A call of bdev_rbd_register_cluster. librados' own limits end it. */
struct registering {
	struct rbd_work work;
	struct rbd_cluster *cluster;
	struct spdk_jsonrpc_request *request;
	int rc;
	char sentence[RBD_SENTENCE];
};

static void connect_cluster(struct rbd_work *work)
{
	struct registering *registering = SPDK_CONTAINEROF(work, struct registering, work);

	registering->rc = rbd_cluster_connect(registering->cluster, registering->sentence);
}

static void cluster_connected(struct rbd_work *work)
{
	struct registering *registering = SPDK_CONTAINEROF(work, struct registering, work);
	struct spdk_json_write_ctx *w;

	registering->cluster->registered = registering->rc == 0;
	if (registering->rc == 0) {
		w = spdk_jsonrpc_begin_result(registering->request);
		spdk_json_write_string(w, registering->cluster->name);
		spdk_jsonrpc_end_result(registering->request, w);
	} else {
		refuse(registering->request, registering->rc, registering->sentence);
	}
	rbd_cluster_put(registering->cluster);
	free(registering);
}

static void register_cluster(struct spdk_jsonrpc_request *request, const struct spdk_json_val *json)
{
	struct register_params params = {};
	struct registering *registering = NULL;
	char sentence[RBD_SENTENCE];
	int rc;

	if (spdk_json_decode_object(json, register_decoders, SPDK_COUNTOF(register_decoders), &params) != 0) {
		refuse(request, SPDK_JSONRPC_ERROR_INVALID_PARAMS,
		       "the parameters are name, and if wanted user_id, config_file, key_file and config_param (an object of strings)");
		goto out;
	}
	if (rbd_cluster_find(params.name) != NULL) {
		snprintf(sentence, sizeof(sentence), "there is a cluster '%s' already", params.name);
		refuse(request, -EEXIST, sentence);
		goto out;
	}
	registering = calloc(1, sizeof(*registering));
	if (registering != NULL)
		registering->cluster = rbd_cluster_get(params.name, &params.key);
	if (registering == NULL || registering->cluster == NULL) {
		refuse(request, -ENOMEM, spdk_strerror(ENOMEM));
		free(registering);
		goto out;
	}
	registering->request = request;
	registering->work.run = connect_cluster;
	registering->work.done = cluster_connected;
	rc = rbd_work_start(&registering->work);
	if (rc != 0) {
		refuse(request, rc, spdk_strerror(-rc));
		rbd_cluster_put(registering->cluster);
		free(registering);
	}
out:
	free(params.name);
	key_free(&params.key);
}
SPDK_RPC_REGISTER("bdev_rbd_register_cluster", register_cluster, SPDK_RPC_RUNTIME)

static void unregister_cluster(struct spdk_jsonrpc_request *request, const struct spdk_json_val *params)
{
	struct named named = {};
	struct rbd_cluster *cluster;
	char sentence[RBD_SENTENCE];

	if (!decode_named(request, params, &named))
		return;
	cluster = rbd_cluster_find(named.name);
	if (cluster == NULL || !cluster->registered) {
		snprintf(sentence, sizeof(sentence), "there is no cluster '%s'", named.name);
		refuse(request, -ENOENT, sentence);
	} else if (cluster->users > 0) {
		snprintf(sentence, sizeof(sentence), "cluster '%s' serves bdevs: delete those first", named.name);
		refuse(request, -EBUSY, sentence);
	} else {
		cluster->registered = false;
		cluster->users++;
		rbd_cluster_put(cluster);
		spdk_jsonrpc_send_bool_response(request, true);
	}
	free(named.name);
}
SPDK_RPC_REGISTER("bdev_rbd_unregister_cluster", unregister_cluster, SPDK_RPC_RUNTIME)

static void get_clusters_info(struct spdk_jsonrpc_request *request, const struct spdk_json_val *params)
{
	struct spdk_json_write_ctx *w;
	struct rbd_cluster *cluster;

	if (params != NULL) {
		refuse(request, SPDK_JSONRPC_ERROR_INVALID_PARAMS, "there are no parameters: all clusters are told of");
		return;
	}
	w = spdk_jsonrpc_begin_result(request);
	spdk_json_write_array_begin(w);
	TAILQ_FOREACH(cluster, &rbd_clusters, link) {
		spdk_json_write_object_begin(w);
		if (cluster->name != NULL)
			spdk_json_write_named_string(w, "cluster_name", cluster->name);
		spdk_json_write_named_uint32(w, "users", cluster->users);
		rbd_cluster_write(cluster, w);
		spdk_json_write_object_end(w);
	}
	spdk_json_write_array_end(w);
	spdk_jsonrpc_end_result(request, w);
}
SPDK_RPC_REGISTER("bdev_rbd_get_clusters_info", get_clusters_info, SPDK_RPC_RUNTIME)
