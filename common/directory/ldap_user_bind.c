/*
 * ldap_user_bind: one simple bind as a user, on a connection of its own, inside TLS, and the end of it. The request is
 * written here and not by libldap, so that no copy of the password stays in anybody's buffers. Decides nothing but
 * what the server's answer means. Runs in the *directory* process.
 */
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/directory/ldap_parts.h"

#define ANSWER_MAX 65536

enum bind_step { STEP_DIALLING, STEP_ASKING_TLS, STEP_SECURING, STEP_BINDING, STEP_OVER };

struct ldap_user_bind {
	const struct ldap_conn *conn; /* whose server */
	enum bind_step step;
	struct dial *dial;
	struct ldap_stream stream;
	struct deadline limit;
	char dn[LDAP_DN_MAX];
	const char *password;
	size_t password_n;
	enum sign_in_result result;
	char why[256];
	ldap_user_bound_fn *done;
	void *arg;
};

/* --- the end --- */

static void bind_free(struct ldap_user_bind *b)
{
	dial_cancel(b->dial);
	deadline_disarm(&b->limit);
	ldap_stream_close(&b->stream);
	free(b);
}

static void on_over(struct deadline *d)
{
	struct ldap_user_bind *b = CONTAINER_OF(d, struct ldap_user_bind, limit);
	ldap_user_bound_fn *done = b->done;
	enum sign_in_result result = b->result;
	char why[sizeof(b->why)];
	void *arg = b->arg;

	memcpy(why, b->why, sizeof(why));
	bind_free(b);
	done(arg, result, why);
}

/* From the loop: the stream that we are called from must outlive the call. */
static void end(struct ldap_user_bind *b, enum sign_in_result result, const char *why)
{
	if (b->step == STEP_OVER)
		return;
	b->step = STEP_OVER;
	b->result = result;
	snprintf(b->why, sizeof(b->why), "%s", why);
	deadline_arm(b->conn->pool->loop, &b->limit, 0, on_over);
}

static void on_limit(struct deadline *d)
{
	end(CONTAINER_OF(d, struct ldap_user_bind, limit), SIGN_IN_UNAVAILABLE,
	    "no answer in time");
}

static void on_failed(void *arg, const char *why) { end(arg, SIGN_IN_UNAVAILABLE, why); }

/* --- what the answer means --- */

enum sign_in_result ldap_user_bind_judge(int code, const char *diagnostic)
{
	/* AD: "..., data 52e, v...". 532 and 773 are said only of a right password. */
	static const struct {
		const char *data;
		enum sign_in_result result;
	} known[] = {
		{ "data 52e", SIGN_IN_WRONG },
		{ "data 525", SIGN_IN_UNKNOWN },
		{ "data 530", SIGN_IN_NOT_NOW },
		{ "data 531", SIGN_IN_NOT_NOW },
		{ "data 532", SIGN_IN_MUST_CHANGE },
		{ "data 533", SIGN_IN_DISABLED },
		{ "data 701", SIGN_IN_EXPIRED },
		{ "data 773", SIGN_IN_MUST_CHANGE },
		{ "data 775", SIGN_IN_LOCKED },
	};
	const char *p;

	if (code == LDAP_SUCCESS)
		return SIGNED_IN;
	if (code != LDAP_INVALID_CREDENTIALS)
		return SIGN_IN_UNAVAILABLE;
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		p = strstr(diagnostic, known[i].data);
		if (p != NULL && (p[8] == ',' || p[8] == '\0' || p[8] == ' '))
			return known[i].result;
	}
	return SIGN_IN_WRONG;
}

/* --- requests (RFC 4511 4.2, 4.14.1; X.690) --- */

static size_t put_length(uint8_t *out, size_t n)
{
	if (n < 128) {
		out[0] = (uint8_t)n;
		return 1;
	}
	out[0] = 0x82;
	out[1] = (uint8_t)(n >> 8);
	out[2] = (uint8_t)n;
	return 3;
}

static size_t length_of_length(size_t n) { return n < 128 ? 1 : 3; }

static void wiped(const void *bytes, size_t n, void *arg)
{
	(void)arg;
	OPENSSL_cleanse((void *)(uintptr_t)bytes, n);
	free((void *)(uintptr_t)bytes);
}

