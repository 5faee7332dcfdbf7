/* Loaded before libaio: while the file named by FAIL_IO_SETUP exists, no reactor but the first gets an AIO context, as if
 * the machine's fs.aio-max-nr were used up. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <libaio.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int io_setup(int events, io_context_t *context)
{
	int (*next)(int, io_context_t *) = dlsym(RTLD_NEXT, "io_setup");
	const char *file = getenv("FAIL_IO_SETUP");
	char name[16] = "";

	if (next == NULL || file == NULL) {
		abort();
	}
	pthread_getname_np(pthread_self(), name, sizeof(name));
	if (strncmp(name, "reactor_", 8) == 0 && strcmp(name, "reactor_0") != 0 && access(file, F_OK) == 0) {
		return -EAGAIN;
	}
	return next(events, context);
}
