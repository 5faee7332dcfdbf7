/* Connections to Ceph clusters. */
#include "rbd.h"

#include <spdk/log.h>

/* How long a monitor may take to answer before a connection is given up; librados' own default is 300 s. */
#define MOUNT_TIMEOUT "15"

struct rbd_clusters rbd_clusters = TAILQ_HEAD_INITIALIZER(rbd_clusters);

void rbd_config_free(char **config)
{
	if (config == NULL)
		return;
	for (char **entry = config; *entry != NULL; entry++)
		free(*entry);
	free(config);
}

static bool same(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool same_config(char **a, char **b)
{
	if (a == NULL || b == NULL)
		return a == b;
	for (; *a != NULL && *b != NULL; a++, b++)
		if (strcmp(*a, *b) != 0)
			return false;
	return *a == *b;
}

static bool has_key(const struct rbd_cluster *cluster, const struct rbd_cluster_key *key)
{
	return same(cluster->user_id, key->user_id) && same(cluster->config_file, key->config_file) &&
	       same(cluster->key_file, key->key_file) && same_config(cluster->config, key->config);
}

static void cluster_free(struct rbd_cluster *cluster)
{
	free(cluster->name);
	free(cluster->user_id);
	free(cluster->config_file);
	free(cluster->key_file);
	rbd_config_free(cluster->config);
	pthread_mutex_destroy(&cluster->connecting);
	free(cluster);
}

struct rbd_cluster *rbd_cluster_find(const char *name)
{
	struct rbd_cluster *cluster;

	TAILQ_FOREACH(cluster, &rbd_clusters, link)
		if (cluster->name != NULL && strcmp(cluster->name, name) == 0)
			return cluster;
	return NULL;
}

/* A copy of text that may be NULL; false without memory. */
static bool copy(char **to, const char *from)
{
	*to = from == NULL ? NULL : strdup(from);
	return from == NULL || *to != NULL;
}

static bool copy_config(char ***to, char **from)
{
	size_t count = 0;

	if (from == NULL)
		return true;
	while (from[count] != NULL)
		count++;
	*to = calloc(count + 1, sizeof(**to));
	if (*to == NULL)
		return false;
	for (size_t i = 0; i < count; i++)
		if (!copy(&(*to)[i], from[i]))
			return false;
	return true;
}

static struct rbd_cluster *cluster_new(const char *name, const struct rbd_cluster_key *key)
{
	struct rbd_cluster *cluster = calloc(1, sizeof(*cluster));

	if (cluster == NULL)
		return NULL;
	pthread_mutex_init(&cluster->connecting, NULL);
	if (!copy(&cluster->name, name) || !copy(&cluster->user_id, key->user_id) ||
	    !copy(&cluster->config_file, key->config_file) || !copy(&cluster->key_file, key->key_file) ||
	    !copy_config(&cluster->config, key->config)) {
		cluster_free(cluster);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&rbd_clusters, cluster, link);
	return cluster;
}

struct rbd_cluster *rbd_cluster_get(const char *name, const struct rbd_cluster_key *key)
{
	struct rbd_cluster *cluster = NULL;

	if (name == NULL) {
		TAILQ_FOREACH(cluster, &rbd_clusters, link)
			if (cluster->name == NULL && has_key(cluster, key))
				break;
	}
	if (cluster == NULL)
		cluster = cluster_new(name, key);
	if (cluster != NULL)
		cluster->users++;
	return cluster;
}

static void shut_down(struct rbd_work *work)
{
	struct rbd_cluster *cluster = SPDK_CONTAINEROF(work, struct rbd_cluster, closing);

	if (cluster->connected)
		rados_shutdown(cluster->rados);
}

static void was_shut_down(struct rbd_work *work)
{
	cluster_free(SPDK_CONTAINEROF(work, struct rbd_cluster, closing));
}

void rbd_cluster_put(struct rbd_cluster *cluster)
{
	int rc;

	cluster->users--;
	if (cluster->users > 0 || cluster->registered)
		return;
	TAILQ_REMOVE(&rbd_clusters, cluster, link);
	cluster->closing.run = shut_down;
	cluster->closing.done = was_shut_down;
	rc = rbd_work_start(&cluster->closing);
	if (rc != 0)
		SPDK_ERRLOG("no thread to disconnect from Ceph with: %s; the connection stays\n", spdk_strerror(-rc));
}

const char *rbd_cluster_user(const struct rbd_cluster *cluster)
{
	return cluster->user_id != NULL ? cluster->user_id : "admin";
}

/* Where its configuration comes from. */
static const char *source(const struct rbd_cluster *cluster)
{
	const char *variable = getenv("CEPH_CONF");

	if (cluster->config_file != NULL)
		return cluster->config_file;
	return variable != NULL ? variable : "/etc/ceph/ceph.conf";
}

static int configure(struct rbd_cluster *cluster, rados_t rados, char *sentence)
{
	int rc = rados_conf_read_file(rados, cluster->config_file);

	/* Without a file, config may say all that is needed. */
	if (rc < 0 && (cluster->config_file != NULL || cluster->config == NULL)) {
		snprintf(sentence, RBD_SENTENCE, "Ceph's configuration %s can't be read: %s", source(cluster),
			 spdk_strerror(-rc));
		return rc;
	}
	/* Before what was asked for, which may say otherwise. */
	rc = rados_conf_set(rados, "client_mount_timeout", MOUNT_TIMEOUT);
	/* A write that librbd's cache has is not on stable media. */
	if (rc == 0)
		rc = rados_conf_set(rados, "rbd_cache", "false");
	if (rc < 0) {
		snprintf(sentence, RBD_SENTENCE, "librados takes neither client_mount_timeout nor rbd_cache: %s",
			 spdk_strerror(-rc));
		return rc;
	}
	if (cluster->key_file != NULL && (rc = rados_conf_set(rados, "keyring", cluster->key_file)) < 0) {
		snprintf(sentence, RBD_SENTENCE, "key_file %s is not taken: %s", cluster->key_file, spdk_strerror(-rc));
		return rc;
	}
	for (char **entry = cluster->config; entry != NULL && *entry != NULL; entry += 2) {
		rc = rados_conf_set(rados, entry[0], entry[1]);
		if (rc < 0) {
			snprintf(sentence, RBD_SENTENCE, "Ceph's option %s can't be set to '%s': %s", entry[0], entry[1],
				 spdk_strerror(-rc));
			return rc;
		}
	}
	return 0;
}

/* Says why there is no connection. */
static void explain(const struct rbd_cluster *cluster, int rc, char *sentence)
{
	const char *user = rbd_cluster_user(cluster), *file = source(cluster);

	switch (-rc) {
	case ETIMEDOUT:
		snprintf(sentence, RBD_SENTENCE, "no monitor of the Ceph cluster in %s answered within %s s", file,
			 MOUNT_TIMEOUT);
		break;
	case ENOENT:
		snprintf(sentence, RBD_SENTENCE,
			 "no key of the Ceph user client.%s is found where %s says (keyring), or it names no monitor "
			 "(mon_host)",
			 user, file);
		break;
	case EACCES:
	case EPERM:
		snprintf(sentence, RBD_SENTENCE,
			 "the Ceph cluster in %s refuses the user client.%s: there is no such user, or its key is another "
			 "one",
			 file, user);
		break;
	default:
		snprintf(sentence, RBD_SENTENCE, "connecting to the Ceph cluster in %s as client.%s: %s", file, user,
			 spdk_strerror(-rc));
	}
}

int rbd_cluster_connect(struct rbd_cluster *cluster, char *sentence)
{
	rados_t rados;
	int rc = 0;

	pthread_mutex_lock(&cluster->connecting);
	if (cluster->connected)
		goto out;
	rc = rados_create(&rados, cluster->user_id);
	if (rc < 0) {
		snprintf(sentence, RBD_SENTENCE, "librados can't start: %s", spdk_strerror(-rc));
		goto out;
	}
	rc = configure(cluster, rados, sentence);
	if (rc == 0) {
		rc = rados_connect(rados);
		if (rc < 0)
			explain(cluster, rc, sentence);
	}
	if (rc < 0) {
		rados_shutdown(rados);
		goto out;
	}
	cluster->rados = rados;
	cluster->connected = true;
out:
	pthread_mutex_unlock(&cluster->connecting);
	return rc;
}

void rbd_cluster_write(const struct rbd_cluster *cluster, struct spdk_json_write_ctx *w)
{
	if (cluster->user_id != NULL)
		spdk_json_write_named_string(w, "user_id", cluster->user_id);
	if (cluster->config_file != NULL)
		spdk_json_write_named_string(w, "config_file", cluster->config_file);
	if (cluster->key_file != NULL)
		spdk_json_write_named_string(w, "key_file", cluster->key_file);
	if (cluster->config == NULL)
		return;
	spdk_json_write_named_object_begin(w, cluster->registered ? "config_param" : "config");
	for (char **entry = cluster->config; *entry != NULL; entry += 2)
		spdk_json_write_named_string(w, entry[0], entry[1]);
	spdk_json_write_object_end(w);
}
