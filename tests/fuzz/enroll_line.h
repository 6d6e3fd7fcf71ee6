/*
 * enroll_line: one connection to a whole worker of easenroll (tests/unit/enroll_site.h) in this process: what bytes on it bring back. The worker's log
 * lines go nowhere meanwhile; a sanitizer's report still comes out.
 */
#ifndef EASGATE_TESTS_ENROLL_LINE_H
#define EASGATE_TESTS_ENROLL_LINE_H

#include <fcntl.h>
#include <sanitizer/common_interface_defs.h>
#include <sys/un.h>

#include "fuzz.h"
#include "tests/unit/enroll_site.h"

#define LINE_TURNS 64	/* of the loop: more than any answer takes that waits for no clock */

static int line_stderr = -1, line_nowhere = -1;

static inline void line_quiet(void)
{
	if (line_stderr < 0) {
		line_stderr = dup(STDERR_FILENO);
		line_nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
		FUZZ_CHECK(line_stderr >= 0 && line_nowhere >= 0);
		__sanitizer_set_report_fd((void *)(intptr_t)line_stderr);
	}
	FUZZ_CHECK(dup2(line_nowhere, STDERR_FILENO) == STDERR_FILENO);
}

static inline void line_loud(void)
{
	FUZZ_CHECK(dup2(line_stderr, STDERR_FILENO) == STDERR_FILENO);
}

/* site_make(), then the settings that the program itself makes of the smallest configuration. */
static inline void line_site(const struct route *first)
{
	static const char text[] = "directory: {kind: file, file: /none}\nenroll:\n  listeners: [{address: \"127.0.0.1:1\", plain: true}]\n"
	    "  public_url: https://enroll.example.com\n  mail: {host: mail.example.com}\n";
	struct config_error error = { "" };
	static struct enroll_settings *s;	/* lives as long as the process */

	site_make(first);
	s = enroll_settings_load("fuzz", STRV(text), &error);
	if (s == NULL)
		fprintf(stderr, "%s\n", error.text);
	FUZZ_CHECK(s != NULL);
	site.settings = *s;
	site.w.lockout = asker_new(site.loop, "lockout", NULL, &site.w);	/* nobody there: no password is right */
	FUZZ_CHECK(site.w.lockout != NULL);
	site.settings.common.state_dir = site.dir;
}

/* A listener of this kind at a port of its own, or at an abstract address for HTTP_WAY_LOCAL; its address comes back. */
static inline socklen_t line_listen(enum http_way way, struct sockaddr_storage *at)
{
	struct sockaddr_in *in = (struct sockaddr_in *)(void *)at;
	struct sockaddr_un *un = (struct sockaddr_un *)(void *)at;
	bool local = way == HTTP_WAY_LOCAL;
	socklen_t n = local ? (socklen_t)sizeof(sa_family_t) : (socklen_t)sizeof(*in);
	int fd = socket(local ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	memset(at, 0, sizeof(*at));
	if (local)
		un->sun_family = AF_UNIX;	/* the kernel chooses */
	else
		*in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	FUZZ_CHECK(fd >= 0 && bind(fd, (struct sockaddr *)at, n) == 0 && listen(fd, 16) == 0);
	n = sizeof(*at);
	FUZZ_CHECK(getsockname(fd, (struct sockaddr *)at, &n) == 0 && http_server_listen(site.w.http, fd, way, NULL) == 0);
	return n;
}

/* The first bytes of the answer, as a string; "": none came. */
static inline void line_ask(const struct sockaddr_storage *at, socklen_t at_n, const void *bytes, size_t n, char answer[64])
{
	const struct linger at_once = { 1, 0 };		/* ports do not linger */
	int fd = socket(at->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char waste[16384];
	size_t got = 0;
	ssize_t r;

	FUZZ_CHECK(fd >= 0 && connect(fd, (const struct sockaddr *)at, at_n) == 0);
	FUZZ_CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)) == 0);
	for (unsigned turn = 0; turn < LINE_TURNS; turn++) {
		if (n > 0 && (r = send(fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL)) > 0) {
			bytes = (const char *)bytes + r;
			n -= (size_t)r;
		}
		(void)event_base_loop(loop_base(site.loop), EVLOOP_NONBLOCK);
		r = recv(fd, waste, sizeof(waste), MSG_DONTWAIT);
		if (r == 0)
			break;
		if (r > 0 && got < 63) {
			size_t part = (size_t)r < 63 - got ? (size_t)r : 63 - got;

			memcpy(answer + got, waste, part);
			got += part;
		}
	}
	answer[got] = '\0';
	close(fd);
	for (unsigned turn = 0; turn < 4; turn++)
		(void)event_base_loop(loop_base(site.loop), EVLOOP_NONBLOCK);
}

/* What may come back whatever was sent: nothing, or a status line whose status is no bug of ours. */
static inline void line_check(const char *answer)
{
	unsigned status = 0;

	if (answer[0] == '\0')
		return;
	FUZZ_CHECK(strncmp(answer, "HTTP/1.1 ", 9) == 0 && strlen(answer) > 12);
	status = (unsigned)strtoul(answer + 9, NULL, 10);
	FUZZ_CHECK(status >= 100 && status < 600 && status != 500);
}

#endif
