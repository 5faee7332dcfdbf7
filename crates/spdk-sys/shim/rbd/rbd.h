/*
 * A bdev module for images of Ceph's RBD, in place of SPDK's own. Nothing of it waits for Ceph on a reactor: whatever
 * may (connecting, opening, locking, closing, asking for a size) runs as `struct rbd_work` on a thread of its own, and
 * reports to the app's thread. All else here runs on the app's thread, unless it says otherwise.
 */
#ifndef SHIM_RBD_H
#define SHIM_RBD_H

#include <spdk/stdinc.h>

#include <rados/librados.h>
#include <rbd/librbd.h>

#include <spdk/bdev_module.h>
#include <spdk/json.h>
#include <spdk/jsonrpc.h>
#include <spdk/queue.h>
#include <spdk/string.h>
#include <spdk/thread.h>
#include <spdk/uuid.h>

#define RBD_SENTENCE 1024

/* Something that may wait for Ceph. `run` is called on a thread of its own, then `done` on the app's. */
struct rbd_work {
	void (*run)(struct rbd_work *work);
	void (*done)(struct rbd_work *work);
};

/* Returns a negative errno if there is no thread to be had; nothing is called then. */
int rbd_work_start(struct rbd_work *work);
/* Works that have not been reported as done. */
unsigned int rbd_work_count(void);
/* From here on no work is reported any more: the app's thread is about to go. */
void rbd_work_forget(void);

/* One connection to a cluster, shared by all images that are opened with the same user and configuration. */
struct rbd_cluster {
	char *name;
	char *user_id;
	char *config_file;
	char *key_file;
	/* Names and values by turns, then NULL. */
	char **config;
	/* By bdev_rbd_register_cluster: it stays until it is unregistered. */
	bool registered;
	/* Bdevs, and works, that use it. */
	unsigned int users;
	/* Held by the work that connects. */
	pthread_mutex_t connecting;
	bool connected;
	rados_t rados;
	struct rbd_work closing;
	TAILQ_ENTRY(rbd_cluster) link;
};

TAILQ_HEAD(rbd_clusters, rbd_cluster);
extern struct rbd_clusters rbd_clusters;

struct rbd_cluster_key {
	char *user_id;
	char *config_file;
	char *key_file;
	char **config;
};

struct rbd_cluster *rbd_cluster_find(const char *name);
/* The one of that name, or without a name the one with that key, made if there is none; NULL without memory. */
struct rbd_cluster *rbd_cluster_get(const char *name, const struct rbd_cluster_key *key);
/* Ends the use of it, and the connection with the last one's. */
void rbd_cluster_put(struct rbd_cluster *cluster);
/* In a work: connects unless that has been done. Returns a negative errno, and a sentence. */
int rbd_cluster_connect(struct rbd_cluster *cluster, char *sentence);
/* Who Ceph takes it for, as client.ID. Any thread. */
const char *rbd_cluster_user(const struct rbd_cluster *cluster);
/* Writes the key as members of an object. */
void rbd_cluster_write(const struct rbd_cluster *cluster, struct spdk_json_write_ctx *w);
void rbd_config_free(char **config);

/* An image that is being opened, is served as a bdev, or is being closed. */
struct rbd_disk {
	struct spdk_bdev bdev;
	struct rbd_cluster *cluster;
	/* From whom it was asked for by the name of a cluster. */
	bool names_cluster;
	char *pool;
	/* NULL without one. */
	char *pool_namespace;
	char *image_name;
	bool read_only;

	/* Written by the work that opens it. */
	rados_ioctx_t ioctx;
	rbd_image_t image;
	uint64_t watch;
	uint64_t bytes;
	bool has_watch;
	/* librbd keeps writes in a cache of its own for this image, whatever was asked of it. */
	bool cached;

	/* Its size is being asked for; and again, as it changed meanwhile. */
	bool sizing;
	bool size_again;
	bool closing;
	struct rbd_work size_work;
	struct rbd_work close_work;
	struct spdk_poller *close_limit;

	/* The errno that was logged last, so that a cluster that fails does not fill the log. Any thread. */
	_Atomic int logged;
	TAILQ_ENTRY(rbd_disk) link;
};

TAILQ_HEAD(rbd_disks, rbd_disk);
extern struct rbd_disks rbd_disks;

/* In a work: connects, opens, locks. Returns a negative errno, and a sentence; nothing stays open then. */
int rbd_image_open(struct rbd_disk *disk, const _Atomic bool *given_up, char *sentence);
/* In a work: closes it, which gives the lock back. */
void rbd_image_close(struct rbd_disk *disk);
/* Hears from librbd, on a thread of its, that the image's header changed. */
void rbd_disk_changed(void *disk);

/* Makes a bdev of an open image. Returns a negative errno; the disk is still the caller's then. */
int rbd_disk_register(struct rbd_disk *disk, const char *name, const struct spdk_uuid *uuid, uint32_t block_size);
/* Closes the image in a work if it is open, and frees the disk. */
void rbd_disk_discard(struct rbd_disk *disk);
/* True for a bdev of this module. */
bool rbd_disk_owns(const struct spdk_bdev *bdev);
struct spdk_bdev_module *rbd_module(void);

#endif
