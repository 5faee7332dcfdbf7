/* What DPDK gives only as inline functions or macros, as functions that Rust can call. */
#ifndef DPDK_SHIM_H
#define DPDK_SHIM_H

#include <stdbool.h>

#include "flow.h"
#include "telemetry.h"

#include <rte_bus_vdev.h>
#include <rte_cpuflags.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_pause.h>
#include <rte_mbuf_pool_ops.h>
#include <rte_memory.h>
#include <rte_mempool.h>
#include <rte_memzone.h>
#include <rte_ring.h>
#include <rte_version.h>

/* rte_errno is a macro over a per-lcore variable. */
int dpdk_shim_errno(void);

/* rte_ethdev.h: both are one indirect call through the port's burst function. */
uint16_t dpdk_shim_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);
uint16_t dpdk_shim_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);

/*
 * rte_ethdev.h, rte_eth_link_get_nowait: `*mbps` is 0 where the PMD does not know. DPDK has moved the link's fields
 * into a union.
 */
int dpdk_shim_link(uint16_t port, bool *up, uint32_t *mbps);

/* rte_cycles.h */
uint64_t dpdk_shim_tsc(void);

/* rte_mbuf.h */
struct rte_mbuf *dpdk_shim_mbuf_alloc(struct rte_mempool *pool);
void dpdk_shim_mbuf_free(struct rte_mbuf *mbuf);
int dpdk_shim_mbuf_linearize(struct rte_mbuf *mbuf);
/* Nonzero if every segment is direct, and referenced once. */
int dpdk_shim_mbuf_exclusive(const struct rte_mbuf *mbuf);
/* Appends `tail` to `head` as further segments; nonzero if there would be too many. */
int dpdk_shim_mbuf_chain(struct rte_mbuf *head, struct rte_mbuf *tail);

/*
 * For rte_mempool_obj_iter: rte_pktmbuf_init, then the buffer moved by `shift` bytes. Counts the mbufs in which the
 * byte at `offset` of a frame behind the head room does not lie at a multiple of `alignment`.
 */
struct dpdk_shim_mbuf_shift {
	uint16_t shift;
	uint16_t offset;
	uint16_t alignment;
	uint32_t misplaced;
};
void dpdk_shim_mbuf_init(struct rte_mempool *pool, void *shift, void *object, unsigned int index);
/* The IOVA of an address in EAL's memory; RTE_BAD_IOVA where there is none. */
uint64_t dpdk_shim_iova(const void *address);

/* rte_ring.h, for ports made of rings in tests. */
unsigned int dpdk_shim_ring_enqueue(struct rte_ring *ring, struct rte_mbuf *mbuf);
struct rte_mbuf *dpdk_shim_ring_dequeue(struct rte_ring *ring);

/* rte_ring.h, for frames on their way from lcore to lcore: as many as there is room for, or as there are. */
unsigned int dpdk_shim_ring_enqueue_burst(struct rte_ring *ring, struct rte_mbuf **mbufs, unsigned int count);
unsigned int dpdk_shim_ring_dequeue_burst(struct rte_ring *ring, struct rte_mbuf **mbufs, unsigned int count);
/* Sees what others have put in before this call. */
bool dpdk_shim_ring_is_empty(const struct rte_ring *ring);

/* rte_power_intrinsics.h: true if the CPU has an instruction that waits until a time (x86: WAITPKG's TPAUSE). */
bool dpdk_shim_can_pause(void);
/*
 * Rests this CPU for `nanoseconds`, about: with that instruction, or where there is none with rte_pause in a loop.
 */
void dpdk_shim_pause(uint32_t nanoseconds);

/*
 * Interrupts of rx queues (rte_ethdev.h), all of one lcore at an epoll descriptor of its own. Each returns 0 or a
 * negative errno; `wait` the number of queues that have frames, 0 after `milliseconds`.
 */
