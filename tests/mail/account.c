/*
 * account: the table of accounts, and the welcome mail of a new one.
 * Names are folded to lower case; what is no name makes no account.
 * Part of the sample mail server, which runs as one process.
 */
#include "account.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 1024

TAILQ_HEAD(account_list, account);

struct accounts {
	char domain[ACCOUNT_NAME_MAX + 1];
	struct mail_room room;
	unsigned count;
	struct account_list buckets[BUCKETS];
};

struct accounts *accounts_new(const char *domain)
{
	struct accounts *a;

	if (strlen(domain) > ACCOUNT_NAME_MAX)
		return NULL;
	a = calloc(1, sizeof(*a));
	if (a == NULL)
		return NULL;
	for (size_t i = 0; domain[i] != '\0'; i++)
		a->domain[i] = (char)tolower((unsigned char)domain[i]);
	a->room.limit = MAIL_ROOM;
	for (unsigned i = 0; i < BUCKETS; i++)
		TAILQ_INIT(&a->buckets[i]);
	return a;
}

void accounts_free(struct accounts *a)
{
	if (a == NULL)
		return;
	for (unsigned i = 0; i < BUCKETS; i++) {
		struct account *account;

		while ((account = TAILQ_FIRST(&a->buckets[i])) != NULL) {
			TAILQ_REMOVE(&a->buckets[i], account, entry);
			mailbox_clear(&account->mailbox);
			device_list_clear(&account->devices);
			free(account);
		}
	}
	free(a);
}

static unsigned bucket_of(const char *name)
{
	uint32_t hash = 2166136261u;    /* FNV-1a: the table only has to spread honest names */

	for (; *name != '\0'; name++)
		hash = (hash ^ (unsigned char)*name) * 16777619u;
	return hash % BUCKETS;
}

/* Folds case, drops DOMAIN\ and our own @domain. False: empty, too long, or not a name. */
static bool normal_name(const struct accounts *a, const char *user, char out[ACCOUNT_NAME_MAX + 1])
{
	const char *slash = strchr(user, '\\');
	char *at;
	size_t n;

	if (slash != NULL)
		user = slash + 1;
	n = strlen(user);
	if (n == 0 || n > ACCOUNT_NAME_MAX)
		return false;
	for (size_t i = 0; i <= n; i++) {
		unsigned char c = (unsigned char)user[i];

		if (i < n && (c <= 0x20 || c >= 0x7f || strchr("<>\",;\\", c) != NULL))
			return false;
		out[i] = (char)tolower(c);
	}
	at = strrchr(out, '@');
	if (at != NULL && strcmp(at + 1, a->domain) == 0)
		*at = '\0';
	return out[0] != '\0';
}

static void welcome(const struct accounts *a, struct account *account)
{
	char date[64], mail[4096];
	time_t now = time(NULL);
	struct tm tm;
	int n;

	gmtime_r(&now, &tm);
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S +0000", &tm);
	n = snprintf(mail, sizeof(mail),
	    "From: Sample mail server <postmaster@%s>\r\n"
	    "To: <%s>\r\n"
	    "Subject: Welcome, %s\r\n"
	    "Date: %s\r\n"
	    "MIME-Version: 1.0\r\n"
	    "Content-Type: text/plain; charset=utf-8\r\n"
	    "\r\n"
	    "This mailbox lives in the memory of the sample mail server.\r\n"
	    "If you read this on a device, its way to the mail works.\r\n",
	    a->domain, account->address, account->name, date);
	if (n > 0 && (size_t)n < sizeof(mail))
		mailbox_add(&account->mailbox, FOLDER_INBOX, mail, (size_t)n, false);
}

struct account *accounts_get(struct accounts *a, const char *user)
{
	char name[ACCOUNT_NAME_MAX + 1];
	struct account *account;
	struct account_list *bucket;

	if (!normal_name(a, user, name))
		return NULL;
	bucket = &a->buckets[bucket_of(name)];
	TAILQ_FOREACH(account, bucket, entry)
		if (strcmp(account->name, name) == 0)
			return account;
	if (a->count == ACCOUNTS_MAX)
		return NULL;
	account = calloc(1, sizeof(*account));
	if (account == NULL)
		return NULL;
	strcpy(account->name, name);
	snprintf(account->address, sizeof(account->address), "%s%s%s", name,
	    strchr(name, '@') == NULL ? "@" : "", strchr(name, '@') == NULL ? a->domain : "");
	mailbox_init(&account->mailbox, &a->room);
	TAILQ_INIT(&account->devices);
	TAILQ_INIT(&account->waiting);
	TAILQ_INSERT_TAIL(bucket, account, entry);
	a->count++;
	welcome(a, account);
	return account;
}

struct account *accounts_next(struct accounts *a, struct account *after)
{
	struct account *next = after == NULL ? NULL : TAILQ_NEXT(after, entry);
	unsigned bucket = after == NULL ? 0 : bucket_of(after->name) + 1;

	while (next == NULL && bucket < BUCKETS)
		next = TAILQ_FIRST(&a->buckets[bucket++]);
	return next;
}

bool account_deliver(struct account *to, enum folder_id folder, const char *mail, size_t n)
{
	return mailbox_add(&to->mailbox, folder, mail, n, folder == FOLDER_SENT) != NULL;
}
