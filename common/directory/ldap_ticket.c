/*
 * ldap_ticket: the AS and TGS exchanges of one service account. Asks for the service tickets of
 * LDAP servers only. A refusal of the key is told apart from everything else, because it must not
 * be tried again. Runs in the *directory* process; the keytab never leaves it.
 */
#include "common/directory/ldap_ticket.h"

#include <errno.h>
#include <krb5/krb5.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define RENEW_SECONDS 300 /* a ticket-granting ticket with less left is got anew */
#define CACHE_NAME    "MEMORY:easgate-ldap"
#define KEYTAB_NAME   "MEMORY:easgate-ldap"

struct ldap_tickets {
	struct loop *loop;
	struct evdns_base *dns;
	struct kdc_list kdcs;
	krb5_context ctx;
	krb5_principal me;
	krb5_keytab keytab;
	krb5_ccache cache;
	char principal[256], realm[256], host[256];
	int config_fd; /* what KRB5_CONFIG names */
	time_t tgt_until;
	/* of the exchange under way */
	krb5_init_creds_context as;
	krb5_tkt_creds_context tgs;
	struct kdc_exchange *exchange;
	struct event *start;
	ticket_done_fn *done; /* NULL: none */
	void *arg;
};

static int memfd_with(const char *name, struct strv text)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	if (fd >= 0 && write(fd, text.p, text.n) != (ssize_t)text.n) {
		close(fd);
		return -1;
	}
	return fd;
}

/* --- the end of an exchange --- */

static void stop(struct ldap_tickets *t)
{
	kdc_cancel(t->exchange);
	t->exchange = NULL;
	if (t->as != NULL)
		krb5_init_creds_free(t->ctx, t->as);
	if (t->tgs != NULL)
		krb5_tkt_creds_free(t->ctx, t->tgs);
	t->as = NULL;
	t->tgs = NULL;
}

void ldap_tickets_cancel(struct ldap_tickets *t)
{
	if (t == NULL)
		return;
	stop(t);
	event_del(t->start);
	t->done = NULL;
}

static void finish(struct ldap_tickets *t, enum ticket_result result, const char *why)
{
	ticket_done_fn *done = t->done;

	stop(t);
	t->done = NULL;
	done(t->arg, result, why);
}

static bool is_refusal(krb5_error_code code)
{
	switch (code) {
	case KRB5KDC_ERR_PREAUTH_FAILED:
	case KRB5KDC_ERR_CLIENT_REVOKED:
	case KRB5KDC_ERR_C_PRINCIPAL_UNKNOWN:
	case KRB5KDC_ERR_KEY_EXP:
	case KRB5KDC_ERR_NAME_EXP:
	case KRB5KDC_ERR_ETYPE_NOSUPP:
	case KRB5KDC_ERR_POLICY:
	case KRB5KRB_AP_ERR_BAD_INTEGRITY:
	case KRB5_KT_NOTFOUND:
	case KRB5_PREAUTH_FAILED:
		return true;
	default:
		return false;
	}
}

static void fail_with(struct ldap_tickets *t, const char *what, krb5_error_code code)
{
	const char *text = krb5_get_error_message(t->ctx, code);
	char why[512];

	snprintf(why, sizeof(why), "%s: %s", what, text);
	krb5_free_error_message(t->ctx, text);
	/* Only the account's own exchange tells something about its key. */
	finish(t, t->tgs == NULL && is_refusal(code) ? TICKET_REFUSED : TICKET_FAILED, why);
}

/* --- the exchanges --- */

static void step(struct ldap_tickets *t, krb5_data *in);

static void on_answer(void *arg, struct strv answer, const char *why)
{
	struct ldap_tickets *t = arg;
	krb5_data in = { .data = (char *)(uintptr_t)answer.p, .length = (unsigned)answer.n };

	t->exchange = NULL;
	if (answer.p == NULL)
		finish(t, TICKET_FAILED, why);
	else
		step(t, &in);
}

/* Keeps the ticket-granting ticket in a cache of its own, which begins empty. */
static krb5_error_code keep_tgt(struct ldap_tickets *t)
{
	krb5_creds creds;
	krb5_error_code code;

	memset(&creds, 0, sizeof(creds));
	code = krb5_init_creds_get_creds(t->ctx, t->as, &creds);
	if (code == 0)
		code = krb5_cc_initialize(t->ctx, t->cache, t->me);
	if (code == 0)
		code = krb5_cc_store_cred(t->ctx, t->cache, &creds);
	if (code == 0)
		t->tgt_until = (time_t)(uint32_t)creds.times.endtime;
	krb5_free_cred_contents(t->ctx, &creds);
	krb5_init_creds_free(t->ctx, t->as);
	t->as = NULL;
	return code;
}

