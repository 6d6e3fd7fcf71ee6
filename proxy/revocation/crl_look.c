/*
 * crl_look: one look at an issuer's CRL and delta: reads, verifies, holds them against what the index knows, loads them. When to look
 * is crl_source.c's. Runs in the revocation process.
 */
#include "proxy/revocation/crl_source.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <unistd.h>

#include "common/log.h"
#include "common/text.h"
#include "proxy/revocation/crl.h"
#include "proxy/revocation/crl_file.h"
#include "proxy/revocation/crl_source_parts.h"

#define SAY_AGAIN_S 3600	/* the same failure is repeated in the log after so long */

/* What one look at both lists found. */
struct look {
	struct crl_file file[PARTS];
	struct crl crl[PARTS];
	struct stat seen[PARTS];
	uint8_t content[SHA256_SIZE];
	bool expired;
	X509 *signer;			/* NULL: the issuer itself */
};

bool crl_same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	    a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	    a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static const char *part_name(const struct part *p)
{
	return p->url != NULL ? p->url : p->path;
}

void crl_say_problem(struct crl_source *s, const struct part *p, const char *reason)
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

/*
 * The operator has named the key; that it is the issuer's must be certified by a CA of the configuration, which must not have
 * taken it back. If the list is the one that would say so, load() looks there.
 */
int crl_judge_signer(const struct crl_source *s, X509 *signer)
{
	time_t now = loop_wall(s->c.loop);
	uint8_t key[SHA256_SIZE];
	struct serial serial;
	struct point point;
	int64_t as_of;
	X509 *ca;
	int i;

	if (X509_cmp_time(X509_get0_notBefore(signer), &now) >= 0 || X509_cmp_time(X509_get0_notAfter(signer), &now) <= 0 ||
	    cert_serial(X509_get0_serialNumber(signer), &serial) != CERT_OK)
		return CRL_BAD_SIGNER;
	for (i = 0; s->c.known != NULL && i < sk_X509_num(s->c.known); i++) {
		ca = sk_X509_value(s->c.known, i);
		if (ca == signer || X509_NAME_cmp(X509_get_issuer_name(signer), X509_get_subject_name(ca)) != 0 ||
		    X509_verify(signer, X509_get0_pubkey(ca)) != 1 || cert_spki_sha256(ca, key) != 0)
			continue;
		if (memcmp(key, s->issuer, SHA256_SIZE) == 0)
			return CRL_OK;
		point_of_certificate(signer, &point);
		switch (revocation_lookup_point(index_writer_view(s->c.index), key, &serial, &point, now, &as_of)) {
		case REVOCATION_GOOD:
			return CRL_OK;
		case REVOCATION_REVOKED:
			return CRL_BAD_SIGNER;
		default:
			return CRL_SIGNER_UNKNOWN;
		}
	}
	ERR_clear_error();
	return CRL_BAD_SIGNER;
}

/* By the issuer's own key, else by a further one of its keys. */
static int verify(const struct crl_source *s, const struct crl *crl, X509 **signer)
{
	X509 *ca = sk_X509_value(s->c.ca, 0), *other;
	time_t now = loop_wall(s->c.loop);
	int rc = crl_verify(crl, ca, ca, now), i, found, judged;

	for (i = 1; i < sk_X509_num(s->c.ca) && rc != CRL_OK && rc != CRL_EXPIRED; i++) {
		other = sk_X509_value(s->c.ca, i);
		found = crl_verify(crl, ca, other, now);
		if (found != CRL_OK && found != CRL_EXPIRED)
			continue;
		judged = crl_judge_signer(s, other);
		rc = judged == CRL_OK ? found : judged;
		*signer = other;
	}
	return rc;
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
			crl_say_problem(s, p, strerror(-fd));
		return fd;
	}
	rc = fstat(fd, &look->seen[p->kind]) < 0 ? -errno : 0;
	if (rc == 0 && !S_ISREG(look->seen[p->kind].st_mode))
		rc = -EINVAL;
	if (rc == 0)
		rc = crl_file_read(fd, s->c.state_dir, &look->file[p->kind]);
	close(fd);
	if (rc < 0) {
		crl_say_problem(s, p, rc == -EBADMSG ? crl_result_text(CRL_MALFORMED) : strerror(-rc));
		return rc;
	}
	rc = crl_read(look->file[p->kind].der, crl);
	if (rc == CRL_OK && crl->is_delta != (p->kind == DELTA))
		rc = p->kind == DELTA ? CRL_NOT_A_DELTA : CRL_IS_DELTA;
	if (rc == CRL_OK)
		rc = verify(s, crl, &look->signer);
	if (rc == CRL_EXPIRED) {
		/* Its entries still count, and the index answers "unknown" for all others. */
		look->expired = true;
		rc = CRL_OK;
	}
	if (rc != CRL_OK)
		crl_say_problem(s, p, crl_result_text(rc));
	return rc;
}