int dpdk_shim_rx_interrupt_add(uint16_t port, uint16_t queue, int epoll);
int dpdk_shim_rx_interrupt_remove(uint16_t port, uint16_t queue, int epoll);
int dpdk_shim_rx_interrupt_wait(int epoll, int milliseconds);

/*
 * Sends EAL's and the PMDs' log lines to `sink` (level as RTE_LOG_*, text without the line end, its length).
 * Returns 0, or a negative errno.
 */
typedef void (*dpdk_shim_log_sink)(uint32_t level, const char *text, size_t length);
int dpdk_shim_log_to(dpdk_shim_log_sink sink);

/*
 * What Linux says of a network interface (netdevice(7)), in this process's network namespace. Returns 0 or a
 * negative errno.
 */
struct dpdk_shim_interface {
	char name[16];
	uint32_t index;
	uint32_t mtu;
	uint8_t mac[6];
	bool up;
	bool running;
};
int dpdk_shim_interface(uint32_t index, struct dpdk_shim_interface *interface);
/* The index of the interface of this name, 0 if there is none. */
uint32_t dpdk_shim_interface_index(const char *name);

/*
 * The socket of a started af_packet port's queue, or -1. It is the first member of the PMD's queue in all releases
 * (`struct pkt_tx_queue`, rte_eth_af_packet.c); what is there is used only if it is a packet socket. `*interface` is the
 * index of the interface that it is bound to; 0 if that is gone.
 */
int dpdk_shim_packet_socket(uint16_t port, uint16_t queue, uint32_t *interface);
/* The interface that a packet socket is bound to; 0 if that is gone, or `socket` is none. */
uint32_t dpdk_shim_packet_interface(int socket);
/*
 * Makes the kernel send what is in a packet socket's tx ring. Returns the bytes sent, 0 if nothing was left to send, or a
 * negative errno; with 0, `*memory` is the memory of the frames that the kernel still has under way.
 */
int dpdk_shim_packet_kick(int socket, uint32_t *memory);

/*
 * Has EAL's interrupt thread call `callback` each time it has no other interrupt left to serve, or between two of them.
 * Returns 0 or a negative errno.
 */
int dpdk_shim_on_interrupt_thread(void (*callback)(void *));
/* Has the process's exit call `callback` before EAL is cleaned up. Returns 0 or a negative errno. */
int dpdk_shim_at_exit(void (*callback)(void));

/*
 * Where rte_mbuf_core.h puts the fields that Rust reads and writes itself. DPDK has moved them in and out of
 * anonymous unions from release to release, at the same offsets: the dpdk crate has one struct for them all
 * and asserts it against these.
 */
enum {
	DPDK_SHIM_MBUF_BUF_ADDR = offsetof(struct rte_mbuf, buf_addr),
	DPDK_SHIM_MBUF_DATA_OFF = offsetof(struct rte_mbuf, data_off),
	DPDK_SHIM_MBUF_REFCNT = offsetof(struct rte_mbuf, refcnt),
	DPDK_SHIM_MBUF_OL_FLAGS = offsetof(struct rte_mbuf, ol_flags),
	DPDK_SHIM_MBUF_NB_SEGS = offsetof(struct rte_mbuf, nb_segs),
	DPDK_SHIM_MBUF_PKT_LEN = offsetof(struct rte_mbuf, pkt_len),
	DPDK_SHIM_MBUF_DATA_LEN = offsetof(struct rte_mbuf, data_len),
	DPDK_SHIM_MBUF_VLAN_TCI = offsetof(struct rte_mbuf, vlan_tci),
	DPDK_SHIM_MBUF_BUF_LEN = offsetof(struct rte_mbuf, buf_len),
	DPDK_SHIM_MBUF_NEXT = offsetof(struct rte_mbuf, next),
	DPDK_SHIM_MBUF_PRIV_SIZE = offsetof(struct rte_mbuf, priv_size),
	DPDK_SHIM_MBUF_SIZE = sizeof(struct rte_mbuf),
};

#endif