/* LDAPMessage { 2, BindRequest { 3, dn, [0] password } } */
static int send_bind(struct ldap_user_bind *b)
{
	size_t dn_n = strlen(b->dn), inner, outer, at = 0, size;
	uint8_t *p;

	inner = 3 + 1 + length_of_length(dn_n) + dn_n + 1 + length_of_length(b->password_n) +
	    b->password_n;
	outer = 3 + 1 + length_of_length(inner) + inner;
	size = 1 + length_of_length(outer) + outer;
	p = malloc(size);
	if (p == NULL)
		return -1;
	p[at++] = 0x30;
	at += put_length(p + at, outer);
	memcpy(p + at, "\x02\x01\x02\x60", 4);
	at += 4;
	at += put_length(p + at, inner);
	memcpy(p + at, "\x02\x01\x03\x04", 4);
	at += 4;
	at += put_length(p + at, dn_n);
	memcpy(p + at, b->dn, dn_n);
	at += dn_n;
	p[at++] = 0x80;
	at += put_length(p + at, b->password_n);
	memcpy(p + at, b->password, b->password_n);
	if (evbuffer_add_reference(b->stream.out, p, size, wiped, NULL) < 0) {
		wiped(p, size, NULL);
		return -1;
	}
	ldap_stream_flush(&b->stream);
	return 0;
}

/* LDAPMessage { 1, ExtendedRequest { 1.3.6.1.4.1.1466.20037 } } */
static int send_start_tls(struct ldap_user_bind *b)
{
	static const char request[] = "\x30\x1d\x02\x01\x01\x77\x18\x80\x16" LDAP_EXOP_START_TLS;

	if (evbuffer_add(b->stream.out, request, sizeof(request) - 1) < 0)
		return -1;
	ldap_stream_flush(&b->stream);
	return 0;
}

/* --- answers --- */

/* How long the first message is. 0: not known yet. -1: no message, or too long. */
static long message_length(struct evbuffer *in)
{
	uint8_t head[6];
	ev_ssize_t n = evbuffer_copyout(in, head, sizeof(head));
	size_t length = 0, more;

	if (n < 2)
		return 0;
	if (head[0] != 0x30)
		return -1;
	if (head[1] < 128)
		return 2 + head[1];
	more = head[1] & 0x7f;
	if (more == 0 || more > 4)
		return -1;
	if ((size_t)n < 2 + more)
		return 0;
	for (size_t i = 0; i < more; i++)
		length = length << 8 | head[2 + i];
	return length <= ANSWER_MAX ? (long)(2 + more + length) : -1;
}

/* LDAPMessage { id, [APPLICATION tag] { code, matchedDN, diagnostic, ... } } */
static int parse(
    struct berval *bytes, ber_int_t id, ber_tag_t tag, int *code, char *diagnostic, size_t size)
{
	BerElement *ber = ber_init(bytes);
	struct berval matched = { 0, NULL }, text = { 0, NULL };
	ber_int_t got_id = 0, got_code = 0;
	ber_tag_t got_tag = 0;
	ber_len_t n;
	int rc = -1;

	if (ber == NULL)
		return -1;
	if (ber_scanf(ber, "{i", &got_id) == LBER_ERROR || got_id != id)
		goto out;
	got_tag = ber_peek_tag(ber, &n);
	if (got_tag != tag || ber_scanf(ber, "{emm", &got_code, &matched, &text) == LBER_ERROR)
		goto out;
	n = text.bv_len < size - 1 ? text.bv_len : size - 1;
	if (n > 0)
		memcpy(diagnostic, text.bv_val, n);
	diagnostic[n] = '\0';
	*code = (int)got_code;
	rc = 0;
out:
	ber_free(ber, 1);
	return rc;
}

static void take_answer(struct ldap_user_bind *b, int code, const char *diagnostic)
{
	char why[256];

	snprintf(why, sizeof(why), "%s", ldap_err2string(code));
	if (b->step == STEP_BINDING) {
		end(b, ldap_user_bind_judge(code, diagnostic), why);
	} else if (code != LDAP_SUCCESS) {
		end(b, SIGN_IN_UNAVAILABLE, "StartTLS is refused");
	} else {
		b->step = STEP_SECURING;
		if (ldap_stream_secure(&b->stream, b->conn->pool->tls, b->conn->host) < 0)
			end(b, SIGN_IN_UNAVAILABLE, b->stream.why);
	}
}

