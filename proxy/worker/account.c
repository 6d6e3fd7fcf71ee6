/*
 * account: the worker's cache of directory answers and the questions under way. Worker process.
 */
#include "proxy/worker/account.h"

#include <openssl/evp.h>
#include <stdlib.h>

#include "common/object_memory.h"
#include "proxy/metric_table.h"

#define SLOTS 4096	/* of the hash; entries are spread by their certificates' hashes */

struct account_cache {
	struct loop *loop;
	struct asker *directory;
	size_t max, count;
	unsigned timeout_ms;
	unsigned configuration;		/* counts reloads */
	struct account_entry *slot[SLOTS];
	struct account_entry *newest, *oldest;
};

struct account_op {
	struct account_cache *accounts;
	uint64_t number;
	uint8_t certificate[SHA256_SIZE];
	uint64_t asked_ms;
	unsigned configuration;		/* that the question was put under */
	account_done_fn *done;
	void *arg;
	struct directory_find ask;	/* kept: a reload makes it be put once more */
};

struct account_cache *account_cache_new(struct loop *loop, struct asker *directory, size_t entries, unsigned timeout_ms)
{
	struct account_cache *a = calloc(1, sizeof(*a));

	if (a == NULL)
		return NULL;
	a->loop = loop;
	a->directory = directory;
	a->max = entries;
	a->timeout_ms = timeout_ms;
	return a;
}

static struct account_entry **slot_of(struct account_cache *a, const uint8_t certificate[SHA256_SIZE])
{
	unsigned i = (unsigned)(certificate[0] | certificate[1] << 8) % SLOTS;

	return &a->slot[i];
}

static void unlink_entry(struct account_cache *a, struct account_entry *e)
{
	struct account_entry **at = slot_of(a, e->certificate);

	while (*at != e)
		at = &(*at)->hash_next;
	*at = e->hash_next;
	if (e->newer != NULL)
		e->newer->older = e->older;
	else
		a->newest = e->older;
	if (e->older != NULL)
		e->older->newer = e->newer;
	else
		a->oldest = e->newer;
	a->count--;
	/* a session may hold it still, and no change finds it here any more */
	e->valid_until_ms = 0;
	account_unref(a, e);
}

static void link_entry(struct account_cache *a, struct account_entry *e)
{
	struct account_entry **at = slot_of(a, e->certificate);

	e->hash_next = *at;
	*at = e;
	e->older = a->newest;
	e->newer = NULL;
	if (a->newest != NULL)
		a->newest->newer = e;
	else
		a->oldest = e;
	a->newest = e;
	a->count++;
	e->refs++;
}

static struct account_entry *find(struct account_cache *a, const uint8_t certificate[SHA256_SIZE])
{
	struct account_entry *e = *slot_of(a, certificate);

	while (e != NULL && memcmp(e->certificate, certificate, SHA256_SIZE) != 0)
		e = e->hash_next;
	return e;
}

void account_cache_free(struct account_cache *a)
{
	if (a == NULL)
		return;
	while (a->oldest != NULL)
		unlink_entry(a, a->oldest);
	free(a);
}

void account_cache_limit(struct account_cache *a, size_t entries, unsigned timeout_ms)
{
	a->max = entries;
	a->timeout_ms = timeout_ms;
	while (a->count > a->max)
		unlink_entry(a, a->oldest);
}

void account_unref(struct account_cache *a, struct account_entry *e)
{
	(void)a;
	if (e != NULL && --e->refs == 0)
		object_free(e);
}

bool account_is_fresh(struct account_cache *a, const struct account_entry *e)
{
	return e != NULL && e->configuration == a->configuration && loop_now_ms(a->loop) < e->valid_until_ms;
}

static bool terminated(const char *text, size_t size)
{
	return memchr(text, '\0', size) != NULL;
}

/* The directory parses what a hostile server sends; its answer is checked like anybody's. */
static bool is_sound(const struct directory_found *f, size_t n)
{
	const struct account *c = &f->account;

	return n == sizeof(*f) && f->result <= ACCOUNT_MISMATCH && terminated(c->sid, sizeof(c->sid)) &&
	    terminated(c->sam, sizeof(c->sam)) && terminated(c->realm, sizeof(c->realm)) &&
	    terminated(c->netbios, sizeof(c->netbios)) && terminated(c->upn, sizeof(c->upn)) &&
	    terminated(c->mail, sizeof(c->mail)) && terminated(c->display_name, sizeof(c->display_name));
}

static const char *keep(char **at, const char *text)
{
	size_t n = strlen(text) + 1;
	char *here = memcpy(*at, text, n);

	*at += n;
	return here;
}

static struct account_entry *make_entry(const struct directory_found *f, const uint8_t certificate[SHA256_SIZE])
{
	const struct account *c = &f->account;
	size_t n = strlen(c->sid) + strlen(c->sam) + strlen(c->realm) + strlen(c->netbios) + strlen(c->upn) + strlen(c->mail) +
	    strlen(c->display_name) + 7;
	struct account_entry *e = object_new(sizeof(*e) + n);
	char *at;

