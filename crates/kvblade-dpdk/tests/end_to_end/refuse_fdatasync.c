/* Loaded before libaio: while the file named by REFUSE_FDATASYNC exists, no asynchronous fdatasync is taken, as by a file system
 * without one. All else goes on as before. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <libaio.h>
#include <stdlib.h>
#include <unistd.h>

int io_submit(io_context_t context, long count, struct iocb **iocbs)
{
	int (*next)(io_context_t, long, struct iocb **) = dlsym(RTLD_NEXT, "io_submit");
	const char *file = getenv("REFUSE_FDATASYNC");

	if (next == NULL || file == NULL) {
		abort();
	}
	if (count == 1 && iocbs[0]->aio_lio_opcode == IO_CMD_FDSYNC && access(file, F_OK) == 0) {
		return -EINVAL;
	}
	return next(context, count, iocbs);
}