static void on_received(void *arg)
{
	struct ldap_user_bind *b = arg;
	long n = message_length(b->stream.in);
	bool binding = b->step == STEP_BINDING;
	char diagnostic[512];
	struct berval bytes;
	int code;

	if (b->step == STEP_OVER || n == 0 ||
	    (n > 0 && evbuffer_get_length(b->stream.in) < (size_t)n))
		return;
	bytes = (struct berval){ 0, n > 0 ? (char *)evbuffer_pullup(b->stream.in, n) : NULL };
	bytes.bv_len = bytes.bv_val != NULL ? (ber_len_t)n : 0;
	if ((b->step != STEP_ASKING_TLS && !binding) || bytes.bv_val == NULL ||
	    parse(&bytes, binding ? 2 : 1, binding ? LDAP_RES_BIND : LDAP_RES_EXTENDED, &code,
		diagnostic, sizeof(diagnostic)) < 0) {
		end(b, SIGN_IN_UNAVAILABLE, "the server sent what is no answer");
		return;
	}
	(void)evbuffer_drain(b->stream.in, (size_t)n);
	take_answer(b, code, diagnostic);
}

/* --- the way there --- */

static void on_secured(void *arg)
{
	struct ldap_user_bind *b = arg;

	if (b->step != STEP_SECURING)
		return;
	b->step = STEP_BINDING;
	if (b->stream.ssl == NULL || b->password_n == 0 || b->dn[0] == '\0')
		bug("a user's bind in clear or without a name or password");
	if (send_bind(b) < 0)
		end(b, SIGN_IN_UNAVAILABLE, "out of memory");
}

static void on_dialled(void *arg, int fd, const char *why)
{
	struct ldap_user_bind *b = arg;

	b->dial = NULL;
	if (fd < 0) {
		end(b, SIGN_IN_UNAVAILABLE, why);
		return;
	}
	if (ldap_stream_open(&b->stream, b->conn->pool->loop, fd) < 0) {
		end(b, SIGN_IN_UNAVAILABLE, "out of memory");
		return;
	}
	b->step = b->conn->ldaps ? STEP_SECURING : STEP_ASKING_TLS;
	if (b->conn->ldaps ? ldap_stream_secure(&b->stream, b->conn->pool->tls, b->conn->host) < 0 :
			     send_start_tls(b) < 0)
		end(b, SIGN_IN_UNAVAILABLE, b->stream.why);
}

struct ldap_user_bind *ldap_user_bind_start(const struct ldap_conn *c, const char *dn,
    const char *password, size_t password_n, ldap_user_bound_fn *done, void *arg)
{
	struct directory_ldap *d = c->pool;
	struct ldap_user_bind *b;

	if (password_n == 0 || password_n > DIRECTORY_PASSWORD_MAX || dn[0] == '\0' ||
	    strlen(dn) >= sizeof(b->dn))
		return NULL; /* RFC 4513 5.1.2: such a bind would "succeed" */
	b = calloc(1, sizeof(*b));
	if (b == NULL)
		return NULL;
	b->conn = c;
	memcpy(b->dn, dn, strlen(dn) + 1);
	b->password = password;
	b->password_n = password_n;
	b->done = done;
	b->arg = arg;
	b->stream.fd = -1;
	b->stream.received = on_received;
	b->stream.secured = on_secured;
	b->stream.failed = on_failed;
	b->stream.arg = b;
	b->dial = dial_start(
	    d->loop, d->dns, c->host, c->port, d->setup.config->timeout_ms, on_dialled, b);
	if (b->dial == NULL) {
		free(b);
		return NULL;
	}
	deadline_arm(d->loop, &b->limit, d->setup.config->timeout_ms, on_limit);
	return b;
}

void ldap_user_bind_cancel(struct ldap_user_bind *b)
{
	if (b != NULL)
		bind_free(b);
}
