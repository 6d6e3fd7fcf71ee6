/*
 * audit_trail: the hash of an entry, and the walk that holds every entry against the one before. Worker process and CLI.
 */
#include "enroll/worker/audit_trail.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>

#define HEAD	    "easgate-audit-1"
#define TEXTS_MAX   (2 * REGISTRY_ACTOR_MAX + 64 + REGISTRY_DETAIL_MAX)
#define GATHERED_MAX (sizeof(HEAD) + SHA256_SIZE + 8 + 8 + 4 * 4 + TEXTS_MAX)

static uint8_t *put(uint8_t *at, const void *p, size_t n)
{
	memcpy(at, p, n);
	return at + n;
}

static uint8_t *put_number(uint8_t *at, uint64_t number, size_t width)
{
	for (size_t i = 0; i < width; i++)
		at[i] = (uint8_t)(number >> 8 * (width - 1 - i));
	return at + width;
}

static uint8_t *put_text(uint8_t *at, const char *text, size_t size)
{
	size_t n = strnlen(text, size);

	return put(put_number(at, n, 4), text, n);
}

/* Looked for once, and one context for all: OpenSSL 3.0 takes longer to find SHA-256 and make a context than to hash an entry. */
static int digest(const void *p, size_t n, uint8_t out[SHA256_SIZE])
{
	static EVP_MD_CTX *ctx;
	static EVP_MD *sha256;

	if (sha256 == NULL)
		sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	if (ctx == NULL)
		ctx = EVP_MD_CTX_new();
	return sha256 != NULL && ctx != NULL && EVP_DigestInit_ex2(ctx, sha256, NULL) == 1 && EVP_DigestUpdate(ctx, p, n) == 1 &&
	    EVP_DigestFinal_ex(ctx, out, NULL) == 1 ? 0 : -1;
}

int audit_trail_hash(const struct registry_audit_entry *e, uint8_t out[SHA256_SIZE])
{
	uint8_t bytes[GATHERED_MAX], *at = bytes;

	at = put(at, HEAD, sizeof(HEAD) - 1);
	at = put(at, e->previous, SHA256_SIZE);
	at = put_number(at, (uint64_t)e->n, 8);
	at = put_number(at, (uint64_t)e->at, 8);
	at = put_text(at, e->actor, sizeof(e->actor));
	at = put_text(at, e->action, sizeof(e->action));
	at = put_text(at, e->object, sizeof(e->object));
	at = put_text(at, e->detail, sizeof(e->detail));
	return digest(bytes, (size_t)(at - bytes), out);
}

static bool check(void *arg, const struct registry_audit_entry *e)
{
	struct audit_trail_report *report = arg;
	uint8_t hash[SHA256_SIZE];

	report->bad = e->n;
	if (e->n != report->entries + 1)
		snprintf(report->text, sizeof(report->text), "after entry %" PRId64 " comes %" PRId64 ": entries are missing", report->entries, e->n);
	else if (memcmp(e->previous, report->last, SHA256_SIZE) != 0)
		snprintf(report->text, sizeof(report->text), "entry %" PRId64 " does not continue the one before", e->n);
	else if (audit_trail_hash(e, hash) < 0 || memcmp(hash, e->hash, SHA256_SIZE) != 0)
		snprintf(report->text, sizeof(report->text), "entry %" PRId64 " was changed", e->n);
	else
		report->bad = 0;
	if (report->bad != 0)
		return false;
	report->entries = e->n;
	memcpy(report->last, e->hash, SHA256_SIZE);
	return true;
}

int audit_trail_verify(struct registry *r, struct audit_trail_report *report)
{
	*report = (struct audit_trail_report){ .entries = 0 };
	if (registry_audit_list(r, INT64_MIN, UINT32_MAX, "", check, report) != REGISTRY_OK) {
		snprintf(report->text, sizeof(report->text), "%s", registry_problem(r));
		return -1;
	}
	return report->bad != 0 ? 1 : 0;
}