bool crl_has_delta(const struct crl_source *s)
{
	return s->part[DELTA].path != NULL || s->part[DELTA].url != NULL;
}

/* Order of lists against what the index knows, and of delta against base. */
static int check_order(struct crl_source *s, const struct look *look)
{
	const struct index_source_state *known = index_writer_source(s->c.index, s->issuer, INDEX_CRL);
	const struct crl *base = &look->crl[BASE], *delta = crl_has_delta(s) ? &look->crl[DELTA] : NULL;
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
	crl_say_problem(s, p, rc != CRL_ROLLBACK ? crl_result_text(rc) :
	    "is older than the list that is already known (if the CA really began anew: stop, remove revocation.idx, start)");
	return rc;
}

static int hash_content(const struct crl_source *s, struct look *look)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	int ok = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) &&
	    EVP_DigestUpdate(ctx, look->file[BASE].sha256, SHA256_SIZE) &&
	    (!crl_has_delta(s) || EVP_DigestUpdate(ctx, look->file[DELTA].sha256, SHA256_SIZE)) &&
	    EVP_DigestFinal_ex(ctx, look->content, NULL);

	EVP_MD_CTX_free(ctx);
	return ok ? 0 : -ENOMEM;
}

static int64_t next_update(const struct crl_source *s, const struct look *look)
{
	int64_t next = look->crl[BASE].next_update;

	return crl_has_delta(s) && look->crl[DELTA].next_update < next ? look->crl[DELTA].next_update : next;
}

