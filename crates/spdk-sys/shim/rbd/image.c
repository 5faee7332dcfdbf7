/* Opening and closing an image, and its exclusive lock. All of it in a work, except where it says otherwise. */
#include "rbd.h"

#include <spdk/log.h>

/*
 * An OSD takes a client for dead 30 s after it last heard of it (osd_client_watch_timeout), and librbd then takes the
 * lock of a dead client, and has the cluster refuse whatever that one might still send (blocklist).
 */
#define LOCK_LIMIT_S 40
/* How long a client that has the lock may take to show that it lives. */
#define ALIVE_LIMIT_MS 3000
#define OWNER_SIZE 128

/* "POOL/NAMESPACE/IMAGE", for sentences. */
static const char *title(const struct rbd_disk *disk, char *text, size_t size)
{
	snprintf(text, size, "%s/%s%s%s", disk->pool, disk->pool_namespace != NULL ? disk->pool_namespace : "",
		 disk->pool_namespace != NULL ? "/" : "", disk->image_name);
	return text;
}

static int64_t now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

/* The address of the client that has the lock; false if none has. */
static bool owner_of(rbd_image_t image, char *owner)
{
	rbd_lock_mode_t mode;
	char *owners[1];
	size_t count = 1;

	if (rbd_lock_get_owners(image, &mode, owners, &count) != 0 || count == 0)
		return false;
	snprintf(owner, OWNER_SIZE, "%s", owners[0]);
	rbd_lock_get_owners_cleanup(owners, count);
	return true;
}

/* The global id, as the cluster counts its clients, of the one at an address that watches the image; 0 if none does. */
static uint64_t watcher_at(rbd_image_t image, const char *address)
{
	rbd_image_watcher_t watchers[64];
	size_t count = SPDK_COUNTOF(watchers);
	uint64_t id = 0;

	if (rbd_watchers_list(image, watchers, &count) != 0)
		return 0;
	for (size_t i = 0; i < count; i++)
		if (strcmp(watchers[i].addr, address) == 0)
			id = (uint64_t)watchers[i].id;
	rbd_watchers_list_cleanup(watchers, count);
	return id;
}

/*
 * Whether the client with this global id answers. It is told that the image's header changed, which makes it read the
 * header again and does no harm; librbd itself sends this to all that have an image open. The bytes are a
 * NotifyMessage of version 6, readable since version 1, with 4 bytes: a HeaderUpdate (number 3).
 */
static bool answers(struct rbd_disk *disk, uint64_t client)
{
	static const char header_update[] = {6, 1, 4, 0, 0, 0, 3, 0, 0, 0};
	char id[128], object[160], *reply = NULL;
	struct notify_ack_t *acks = NULL;
	struct notify_timeout_t *late = NULL;
	size_t length = 0, ack_count = 0, late_count = 0;
	bool found = false;

	if (rbd_get_id(disk->image, id, sizeof(id)) != 0)
		return false;
	snprintf(object, sizeof(object), "rbd_header.%s", id);
	/* That some did not answer is no failure of the call. */
	(void)rados_notify2(disk->ioctx, object, header_update, sizeof(header_update), ALIVE_LIMIT_MS, &reply, &length);
	if (reply == NULL)
		return false;
	if (rados_decode_notify_response(reply, length, &acks, &ack_count, &late, &late_count) == 0) {
		for (size_t i = 0; i < ack_count; i++)
			found = found || acks[i].notifier_id == client;
		rados_free_notify_response(acks, ack_count, late);
	}
	rados_buffer_free(reply);
	return found;
}

/*
 * Takes the lock for as long as the image is open. librbd would take it at the first write, and hand it to whoever asks:
 * two heads that serve one image would then undo each other's writes.
 */
static int take_lock(struct rbd_disk *disk, const _Atomic bool *given_up, char *sentence)
{
	int64_t limit = now_s() + LOCK_LIMIT_S;
	char owner[OWNER_SIZE], name[300];
	bool waiting = false, owned;
	uint64_t features = 0;
	int rc = rbd_get_features(disk->image, &features);

	title(disk, name, sizeof(name));
	if (rc == 0 && (features & RBD_FEATURE_EXCLUSIVE_LOCK) == 0) {
		snprintf(sentence, RBD_SENTENCE,
			 "image %s has no exclusive lock, so another head could write to it too: give it one with rbd feature "
			 "enable %s exclusive-lock, or export it read-only",
			 name, name);
		return -EINVAL;
	}
	while (rc == 0 || rc == -EROFS || rc == -EBUSY || rc == -EAGAIN || rc == -ETIMEDOUT) {
		owned = owner_of(disk->image, owner);
		if (owned && answers(disk, watcher_at(disk->image, owner))) {
			snprintf(sentence, RBD_SENTENCE,
				 "image %s is in use by the client at %s, which has its exclusive lock: only one head may "
				 "serve an image for writing",
				 name, owner);
			return -EBUSY;
		}
		if (*given_up || now_s() >= limit)
			break;
		if (owned && !waiting) {
			SPDK_WARNLOG("image %s is locked by the client at %s, which does not answer: waiting until the cluster "
				     "takes it for dead, 30 s after its last sign of life\n",
				     name, owner);
			waiting = true;
		}
		/* Waits itself for the end of a silent owner's watch. */
		rc = rbd_lock_acquire(disk->image, RBD_LOCK_MODE_EXCLUSIVE);
		if (rc == 0)
			return 0;
		sleep(1);
	}
	snprintf(sentence, RBD_SENTENCE, "the exclusive lock of image %s can't be had%s%s: %s", name,
		 waiting ? ", which the silent client has at " : "", waiting ? owner : "", spdk_strerror(-rc));
	return rc == 0 ? -EBUSY : rc;
}

