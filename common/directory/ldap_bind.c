/*
 * ldap_bind: who we are to an LDAP server: a simple bind with a password, or SASL GSS-SPNEGO with a
 * Kerberos ticket, both inside TLS (so without signing or sealing of their own, which AD refuses
 * there), the latter bound to the TLS channel. Never anonymous, never with an empty password (RFC
 * 4513 5.1.2: that "succeeds"). A refusal is final. *directory* process.
 */
#include <gssapi/gssapi_ext.h>
#include <gssapi/gssapi_krb5.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/directory/ldap_parts.h"
#include "common/directory/ldap_ticket.h"

#define STEPS_MAX 4

struct ldap_bind {
	unsigned steps;
	bool asking_ticket;
	bool accepted; /* the server has said yes */
	gss_cred_id_t credential;
	gss_ctx_id_t context;
	gss_name_t target;
	uint8_t
	    binding[32 + EVP_MAX_MD_SIZE]; /* "tls-server-end-point:" and the certificate's hash */
	size_t binding_n;
};

static gss_OID_desc spnego = { 6, (void *)"\x2b\x06\x01\x05\x05\x02" };

/* --- what a refusal means --- */

/* AD's diagnostic ends in "..., data 52e, v...": why, if the password was right (MS-ADTS; else
 * always 52e or 775). */
static const char *reason_of(const char *diagnostic)
{
	static const struct {
		const char *data, *text;
	} known[] = {
		{ "data 52e", "wrong name or password: correct bind_name and bind_password_file" },
		{ "data 525", "no such account: correct bind_name" },
		{ "data 530", "the account may not log on at this hour: change its logon hours" },
		{ "data 531", "the account may not log on from here: change its workstations" },
		{ "data 532", "the password has expired: set a new one that does not" },
		{ "data 533", "the account is disabled: enable it" },
		{ "data 701", "the account has expired: extend it" },
		{ "data 773", "the password must be changed first: change it" },
		{ "data 775",
		    "the account is locked: unlock it, and see that the password is right" },
	};

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (strstr(diagnostic, known[i].data) != NULL)
			return known[i].text;
	}
	return "see the service account";
}

/* True: good. Else the connection has been ended. */
static bool judge(struct ldap_conn *c, int code, const char *diagnostic)
{
	if (code == LDAP_SUCCESS)
		return true;
	if (code == LDAP_SERVER_DOWN)
		return false;
	if (code == LDAP_INVALID_CREDENTIALS || code == LDAP_INAPPROPRIATE_AUTH)
		ldap_pool_refuse(c, "%s", reason_of(diagnostic));
	else
		ldap_conn_fail(c, "the bind failed: %s %s", ldap_err2string(code), diagnostic);
	return false;
}

/* --- simple --- */

static void simple_done(
    void *arg, struct ldap_conn *c, int code, const char *diagnostic, LDAPMessage *result)
{
	(void)arg;
	(void)result;
	if (judge(c, code, diagnostic))
		ldap_conn_bound(c);
}

static void simple_start(struct ldap_conn *c)
{
	struct berval password = { c->pool->password_n, c->pool->password };

	if (password.bv_len == 0 || c->pool->setup.config->bind_name[0] == '\0')
		ldap_pool_refuse(c, "an anonymous bind was about to be made");
	else if (ldap_conn_sasl_bind(c, c->pool->setup.config->bind_name, LDAP_SASL_SIMPLE,
		     &password, simple_done, NULL) < 0)
		ldap_conn_fail(c, "the bind cannot be sent");
}

/* --- GSS-SPNEGO --- */

static void gss_failed(struct ldap_conn *c, const char *what, OM_uint32 major, OM_uint32 minor)
{
	gss_buffer_desc text = GSS_C_EMPTY_BUFFER;
	OM_uint32 ignored, more = 0;

	if (gss_display_status(&ignored, minor != 0 ? minor : major,
		minor != 0 ? GSS_C_MECH_CODE : GSS_C_GSS_CODE, minor != 0 ? &spnego : GSS_C_NO_OID,
		&more, &text) != GSS_S_COMPLETE)
		text.length = 0;
	ldap_conn_fail(
	    c, "%s: %.*s", what, (int)text.length, text.length > 0 ? (const char *)text.value : "");
	(void)gss_release_buffer(&ignored, &text);
}

/* RFC 5929 4.1: the hash that signed the certificate, but at least SHA-256. */
static bool bind_channel(struct ldap_conn *c, struct ldap_bind *b)
{
	static const char label[] = "tls-server-end-point:";
	X509 *cert = SSL_get1_peer_certificate(c->stream.ssl);
	const EVP_MD *md = EVP_sha256();
	unsigned int n = 0;
	int hash = NID_undef;
	bool good;

	if (cert == NULL)
		return false;
	if (X509_get_signature_info(cert, &hash, NULL, NULL, NULL) == 1 &&
	    (hash == NID_sha384 || hash == NID_sha512))
		md = EVP_get_digestbynid(hash);
	memcpy(b->binding, label, sizeof(label) - 1);
	good = md != NULL && X509_digest(cert, md, b->binding + sizeof(label) - 1, &n) == 1;
	b->binding_n = sizeof(label) - 1 + n;
	X509_free(cert);
	return good;
}

static void gss_step(struct ldap_conn *c, struct strv token);

