/*
 * listen: binds what the configuration names. Master process.
 */
#include "enroll/listen.h"

#include <sys/socket.h>

#include "common/prepare.h"
#include "enroll/settings.h"

static int add(struct plan *plan, int fd, unsigned tag)
{
	return plan_add_socket(plan, (struct plan_socket){ fd, ROLE_WORKER, UINT32_MAX, tag }, "name fewer in enroll.listeners");
}

static int listen_on(struct plan *plan, const char *text, const char *what, unsigned tag)
{
	struct address a;
	int fd;

	if (address_parse(strv_from(text), &a) < 0)
		return -1;
	fd = prepare_bind(&a, 0);
	if (fd < 0) {
		prepare_say_bind(text, fd);
		return -1;
	}
	prepare_say_listening(what, fd);
	return add(plan, fd, tag);
}

int enroll_listen_all(struct plan *plan, const struct passwd *pw)
{
	const struct enroll_settings *s = plan->settings;
	int fd;

	for (unsigned i = 0; i < s->enroll.listeners_count; i++) {
		const struct enroll_listener *l = &s->enroll.listeners[i];
		if (listen_on(plan, l->address, l->plain ? "plain" : "enroll", i) < 0)
			return -1;
	}
	if (s->enroll.admin.address[0] != '\0' && listen_on(plan, s->enroll.admin.address, "admin", ENROLL_TAG_ADMIN) < 0)
		return -1;
	fd = prepare_local(s->common.run_dir, "easenroll.sock", SOCK_STREAM, pw);	/* the CLI asks here */
	return fd >= 0 ? add(plan, fd, ENROLL_TAG_LOCAL) : -1;
}
