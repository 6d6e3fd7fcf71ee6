/*
 * ldap_conn: one connection to one server, from dialling to down and back, and the requests on it.
 * Knows no account. Must never wait: every step ends with a callback from the loop or a deadline.
 * Runs in the *directory* process.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/directory/ldap_parts.h"
#include "common/log.h"

/* Exported by libldap and used by others for the same purpose, but declared in no installed header.
 */
int ldap_init_fd(ber_socket_t fd, int proto, LDAP_CONST char *url, LDAP **ldp);
#define LDAP_PROTO_EXT 4 /* "the caller brings the layers" */

#define MESSAGE_MAX    (1u << 20) /* bytes of one answer */
#define STEADY_MS      5000	  /* a connection that lasted so long was a good one */
#define BACK_OFF_MAX   5000

static void on_stream_failed(void *arg, const char *why)
{
	ldap_conn_fail(arg, "%s", why);
}

/* --- life --- */

static void on_retry(struct deadline *d)
{
	ldap_conn_open(CONTAINER_OF(d, struct ldap_conn, retry));
}

static void on_limit(struct deadline *d)
{
	struct ldap_conn *c = CONTAINER_OF(d, struct ldap_conn, limit);

	ldap_conn_fail(c, "no answer in %u ms", c->pool->setup.config->timeout_ms);
}

static void enter(struct ldap_conn *c, enum ldap_conn_state state)
{
	c->state = state;
	if (state == CONN_READY || state == CONN_QUEUED || state == CONN_DOWN ||
	    state == CONN_REFUSED)
		deadline_disarm(&c->limit);
	else
		deadline_arm(c->pool->loop, &c->limit, c->pool->setup.config->timeout_ms, on_limit);
}

/* What the operator can do about a failure in this state. */
static const char *cure_in(enum ldap_conn_state state, const char *why)
{
	if (state > CONN_DIALLING && strncmp(why, "no answer", 9) == 0)
		return "see that the domain controller is well: it takes connections and says "
		       "nothing";
	switch (state) {
	case CONN_DIALLING:
		return "see that the domain controller runs, its name resolves and the port is "
		       "open from here";
	case CONN_STARTING_TLS:
		return "give the domain controller a certificate, or use ldaps://";
	case CONN_SECURING:
		return "see that directory.ldap.ca holds the authority of the server's "
		       "certificate, and that the certificate "
		       "names the host of the URL";
	case CONN_BINDING:
		return "see that the domain controller and, for gssapi, the KDC answer";
	case CONN_PREPARING:
		return "see directory.ldap.base, and that the service account may read the domain";
	default:
		return "nothing, if it comes back by itself; else see the domain controller's log";
	}
}

static void tell_down(struct ldap_conn *c, enum ldap_conn_state state, const char *why)
{
	struct log_line l;

	if (strcmp(c->told, why) == 0 || c->pool->refused[0] != '\0')
		return; /* said before, or by directory_refused */
	snprintf(c->told, sizeof(c->told), "%s", why);
	/* A ready connection that ends once is no fault yet: domain controllers end idle ones. */
	log_begin(&l, state == CONN_READY ? LOG_WARNING : LOG_ERROR, "directory_down");
	log_cstr(&l, "server", c->url);
	log_cstr(&l, "reason", why);
	log_cstr(&l, "cure", cure_in(state, why));
	log_int(&l, "servers_well", c->pool->well);
	log_end(&l);
}

/* Ends everything on the wire. Requests end with LDAP_SERVER_DOWN if `tell`. */
static void tear_down(struct ldap_conn *c, enum ldap_conn_state next, bool tell)
{
	bool was_well = c->state == CONN_READY;
	struct ldap_op *gone, *op;

	enter(c, next);
	ldap_watch_stop(c);
	ldap_bind_stop(c);
	ldap_pool_bind_leave(c);
	dial_cancel(c->dial);
	c->dial = NULL;
	deadline_disarm(&c->silence);
	deadline_disarm(&c->retry);
	gone = ldap_ops_take(c);
	c->waiting = 0;
	if (c->ld != NULL) {
		(void)ldap_unbind_ext(c->ld, NULL, NULL);
		ldap_stream_flush(&c->stream);
		c->ld = NULL;
	}
	ldap_stream_close(&c->stream);
	if (was_well)
		c->pool->well--;
	while ((op = gone) != NULL) {
		gone = op->next;
		if (tell && op->done != NULL)
			op->done(op->arg, c, LDAP_SERVER_DOWN, "the connection went away", NULL);
		free(op);
	}
	if (was_well && tell)
		ldap_pool_well(c->pool);
}

