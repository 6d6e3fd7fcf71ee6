/*
 * ldap_op: requests on one connection and their answers, by message id. Many are under way at once.
 * Nothing is abandoned: the answer to a cancelled request comes, shows that the server lives, and
 * is dropped. Knows no account. Runs in the *directory* process.
 */
#include <stdlib.h>

#include "common/directory/ldap_parts.h"

static const struct timeval at_once = { 0, 0 };

/* --- requests --- */

static struct ldap_op **find_op(struct ldap_conn *c, int id)
{
	struct ldap_op **at = &c->ops[(unsigned)id % ARRAY_LEN(c->ops)];

	while (*at != NULL && (*at)->id != id)
		at = &(*at)->next;
	return at;
}

static void on_silence(struct deadline *d);

static void owe(struct ldap_conn *c)
{
	if (c->waiting++ > 0)
		return;
	c->since_ms = loop_now_ms(c->pool->loop);
	deadline_arm(c->pool->loop, &c->silence, c->pool->setup.config->timeout_ms, on_silence);
}

static void on_silence(struct deadline *d)
{
	struct ldap_conn *c = CONTAINER_OF(d, struct ldap_conn, silence);
	uint64_t quiet = loop_now_ms(c->pool->loop) - c->since_ms,
		 limit = c->pool->setup.config->timeout_ms;

	if (c->waiting == 0)
		return;
	if (quiet >= limit)
		ldap_conn_fail(c, "no answer for %llu ms", (unsigned long long)quiet);
	else
		deadline_arm(c->pool->loop, d, limit - quiet, on_silence);
}

bool ldap_conn_is_slow(const struct ldap_conn *c)
{
	return c->waiting > 0 && loop_now_ms(c->pool->loop) - c->since_ms > LDAP_SLOW_MS;
}

/* After a call into libldap: sends what it wrote, and remembers the request. */
static struct ldap_op *sent(struct ldap_conn *c, int rc, int id, const struct ldap_op *how)
{
	struct ldap_op *op;

	if (rc != LDAP_SUCCESS) {
		if (rc == LDAP_SERVER_DOWN || rc == LDAP_NO_MEMORY)
			ldap_stream_break(&c->stream, "no more can be written");
		return NULL;
	}
	op = malloc(sizeof(*op));
	if (op == NULL) {
		ldap_stream_break(&c->stream, "out of memory");
		return NULL;
	}
	*op = *how;
	op->id = id;
	op->next = NULL;
	*find_op(c, id) = op; /* ids are new: this is the end of the slot */
	if (!op->lasting)
		owe(c);
	ldap_stream_flush(&c->stream);
	return op;
}

struct ldap_op *ldap_conn_search(struct ldap_conn *c, const struct ldap_query *q)
{
	struct ldap_op how = {
		.lasting = q->lasting, .entry = q->entry, .done = q->done, .arg = q->arg
	};
	struct timeval limit = { c->pool->setup.config->timeout_ms / 1000 + 1, 0 };
	int id = -1, rc;

	if (c->ld == NULL || c->stream.broken)
		return NULL;
	rc = ldap_search_ext(c->ld, q->base, q->scope,
	    q->filter != NULL ? q->filter : "(objectClass=*)", (char **)(uintptr_t)q->attributes, 0,
	    q->controls, NULL, q->lasting ? NULL : &limit, q->size_limit, &id);
	return sent(c, rc, id, &how);
}

int ldap_conn_sasl_bind(struct ldap_conn *c, const char *name, const char *mechanism,
    struct berval *credential, ldap_done_fn *done, void *arg)
{
	struct ldap_op how = { .done = done, .arg = arg };
	int id = -1, rc;

	if (c->ld == NULL || c->stream.broken)
		return -1;
	rc = ldap_sasl_bind(c->ld, name, mechanism, credential, NULL, NULL, &id);
	return sent(c, rc, id, &how) != NULL ? 0 : -1;
}

int ldap_conn_ask_tls(struct ldap_conn *c, ldap_done_fn *done)
{
	struct ldap_op how = { .done = done };
	int id = -1, rc;

	rc = ldap_extended_operation(c->ld, LDAP_EXOP_START_TLS, NULL, NULL, NULL, &id);
	return sent(c, rc, id, &how) != NULL ? 0 : -1;
}

void ldap_op_cancel(struct ldap_op *op)
{
	if (op != NULL) {
		op->entry = NULL;
		op->done = NULL;
	}
}

struct ldap_op *ldap_ops_take(struct ldap_conn *c)
{
	struct ldap_op *all = NULL, *op;

	for (size_t i = 0; i < ARRAY_LEN(c->ops); i++) {
		while ((op = c->ops[i]) != NULL) {
			c->ops[i] = op->next;
			op->next = all;
			all = op;
		}
	}
	return all;
}

/* --- answers --- */

static void take_result(struct ldap_conn *c, struct ldap_op *op, LDAPMessage *m)
{
	struct ldap_op **at = find_op(c, op->id);
	char *diagnostic = NULL;
	int code = LDAP_OTHER;

	*at = op->next;
	if (!op->lasting)
		c->waiting--;
	if (ldap_parse_result(c->ld, m, &code, NULL, &diagnostic, NULL, NULL, 0) != LDAP_SUCCESS)
		code = LDAP_DECODING_ERROR;
	if (op->done != NULL)
		op->done(op->arg, c, code, diagnostic != NULL ? diagnostic : "", m);
	ldap_memfree(diagnostic);
	free(op);
}

static void take_message(struct ldap_conn *c, int type, LDAPMessage *m)
{
	struct ldap_op *op = *find_op(c, ldap_msgid(m));

	if (op != NULL && type == LDAP_RES_SEARCH_ENTRY) {
		if (op->entry != NULL)
			op->entry(op->arg, c, m);
	} else if (op != NULL && type != LDAP_RES_SEARCH_REFERENCE &&
		   type != LDAP_RES_INTERMEDIATE) {
		take_result(c, op, m);
	}
	ldap_msgfree(m);
}

/* A message that belongs to no request (RFC 4511 4.4): AD's farewell. True: there was one. */
static bool take_farewell(struct ldap_conn *c)
{
	struct timeval zero = at_once;
	LDAPMessage *m = NULL;

	if (ldap_result(c->ld, LDAP_RES_UNSOLICITED, LDAP_MSG_ONE, &zero, &m) <= 0)
		return false;
	ldap_msgfree(m);
	ldap_conn_fail(c, "the server said good-bye");
	return true;
}

void ldap_conn_received(void *arg)
{
	struct ldap_conn *c = arg;
	unsigned generation = c->stream.generation;
	bool odd = false;

	c->since_ms = loop_now_ms(c->pool->loop);
	while (evbuffer_get_length(c->stream.in) > 0) {
		size_t before = evbuffer_get_length(c->stream.in);
		struct timeval zero = at_once;
		LDAPMessage *m = NULL;
		int rc = ldap_result(c->ld, LDAP_RES_ANY, LDAP_MSG_ONE, &zero, &m);
		if (rc < 0) {
			ldap_conn_fail(c, "the server sent what is no LDAP message");
			return;
		}
		if (rc > 0) {
			take_message(c, rc, m);
			if (c->stream.generation != generation)
				return;
			continue;
		}
		odd = true; /* a part of a message, or one that nobody asked for */
		if (evbuffer_get_length(c->stream.in) == before)
			break;
	}
	if (odd)
		(void)take_farewell(c);
}