/* Whether librbd has a cache for this image: the metadata of image and pool win over what a client asks for. */
static bool has_cache(rbd_image_t image)
{
	rbd_config_option_t *options = NULL;
	int count = 0;
	/* Unless it is known not to. */
	bool cached = true;

	if (rbd_config_image_list(image, NULL, &count) != -ERANGE || count <= 0)
		return true;
	options = calloc((size_t)count, sizeof(*options));
	if (options == NULL)
		return true;
	if (rbd_config_image_list(image, options, &count) == 0) {
		for (int i = 0; i < count; i++)
			if (strcmp(options[i].name, "rbd_cache") == 0)
				cached = strcmp(options[i].value, "false") != 0;
		rbd_config_image_list_cleanup(options, count);
	}
	free(options);
	return cached;
}

static int open_pool(struct rbd_disk *disk, char *sentence)
{
	int rc = rados_ioctx_create(disk->cluster->rados, disk->pool, &disk->ioctx);

	if (rc == -ENOENT) {
		snprintf(sentence, RBD_SENTENCE, "the Ceph cluster has no pool '%s'", disk->pool);
	} else if (rc < 0) {
		snprintf(sentence, RBD_SENTENCE, "Ceph's pool '%s' can't be opened: %s", disk->pool, spdk_strerror(-rc));
	} else if (disk->pool_namespace != NULL) {
		rados_ioctx_set_namespace(disk->ioctx, disk->pool_namespace);
	}
	return rc;
}

static int open_image(struct rbd_disk *disk, char *sentence)
{
	char name[300];
	int rc;

	if (disk->read_only)
		rc = rbd_open_read_only(disk->ioctx, disk->image_name, &disk->image, NULL);
	else
		rc = rbd_open(disk->ioctx, disk->image_name, &disk->image, NULL);
	title(disk, name, sizeof(name));
	if (rc == -ENOENT) {
		snprintf(sentence, RBD_SENTENCE, "there is no image %s", name);
	} else if (rc == -EPERM || rc == -EACCES) {
		snprintf(sentence, RBD_SENTENCE, "the Ceph user client.%s may not open image %s%s",
			 rbd_cluster_user(disk->cluster), name, disk->read_only ? "" : " for writing");
	} else if (rc < 0) {
		snprintf(sentence, RBD_SENTENCE, "image %s can't be opened: %s", name, spdk_strerror(-rc));
	}
	if (rc < 0)
		disk->image = NULL;
	return rc;
}

int rbd_image_open(struct rbd_disk *disk, const _Atomic bool *given_up, char *sentence)
{
	char name[300];
	int rc = rbd_cluster_connect(disk->cluster, sentence);

	if (rc < 0)
		return rc;
	if (*given_up) {
		/* Nobody reads a sentence any more. */
		return -ETIMEDOUT;
	}
	rc = open_pool(disk, sentence);
	if (rc < 0)
		return rc;
	rc = open_image(disk, sentence);
	if (rc == 0 && !disk->read_only)
		rc = take_lock(disk, given_up, sentence);
	if (rc == 0) {
		disk->cached = has_cache(disk->image);
		rc = rbd_update_watch(disk->image, &disk->watch, rbd_disk_changed, disk);
		disk->has_watch = rc == 0;
		if (rc == 0)
			rc = rbd_get_size(disk->image, &disk->bytes);
		if (rc < 0)
			snprintf(sentence, RBD_SENTENCE, "the size of image %s can't be read: %s",
				 title(disk, name, sizeof(name)), spdk_strerror(-rc));
	}
	if (rc < 0)
		rbd_image_close(disk);
	return rc;
}

void rbd_image_close(struct rbd_disk *disk)
{
	char name[300];
	int rc = 0;

	if (disk->image != NULL) {
		if (disk->has_watch)
			/* It ends with the image anyway. */
			(void)rbd_update_unwatch(disk->image, disk->watch);
		/* Flushes, and gives the lock back. */
		rc = rbd_close(disk->image);
		if (rc < 0)
			SPDK_ERRLOG("closing image %s: %s\n", title(disk, name, sizeof(name)), spdk_strerror(-rc));
	}
	disk->image = NULL;
	disk->has_watch = false;
	if (disk->ioctx != NULL)
		rados_ioctx_destroy(disk->ioctx);
	disk->ioctx = NULL;
}
