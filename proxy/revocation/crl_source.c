/*
 * crl_source: watches and fetches one issuer's CRL and delta, and loads them into the index when they are right.
 * The form and the signature are crl.c's and crl_verify.c's; this decides when to look and what a failure means.
 * Runs in the revocation process.
 */
#include "proxy/revocation/crl_source.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/text.h"
#include "proxy/revocation/crl.h"
#include "proxy/revocation/crl_file.h"

#define FETCH_S	       120
#define SAY_AGAIN_S    3600	/* the same failure is repeated in the log after so long */

enum part_kind { BASE = 0, DELTA, PARTS };

/* Where one of the two lists comes from. */
struct part {
	struct crl_source *source;
	enum part_kind kind;
	const char *path;		/* the operator's file, or name in state_dir of what was fetched; NULL: not configured */
	const char *url;		/* NULL: a file */
	char stored[96], incoming[96];	/* names in state_dir */
	struct fetch *fetch;
	int fetch_fd;
	struct fetch_version version;
	struct stat seen;		/* of the file at the last look */
	enum fetch_result answer;	/* of this round */
};

struct crl_source {
	struct crl_source_config c;
	uint8_t issuer[SHA256_SIZE];
	struct part part[PARTS];
	struct event *timer;
	bool loaded;			/* `seen` belongs to lists that are in the index */
	bool refused;			/* `seen` belongs to lists that were refused: do not read them again */
	char problem[320];
	int64_t said;
};

/* What one look at both lists found. */
struct look {
	struct crl_file file[PARTS];
	struct crl crl[PARTS];
	struct stat seen[PARTS];
	uint8_t content[SHA256_SIZE];
	bool expired;
};

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	    a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	    a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static const char *part_name(const struct part *p)
{
	return p->url != NULL ? p->url : p->path;
}

/* Once when it begins or changes, and again every hour. */
static void say_problem(struct crl_source *s, const struct part *p, const char *reason)
{
	int64_t now = loop_wall(s->c.loop);
	char text[sizeof(s->problem)];
	struct log_line l;

	snprintf(text, sizeof(text), "%s: %s", part_name(p), reason);
	if (strcmp(text, s->problem) == 0 && now - s->said < SAY_AGAIN_S)
		return;
	memcpy(s->problem, text, sizeof(text));
	s->said = now;
	log_begin(&l, LOG_ERROR, "crl_refused");
	log_cstr(&l, "source", part_name(p));
	log_cstr(&l, "reason", reason);
	log_cstr(&l, "message", "the list that was known stays in use until it is too old; cure: put the issuer's current CRL there");
	log_end(&l);
	s->c.changed(s->c.arg);
}

static int open_part(const struct part *p, const char *name)
{
	int dir = p->url != NULL ? p->source->c.state_dir : AT_FDCWD;
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

/* Reads one list. `incoming`: what was just fetched, not yet under its name. */
static int look_at(struct part *p, bool incoming, struct look *look)
{
	struct crl_source *s = p->source;
	const char *name = p->url == NULL ? p->path : incoming ? p->incoming : p->stored;
	struct crl *crl = &look->crl[p->kind];
	int fd = open_part(p, name), rc;

	if (fd < 0) {
		/* Before the first fetch there is nothing to complain of. */
		if (p->url == NULL || fd != -ENOENT)
			say_problem(s, p, strerror(-fd));
		return fd;
	}
	rc = fstat(fd, &look->seen[p->kind]) < 0 ? -errno : 0;
	if (rc == 0 && !S_ISREG(look->seen[p->kind].st_mode))
		rc = -EINVAL;
	if (rc == 0)
		rc = crl_file_read(fd, s->c.state_dir, &look->file[p->kind]);
	close(fd);
	if (rc < 0) {
		say_problem(s, p, rc == -EBADMSG ? crl_result_text(CRL_MALFORMED) : strerror(-rc));
		return rc;
	}
	rc = crl_read(look->file[p->kind].der, crl);
	if (rc == CRL_OK && crl->is_delta != (p->kind == DELTA))
		rc = p->kind == DELTA ? CRL_NOT_A_DELTA : CRL_IS_DELTA;
	if (rc == CRL_OK)
		rc = crl_verify(crl, s->c.ca, loop_wall(s->c.loop));
	if (rc == CRL_EXPIRED) {
		/* Its entries still count, and the index answers "unknown" for all others. */
		look->expired = true;
		rc = CRL_OK;
	}
	if (rc != CRL_OK)
		say_problem(s, p, crl_result_text(rc));
	return rc;
}

static bool has_delta(const struct crl_source *s)
{
	return s->part[DELTA].path != NULL || s->part[DELTA].url != NULL;
}

/* Order of lists against what the index knows, and of delta against base. */
static int check_order(struct crl_source *s, const struct look *look)
{
	const struct index_source_state *known = index_writer_source(s->c.index, s->issuer, INDEX_CRL);
	const struct crl *base = &look->crl[BASE], *delta = has_delta(s) ? &look->crl[DELTA] : NULL;
	const struct serial *newest = &base->number;
	struct part *p = &s->part[BASE];
	int rc = CRL_OK;

	if (known != NULL && known->this_update != 0)
		rc = crl_follows(base, &known->number, known->this_update);
	if (rc == CRL_OK && delta != NULL) {
		p = &s->part[DELTA];
		rc = crl_delta_fits(base, delta);
		if (serial_compare(&delta->number, newest) > 0)
			newest = &delta->number;
	}
	if (rc == CRL_OK && known != NULL && serial_compare(newest, &known->delta_number) < 0)
		rc = CRL_ROLLBACK;
	if (rc == CRL_OK)
		return 0;
	say_problem(s, p, rc != CRL_ROLLBACK ? crl_result_text(rc) :
	    "is older than the list that is already known (if the CA really began anew: stop, remove revocation.idx, start)");
	return rc;
}

static int hash_content(const struct crl_source *s, struct look *look)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	int ok = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) &&
	    EVP_DigestUpdate(ctx, look->file[BASE].sha256, SHA256_SIZE) &&
	    (!has_delta(s) || EVP_DigestUpdate(ctx, look->file[DELTA].sha256, SHA256_SIZE)) &&
	    EVP_DigestFinal_ex(ctx, look->content, NULL);

	EVP_MD_CTX_free(ctx);
	return ok ? 0 : -ENOMEM;
}

