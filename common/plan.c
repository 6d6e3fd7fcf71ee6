/*
 * plan: see plan.h. Master process.
 */
#include "common/plan.h"

#include <stdio.h>
#include <unistd.h>

#include "common/log.h"

#define SLOTS_MORE 32 /* a reload may add processes */

struct plan_role *plan_add_role(struct plan *plan, enum role role, unsigned count, int (*run)(struct child *), uint32_t peers)
{
	struct plan_role *r = &plan->roles[plan->roles_n++];

	r->role = role;
	r->count = count;
	r->run = run;
	r->peers = peers;
	return r;
}

void plan_add_file(struct plan_role *r, const char *path)
{
	if (path == NULL || path[0] == '\0')
		return;
	for (size_t i = 0; i < r->files_n; i++) {
		if (strcmp(r->files[i], path) == 0)
			return;
	}
	if (r->files_n < PLAN_FILES)
		r->files[r->files_n++] = path;
	else
		r->files_full = true;
}

void plan_add_redis(struct plan_role *r, const struct config_redis *redis)
{
	if (redis == NULL)
		return;
	plan_add_file(r, redis->password_file);
	plan_add_file(r, redis->fleet_secret_file);
	plan_add_file(r, redis->ca);
}

void plan_add_directory(struct plan_role *r, const struct config_directory *d)
{
	const struct config_ldap *l = d->ldap;

	if (strcmp(d->kind, "file") == 0)
		plan_add_file(r, d->file);
	if (l == NULL || strcmp(d->kind, "ldap") != 0)
		return;
	plan_add_file(r, l->ca);
	plan_add_file(r, l->bind_password_file);
	plan_add_file(r, l->keytab);
}

int plan_check(const struct plan *plan, const char *config_file, struct config_error *error)
{
	for (size_t i = 0; i < plan->roles_n; i++) {
		if (!plan->roles[i].files_full)
			continue;
		snprintf(error->text, sizeof(error->text),
		    "%s: more than %d different certificates, keys and other files for each %s: "
		    "hosts can share theirs, and one file can hold several CAs",
		    config_file, PLAN_FILES, role_name(plan->roles[i].role));
		return -1;
	}
	return 0;
}

size_t plan_files(const struct plan *plan, const char **paths, size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < plan->roles_n; i++) {
		const struct plan_role *r = &plan->roles[i];
		for (size_t k = 0; k < r->files_n && n < max; k++) {
			size_t known = 0;
			while (known < n && strcmp(paths[known], r->files[k]) != 0)
				known++;
			if (known == n)
				paths[n++] = r->files[k];
		}
	}
	return n;
}

int plan_add_socket(struct plan *plan, struct plan_socket socket, const char *cure)
{
	if (plan->sockets_n == PLAN_SOCKETS) {
		log_say(LOG_ERROR, "listen_failed", "more than %d sockets to listen on: %s", PLAN_SOCKETS, cure);
		close(socket.fd);
		return -1;
	}
	plan->sockets[plan->sockets_n++] = socket;
	return 0;
}

unsigned plan_slot(const struct plan *plan, enum role role, unsigned index)
{
	unsigned n = 1;

	for (size_t i = 0; i < plan->roles_n; i++) {
		if (plan->roles[i].role == role)
			return n + index;
		n += plan->roles[i].count;
	}
	return 0;
}

unsigned plan_slots(const struct plan *plan)
{
	unsigned n = 1;

	for (size_t i = 0; i < plan->roles_n; i++)
		n += plan->roles[i].count;
	return n + SLOTS_MORE;
}