	if (e == NULL)
		return NULL;
	at = e->texts;
	memcpy(e->certificate, certificate, SHA256_SIZE);
	memcpy(e->voucher, f->voucher, VOUCHER_SIZE);
	e->result = f->result;
	e->view = (struct account_view){ keep(&at, c->sid), keep(&at, c->sam), keep(&at, c->realm), keep(&at, c->netbios),
		keep(&at, c->upn), keep(&at, c->mail), keep(&at, c->display_name), c->groups, c->flags, c->expires };
	e->refs = 1;
	if (EVP_Digest(e->view.sid, strlen(e->view.sid), e->key, NULL, EVP_sha256(), NULL) != 1) {
		object_free(e);
		return NULL;
	}
	return e;
}

struct account_entry *account_checked(const struct account *account, const uint8_t binding[SHA256_SIZE], const uint8_t voucher[VOUCHER_SIZE])
{
	struct directory_found f;

	memset(&f, 0, sizeof(f));
	f.result = ACCOUNT_FOUND;
	f.account = *account;
	memcpy(f.voucher, voucher, VOUCHER_SIZE);
	return is_sound(&f, sizeof(f)) && f.account.sid[0] != '\0' ? make_entry(&f, binding) : NULL;
}

static int put_question(struct account_op *op);

static void on_found(void *arg, enum wire_status status, const void *body, size_t n)
{
	struct account_op *op = arg;
	struct account_cache *a = op->accounts;
	account_done_fn *done = op->done;
	void *done_arg = op->arg;
	struct directory_found f;
	struct account_entry *e = NULL, *old;

	/* groups are numbered by the configuration: what was asked under the old one is asked again, of the directory of the new one */
	if (op->configuration != a->configuration && put_question(op) == 0)
		return;
	memset(&f, 0, sizeof(f));
	if (status == WIRE_OK && n == sizeof(f) && op->configuration == a->configuration) {
		memcpy(&f, body, sizeof(f));
		if (is_sound(&f, n) && f.result != ACCOUNT_UNAVAILABLE)
			e = make_entry(&f, op->certificate);
	}
	metrics_add(M_DIRECTORY_CALLS, e != NULL ? f.result : ACCOUNT_UNAVAILABLE, 1);
	metrics_observe_us(M_DIRECTORY_SECONDS, 0, (loop_now_ms(a->loop) - op->asked_ms) * 1000);
	if (e != NULL) {
		e->configuration = a->configuration;
		e->valid_until_ms = loop_now_ms(a->loop) + (uint64_t)f.ttl_seconds * 1000;
		old = find(a, op->certificate);
		if (old != NULL)
			unlink_entry(a, old);
		if (a->count >= a->max && a->oldest != NULL)
			unlink_entry(a, a->oldest);
		link_entry(a, e);
	}
	free(op);
	done(done_arg, e);
}

static int put_question(struct account_op *op)
{
	struct account_cache *a = op->accounts;

	op->configuration = a->configuration;
	op->number = asker_ask(a->directory, DIRECTORY_FIND, &op->ask, sizeof(op->ask), a->timeout_ms, on_found, op);
	return op->number != 0 ? 0 : -1;
}

int account_get(struct account_cache *a, const struct account_who *who, bool fresh, account_done_fn *done, void *arg,
    struct account_entry **entry, struct account_op **op_out)
{
	struct account_entry *e = fresh ? NULL : find(a, who->certificate);
	struct account_op *op;

	if (account_is_fresh(a, e)) {
		metrics_add(M_ACCOUNT_CACHE, CACHE_HIT, 1);
		e->refs++;
		*entry = e;
		return 1;
	}
	metrics_add(M_ACCOUNT_CACHE, CACHE_MISS, 1);
	if (strlen(who->value) >= sizeof(op->ask.value) || strlen(who->sid) >= sizeof(op->ask.sid))
		return -1;
	op = calloc(1, sizeof(*op));
	if (op == NULL)
		return -1;
	op->ask.kind = who->kind;
	op->ask.fresh = fresh;
	op->ask.unproven = who->unproven;
	memcpy(op->ask.value, who->value, strlen(who->value) + 1);
	memcpy(op->ask.sid, who->sid, strlen(who->sid) + 1);
	memcpy(op->ask.certificate, who->certificate, SHA256_SIZE);
	op->accounts = a;
	memcpy(op->certificate, who->certificate, SHA256_SIZE);
	op->asked_ms = loop_now_ms(a->loop);
	op->done = done;
	op->arg = arg;
	if (put_question(op) < 0) {
		free(op);
		return -1;
	}
	*op_out = op;
	return 0;
}

void account_cancel(struct account_op *op)
{
	if (op == NULL)
		return;
	asker_cancel(op->accounts->directory, op->number);
	free(op);
}

bool account_cache_names(struct account_cache *a, const char *sid, const char **sam, const char **realm)
{
	for (struct account_entry *e = a->newest; e != NULL; e = e->older) {
		if (e->result == ACCOUNT_FOUND && strcmp(e->view.sid, sid) == 0) {
			*sam = e->view.sam;
			*realm = e->view.realm;
			return true;
		}
	}
	return false;
}

void account_cache_changed(struct account_cache *a, const char *sid)
{
	for (struct account_entry *e = a->newest; e != NULL; e = e->older) {
		if (sid[0] == '\0' || strcmp(e->view.sid, sid) == 0 || e->result != ACCOUNT_FOUND)
			e->valid_until_ms = 0;
	}
}

void account_cache_reconfigured(struct account_cache *a)
{
	a->configuration++;
	account_cache_changed(a, "");
}
