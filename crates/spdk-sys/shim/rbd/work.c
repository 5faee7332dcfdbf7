/* Threads for what may wait for Ceph, and where they run: on CPUs that no reactor polls on, if there are any. */
#include "rbd.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <spdk/env.h>

/* The CPUs that this process was given, from before EAL tied its main thread to one of them. */
static cpu_set_t given;

/* Guards `under_way` and `forgotten`. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static unsigned int under_way;
static bool forgotten;

/* DPDK's (rte_lcore.h), which SPDK's environment stands on. */
int rte_lcore_to_cpu_id(int lcore_id);

__attribute__((constructor)) static void note_given_cpus(void)
{
	if (sched_getaffinity(0, sizeof(given), &given) != 0)
		CPU_ZERO(&given);
}

/*
 * librados' and librbd's threads are started by a work, and inherit where it runs. On a reactor's CPU they would take
 * turns with it for whole time slices.
 */
static void leave_reactors(void)
{
	cpu_set_t cpus = given;
	uint32_t core;

	SPDK_ENV_FOREACH_CORE(core) {
		int cpu = rte_lcore_to_cpu_id((int)core);

		if (cpu >= 0 && cpu < CPU_SETSIZE)
			CPU_CLR(cpu, &cpus);
	}
	if (CPU_COUNT(&cpus) == 0)
		cpus = given;
	/* A failure leaves the thread where it is, which is slower and not wrong. */
	(void)sched_setaffinity(0, sizeof(cpus), &cpus);
}

static void report(void *arg)
{
	struct rbd_work *work = arg;

	pthread_mutex_lock(&mutex);
	under_way--;
	pthread_mutex_unlock(&mutex);
	work->done(work);
}

static void *work_thread(void *arg)
{
	struct rbd_work *work = arg;

	leave_reactors();
	work->run(work);
	pthread_mutex_lock(&mutex);
	if (!forgotten)
		spdk_thread_send_msg(spdk_thread_get_app_thread(), report, work);
	pthread_mutex_unlock(&mutex);
	return NULL;
}

int rbd_work_start(struct rbd_work *work)
{
	sigset_t all, before;
	pthread_attr_t attributes;
	pthread_t thread;
	int rc;

	pthread_mutex_lock(&mutex);
	under_way++;
	pthread_mutex_unlock(&mutex);
	/* Signals are for the program's own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	rc = pthread_create(&thread, &attributes, work_thread, work);
	pthread_attr_destroy(&attributes);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc != 0) {
		pthread_mutex_lock(&mutex);
		under_way--;
		pthread_mutex_unlock(&mutex);
	}
	return -rc;
}

unsigned int rbd_work_count(void)
{
	unsigned int count;

	pthread_mutex_lock(&mutex);
	count = under_way;
	pthread_mutex_unlock(&mutex);
	return count;
}

void rbd_work_forget(void)
{
	pthread_mutex_lock(&mutex);
	forgotten = true;
	pthread_mutex_unlock(&mutex);
}
