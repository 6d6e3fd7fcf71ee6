/*
 * proxy_link: connects, asks, and comes again. Worker process.
 */
#include "enroll/worker/proxy_link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/local_revocation.h"
#include "common/log.h"

#define AGAIN_MS    500
#define ANSWER_MS   5000
#define LISTS_MAX   16		/* issuers whose newest list was told */

struct proxy_link {
	struct loop *loop;
	struct sockaddr_un address;
	void (*up)(void *arg);
	void *arg;
	struct wire *wire;		/* NULL: not connected */
	struct deadline again;
	bool said;			/* that it is away */
	struct { uint8_t issuer[SHA256_SIZE]; uint64_t number; } told[LISTS_MAX];
};

static void on_again(struct deadline *d);

static void say_down(struct proxy_link *l, const char *why)
{
	if (!l->said)
		log_say(LOG_WARNING, "proxy_away", "%s: %s: revocations wait for it (its CRL holds them nevertheless); is proxy.revocation.local true, and "
		    "does easproxy run?", l->address.sun_path, why);
	l->said = true;
}

static void on_closed(struct wire *w, void *arg)
{
	struct proxy_link *l = arg;

	(void)w;
	wire_free(l->wire);
	l->wire = NULL;
	say_down(l, "the connection has ended");
	deadline_arm(l->loop, &l->again, AGAIN_MS, on_again);
}

/* Whoever can make a socket in run_dir could answer for the proxy. */
static bool is_trusted(int fd)
{
	struct ucred who;
	socklen_t size = sizeof(who);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 && (who.uid == 0 || who.uid == geteuid());
}

static void try_connect(struct proxy_link *l)
{
	const struct wire_config config = { .arg = l, .closed = on_closed, .name = "easproxy" };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)&l->address, sizeof(l->address)) < 0 || !is_trusted(fd)) {
		say_down(l, fd < 0 || errno != 0 ? strerror(errno) : "belongs to another user");
		if (fd >= 0)
			close(fd);
		deadline_arm(l->loop, &l->again, AGAIN_MS, on_again);
		return;
	}
	l->wire = wire_new(l->loop, fd, &config);
	if (l->wire == NULL) {
		deadline_arm(l->loop, &l->again, AGAIN_MS, on_again);
		return;
	}
	log_say(LOG_INFO, "proxy_connected", "easproxy on this machine is told of revocations at once");
	l->said = false;
	memset(l->told, 0, sizeof(l->told));
	l->up(l->arg);
}

static void on_again(struct deadline *d)
{
	struct proxy_link *l = CONTAINER_OF(d, struct proxy_link, again);

	errno = 0;
	try_connect(l);
}

struct proxy_link *proxy_link_new(struct loop *loop, const char *run_dir, void (*up)(void *arg), void *arg, char *why, size_t why_size)
{
	struct proxy_link *l = calloc(1, sizeof(*l));
	int n;

	if (l == NULL) {
		snprintf(why, why_size, "out of memory");
		return NULL;
	}
	*l = (struct proxy_link){ .loop = loop, .address = { .sun_family = AF_UNIX }, .up = up, .arg = arg };
	n = snprintf(l->address.sun_path, sizeof(l->address.sun_path), "%s/" LOCAL_REVOCATION_SOCKET, run_dir);
	if (n < 0 || (size_t)n >= sizeof(l->address.sun_path)) {
		snprintf(why, why_size, "run_dir: %s is too long for a local socket (107 bytes)", run_dir);
		free(l);
		return NULL;
	}
	deadline_arm(loop, &l->again, 0, on_again);
	return l;
}

void proxy_link_free(struct proxy_link *l)
{
	if (l == NULL)
		return;
	deadline_disarm(&l->again);
	wire_free(l->wire);
	free(l);
}

bool proxy_link_is_up(const struct proxy_link *l)
{
	return l->wire != NULL && wire_is_open(l->wire);
}

bool proxy_link_taken(enum wire_status status, const void *body, size_t n)
{
	struct local_answer a = { .result = LOCAL_FAILED };

	if (status == WIRE_OK && n == sizeof(a))
		memcpy(&a, body, sizeof(a));
	if (a.result == LOCAL_FOREIGN)
		log_say(LOG_WARNING, "proxy_foreign", "easproxy on this machine has no CRL of the issuer in proxy.revocation.crls: it needs none only if it does "
		    "not trust that CA");
	return a.result == LOCAL_TAKEN || a.result == LOCAL_FOREIGN;
}

int proxy_link_revoked(struct proxy_link *l, const uint8_t issuer[SHA256_SIZE], const struct serial *serial, uint64_t number, wire_done_fn *done,
    void *arg)
{
	struct local_message m;

	local_message_write(&m, issuer, serial, number);
	return proxy_link_is_up(l) && wire_ask(l->wire, LOCAL_REVOKED, &m, sizeof(m), ANSWER_MS, done, arg) != 0 ? 0 : -1;
}

void proxy_link_listed(struct proxy_link *l, const uint8_t issuer[SHA256_SIZE], uint64_t number)
{
	struct local_message m;
	size_t i = 0;

	if (!proxy_link_is_up(l))
		return;			/* a proxy that starts reads its lists anyway */
	while (i + 1 < LISTS_MAX && l->told[i].number != 0 && memcmp(l->told[i].issuer, issuer, SHA256_SIZE) != 0)
		i++;
	if (l->told[i].number == number && memcmp(l->told[i].issuer, issuer, SHA256_SIZE) == 0)
		return;
	local_message_write(&m, issuer, NULL, number);
	if (wire_tell(l->wire, LOCAL_LISTED, &m, sizeof(m)) < 0)
		return;
	memcpy(l->told[i].issuer, issuer, SHA256_SIZE);
	l->told[i].number = number;
}
