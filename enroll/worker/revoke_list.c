/*
 * revoke_list: certificate revocation lists: when one is due, its entries written for the signer in portions (others are served meanwhile), and what
 * its being made means. Worker process.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <dirent.h>
#include <unistd.h>

#include "common/log.h"
#include "common/text.h"
#include "enroll/worker/revoke_parts.h"

#define PORTION	       2000	/* two to three milliseconds */
#define RETRY_MS       200u	/* doubled with each failure in a row */
#define RETRY_MAX_MS   6400u
/* With more entries a revocation makes a delta at once, and the full list when it is due. */
#define FULL_AT_ONCE   20000

_Static_assert(sizeof(struct registry_entry) == sizeof(struct signer_crl_entry), "the same bytes");

/*
 * Whether the file is there, and not one from before: the registry alone was restored from its copy, or somebody cleared up. Then it is made
 * anew at once, not when the next one is due: proxies refuse everybody without it.
 */
static bool is_in_place(const struct revoke *v, const struct registry_crl *c)
{
	char path[REVOKE_PATH + REGISTRY_HEX + 8];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s.crl", v->list_dir, c->issuer);
	if (stat(path, &st) == 0 && st.st_mtim.tv_sec >= c->this_update)
		return true;
	log_say(LOG_WARNING, "list_missing", "%s: it is not there, or older than the registry says: it is made anew", path);
	return false;
}

struct revoke_issuer *revoke_issuer(struct revoke *v, const char *name)
{
	struct revoke_issuer *i;

	if (name[0] == '\0')
		return NULL;
	for (unsigned k = 0; k < v->issuers; k++)
		if (strcmp(v->issuer[k].name, name) == 0)
			return &v->issuer[k];
	if (v->issuers == REVOKE_ISSUERS) {
		log_say(LOG_ERROR, "issuers_too_many", "the registry knows certificates of more than %d issuers: the rest has no list", REVOKE_ISSUERS);
		return NULL;
	}
	i = &v->issuer[v->issuers++];
	*i = (struct revoke_issuer){ .wanted = false };
	snprintf(i->name, sizeof(i->name), "%s", name);
	if (registry_crl_newest(v->c.registry, name, false, &i->full) == REGISTRY_FAILED)
		snprintf(v->problem, sizeof(v->problem), "%s", registry_problem(v->c.registry));
	else if (i->full.number != 0 && !is_in_place(v, &i->full))
		i->full = (struct registry_crl){ .number = 0 };
	i->newest = i->full.number;
	return i;
}

static void end_list(struct revoke *v)
{
	if (v->list.file != NULL)
		fclose(v->list.file);
	v->list.file = NULL;
	v->list.busy = false;
	v->list.issuer = NULL;
}

static void on_again(struct deadline *d)
{
	revoke_soon(CONTAINER_OF(d, struct revoke, list.again));
}

/* Soon at first: whoever was revoked is missing on the list meanwhile. */
static void fail_list(struct revoke *v, const char *what)
{
	struct revoke_issuer *i = v->list.issuer;
	unsigned wait = i->failures < 5 ? RETRY_MS << i->failures : RETRY_MAX_MS;

	snprintf(v->problem, sizeof(v->problem), "the list of %.16s... could not be made: %s", i->name, what);
	log_say(LOG_ERROR, "crl_not_made", "%s; tried again in %u ms", v->problem, wait);
	i->failures++;
	i->not_before_ms = loop_now_ms(v->c.loop) + wait;
	deadline_arm(v->c.loop, &v->list.again, wait, on_again);
	unlink(v->list.path);
	end_list(v);
}

static void note_made(struct revoke *v)
{
	struct revoke_issuer *i = v->list.issuer;

	if (v->list.crl.base == 0) {
		i->full = v->list.crl;
		i->full_entries = v->list.entries;
		/* a delta to the new one, where certificates name deltas */
		i->delta_made = 0;
	} else {
		i->delta_made = v->list.crl.this_update;
	}
	i->newest = v->list.crl.number;
	i->failures = 0;
	/* whoever came meanwhile is not on it: the pump wants the next one */
	i->wanted = false;
	v->problem[0] = '\0';
	end_list(v);
	v->said_fresh = 0;
	revoke_soon(v);
}

static void on_signed(void *arg, enum issuer_status status, struct strv answer, const char *text)
{
	struct revoke *v = arg;

	(void)answer;
	if (status != ISSUER_OK) {
		fail_list(v, text);
		return;
	}
	STEP(&v->c, "revoke-signed");
	if (registry_crl_made(v->c.registry, &v->list.crl) != REGISTRY_OK) {
		fail_list(v, registry_problem(v->c.registry));
		return;
	}
	STEP(&v->c, "revoke-listed");
	note_made(v);
}

