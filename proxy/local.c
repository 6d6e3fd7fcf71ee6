/*
 * local: one HTTP request by a unix socket. The command line's process.
 */
#include "proxy/local.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int dial(const struct settings *s, struct sockaddr_un *sun)
{
	struct timeval limit = { 10, 0 };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(sun->sun_path, sizeof(sun->sun_path), "%s/easproxy.sock", s->common.run_dir);
	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0 &&
	    connect(fd, (const struct sockaddr *)sun, sizeof(*sun)) == 0)
		return fd;
	fprintf(stderr, "%s: %s: %s\n", sun->sun_path, strerror(errno),
	    errno == EACCES ? "run it as root or as easproxy's user" : "easproxy does not run with this configuration");
	if (fd >= 0)
		close(fd);
	return -1;
}

const char *local_get(const struct settings *s, const char *path, char *text, size_t size, unsigned *code)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	char request[8192];
	const char *body;
	size_t n = 0;
	ssize_t r;
	int length = snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path);
	int fd = length > 0 && (size_t)length < sizeof(request) ? dial(s, &sun) : -1;

	if (fd < 0)
		return NULL;
	r = send(fd, request, (size_t)length, MSG_NOSIGNAL);
	while (r > 0 && n < size - 1) {
		r = recv(fd, text + n, size - 1 - n, 0);
		n += r > 0 ? (size_t)r : 0;
	}
	close(fd);
	text[n] = '\0';
	body = strstr(text, "\r\n\r\n");
	if (body == NULL || strncmp(text, "HTTP/1.1 ", 9) != 0) {
		fprintf(stderr, "easproxy did not answer within 10 s\n");
		return NULL;
	}
	*code = (unsigned)strtoul(text + 9, NULL, 10);
	return body + 4;
}
