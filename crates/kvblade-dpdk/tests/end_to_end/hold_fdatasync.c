/* Loaded before libaio: takes every asynchronous fdatasync and never completes it. All else goes on as before. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <libaio.h>
#include <stdlib.h>

int io_submit(io_context_t context, long count, struct iocb **iocbs)
{
	int (*next)(io_context_t, long, struct iocb **) = dlsym(RTLD_NEXT, "io_submit");

	if (next == NULL) {
		abort();
	}
	if (count == 1 && iocbs[0]->aio_lio_opcode == IO_CMD_FDSYNC) {
		return 1;
	}
	return next(context, count, iocbs);
}