void ldap_conn_fail(struct ldap_conn *c, const char *fmt, ...)
{
	static const unsigned back_off[] = { 100, 500, 1000, 2000, 4000, BACK_OFF_MAX };
	enum ldap_conn_state state = c->state;
	uint64_t now = loop_now_ms(c->pool->loop);
	bool refused = c->pool->refused[0] != '\0';
	unsigned step;
	char why[512];
	va_list args;

	if (state == CONN_DOWN || state == CONN_REFUSED || c->pool->closing)
		return;
	va_start(args, fmt);
	vsnprintf(why, sizeof(why), fmt, args);
	va_end(args);
	if (c->was_ready && now - c->ready_ms >= STEADY_MS)
		c->failures = 0;
	c->was_ready = false;
	step = c->failures < ARRAY_LEN(back_off) ? c->failures : ARRAY_LEN(back_off) - 1;
	c->failures++;
	tear_down(c, refused ? CONN_REFUSED : CONN_DOWN, true);
	tell_down(c, state, why);
	if (c->state == CONN_DOWN)
		deadline_arm(c->pool->loop, &c->retry,
		    back_off[step] + (now * 7 + c->index * 37) % 100, on_retry);
	ldap_pool_well(c->pool); /* who waited for this one may have waited in vain */
}

void ldap_conn_close(struct ldap_conn *c)
{
	tear_down(c, CONN_DOWN, false);
}

/* --- from dialling to ready, in order --- */

static int make_handle(struct ldap_conn *c)
{
	int version = LDAP_VERSION3, deref = LDAP_DEREF_NEVER;
	ber_len_t max = MESSAGE_MAX;
	Sockbuf *sb = NULL;

	/* The socket is named for its number only: all bytes go through our layer. */
	if (ldap_init_fd(c->stream.fd, LDAP_PROTO_EXT, NULL, &c->ld) != LDAP_SUCCESS) {
		c->ld = NULL;
		return -1;
	}
	if (ldap_set_option(c->ld, LDAP_OPT_PROTOCOL_VERSION, &version) != LDAP_OPT_SUCCESS ||
	    ldap_set_option(c->ld, LDAP_OPT_REFERRALS, LDAP_OPT_OFF) != LDAP_OPT_SUCCESS ||
	    ldap_set_option(c->ld, LDAP_OPT_DEREF, &deref) != LDAP_OPT_SUCCESS ||
	    ldap_get_option(c->ld, LDAP_OPT_SOCKBUF, &sb) != LDAP_OPT_SUCCESS || sb == NULL)
		return -1;
	if (ber_sockbuf_add_io(sb, &ldap_stream_io, LBER_SBIOD_LEVEL_PROVIDER, &c->stream) < 0)
		return -1;
	return ber_sockbuf_ctrl(sb, LBER_SB_OPT_SET_MAX_INCOMING, &max) < 0 ? -1 : 0;
}

static void secure(struct ldap_conn *c)
{
	enter(c, CONN_SECURING);
	if (ldap_stream_secure(&c->stream, c->pool->tls, c->host) < 0)
		ldap_conn_fail(c, "%s", c->stream.why);
}

static void on_tls_allowed(
    void *arg, struct ldap_conn *c, int code, const char *diagnostic, LDAPMessage *result)
{
	(void)arg;
	(void)result;
	if (code == LDAP_SERVER_DOWN)
		return;
	if (code != LDAP_SUCCESS)
		ldap_conn_fail(c, "StartTLS is refused: %s %s", ldap_err2string(code), diagnostic);
	else
		secure(c);
}

