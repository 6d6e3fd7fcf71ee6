/*
 * account: claim → account. Asks the *directory* process and keeps a bounded cache by certificate, since the voucher in an
 * answer is made out for one certificate. Entries are shared by reference: a session holds the one it uses.
 */
#ifndef EASGATE_ACCOUNT_H
#define EASGATE_ACCOUNT_H

#include "common/directory/ask.h"
#include "common/loop.h"
#include "common/asker.h"

/* What later steps read of an account; texts are "" when the directory has none. */
struct account_view {
	const char *sid, *sam, *realm, *netbios, *upn, *mail, *display_name;
	uint64_t groups;
	uint32_t flags;
	int64_t expires;
};

struct account_entry {
	/* --- private to account.c --- */
	struct account_entry *hash_next, *newer, *older;
	unsigned refs;
	uint64_t valid_until_ms;	/* 0: something changed, ask again */
	unsigned configuration;		/* that it was asked for under */
	/* --- for readers --- */
	uint8_t certificate[SHA256_SIZE];
	uint32_t result;		/* enum account_result, never ACCOUNT_UNAVAILABLE */
	struct account_view view;	/* zeroed texts unless ACCOUNT_FOUND */
	uint8_t voucher[VOUCHER_SIZE];
	uint8_t key[SHA256_SIZE];	/* SHA-256 of the SID: whose connections to mail servers these are */
	char texts[];
};

struct account_who {
	uint32_t kind;			/* enum claim_kind */
	const char *value, *sid;
	const uint8_t *certificate;	/* SHA256_SIZE bytes; for a password user: hash of the name */
	bool unproven;			/* nobody has verified it: the answer has no voucher, whatever the kind */
};

struct account_cache;
struct account_op;

/* entry: a reference for the callee, or NULL: the directory is not to be had (503). Once, from the loop. */
typedef void account_done_fn(void *arg, struct account_entry *entry);

struct account_cache *account_cache_new(struct loop *loop, struct asker *directory, size_t entries, unsigned timeout_ms);
void account_cache_free(struct account_cache *a);
/* Other limits from now on: what is too much leaves at once; questions under way keep their time. */
void account_cache_limit(struct account_cache *a, size_t entries, unsigned timeout_ms);

/*
 * 1: *entry is a fresh answer from the cache, a reference for the caller. 0: `done` will run; *op can cancel it.
 * -1: too many questions under way. `fresh`: past all caches.
 */
MUST_CHECK int account_get(struct account_cache *a, const struct account_who *who, bool fresh, account_done_fn *done, void *arg,
    struct account_entry **entry, struct account_op **op);
/*
 * An entry of its own, in no cache, for an account that *lockout* found the password of to be right: `binding` stands for the certificate that
 * its voucher is made out for. NULL: it is nobody's, not sound, or no memory. A reference for the caller.
 */
MUST_CHECK struct account_entry *account_checked(const struct account *account, const uint8_t binding[SHA256_SIZE],
    const uint8_t voucher[VOUCHER_SIZE]);
void account_cancel(struct account_op *op);	/* accepts NULL */
bool account_is_fresh(struct account_cache *a, const struct account_entry *e);
/* Accepts NULL. */
void account_unref(struct account_cache *a, struct account_entry *e);
/* The names of a cached account, for dropping its tickets: false when none with that SID is cached. Borrowed until the next call. */
bool account_cache_names(struct account_cache *a, const char *sid, const char **sam, const char **realm);
/* Marks what is cached of that account as stale; "" : all. */
void account_cache_changed(struct account_cache *a, const char *sid);
/*
 * A new configuration: group bits may mean other groups now. Everything cached is stale, and answers to questions that were put
 * before count as unavailable (503, the device asks again), never as the new configuration's.
 */
void account_cache_reconfigured(struct account_cache *a);

#endif