static int64_t next_update(const struct crl_source *s, const struct look *look)
{
	int64_t next = look->crl[BASE].next_update;

	return has_delta(s) && look->crl[DELTA].next_update < next ? look->crl[DELTA].next_update : next;
}

static void say_loaded(const struct crl_source *s, const struct look *look, size_t revoked, uint64_t began)
{
	char number[2 * SERIAL_MAX + 1];
	struct log_line l;

	log_begin(&l, LOG_INFO, "crl_loaded");
	log_cstr(&l, "source", part_name(&s->part[BASE]));
	text_hex(number, look->crl[BASE].number.byte, look->crl[BASE].number.n);
	log_cstr(&l, "number", number);
	if (has_delta(s)) {
		log_cstr(&l, "delta", part_name(&s->part[DELTA]));
		text_hex(number, look->crl[DELTA].number.byte, look->crl[DELTA].number.n);
		log_cstr(&l, "delta_number", number);
	}
	log_int(&l, "revoked", (int64_t)revoked);
	log_int(&l, "this_update", look->crl[BASE].this_update);
	log_int(&l, "next_update", next_update(s, look));
	log_int(&l, "ms", (int64_t)(loop_now_fresh() - began));
	log_end(&l);
}

/* As of when the lists are known to be what the issuer says: a server's copy is as old as the last time it was asked. */
static int64_t confirmed_at(const struct crl_source *s, const struct look *look, bool asked)
{
	int64_t now = loop_wall(s->c.loop), at = now;
	int k;

	for (k = 0; k < PARTS && !asked; k++)
		if (s->part[k].url != NULL && look->seen[k].st_mtim.tv_sec < at)
			at = look->seen[k].st_mtim.tv_sec;
	return at;
}

/* Into the index, unless these very bytes are there already. asked: the servers were, in this round. */
static int load(struct crl_source *s, const struct look *look, bool asked)
{
	const struct index_source_state *known = index_writer_source(s->c.index, s->issuer, INDEX_CRL);
	const struct crl *base = &look->crl[BASE], *delta = has_delta(s) ? &look->crl[DELTA] : NULL;
	struct index_source_state state = { .confirmed = confirmed_at(s, look, asked), .next_update = next_update(s, look) };
	uint64_t began = loop_now_fresh();
	struct serials list = { 0 };
	int rc;

	if (known != NULL && memcmp(known->content, look->content, SHA256_SIZE) == 0) {
		if (state.confirmed > known->confirmed)
			index_writer_confirm(s->c.index, s->issuer, INDEX_CRL, state.confirmed, state.next_update);
		return 0;
	}
	state.this_update = base->this_update;
	state.number = state.delta_number = base->number;
	if (delta != NULL && serial_compare(&delta->number, &base->number) > 0)
		state.delta_number = delta->number;
	memcpy(state.content, look->content, SHA256_SIZE);
	rc = crl_collect(base, delta, &list);
	if (rc == CRL_OK)
		rc = index_writer_load(s->c.index, s->issuer, INDEX_CRL, &list, false, &state);
	if (rc < 0)
		say_problem(s, &s->part[BASE], rc == CRL_TOO_MANY ? crl_result_text(rc) : strerror(-rc));
	else
		say_loaded(s, look, list.n, began);
	serials_clear(&list);
	return rc;
}

