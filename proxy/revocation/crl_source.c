/*
 * crl_source: watches and fetches one issuer's CRL and delta: when to look, where from, and what a failure means. What is in
 * a list is crl_look.c's. Runs in the revocation process.
 */
#include "proxy/revocation/crl_source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/log.h"
#include "common/text.h"
#include "proxy/revocation/crl.h"
#include "proxy/revocation/crl_source_parts.h"

#define FETCH_S 120

/* --- files --- */

static bool files_unchanged(struct crl_source *s)
{
	struct stat st;
	int k;

	for (k = 0; k < PARTS; k++) {
		struct part *p = &s->part[k];

		if (p->path != NULL && p->url == NULL && (stat(p->path, &st) < 0 || !crl_same_file(&st, &p->seen)))
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

	if (s->signer != NULL && crl_judge_signer(s, s->signer) != CRL_OK) {
		crl_say_problem(s, &s->part[BASE], crl_result_text(CRL_BAD_SIGNER));
		crl_count(LOOK_SIGNATURE);
		return;
	}
	crl_count(known->next_update <= now ? LOOK_EXPIRED : LOOK_UNCHANGED);
	index_writer_confirm(s->c.index, s->issuer, INDEX_CRL, now, known->next_update);
	if (known->next_update <= now)
		crl_say_problem(s, &s->part[BASE], crl_result_text(CRL_EXPIRED));
	else
		crl_all_is_well(s);
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
	else if (!whole || crl_evaluate(s, incoming, true) < 0)
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
	if (result == FETCH_FAILED) {
		crl_say_problem(s, p, why);
		crl_count(LOOK_NOT_FETCHED);
	}
	if (result == FETCH_NEW)
		p->version = *version;
	if (s->part[BASE].fetch == NULL && s->part[DELTA].fetch == NULL)
		round_end(s);
}

static void fetch_part(struct part *p)
{
	static const struct fetch_rules rules = { .schemes = "http,https", .max_bytes = CRL_BYTES_MAX, .timeout_s = FETCH_S };
	struct crl_source *s = p->source;
	struct stat st;

	if (p->url == NULL)
		return;
	p->answer = FETCH_FAILED;
	p->fetch_fd = openat(s->c.state_dir, p->incoming, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (p->fetch_fd < 0) {
		crl_say_problem(s, p, strerror(errno));
		return;
	}
	/* Without the stored list a "not modified" would be of no use. */
	if (fstatat(s->c.state_dir, p->stored, &st, 0) < 0)
		memset(&p->version, 0, sizeof(p->version));
	p->fetch = fetch_start(s->c.fetcher, p->url, p->fetch_fd, &rules, &p->version, on_fetched, p);
	if (p->fetch == NULL) {
		crl_say_problem(s, p, "not a URL that can be fetched");
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
		crl_evaluate(s, none, true);
	} else if (s->loaded) {
		confirm(s);
	}
}

void crl_source_retry(struct crl_source *s)
{
	static const bool none[PARTS];

	if (s->waiting)
		crl_evaluate(s, none, !has_url(s));
}

void crl_source_look(struct crl_source *s)
{
	on_timer(-1, 0, s);
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
	if (s->timer == NULL || cert_spki_sha256(sk_X509_value(config->ca, 0), s->issuer) != 0 || event_add(s->timer, &period) < 0) {
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
		crl_evaluate(s, none, !has_url(s));
	if (has_url(s))
		on_timer(-1, 0, s);
}