static void start_tls(struct ldap_conn *c)
{
	enter(c, CONN_STARTING_TLS);
	if (ldap_conn_ask_tls(c, on_tls_allowed) < 0)
		ldap_conn_fail(c, "StartTLS cannot be sent");
}

static void on_dialled(void *arg, int fd, const char *why)
{
	struct ldap_conn *c = arg;

	c->dial = NULL;
	if (fd < 0) {
		ldap_conn_fail(c, "%s", why);
		return;
	}
	if (ldap_stream_open(&c->stream, c->pool->loop, fd) < 0 || make_handle(c) < 0) {
		ldap_conn_fail(c, "out of memory");
		return;
	}
	if (c->ldaps)
		secure(c);
	else
		start_tls(c);
}

static void on_secured(void *arg)
{
	struct ldap_conn *c = arg;

	enter(c, CONN_QUEUED);
	ldap_pool_bind_next(c->pool);
}

void ldap_conn_bind(struct ldap_conn *c)
{
	enter(c, CONN_BINDING);
	ldap_bind_start(c);
}

void ldap_conn_bound(struct ldap_conn *c)
{
	ldap_bind_stop(c);
	ldap_pool_bind_leave(c);
	enter(c, CONN_PREPARING);
	ldap_prepare(c);
}

void ldap_conn_prepared(struct ldap_conn *c)
{
	struct log_line l;

	enter(c, CONN_READY);
	c->was_ready = true;
	c->ready_ms = loop_now_ms(c->pool->loop);
	c->pool->well++;
	c->told[0] = '\0';
	c->told_code = LDAP_SUCCESS;
	log_begin(&l, LOG_INFO, "directory_up");
	log_cstr(&l, "server", c->url);
	log_cstr(&l, "domain", c->domain.dns);
	log_cstr(&l, "netbios", c->domain.netbios);
	log_int(&l, "connect_ms", (int64_t)(c->ready_ms - c->opened_ms));
	log_int(&l, "servers_well", c->pool->well);
	log_end(&l);
	ldap_watch_start(c);
	ldap_pool_well(c->pool);
}

void ldap_conn_open(struct ldap_conn *c)
{
	if (c->pool->refused[0] != '\0') {
		enter(c, CONN_REFUSED);
		return;
	}
	c->opened_ms = loop_now_ms(c->pool->loop);
	enter(c, CONN_DIALLING);
	c->dial = dial_start(c->pool->loop, c->pool->dns, c->host, c->port,
	    c->pool->setup.config->timeout_ms, on_dialled, c);
	if (c->dial == NULL)
		ldap_conn_fail(c, "out of memory");
}

int ldap_conn_init(
    struct ldap_conn *c, struct directory_ldap *pool, unsigned index, const char *url)
{
	LDAPURLDesc *parts = NULL;
	int rc = -1;

	c->pool = pool;
	c->index = index;
	c->url = url;
	c->stream.fd = -1;
	c->stream.received = ldap_conn_received;
	c->stream.secured = on_secured;
	c->stream.failed = on_stream_failed;
	c->stream.arg = c;
	if (ldap_url_parse(url, &parts) != LDAP_URL_SUCCESS || parts->lud_host == NULL ||
	    parts->lud_host[0] == '\0' || strlen(parts->lud_host) >= sizeof(c->host) ||
	    parts->lud_port < 0 || parts->lud_port > 65535) {
		log_say(LOG_ERROR, "directory_unusable",
		    "directory.ldap.servers: \"%s\": expected ldaps://HOST or ldap://HOST", url);
		goto out;
	}
	c->ldaps = strcmp(parts->lud_scheme, "ldaps") == 0;
	if (!c->ldaps && !pool->setup.config->start_tls) {
		log_say(LOG_ERROR, "directory_unusable",
		    "directory.ldap.servers: \"%s\" would be read in clear: use ldaps:// or "
		    "start_tls: true",
		    url);
		goto out;
	}
	memcpy(c->host, parts->lud_host, strlen(parts->lud_host) + 1);
	c->port = parts->lud_port != 0 ? (uint16_t)parts->lud_port : c->ldaps ? 636 : 389;
	rc = 0;
out:
	ldap_free_urldesc(parts);
	return rc;
}
