/*
 * descriptors: see the header. Runs wherever connections are taken.
 */
#include "common/descriptors.h"

#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define RESERVE_MAX 64

bool descriptors_are_scarce(int newest)
{
	struct rlimit limit;
	rlim_t reserve;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
		return false;
	reserve = limit.rlim_cur / 4 < RESERVE_MAX ? limit.rlim_cur / 4 : RESERVE_MAX;
	return (rlim_t)newest + reserve >= limit.rlim_cur;
}

/* No file: where a process is confined to a few paths, none could be opened. */
int descriptors_spare(void)
{
	return eventfd(0, EFD_CLOEXEC);
}

void descriptors_refuse_one(int listening, int *spare)
{
	int fd;

	if (*spare >= 0)
		close(*spare);
	fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		close(fd);
	*spare = descriptors_spare();
}