static void all_is_well(struct crl_source *s)
{
	if (s->problem[0] != '\0')
		log_say(LOG_INFO, "crl_recovered", "%s: accepted", part_name(&s->part[BASE]));
	s->problem[0] = '\0';
}

static void say_expired(struct crl_source *s, const struct look *look)
{
	bool delta = has_delta(s) && look->crl[DELTA].next_update <= loop_wall(s->c.loop);

	say_problem(s, &s->part[delta ? DELTA : BASE], crl_result_text(CRL_EXPIRED));
}

/*
 * Looks at both lists and loads them. incoming[k]: that part was fetched anew and takes its name only if all is right.
 * 0: the index holds them now.
 */
static int evaluate(struct crl_source *s, const bool incoming[PARTS], bool asked)
{
	struct look look = { 0 };
	int rc, k, parts = has_delta(s) ? PARTS : DELTA;

	rc = 0;
	for (k = 0; k < parts && rc == 0; k++)
		rc = look_at(&s->part[k], incoming[k], &look);
	if (rc == 0)
		rc = check_order(s, &look);
	if (rc == 0)
		rc = hash_content(s, &look);
	if (rc == 0)
		rc = load(s, &look, asked);
	for (k = 0; k < parts; k++) {
		s->part[k].seen = look.seen[k];
		if (incoming[k] && rc == 0 &&
		    renameat(s->c.state_dir, s->part[k].incoming, s->c.state_dir, s->part[k].stored) < 0)
			rc = -errno;
		crl_file_clear(&look.file[k]);
	}
	s->loaded = rc == 0;
	/* The list's own fault: reading it again would find the same. Ours (disk, memory) or the clock's may pass. */
	s->refused = rc <= CRL_MALFORMED && rc != CRL_NOT_YET_VALID;
	if (rc == 0) {
		if (look.expired)
			say_expired(s, &look);
		else
			all_is_well(s);
		s->c.changed(s->c.arg);
	}
	return rc;
}

/* --- files --- */

static bool files_unchanged(struct crl_source *s)
{
	struct stat st;
	int k;

	for (k = 0; k < PARTS; k++) {
		struct part *p = &s->part[k];

		if (p->path != NULL && p->url == NULL && (stat(p->path, &st) < 0 || !same_file(&st, &p->seen)))
			return false;
	}
	return true;
}

static bool has_url(const struct crl_source *s)
{
	return s->part[BASE].url != NULL || s->part[DELTA].url != NULL;
}

/* The lists are those in the index: still true as of now, where no server has to be asked. */
static void confirm(struct crl_source *s)
{
	const struct index_source_state *known = index_writer_source(s->c.index, s->issuer, INDEX_CRL);
	int64_t now = loop_wall(s->c.loop);

	index_writer_confirm(s->c.index, s->issuer, INDEX_CRL, now, known->next_update);
	if (known->next_update <= now)
		say_problem(s, &s->part[BASE], crl_result_text(CRL_EXPIRED));
	else
		all_is_well(s);
}

/* --- URLs --- */

/* What was fetched and not taken goes, and the next round fetches whole lists again. */
static void forget_incoming(struct crl_source *s)
{
	int k;

	for (k = 0; k < PARTS; k++) {
		if (s->part[k].url == NULL)
			continue;
		memset(&s->part[k].version, 0, sizeof(s->part[k].version));
		unlinkat(s->c.state_dir, s->part[k].incoming, 0);
	}
}

/* All servers have answered or failed. */
static void round_end(struct crl_source *s)
{
	bool incoming[PARTS], whole = true;
	int k;

	for (k = 0; k < PARTS; k++) {
		incoming[k] = s->part[k].url != NULL && s->part[k].answer == FETCH_NEW;
		if (s->part[k].url != NULL && s->part[k].answer == FETCH_FAILED)
			whole = false;		/* said by on_fetched; what is known grows old */
	}
	if (whole && !incoming[BASE] && !incoming[DELTA] && s->loaded && files_unchanged(s))
		confirm(s);
	else if (!whole || evaluate(s, incoming, true) < 0)
		forget_incoming(s);
}

static void close_incoming(struct part *p, bool keep)
{
	if (p->fetch_fd < 0)
		return;
	close(p->fetch_fd);
	p->fetch_fd = -1;
	if (!keep)
		unlinkat(p->source->c.state_dir, p->incoming, 0);
}

