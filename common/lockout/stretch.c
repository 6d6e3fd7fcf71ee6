/*
 * stretch: the role. *stretch* process.
 */
#include "common/lockout/stretch.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/log.h"

#define DRAIN_MS 30000	/* *lockout* lets go of its wires long before */
#define NICE	 5	/* a storm of passwords takes what devices with certificates leave */

struct stretch;

/* A *lockout* process: two of them while one takes the other's place. */
struct peer {
	struct peer *next;
	struct stretch *owner;
	struct wire *wire;
};

struct stretch {
	struct child *child;
	struct peer *peers;
	struct deadline drain;
	bool draining;
};

unsigned stretch_processes(const struct config_lockout *config)
{
	cpu_set_t cpus;
	int n;

	if (config->processes > 0)
		return config->processes;
	n = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
	return n < 1 ? 1 : n > STRETCH_DEFAULT_MAX ? STRETCH_DEFAULT_MAX : (unsigned)n;
}

static void serve_work(struct wire *w, uint64_t number, const void *body, size_t n, void *arg)
{
	struct stretch_work work;
	struct stretch_done done;

	(void)n;
	(void)arg;
	if (number == 0)
		return; /* told, not asked */
	memcpy(&work, body, sizeof(work));
	if (work.password_n > 0 && work.password_n <= sizeof(work.password) && work.mib > 0 && work.mib <= STRETCH_MIB_MAX &&
	    lockout_stretch(work.salt, (struct strv){ work.password, work.password_n }, work.mib, done.stretched) == 0)
		(void)wire_answer_secret(w, number, (struct strv){ (const char *)&done, sizeof(done) }, (struct strv){ NULL, 0 });
	else
		(void)wire_answer(w, number, NULL, 0);
	OPENSSL_cleanse(&work, sizeof(work));
	OPENSSL_cleanse(&done, sizeof(done));
}

const struct wire_verb stretch_verbs[] = {
	{ STRETCH_WORK, "work", sizeof(struct stretch_work), sizeof(struct stretch_work), serve_work },
	{ .name = NULL },
};
_Static_assert((STRETCH_WORK & WIRE_SECRET) != 0, "passwords are wiped on the wire");

/* --- wires --- */

static void peer_free(struct peer *p)
{
	struct peer **at = &p->owner->peers;

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	wire_free(p->wire);
	free(p);
}

static void end_when_alone(struct stretch *s)
{
	if (s->draining && s->peers == NULL)
		loop_stop(child_loop(s->child));
}

static void on_closed(struct wire *w, void *arg)
{
	struct peer *p = arg;
	struct stretch *s = p->owner;

	(void)w;
	peer_free(p);
	end_when_alone(s);
}

static void on_link(struct child *c, enum role role, unsigned index, int fd, void *arg)
{
	struct stretch *s = arg;
	struct peer *p = role == ROLE_LOCKOUT ? calloc(1, sizeof(*p)) : NULL;
	struct wire_config config = { .verbs = stretch_verbs, .arg = p, .closed = on_closed, .name = "lockout" };

	if (p == NULL) {
		log_say(LOG_ERROR, "link_failed", "no wire to %s %u: %s", role_name(role), index,
		    role == ROLE_LOCKOUT ? "out of memory" : "only lockout asks here");
		(void)close(fd);
		return;
	}
	p->owner = s;
	p->next = s->peers;
	s->peers = p;
	p->wire = wire_new(child_loop(c), fd, &config);
	if (p->wire == NULL) {
		log_say(LOG_ERROR, "link_failed", "no memory for the wire to lockout");
		peer_free(p);
	}
}

/* --- the end --- */

static void on_drain_over(struct deadline *d)
{
	loop_stop(child_loop(CONTAINER_OF(d, struct stretch, drain)->child));
}

/* Works on until nobody asks any more: what is under way teaches something. */
static void on_drain(struct child *c, void *arg)
{
	struct stretch *s = arg;

	if (s->draining)
		return;
	s->draining = true;
	deadline_arm(child_loop(c), &s->drain, DRAIN_MS, on_drain_over);
	end_when_alone(s);
}

int stretch_process(struct child *child)
{
	static const struct child_handlers handlers = { .link = on_link, .drain = on_drain };
	struct stretch s = { .child = child };
	int rc = 1;

	errno = 0;
	if (setpriority(PRIO_PROCESS, 0, NICE) < 0)
		log_say(LOG_INFO, "scheduling", "a lower priority is not to be had: %s", strerror(errno));
	child_handle(child, &handlers, &s);
	if (child_confine(child, NULL, NULL) == 0) {
		child_ready(child);
		rc = loop_run(child_loop(child)) < 0;
	}
	deadline_disarm(&s.drain);
	while (s.peers != NULL)
		peer_free(s.peers);
	return rc;
}
