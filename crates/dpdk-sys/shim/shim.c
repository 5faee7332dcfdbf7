#define _GNU_SOURCE
/* rte_power_pause and what asks for it, which DPDK has not changed since 20.11. */
#define ALLOW_EXPERIMENTAL_API
#include "shim.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_epoll.h>
#include <rte_interrupts.h>
#include <rte_power_intrinsics.h>

int dpdk_shim_errno(void)
{
	return rte_errno;
}

uint16_t dpdk_shim_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_rx_burst(port, queue, mbufs, count);
}

uint16_t dpdk_shim_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, mbufs, count);
}

int dpdk_shim_link(uint16_t port, bool *up, uint32_t *mbps)
{
	struct rte_eth_link link = {};
	int rc = rte_eth_link_get_nowait(port, &link);

	*up = link.link_status != RTE_ETH_LINK_DOWN;
	*mbps = link.link_speed == RTE_ETH_SPEED_NUM_UNKNOWN ? 0 : link.link_speed;
	return rc;
}

uint64_t dpdk_shim_tsc(void)
{
	return rte_rdtsc();
}

struct rte_mbuf *dpdk_shim_mbuf_alloc(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

void dpdk_shim_mbuf_free(struct rte_mbuf *mbuf)
{
	rte_pktmbuf_free(mbuf);
}

int dpdk_shim_mbuf_linearize(struct rte_mbuf *mbuf)
{
	return rte_pktmbuf_linearize(mbuf);
}

int dpdk_shim_mbuf_exclusive(const struct rte_mbuf *mbuf)
{
	for (; mbuf != NULL; mbuf = mbuf->next) {
		if (!RTE_MBUF_DIRECT(mbuf) || rte_mbuf_refcnt_read(mbuf) != 1)
			return 0;
	}
	return 1;
}

int dpdk_shim_mbuf_chain(struct rte_mbuf *head, struct rte_mbuf *tail)
{
	return rte_pktmbuf_chain(head, tail);
}

void dpdk_shim_mbuf_init(struct rte_mempool *pool, void *arg, void *object, unsigned int index)
{
	struct dpdk_shim_mbuf_shift *shift = arg;
	struct rte_mbuf *mbuf = object;

	rte_pktmbuf_init(pool, NULL, mbuf, index);
	mbuf->buf_addr = RTE_PTR_ADD(mbuf->buf_addr, shift->shift);
	rte_mbuf_iova_set(mbuf, rte_mbuf_iova_get(mbuf) + shift->shift);
	if (((uintptr_t)mbuf->buf_addr + RTE_PKTMBUF_HEADROOM + shift->offset) % shift->alignment != 0)
		shift->misplaced++;
}

uint64_t dpdk_shim_iova(const void *address)
{
	const struct rte_memseg *segment = rte_mem_virt2memseg(address, NULL);

	if (segment == NULL || segment->iova == RTE_BAD_IOVA)
		return rte_mem_virt2iova(address);
	return segment->iova + RTE_PTR_DIFF(address, segment->addr);
}

unsigned int dpdk_shim_ring_enqueue(struct rte_ring *ring, struct rte_mbuf *mbuf)
{
	return rte_ring_enqueue(ring, mbuf) == 0;
}

struct rte_mbuf *dpdk_shim_ring_dequeue(struct rte_ring *ring)
{
	void *object = NULL;

	return rte_ring_dequeue(ring, &object) == 0 ? object : NULL;
}

unsigned int dpdk_shim_ring_enqueue_burst(struct rte_ring *ring, struct rte_mbuf **mbufs, unsigned int count)
{
	return rte_ring_enqueue_burst(ring, (void *const *)mbufs, count, NULL);
}

unsigned int dpdk_shim_ring_dequeue_burst(struct rte_ring *ring, struct rte_mbuf **mbufs, unsigned int count)
{
	return rte_ring_dequeue_burst(ring, (void **)mbufs, count, NULL);
}

bool dpdk_shim_ring_is_empty(const struct rte_ring *ring)
{
	return rte_ring_empty(ring) != 0;
}

bool dpdk_shim_can_pause(void)
{
	struct rte_cpu_intrinsics intrinsics = {};

	rte_cpu_get_intrinsics_support(&intrinsics);
	return intrinsics.power_pause;
}

void dpdk_shim_pause(uint32_t nanoseconds)
{
	uint64_t until = rte_get_tsc_cycles() + rte_get_tsc_hz() * nanoseconds / 1000000000;

	/* It refuses on a CPU without the instruction. */
	if (rte_power_pause(until) == 0)
		return;
	while (rte_get_tsc_cycles() < until)
		rte_pause();
}

int dpdk_shim_rx_interrupt_add(uint16_t port, uint16_t queue, int epoll)
{
	return rte_eth_dev_rx_intr_ctl_q(port, queue, epoll, RTE_INTR_EVENT_ADD, NULL);
}

int dpdk_shim_rx_interrupt_remove(uint16_t port, uint16_t queue, int epoll)
{
	return rte_eth_dev_rx_intr_ctl_q(port, queue, epoll, RTE_INTR_EVENT_DEL, NULL);
}

int dpdk_shim_rx_interrupt_wait(int epoll, int milliseconds)
{
	struct rte_epoll_event events[8];
	int rc = rte_epoll_wait(epoll, events, RTE_DIM(events), milliseconds);

	return rc < 0 ? -errno : rc;
}

static dpdk_shim_log_sink log_sink;

static ssize_t log_write(void *cookie, const char *text, size_t size)
{
	size_t length = size;

	(void)cookie;
	while (length > 0 && text[length - 1] == '\n')
		length--;
	if (length > 0)
		log_sink((uint32_t)rte_log_cur_msg_loglevel(), text, length);
	return (ssize_t)size;
}

int dpdk_shim_log_to(dpdk_shim_log_sink sink)
{
	cookie_io_functions_t functions = {.write = log_write};
	FILE *stream;

	log_sink = sink;
	stream = fopencookie(NULL, "w", functions);
	if (stream == NULL)
		return -errno;
	setvbuf(stream, NULL, _IOLBF, 0);
	return rte_openlog_stream(stream);
}

int dpdk_shim_interface(uint32_t index, struct dpdk_shim_interface *interface)
{
	struct ifreq request = {};
	int error = 0;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	_Static_assert(sizeof(interface->name) == IFNAMSIZ, "Linux's interface names");
	if (if_indextoname(index, request.ifr_name) == NULL) {
		error = -errno;
		goto out;
	}
	memcpy(interface->name, request.ifr_name, IFNAMSIZ);
	if (ioctl(fd, SIOCGIFMTU, &request) < 0) {
		error = -errno;
		goto out;
	}
	interface->mtu = (uint32_t)request.ifr_mtu;
	if (ioctl(fd, SIOCGIFFLAGS, &request) < 0) {
		error = -errno;
		goto out;
	}
	interface->up = (request.ifr_flags & IFF_UP) != 0;
	interface->running = (request.ifr_flags & IFF_RUNNING) != 0;
	if (ioctl(fd, SIOCGIFHWADDR, &request) < 0) {
		error = -errno;
		goto out;
	}
	memcpy(interface->mac, request.ifr_hwaddr.sa_data, sizeof(interface->mac));
	interface->index = index;
out:
	close(fd);
	return error;
}

uint32_t dpdk_shim_interface_index(const char *name)
{
	return if_nametoindex(name);
}

static bool packet_address(int socket, struct sockaddr_ll *address)
{
	socklen_t length = sizeof(*address);

	return getsockname(socket, (struct sockaddr *)address, &length) == 0 && address->sll_family == AF_PACKET;
}

int dpdk_shim_packet_socket(uint16_t port, uint16_t queue, uint32_t *interface)
{
	struct sockaddr_ll address;
	const int *first;

	*interface = 0;
	if (!rte_eth_dev_is_valid_port(port) || queue >= RTE_MAX_QUEUES_PER_PORT || !rte_eth_fp_ops[port].txq.data)
		return -1;
	first = rte_eth_fp_ops[port].txq.data[queue];
	if (!first || !packet_address(*first, &address))
		return -1;
	*interface = address.sll_ifindex > 0 ? (uint32_t)address.sll_ifindex : 0;
	return *first;
}

uint32_t dpdk_shim_packet_interface(int socket)
{
	struct sockaddr_ll address;

	return packet_address(socket, &address) && address.sll_ifindex > 0 ? (uint32_t)address.sll_ifindex : 0;
}

int dpdk_shim_packet_kick(int socket, uint32_t *memory)
{
	int under_way = 0;
	ssize_t sent = sendto(socket, NULL, 0, MSG_DONTWAIT, NULL, 0);

	if (sent < 0)
		return -errno;
	if (sent == 0) {
		if (ioctl(socket, SIOCOUTQ, &under_way) < 0)
			return -errno;
		*memory = under_way;
	}
	return sent > INT32_MAX ? INT32_MAX : (int)sent;
}

int dpdk_shim_on_interrupt_thread(void (*callback)(void *))
{
	struct rte_intr_handle *handle = NULL;
	/* Always readable, and never read: epoll reports it each time. */
	int error, fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	handle = rte_intr_instance_alloc(RTE_INTR_INSTANCE_F_PRIVATE);
	if (!handle || rte_intr_fd_set(handle, fd) != 0 || rte_intr_type_set(handle, RTE_INTR_HANDLE_EXT) != 0) {
		error = -ENOMEM;
		goto failed;
	}
	error = rte_intr_callback_register(handle, callback, NULL);
	if (error < 0)
		goto failed;
	/* EAL has copied the handle. */
	rte_intr_instance_free(handle);
	return 0;
failed:
	rte_intr_instance_free(handle);
	close(fd);
	return error;
}

int dpdk_shim_at_exit(void (*callback)(void))
{
	return atexit(callback) == 0 ? 0 : -ENOMEM;
}