static void ask_signer(struct revoke *v)
{
	struct revoke_list *l = &v->list;
	struct signer_crl q = { .number = l->crl.number, .base_number = l->crl.base, .this_update = l->crl.this_update,
		.next_update = l->crl.next_update, .entries = l->entries };
	int rc = fflush(l->file) == 0 && !ferror(l->file) ? 0 : -1;

	if (fclose(l->file) != 0)
		rc = -1;
	l->file = NULL;
	if (rc < 0 || text_unhex(q.issuer, sizeof(q.issuer), strv_from(l->crl.issuer)) < 0) {
		fail_list(v, "its entries could not be written: make room in state_dir");
		return;
	}
	STEP(&v->c, "revoke-entries");
	if (v->c.issuer->crl(v->c.issuer, &q, on_signed, v) < 0)
		fail_list(v, "too many questions wait for the signer");
}

/* In the loop's next turn, after all that came in meanwhile; event_active() would run it again before anybody else. */
static void go_on(struct revoke *v)
{
	static const struct timeval at_once = { 0, 0 };

	if (evtimer_add(v->list.next, &at_once) < 0)
		fail_list(v, "out of memory");
}

struct portion { struct revoke_list *list; unsigned n; bool failed; };

static bool write_entry(void *arg, const struct registry_entry *e)
{
	struct portion *p = arg;

	if (fwrite(e, sizeof(*e), 1, p->list->file) != 1) {
		p->failed = true;
		return false;
	}
	memcpy(p->list->after, e->serial, REGISTRY_SERIAL);
	p->list->entries++;
	p->n++;
	return true;
}

static void on_next(evutil_socket_t fd, short what, void *arg)
{
	struct revoke *v = arg;
	struct portion p = { .list = &v->list };

	(void)fd;
	(void)what;
	if (registry_entries(v->c.registry, &v->list.crl, v->list.entries > 0 ? v->list.after : NULL, PORTION, write_entry, &p) != REGISTRY_OK)
		fail_list(v, registry_problem(v->c.registry));
	else if (p.failed)
		fail_list(v, "its entries could not be written: make room in state_dir");
	else if (p.n == PORTION)
		go_on(v);
	else
		ask_signer(v);
}

static void start_list(struct revoke *v, struct revoke_issuer *i, bool delta)
{
	struct revoke_list *l = &v->list;
	int64_t now = loop_wall(v->c.loop);
	int64_t until = now + (delta ? v->c.delta_seconds : v->c.crl_seconds) + v->c.crl_overlap_seconds;
	int fd;

	l->busy = true;
	l->issuer = i;
	l->entries = 0;
	l->path[0] = '\0';
	if (registry_crl_begin(v->c.registry, i->name, delta, now, until, &l->crl) != REGISTRY_OK) {
		fail_list(v, registry_problem(v->c.registry));
		return;
	}
	snprintf(l->path, sizeof(l->path), "%s/in.%llu", v->list_dir, (unsigned long long)l->crl.number);
	unlink(l->path);
	fd = open(l->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	l->file = fd >= 0 ? fdopen(fd, "w") : NULL;
	if (l->file == NULL) {
		if (fd >= 0)
			close(fd);
		fail_list(v, strerror(errno));
		return;
	}
	go_on(v);
}

/* True: one was started. */
static bool look_at(struct revoke *v, struct revoke_issuer *i, int64_t now)
{
	bool deltas = v->c.delta_seconds > 0, have = i->full.number != 0;
	/* half of the overlap is left for trouble */
	bool due = !have || i->full.next_update - (int64_t)v->c.crl_overlap_seconds <= now;

	if (loop_now_ms(v->c.loop) < i->not_before_ms)
		return false;
	if (due || (i->wanted && (!deltas || i->full_entries <= FULL_AT_ONCE))) {
		start_list(v, i, false);
		return true;
	}
	if (deltas && (i->wanted || i->delta_made + (int64_t)v->c.delta_seconds <= now)) {
		start_list(v, i, true);
		return true;
	}
	return false;
}

void revoke_list_look(struct revoke *v)
{
	int64_t now = loop_wall(v->c.loop);

	for (unsigned k = 0; k < v->issuers && !v->list.busy; k++)
		if (look_at(v, &v->issuer[k], now))
			return;
}

/* Entries that a crash left behind. */
static void remove_leftovers(const char *dir)
{
	char path[REVOKE_PATH + 256];
	struct dirent *e;
	DIR *d = opendir(dir);

	while (d != NULL && (e = readdir(d)) != NULL) {
		if (strncmp(e->d_name, "in.", 3) != 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		unlink(path);
	}
	if (d != NULL)
		closedir(d);
}

int revoke_list_init(struct revoke *v)
{
	if (mkdir(v->list_dir, 0755) < 0 && errno != EEXIST)
		return -1;
	remove_leftovers(v->list_dir);
	v->list.next = evtimer_new(loop_base(v->c.loop), on_next, v);
	return v->list.next != NULL ? 0 : -1;
}

void revoke_list_clear(struct revoke *v)
{
	end_list(v);
	deadline_disarm(&v->list.again);
	if (v->list.next != NULL)
		event_free(v->list.next);
}