static krb5_error_code start_tgs(struct ldap_tickets *t)
{
	krb5_creds wanted;
	krb5_error_code code;
	char name[600];

	memset(&wanted, 0, sizeof(wanted));
	snprintf(name, sizeof(name), "ldap/%s@%s", t->host, t->realm);
	wanted.client = t->me;
	code = krb5_parse_name(t->ctx, name, &wanted.server);
	if (code == 0)
		code = krb5_tkt_creds_init(t->ctx, t->cache, &wanted, 0, &t->tgs);
	krb5_free_principal(t->ctx, wanted.server);
	return code;
}

static krb5_error_code start_as(struct ldap_tickets *t)
{
	krb5_error_code code = krb5_init_creds_init(t->ctx, t->me, NULL, NULL, 0, NULL, &t->as);

	return code != 0 ? code : krb5_init_creds_set_keytab(t->ctx, t->as, t->keytab);
}

/* One exchange has ended well: the next one, or the end. */
static void advance(struct ldap_tickets *t)
{
	krb5_error_code code;

	if (t->tgs != NULL) {
		finish(t, TICKET_OK, NULL);
		return;
	}
	code = keep_tgt(t);
	if (code == 0)
		code = start_tgs(t);
	if (code != 0)
		fail_with(t, "tickets", code);
	else
		step(t, NULL);
}

static void send_on(struct ldap_tickets *t, const krb5_data *message, const krb5_data *realm)
{
	if (realm->length != strlen(t->realm) ||
	    memcmp(realm->data, t->realm, realm->length) != 0) {
		finish(t, TICKET_FAILED, "the KDC refers to another realm");
		return;
	}
	t->exchange = kdc_ask(t->loop, t->dns, &t->kdcs,
	    (struct strv){ message->data, message->length }, on_answer, t);
	if (t->exchange == NULL)
		finish(t, TICKET_FAILED, "out of memory");
}

/* Hands `in` to whichever exchange is under way, and its next message to a KDC. */
static void step(struct ldap_tickets *t, krb5_data *in)
{
	krb5_data out = { .data = NULL }, realm = { .data = NULL }, none = { .data = NULL };
	krb5_error_code code;
	unsigned flags = 0;
	bool goes_on;

	if (t->as != NULL)
		code = krb5_init_creds_step(
		    t->ctx, t->as, in != NULL ? in : &none, &out, &realm, &flags);
	else
		code = krb5_tkt_creds_step(
		    t->ctx, t->tgs, in != NULL ? in : &none, &out, &realm, &flags);
	goes_on = code == 0 &&
		  (flags & KRB5_INIT_CREDS_STEP_FLAG_CONTINUE); /* the same bit for both */
	if (goes_on)
		send_on(t, &out, &realm);
	krb5_free_data_contents(t->ctx, &out);
	krb5_free_data_contents(t->ctx, &realm);
	if (code != 0)
		fail_with(t,
		    t->as != NULL ? "the key of the service account"
				  : "a ticket for the LDAP server",
		    code);
	else if (!goes_on)
		advance(t);
}

static void on_start(evutil_socket_t fd, short what, void *arg)
{
	struct ldap_tickets *t = arg;
	bool fresh = t->tgt_until < loop_wall(t->loop) + RENEW_SECONDS;
	krb5_error_code code;

	(void)fd;
	(void)what;
	if (t->done == NULL)
		return;
	code = fresh ? start_as(t) : start_tgs(t);
	if (code != 0)
		fail_with(t, "tickets", code);
	else
		step(t, NULL);
}

int ldap_tickets_get(struct ldap_tickets *t, const char *host, ticket_done_fn *done, void *arg)
{
	if (t->done != NULL)
		return -1;
	t->done = done;
	t->arg = arg;
	snprintf(t->host, sizeof(t->host), "%s", host);
	event_active(t->start, EV_TIMEOUT,
	    0); /* a ticket in the cache needs no KDC, and still nobody is called back at once */
	return 0;
}

void ldap_tickets_forget(struct ldap_tickets *t)
{
	t->tgt_until = 0;
}

const char *ldap_tickets_cache(const struct ldap_tickets *t)
{
	(void)t;
	return CACHE_NAME;
}
const char *ldap_tickets_principal(const struct ldap_tickets *t)
{
	return t->principal;
}
const char *ldap_tickets_realm(const struct ldap_tickets *t)
{
	return t->realm;
}

/* --- life --- */

