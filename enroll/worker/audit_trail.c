/*
 * audit_trail: the hash of an entry, and the walk that holds every entry against the one before. Worker process and CLI.
 */
#include "enroll/worker/audit_trail.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>

static int put(EVP_MD_CTX *ctx, const void *p, size_t n)
{
	return EVP_DigestUpdate(ctx, p, n) == 1 ? 0 : -1;
}

static int put_number(EVP_MD_CTX *ctx, uint64_t number, size_t width)
{
	uint8_t bytes[8];

	for (size_t i = 0; i < width; i++)
		bytes[i] = (uint8_t)(number >> 8 * (width - 1 - i));
	return put(ctx, bytes, width);
}

static int put_text(EVP_MD_CTX *ctx, const char *text)
{
	size_t n = strlen(text);

	return put_number(ctx, n, 4) < 0 ? -1 : put(ctx, text, n);
}

int audit_trail_hash(const struct registry_audit_entry *e, uint8_t out[SHA256_SIZE])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned n = 0;
	int rc = -1;

	if (ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 && put(ctx, "easgate-audit-1", 15) == 0 &&
	    put(ctx, e->previous, SHA256_SIZE) == 0 && put_number(ctx, (uint64_t)e->n, 8) == 0 && put_number(ctx, (uint64_t)e->at, 8) == 0 &&
	    put_text(ctx, e->actor) == 0 && put_text(ctx, e->action) == 0 && put_text(ctx, e->object) == 0 && put_text(ctx, e->detail) == 0 &&
	    EVP_DigestFinal_ex(ctx, out, &n) == 1 && n == SHA256_SIZE)
		rc = 0;
	EVP_MD_CTX_free(ctx);
	return rc;
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
