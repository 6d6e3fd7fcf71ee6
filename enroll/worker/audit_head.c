/*
 * audit_head: one line a look, if the trail grew. Worker of easenroll and CLI.
 */
#include "enroll/worker/audit_head.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/log.h"
#include "common/text.h"

struct found {
	int64_t n;
	uint8_t *hash;
	bool there;
};

static bool take(void *arg, const struct registry_audit_entry *e)
{
	struct found *f = arg;

	f->there = e->n == f->n;
	memcpy(f->hash, e->hash, SHA256_SIZE);
	return false;
}

enum registry_result audit_head_entry(struct registry *r, int64_t n, uint8_t hash[SHA256_SIZE])
{
	struct found f = { .n = n, .hash = hash };
	enum registry_result rc = registry_audit_list(r, n, 1, "", take, &f);

	return rc == REGISTRY_OK && !f.there ? REGISTRY_NONE : rc;
}

void audit_head_print(char out[AUDIT_HEAD_MAX], int64_t n, const uint8_t hash[SHA256_SIZE])
{
	int at = snprintf(out, AUDIT_HEAD_MAX, "%" PRId64 ":", n);

	text_hex(out + at, hash, SHA256_SIZE);
}

int audit_head_parse(struct strv text, int64_t *n, uint8_t hash[SHA256_SIZE])
{
	struct strv rest = text, number = text_split(&rest, ':');
	uint64_t k = 0;

	if (rest.p == NULL || text_u64(number, INT64_MAX, &k) < 0 || k == 0 || text_unhex(hash, SHA256_SIZE, rest) < 0)
		return -1;
	*n = (int64_t)k;
	return 0;
}

static void tell(struct audit_head *h)
{
	char head[AUDIT_HEAD_MAX];
	struct log_line l;

	audit_head_print(head, h->next, h->next_hash);
	log_begin_audit(&l, "audit_head");
	log_cstr(&l, "head", head);
	log_end(&l);
	h->told = h->next;
	memcpy(h->told_hash, h->next_hash, SHA256_SIZE);
	h->next = 0;
}

/* False: it could not be read, which its own line tells. */
static bool hold_against(struct audit_head *h, struct registry *r)
{
	uint8_t hash[SHA256_SIZE];
	enum registry_result rc = h->told > 0 ? audit_head_entry(r, h->told, hash) : REGISTRY_NONE;
	char head[AUDIT_HEAD_MAX];

	if (rc != REGISTRY_OK && rc != REGISTRY_NONE)
		return false;
	if (h->told == 0 || (rc == REGISTRY_OK && memcmp(hash, h->told_hash, SHA256_SIZE) == 0))
		return true;
	audit_head_print(head, h->told, h->told_hash);
	log_say(LOG_ERROR, "audit_broken", "entry %s of the audit trail %s: somebody changed the registry under the running program; stop it, keep the file, "
	    "and hold it against your log: easenroll audit verify --log FILE", head, rc == REGISTRY_NONE ? "is gone" : "is another one now");
	h->told = h->next = 0;
	return true;
}

void audit_head_look(struct audit_head *h, struct registry *r, uint64_t wait)
{
	int64_t last = 0;

	if (!hold_against(h, r) || registry_audit_last(r, &last) != REGISTRY_OK || last == h->told || last == 0 ||
	    audit_head_entry(r, last, h->next_hash) != REGISTRY_OK)
		return;
	h->next = last;
	h->wait = wait;
	audit_head_reached(h, wait == 0 ? UINT64_MAX : 0);
}

void audit_head_reached(struct audit_head *h, uint64_t upto)
{
	if (h->next > 0 && upto >= h->wait)
		tell(h);
}