/* libkrb5 reads files; this one is ours, names no KDC, and asks no DNS. */
static int own_config(struct ldap_tickets *t)
{
	char text[1024], path[64];
	int n = snprintf(text, sizeof(text),
	    "[libdefaults]\n\tdefault_realm = %s\n\tdns_lookup_kdc = false\n"
	    "\tdns_lookup_realm = false\n\tdns_canonicalize_hostname = false\n\trdns = false\n"
	    "\tdefault_ccache_name = %s\n\tdefault_client_keytab_name = %s\n",
	    t->realm, CACHE_NAME, KEYTAB_NAME);

	t->config_fd = memfd_with("krb5.conf", (struct strv){ text, (size_t)n });
	if (t->config_fd < 0)
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", t->config_fd);
	return setenv("KRB5_CONFIG", path, 1);
}

/* The bytes go through a memfd, since the library reads keytabs from files only; the entries stay
 * in its memory. */
static krb5_error_code take_keytab(struct ldap_tickets *t, struct strv bytes, bool *mine)
{
	krb5_keytab file = NULL;
	krb5_kt_cursor cursor;
	krb5_keytab_entry entry;
	krb5_error_code code;
	char name[64];
	int fd = memfd_with("keytab", bytes);

	*mine = false;
	if (fd < 0)
		return KRB5_KT_IOERR;
	snprintf(name, sizeof(name), "FILE:/proc/self/fd/%d", fd);
	code = krb5_kt_resolve(t->ctx, name, &file);
	if (code == 0)
		code = krb5_kt_start_seq_get(t->ctx, file, &cursor);
	if (code == 0) {
		while (krb5_kt_next_entry(t->ctx, file, &entry, &cursor) == 0) {
			*mine |= krb5_principal_compare(t->ctx, entry.principal, t->me);
			code = code != 0 ? code : krb5_kt_add_entry(t->ctx, t->keytab, &entry);
			krb5_free_keytab_entry_contents(t->ctx, &entry);
		}
		krb5_kt_end_seq_get(t->ctx, file, &cursor);
	}
	if (file != NULL)
		krb5_kt_close(t->ctx, file);
	close(fd);
	return code;
}

static krb5_error_code set_up(
    struct ldap_tickets *t, const struct ldap_tickets_setup *setup, bool *mine)
{
	krb5_error_code code = krb5_init_context(&t->ctx);

	if (code == 0)
		code = krb5_parse_name(t->ctx, setup->principal, &t->me);
	if (code == 0)
		code = krb5_kt_resolve(t->ctx, KEYTAB_NAME, &t->keytab);
	if (code == 0)
		code = krb5_cc_resolve(t->ctx, CACHE_NAME, &t->cache);
	return code != 0 ? code : take_keytab(t, setup->keytab, mine);
}

struct ldap_tickets *ldap_tickets_new(struct loop *loop, struct evdns_base *dns,
    const struct ldap_tickets_setup *setup, char *why, size_t why_size)
{
	struct ldap_tickets *t = calloc(1, sizeof(*t));
	const char *at = strrchr(setup->principal, '@'), *text;
	krb5_error_code code;
	bool mine = false;

	if (t == NULL) {
		snprintf(why, why_size, "out of memory");
		return NULL;
	}
	t->loop = loop;
	t->dns = dns;
	t->kdcs = setup->kdcs;
	t->config_fd = -1;
	if (at == NULL || at[1] == '\0' || strlen(setup->principal) >= sizeof(t->principal)) {
		snprintf(
		    why, why_size, "\"%s\" is no principal: expected NAME@REALM", setup->principal);
		goto failed;
	}
	snprintf(t->principal, sizeof(t->principal), "%s", setup->principal);
	snprintf(t->realm, sizeof(t->realm), "%s", at + 1);
	if (own_config(t) < 0) {
		snprintf(why, why_size, "out of memory");
		goto failed;
	}
	t->start = event_new(loop_base(loop), -1, 0, on_start, t);
	code = t->start != NULL ? set_up(t, setup, &mine) : ENOMEM;
	if (code == 0 && mine)
		return t;
	text = t->ctx != NULL && code != 0 ? krb5_get_error_message(t->ctx, code) : NULL;
	snprintf(why, why_size, "%s",
	    text != NULL ? text : "it has no key of that principal (the realm in upper case?)");
	if (text != NULL)
		krb5_free_error_message(t->ctx, text);
failed:
	ldap_tickets_free(t);
	return NULL;
}

void ldap_tickets_free(struct ldap_tickets *t)
{
	if (t == NULL)
		return;
	if (t->ctx != NULL) {
		stop(t);
		if (t->cache != NULL)
			krb5_cc_destroy(t->ctx, t->cache);
		if (t->keytab != NULL)
			krb5_kt_close(t->ctx, t->keytab);
		krb5_free_principal(t->ctx, t->me);
		krb5_free_context(t->ctx);
	}
	if (t->start != NULL)
		event_free(t->start);
	if (t->config_fd >= 0)
		close(t->config_fd);
	free(t);
}