static void on_fetched(void *arg, enum fetch_result result, const struct fetch_version *version, const char *why)
{
	struct part *p = arg;
	struct crl_source *s = p->source;

	p->fetch = NULL;
	p->answer = result;
	close_incoming(p, result == FETCH_NEW);
	if (result == FETCH_FAILED)
		say_problem(s, p, why);
	if (result == FETCH_NEW)
		p->version = *version;
	if (s->part[BASE].fetch == NULL && s->part[DELTA].fetch == NULL)
		round_end(s);
}

static void fetch_part(struct part *p)
{
	struct crl_source *s = p->source;
	struct stat st;

	if (p->url == NULL)
		return;
	p->answer = FETCH_FAILED;
	p->fetch_fd = openat(s->c.state_dir, p->incoming, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (p->fetch_fd < 0) {
		say_problem(s, p, strerror(errno));
		return;
	}
	/* Without the stored list a "not modified" would be of no use. */
	if (fstatat(s->c.state_dir, p->stored, &st, 0) < 0)
		memset(&p->version, 0, sizeof(p->version));
	p->fetch = fetch_start(s->c.fetcher, p->url, p->fetch_fd, CRL_BYTES_MAX, FETCH_S, &p->version, on_fetched, p);
	if (p->fetch == NULL) {
		say_problem(s, p, "not a URL that can be fetched");
		close_incoming(p, false);
	}
}

/* --- the round --- */

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	static const bool none[PARTS];
	struct crl_source *s = arg;

	(void)fd;
	(void)what;
	if (has_url(s)) {
		if (s->part[BASE].fetch != NULL || s->part[DELTA].fetch != NULL)
			return;			/* the round before still goes on */
		fetch_part(&s->part[BASE]);
		fetch_part(&s->part[DELTA]);
	} else if (!files_unchanged(s) || (!s->loaded && !s->refused)) {
		evaluate(s, none, true);
	} else if (s->loaded) {
		confirm(s);
	}
}

const uint8_t *crl_source_issuer(const struct crl_source *s)
{
	return s->issuer;
}

const char *crl_source_problem(const struct crl_source *s)
{
	return s->problem;
}

static void part_init(struct crl_source *s, enum part_kind kind, const char *file, const char *url)
{
	static const char *const names[PARTS] = { "base", "delta" };
	struct part *p = &s->part[kind];
	char hex[2 * SHA256_SIZE + 1];

	*p = (struct part){ .source = s, .kind = kind, .fetch_fd = -1 };
	text_hex(hex, s->issuer, SHA256_SIZE);
	if (file != NULL && file[0] != '\0') {
		p->path = file;
	} else if (url != NULL && url[0] != '\0') {
		p->url = url;
		snprintf(p->stored, sizeof(p->stored), "crl-%s-%s", hex, names[kind]);
		snprintf(p->incoming, sizeof(p->incoming), "crl-%s-%s.new", hex, names[kind]);
	}
}

struct crl_source *crl_source_new(const struct crl_source_config *config)
{
	struct timeval period = { .tv_sec = config->refresh_seconds };
	struct crl_source *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->c = *config;
	s->part[BASE].fetch_fd = s->part[DELTA].fetch_fd = -1;
	s->timer = event_new(loop_base(config->loop), -1, EV_PERSIST, on_timer, s);
	if (s->timer == NULL || cert_spki_sha256(config->ca, s->issuer) != 0 || event_add(s->timer, &period) < 0) {
		crl_source_free(s);
		return NULL;
	}
	part_init(s, BASE, config->settings->file, config->settings->url);
	part_init(s, DELTA, config->settings->delta_file, config->settings->delta_url);
	return s;
}

void crl_source_free(struct crl_source *s)
{
	int k;

	if (s == NULL)
		return;
	for (k = 0; k < PARTS; k++) {
		fetch_cancel(s->part[k].fetch);
		close_incoming(&s->part[k], false);
	}
	if (s->timer != NULL)
		event_free(s->timer);
	free(s);
}

void crl_source_start(struct crl_source *s)
{
	static const bool none[PARTS];
	struct stat st;
	int k;

	/* A fetched list that is not there yet is no failure: the index on disk serves until the first fetch. */
	for (k = 0; k < PARTS; k++)
		if (s->part[k].url != NULL && fstatat(s->c.state_dir, s->part[k].stored, &st, 0) < 0)
			break;
	if (k == PARTS)
		evaluate(s, none, !has_url(s));
	if (has_url(s))
		on_timer(-1, 0, s);
}
