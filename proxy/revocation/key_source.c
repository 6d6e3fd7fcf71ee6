/*
 * key_source: fetch, check, replace by rename. Runs in the revocation process, which alone may write state_dir.
 */
#include "proxy/revocation/key_source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "proxy/jwt_keys.h"
#include "proxy/metric_table.h"

#define FETCH_S 10
#define AGAIN_S 10	/* after a failure */

struct key_source {
	struct key_source_config c;
	struct deadline next;
	struct fetch *fetch;
	int fd;
	bool early;		/* the round between two regular ones was used */
	struct fetch_version version;
	char stored[JWT_KEYS_FILE], incoming[JWT_KEYS_FILE + 4], problem[256];
};

static void on_due(struct deadline *d);

static uint32_t shorter(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* One line for each change of what is wrong, not one a round. */
static void say_problem(struct key_source *s, const char *why)
{
	struct log_line l;

	if (strcmp(s->problem, why) == 0)
		return;
	snprintf(s->problem, sizeof(s->problem), "%s", why);
	log_begin(&l, LOG_ERROR, "bearer_keys_failed");
	log_cstr(&l, "source", s->c.settings->keys_url);
	log_cstr(&l, "detail", s->problem);
	log_cstr(&l, "cure", "bring the issuer's server back, or correct proxy.bearer.keys_url and keys_ca; tokens go on until keys_max_age_seconds");
	log_end(&l);
}

static void end_round(struct key_source *s, bool good)
{
	uint32_t period = s->c.settings->keys_refresh_seconds;

	unlinkat(s->c.state_dir, s->incoming, 0);
	if (!good)
		memset(&s->version, 0, sizeof(s->version));
	deadline_arm(s->c.loop, &s->next, (uint64_t)(good ? period : shorter(period, AGAIN_S)) * 1000, on_due);
	if (good)
		s->c.changed(s->c.arg);
}

/* The stored set holds as of now. */
static void confirm(struct key_source *s)
{
	bool good = utimensat(s->c.state_dir, s->stored, NULL, AT_SYMLINK_NOFOLLOW) == 0;

	metrics_add(M_KEY_FETCHES, good ? KEYS_UNCHANGED : KEYS_NOT_FETCHED, 1);
	if (good)
		s->problem[0] = '\0';
	else
		say_problem(s, strerror(errno));
	end_round(s, good);
}

/* All of a file; *n bytes, heap. NULL: not there, too long, out of memory. */
static char *contents(int dir, const char *name, size_t *n)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char *text = fd >= 0 ? malloc(JWT_KEYS_BYTES_MAX + 1) : NULL;
	ssize_t got = text != NULL ? read(fd, text, JWT_KEYS_BYTES_MAX + 1) : -1;

	if (fd >= 0)
		close(fd);
	if (got < 0 || (size_t)got > JWT_KEYS_BYTES_MAX) {
		free(text);
		return NULL;
	}
	*n = (size_t)got;
	return text;
}

static void say_loaded(const struct key_source *s, const struct jwt_keys *keys)
{
	struct log_line l;
	char kids[512] = "";
	size_t n = 0;

	for (unsigned i = 0; i < keys->n && n < sizeof(kids); i++)
		n += (size_t)snprintf(kids + n, sizeof(kids) - n, "%s%s", i > 0 ? " " : "", keys->key[i].kid != NULL ? keys->key[i].kid : "-");
	log_begin_audit(&l, "bearer_keys_loaded");
	log_cstr(&l, "source", s->c.settings->keys_url);
	log_int(&l, "keys", keys->n);
	log_cstr(&l, "kids", kids);
	log_end(&l);
}

/* What came replaces what is there only as a whole and only if it is a set of public keys. */
static void take(struct key_source *s)
{
	char why[200] = "cannot be read", *text, *old;
	struct jwt_keys *keys = NULL;
	size_t n = 0, old_n = 0;

	text = contents(s->c.state_dir, s->incoming, &n);
	if (text != NULL)
		keys = jwt_keys_read((struct strv){ text, n }, why, sizeof(why));
	old = keys != NULL ? contents(s->c.state_dir, s->stored, &old_n) : NULL;
	if (keys == NULL) {
		metrics_add(M_KEY_FETCHES, KEYS_REFUSED, 1);
		say_problem(s, why);
		end_round(s, false);
	} else if (old != NULL && old_n == n && memcmp(old, text, n) == 0) {
		confirm(s);
	} else if (renameat(s->c.state_dir, s->incoming, s->c.state_dir, s->stored) < 0) {
		metrics_add(M_KEY_FETCHES, KEYS_NOT_FETCHED, 1);
		say_problem(s, strerror(errno));
		end_round(s, false);
	} else {
		metrics_add(M_KEY_FETCHES, KEYS_LOADED, 1);
		s->problem[0] = '\0';
		say_loaded(s, keys);
		end_round(s, true);
	}
	jwt_keys_free(keys);
	free(old);
	free(text);
}

static void close_incoming(struct key_source *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

static void on_fetched(void *arg, enum fetch_result result, const struct fetch_version *version, const char *why)
{
	struct key_source *s = arg;

	s->fetch = NULL;
	close_incoming(s);
	switch (result) {
	case FETCH_NEW:
		s->version = *version;
		take(s);
		return;
	case FETCH_SAME:
		confirm(s);
		return;
	default:
		metrics_add(M_KEY_FETCHES, KEYS_NOT_FETCHED, 1);
		say_problem(s, why);
		end_round(s, false);
	}
}

static void begin(struct key_source *s)
{
	struct fetch_rules rules = { .schemes = "https", .ca = s->c.ca, .max_bytes = JWT_KEYS_BYTES_MAX,
		.timeout_s = shorter(FETCH_S, s->c.settings->keys_refresh_seconds) };
	struct stat st;

	deadline_disarm(&s->next);
	/* without the stored set a "not modified" would be of no use */
	if (fstatat(s->c.state_dir, s->stored, &st, AT_SYMLINK_NOFOLLOW) < 0)
		memset(&s->version, 0, sizeof(s->version));
	s->fd = openat(s->c.state_dir, s->incoming, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->fd >= 0)
		s->fetch = fetch_start(s->c.fetcher, s->c.settings->keys_url, s->fd, &rules, &s->version, on_fetched, s);
	if (s->fetch != NULL)
		return;
	say_problem(s, s->fd < 0 ? strerror(errno) : "not a URL that can be fetched");
	metrics_add(M_KEY_FETCHES, KEYS_NOT_FETCHED, 1);
	close_incoming(s);
	end_round(s, false);
}

static void on_due(struct deadline *d)
{
	struct key_source *s = CONTAINER_OF(d, struct key_source, next);

	s->early = false;
	begin(s);
}

void key_source_wanted(struct key_source *s)
{
	if (s == NULL || s->early || s->fetch != NULL)
		return;
	s->early = true;
	begin(s);
}

struct key_source *key_source_new(const struct key_source_config *config)
{
	struct key_source *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->c = *config;
	s->fd = -1;
	jwt_keys_file(config->settings->keys_url, s->stored);
	snprintf(s->incoming, sizeof(s->incoming), "%s.new", s->stored);
	begin(s);
	return s;
}

void key_source_free(struct key_source *s)
{
	if (s == NULL)
		return;
	deadline_disarm(&s->next);
	fetch_cancel(s->fetch);
	close_incoming(s);
	free(s);
}