static void gss_answered(
    void *arg, struct ldap_conn *c, int code, const char *diagnostic, LDAPMessage *result)
{
	struct berval *server = NULL;
	struct strv token = { NULL, 0 };

	(void)arg;
	if (code == LDAP_INVALID_CREDENTIALS) {
		/* The ticket, not a password: nothing is counted against the account. Next time
		 * with a new one. */
		ldap_tickets_forget(c->pool->tickets);
		ldap_conn_fail(c,
		    "the server refuses the ticket: %s: see its clock and the SPN ldap/%s",
		    diagnostic, c->host);
		return;
	}
	if (code != LDAP_SASL_BIND_IN_PROGRESS && !judge(c, code, diagnostic))
		return;
	if (ldap_parse_sasl_bind_result(c->ld, result, &server, 0) == LDAP_SUCCESS &&
	    server != NULL)
		token = (struct strv){ server->bv_val, server->bv_len };
	c->bind->accepted = code == LDAP_SUCCESS;
	gss_step(c, token);
	ber_bvfree(server);
}

/* Makes the next token from the server's. The context must be complete on both sides, so that the
 * server is known too. */
static void gss_step(struct ldap_conn *c, struct strv token)
{
	struct ldap_bind *b = c->bind;
	struct gss_channel_bindings_struct binding = {
		.application_data = { b->binding_n, b->binding },
	};
	gss_buffer_desc in = { token.n, (void *)(uintptr_t)token.p }, out = GSS_C_EMPTY_BUFFER;
	bool first = b->context == GSS_C_NO_CONTEXT, accepted = b->accepted;
	OM_uint32 major = GSS_S_COMPLETE, minor = 0, ignored;
	struct berval credential;

	if (first || token.n > 0)
		major = gss_init_sec_context(&minor, b->credential, &b->context, b->target, &spnego,
		    GSS_C_MUTUAL_FLAG, 0, &binding, first ? GSS_C_NO_BUFFER : &in, NULL, &out, NULL,
		    NULL);
	credential = (struct berval){ out.length, out.value };
	if (GSS_ERROR(major))
		gss_failed(c, "SPNEGO", major, minor);
	else if (accepted && out.length == 0 && major == GSS_S_COMPLETE)
		ldap_conn_bound(c);
	else if (accepted || ++b->steps > STEPS_MAX)
		ldap_conn_fail(c, "SPNEGO does not come to an end");
	else if (ldap_conn_sasl_bind(c, "", "GSS-SPNEGO", &credential, gss_answered, NULL) < 0)
		ldap_conn_fail(c, "the bind cannot be sent");
	(void)gss_release_buffer(&ignored, &out);
}

static OM_uint32 gss_names(struct ldap_conn *c, struct ldap_bind *b, OM_uint32 *minor)
{
	gss_key_value_element_desc element = { "ccache", ldap_tickets_cache(c->pool->tickets) };
	gss_key_value_set_desc store = { 1, &element };
	gss_OID_set_desc mechs = { 1, &spnego };
	gss_buffer_desc text, none = GSS_C_EMPTY_BUFFER;
	OM_uint32 major;
	char name[600];

	/* A principal, not host-based: so no name service is asked. */
	text.length = (size_t)snprintf(
	    name, sizeof(name), "ldap/%s@%s", c->host, ldap_tickets_realm(c->pool->tickets));
	text.value = name;
	major = gss_import_name(
	    minor, &text, (gss_OID)(uintptr_t)GSS_KRB5_NT_PRINCIPAL_NAME, &b->target);
	if (major == GSS_S_COMPLETE)
		major = gss_acquire_cred_from(minor, GSS_C_NO_NAME, GSS_C_INDEFINITE, &mechs,
		    GSS_C_INITIATE, &store, &b->credential, NULL, NULL);
	if (major == GSS_S_COMPLETE)
		major = gss_set_cred_option(
		    minor, &b->credential, (gss_OID)(uintptr_t)GSS_KRB5_CRED_NO_CI_FLAGS_X, &none);
	return major;
}

static void on_ticket(void *arg, enum ticket_result result, const char *why)
{
	struct ldap_conn *c = arg;
	OM_uint32 major, minor = 0;

	c->bind->asking_ticket = false;
	if (result == TICKET_REFUSED) {
		ldap_pool_refuse(c, "%s: correct bind_name and keytab", why);
		return;
	}
	if (result != TICKET_OK) {
		ldap_conn_fail(c, "%s", why);
		return;
	}
	major = gss_names(c, c->bind, &minor);
	if (GSS_ERROR(major))
		gss_failed(c, "GSSAPI", major, minor);
	else if (!bind_channel(c, c->bind))
		ldap_conn_fail(c, "the server's certificate cannot be hashed");
	else
		gss_step(c, (struct strv){ NULL, 0 });
}

/* --- both --- */

void ldap_bind_start(struct ldap_conn *c)
{
	if (c->pool->tickets == NULL) {
		simple_start(c);
		return;
	}
	c->bind = calloc(1, sizeof(*c->bind));
	if (c->bind == NULL || ldap_tickets_get(c->pool->tickets, c->host, on_ticket, c) < 0) {
		ldap_conn_fail(c, "no ticket can be asked for now");
		return;
	}
	c->bind->asking_ticket = true;
}

void ldap_bind_stop(struct ldap_conn *c)
{
	struct ldap_bind *b = c->bind;
	OM_uint32 ignored;

	if (b == NULL)
		return;
	c->bind = NULL;
	if (b->asking_ticket)
		ldap_tickets_cancel(c->pool->tickets);
	(void)gss_delete_sec_context(&ignored, &b->context, GSS_C_NO_BUFFER);
	(void)gss_release_cred(&ignored, &b->credential);
	(void)gss_release_name(&ignored, &b->target);
	free(b);
}
