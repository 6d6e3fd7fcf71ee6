/*
 * account: everybody who has a mailbox here; an account comes to be on first use.
 * Bounded in number and in bytes of mail. Nothing survives the process.
 * Part of the sample mail server, which runs as one process.
 */
#ifndef MAIL_ACCOUNT_H
#define MAIL_ACCOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

#include "device.h"
#include "mailbox.h"

#define ACCOUNT_NAME_MAX 254
#define ACCOUNTS_MAX 10000
#define ACCOUNT_DEVICES_MAX 1000
#define MAIL_ROOM ((size_t)128 << 20)   /* bytes of mail, all accounts together */

struct call;
TAILQ_HEAD(call_list, call);

struct account {
	TAILQ_ENTRY(account) entry;
	char name[ACCOUNT_NAME_MAX + 1];        /* lower-case, without DOMAIN\ and our @domain */
	char address[2 * ACCOUNT_NAME_MAX + 2]; /* name@domain */
	struct mailbox mailbox;
	struct device_list devices;
	struct call_list waiting;               /* held calls; they unlink themselves */
};

struct accounts;

/* `domain` is the mail domain of names without one. NULL: no memory. */
struct accounts *accounts_new(const char *domain);
void accounts_free(struct accounts *a);

/*
 * The account of a user name (alice, DOMAIN\alice, alice@domain) or mail address; made, with
 * a welcome mail, if it is new. Owned by `a`, lives as long. NULL: not a name, or full.
 */
struct account *accounts_get(struct accounts *a, const char *user);

/* Goes through all accounts; NULL starts. NULL ends. */
struct account *accounts_next(struct accounts *a, struct account *after);

/* Puts mail into the account's folder. Returns false if there is no room for it. */
bool account_deliver(struct account *to, enum folder_id folder, const char *mail, size_t n);

#endif