static void say_loaded(const struct crl_source *s, const struct look *look, size_t revoked, uint64_t began)
{
	char number[2 * SERIAL_MAX + 1];
	struct log_line l;

	log_begin(&l, LOG_INFO, "crl_loaded");
	log_cstr(&l, "source", part_name(&s->part[BASE]));
	text_hex(number, look->crl[BASE].number.byte, look->crl[BASE].number.n);
	log_cstr(&l, "number", number);
	if (crl_has_delta(s)) {
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

/* The list's own issuer certified the key that signed the list. */
static bool signed_by_own(const struct crl_source *s, X509 *signer)
{
	return X509_verify(signer, X509_get0_pubkey(sk_X509_value(s->c.ca, 0))) == 1;
}

/* Into the index, unless these very bytes are there already: LOOK_UNCHANGED. asked: the servers were, in this round. */
static int load(struct crl_source *s, const struct look *look, bool asked, enum crl_look *came_to)
{
	const struct index_source_state *known = index_writer_source(s->c.index, s->issuer, INDEX_CRL);
	const struct crl *base = &look->crl[BASE], *delta = crl_has_delta(s) ? &look->crl[DELTA] : NULL;
	struct index_source_state state = { .confirmed = confirmed_at(s, look, asked), .next_update = next_update(s, look) };
	uint64_t began = loop_now_fresh();
	struct serials list = { 0 };
	struct serial serial;
	int rc;

	if (known != NULL && memcmp(known->content, look->content, SHA256_SIZE) == 0) {
		if (state.confirmed > known->confirmed)
			index_writer_confirm(s->c.index, s->issuer, INDEX_CRL, state.confirmed, state.next_update);
		*came_to = LOOK_UNCHANGED;
		return 0;
	}
	state.this_update = base->this_update;
	state.number = state.delta_number = base->number;
	if (delta != NULL && serial_compare(&delta->number, &base->number) > 0)
		state.delta_number = delta->number;
	memcpy(state.content, look->content, SHA256_SIZE);
	state.points_count = (uint8_t)base->points_count;
	memcpy(state.points, base->points, sizeof(state.points));
	rc = crl_collect(base, delta, &list);
	if (rc == CRL_OK && look->signer != NULL && cert_serial(X509_get0_serialNumber(look->signer), &serial) == CERT_OK &&
	    signed_by_own(s, look->signer) && serials_have(&list, &serial))
		rc = CRL_BAD_SIGNER;
	if (rc == CRL_OK)
		rc = index_writer_load(s->c.index, s->issuer, INDEX_CRL, &list, false, &state);
	if (rc < 0)
		crl_say_problem(s, &s->part[BASE], rc <= CRL_MALFORMED ? crl_result_text(rc) : strerror(-rc));
	else
		say_loaded(s, look, list.n, began);
	serials_clear(&list);
	return rc;
}

void crl_all_is_well(struct crl_source *s)
{
	if (s->problem[0] != '\0')
		log_say(LOG_INFO, "crl_recovered", "%s: accepted", part_name(&s->part[BASE]));
	s->problem[0] = '\0';
}

static void say_expired(struct crl_source *s, const struct look *look)
{
	bool delta = crl_has_delta(s) && look->crl[DELTA].next_update <= loop_wall(s->c.loop);

	crl_say_problem(s, &s->part[delta ? DELTA : BASE], crl_result_text(CRL_EXPIRED));
}

void crl_count(enum crl_look look)
{
	metrics_add(M_CRL_LOADS, look, 1);
}

/* rc: of enum crl_result, or -errno. */
static enum crl_look refusal(int rc)
{
	switch (rc) {
	case CRL_WRONG_ISSUER:
		return LOOK_WRONG_ISSUER;
	case CRL_NOT_A_CRL_SIGNER:
	case CRL_BAD_ALGORITHM:
	case CRL_BAD_SIGNATURE:
	case CRL_BAD_SIGNER:
	case CRL_SIGNER_UNKNOWN:
		return LOOK_SIGNATURE;
	case CRL_NOT_YET_VALID:
		return LOOK_NOT_YET_VALID;
	case CRL_ROLLBACK:
		return LOOK_ROLLBACK;
	case CRL_INDIRECT:
	case CRL_PARTIAL:
	case CRL_IS_DELTA:
	case CRL_NOT_A_DELTA:
	case CRL_DELTA_BASE:
	case CRL_DELTA_SCOPE:
		return LOOK_SCOPE;
	case CRL_TOO_MANY:
		return LOOK_UNREADABLE;
	default:
		return rc == -EBADMSG || (rc >= CRL_MALFORMED && rc <= CRL_SIGNER_UNKNOWN) ? LOOK_MALFORMED : LOOK_UNREADABLE;
	}
}

int crl_evaluate(struct crl_source *s, const bool incoming[PARTS], bool asked)
{
	enum crl_look came_to = LOOK_LOADED;
	struct look look = { 0 };
	int rc, k, parts = crl_has_delta(s) ? PARTS : DELTA;

	rc = 0;
	for (k = 0; k < parts && rc == 0; k++)
		rc = look_at(&s->part[k], incoming[k], &look);
	if (rc == 0)
		rc = check_order(s, &look);
	if (rc == 0)
		rc = hash_content(s, &look);
	if (rc == 0)
		rc = load(s, &look, asked, &came_to);
	for (k = 0; k < parts; k++) {
		s->part[k].seen = look.seen[k];
		if (incoming[k] && rc == 0 &&
		    renameat(s->c.state_dir, s->part[k].incoming, s->c.state_dir, s->part[k].stored) < 0)
			rc = -errno;
		crl_file_clear(&look.file[k]);
	}
	crl_count(rc != 0 ? refusal(rc) : look.expired ? LOOK_EXPIRED : came_to);
	s->loaded = rc == 0;
	/* The list's own fault: reading it again would find the same. Ours (disk, memory) or the clock's may pass. */
	s->waiting = rc == CRL_SIGNER_UNKNOWN;
	s->refused = rc <= CRL_MALFORMED && rc != CRL_NOT_YET_VALID && !s->waiting;
	if (rc == 0) {
		s->signer = look.signer;
		if (look.expired)
			say_expired(s, &look);
		else
			crl_all_is_well(s);
		s->c.changed(s->c.arg);
	}
	return rc;
}
