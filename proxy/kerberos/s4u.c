/*
 * s4u: the two S4U exchanges and the token. Decides about no account by itself but for the refused
 * groups; keeps nothing. Runs in the *kerberos* process: whoever holds this key may become anybody.
 */
#include "proxy/kerberos/s4u.h"

#include <errno.h>
#include <gssapi/gssapi_ext.h>
#include <gssapi/gssapi_krb5.h>
#include <stdio.h>

#include "common/text.h"

/* Exported by libkrb5 since 1.8, but declared in no installed header. */
krb5_error_code KRB5_CALLCONV krb5_get_credentials_for_user(
    krb5_context, krb5_flags, krb5_ccache, krb5_creds *, krb5_data *, krb5_creds **);

#define GC_FLAGS (KRB5_GC_NO_STORE | KRB5_GC_CANONICALIZE)
#define PAC_LOGON_INFO 1

/* One account's round. */
struct round {
	struct s4u *s4u;
	krb5_context context;
	const char *sam, *spn;
	char account[ACCOUNT_NAME_MAX * 2 + 2];
	krb5_principal user, target;
	krb5_creds *self, *proxy;
	enum krb_step step;
	struct krb_fault *fault;
};

static int fail_code(struct round *r, krb5_error_code rc)
{
	struct service *service = r->s4u->service;
	bool forwardable = r->self != NULL && (r->self->ticket_flags & TKT_FLG_FORWARDABLE) != 0;
	struct krb_parties who = { service->principal_text, r->account, r->spn,
		transport_names(service->transport) };

	krb_fault_from_code(r->step, rc, forwardable, &who, r->fault);
	return -1;
}

static krb5_error_code names(struct round *r)
{
	const char *realm = r->s4u->service->name.realm;
	krb5_error_code rc;

	/* The name is one component whatever stands in it: never parsed. */
	rc = krb5_build_principal_ext(r->context, &r->user, (unsigned)strlen(realm), realm,
	    (unsigned)strlen(r->sam), r->sam, 0);
	if (rc == 0)
		rc = krb5_parse_name(r->context, r->spn, &r->target);
	return rc;
}

static krb5_error_code get_self(struct round *r)
{
	struct service *s = r->s4u->service;
	krb5_creds in = { .client = r->user, .server = s->principal };

	return krb5_get_credentials_for_user(r->context, GC_FLAGS, s->cache, &in, NULL, &r->self);
}

static krb5_error_code get_proxy(struct round *r)
{
	struct service *s = r->s4u->service;
	/* The client is the one who asks; the account stands in the ticket that goes with it. */
	krb5_creds in = {
		.client = s->principal, .server = r->target, .second_ticket = r->self->ticket
	};

	return krb5_get_credentials(
	    r->context, GC_FLAGS | KRB5_GC_CONSTRAINED_DELEGATION, s->cache, &in, &r->proxy);
}

/* AD may write the name in its own case; nothing else may differ. */
static bool is_user(const struct round *r, krb5_const_principal p)
{
	struct strv name, realm;

	if (p == NULL || p->length != 1)
		return false;
	name = (struct strv){ p->data[0].data, p->data[0].length };
	realm = (struct strv){ p->realm.data, p->realm.length };
	return text_eq_nocase(name, strv_from(r->sam)) &&
	    strv_eq(realm, strv_from(r->s4u->service->name.realm));
}

/* --- the groups in the S4U2Self ticket --- */

static krb5_error_code logon_info(struct round *r, krb5_data *out)
{
	krb5_authdata **found = NULL;
	krb5_ticket *ticket = NULL;
	krb5_pac pac = NULL;
	krb5_error_code rc = krb5_decode_ticket(&r->self->ticket, &ticket);

	if (rc == 0)
		rc = krb5_server_decrypt_ticket_keytab(r->context, r->s4u->service->keytab, ticket);
	if (rc == 0 && !is_user(r, ticket->enc_part2->client))
		rc = KRB5_KDCREP_MODIFIED;
	if (rc == 0)
		rc = krb5_find_authdata(r->context, ticket->enc_part2->authorization_data, NULL,
		    KRB5_AUTHDATA_WIN2K_PAC, &found);
	if (rc == 0 && (found == NULL || found[0] == NULL || found[1] != NULL))
		rc = ENOENT;
	if (rc == 0)
		rc = krb5_pac_parse(r->context, found[0]->contents, found[0]->length, &pac);
	if (rc == 0)
		rc = krb5_pac_get_buffer(r->context, pac, PAC_LOGON_INFO, out);
	krb5_pac_free(r->context, pac);
	krb5_free_authdata(r->context, found);
	krb5_free_ticket(r->context, ticket);
	return rc;
}

static int check_groups(struct round *r)
{
	struct pac_identity *who = r->s4u->scratch;
	const char *own = r->s4u->service->principal_text;
	krb5_data info = { 0 };
	krb5_error_code rc = logon_info(r, &info);
	int parsed;

	if (rc == ENOENT) {
		krb_fault_say(r->fault, KERBEROS_DENIED, REMEDY_NONE,
		    "the KDC's ticket for %s says no groups (no PAC): "
		    "clear NO_AUTH_DATA_REQUIRED of %s in AD",
		    r->account, own);
		return -1;
	}
	if (rc != 0) {
		krb_fault_say(r->fault, KERBEROS_DENIED, REMEDY_NONE,
		    "the ticket for %s cannot be opened with the keytab (krb5 error %ld): "
		    "set msDS-SupportedEncryptionTypes of %s to 24, its password again, and export "
		    "a new keytab",
		    r->account, (long)rc, own);
		return -1;
	}
	parsed = pac_identity_parse((struct strv){ info.data, info.length }, who);
	krb5_free_data_contents(r->context, &info);
	if (parsed < 0) {
		krb_fault_say(r->fault, KERBEROS_DENIED, REMEDY_NONE,
		    "the groups in the KDC's ticket for %s cannot be read", r->account);
		return -1;
	}
	if (pac_identity_protected(who, r->s4u->refused)) {
		krb_fault_say(r->fault, KERBEROS_REFUSED, REMEDY_NONE,
		    "%s belongs to a refused group (administrators, Protected Users, "
		    "proxy.kerberos.refused_groups)",
		    r->account);
		return -1;
	}
	return 0;
}

/* --- the credential --- */

static krb5_error_code store(struct round *r, struct s4u_ticket *t)
{
	krb5_principal server = r->proxy->server;
	krb5_error_code rc = krb5_cc_new_unique(r->context, "MEMORY", NULL, &t->cache);

	if (rc == 0)
		rc = krb5_cc_initialize(r->context, t->cache, r->proxy->client);
	if (rc != 0)
		return rc;
	/* Kept under the name that tokens are asked for, also where the KDC wrote it in another
	 * case. */
	r->proxy->server = r->target;
	rc = krb5_cc_store_cred(r->context, t->cache, r->proxy);
	r->proxy->server = server;
	return rc;
}

static gss_OID_desc spnego = { 6, (void *)(uintptr_t) "\x2b\x06\x01\x05\x05\x02" };
static gss_OID_desc krb5_mechanism = { 9,
	(void *)(uintptr_t) "\x2a\x86\x48\x86\xf7\x12\x01\x02\x02" };

static int gss_failed(struct krb_fault *fault, const char *what, OM_uint32 major, OM_uint32 minor)
{
	krb_fault_say(fault, KERBEROS_DENIED, REMEDY_NONE, "%s failed: GSSAPI error %08x/%d", what,
	    major, (int)minor);
	return -1;
}

/* For SPNEGO, and within it Kerberos alone: never NTLM or what a plug-in may bring. */
static int acquire(struct round *r, struct s4u_ticket *t)
{
	gss_OID_set_desc ask = { 1, &spnego }, within = { 1, &krb5_mechanism };
	char *name = NULL;
	gss_key_value_element_desc element = { "ccache", NULL };
	gss_key_value_set_desc from = { 1, &element };
	OM_uint32 major, minor;

	if (krb5_cc_get_full_name(r->context, t->cache, &name) != 0)
		return fail_code(r, ENOMEM);
	element.value = name;
	major = gss_acquire_cred_from(&minor, GSS_C_NO_NAME, GSS_C_INDEFINITE, &ask, GSS_C_INITIATE,
	    &from, &t->credential, NULL, NULL);
	krb5_free_string(r->context, name);
	if (GSS_ERROR(major))
		return gss_failed(r->fault, "taking the ticket over", major, minor);
	major = gss_set_neg_mechs(&minor, t->credential, &within);
	if (GSS_ERROR(major))
		return gss_failed(r->fault, "choosing Kerberos", major, minor);
	return 0;
}

/* Renewal in the last quarter to eighth of its life, at a point of the account's own. */
static void set_times(struct round *r, struct s4u_ticket *t)
{
	int64_t now = service_time(r->s4u->service), life;
	uint32_t h = 2166136261u;

	for (const char *p = r->sam; *p != '\0'; p++)
		h = (h ^ (uint8_t)*p) * 16777619u;
	t->end = (int64_t)(uint32_t)r->proxy->times.endtime;
	life = t->end > now ? t->end - now : 0;
	t->renew = t->end - life / 8 - (life >= 8 ? (int64_t)(h % (uint32_t)(life / 8)) : 0);
}

static int play(struct round *r, struct s4u_ticket *out)
{
	krb5_error_code rc;

	r->step = STEP_SELF;
	rc = names(r);
	if (rc == 0)
		rc = get_self(r);
	if (rc != 0)
		return fail_code(r, rc);
	if (check_groups(r) < 0)
		return -1;
	/*
	 * A ticket that is not forwardable is still shown to the KDC: where delegation is granted
	 * by the mail server's account (resource-based) it suffices, and only the KDC knows. Else
	 * it answers BADOPTION, and the table says why.
	 */
	r->step = STEP_PROXY;
	rc = get_proxy(r);
	if (rc == 0 && !is_user(r, r->proxy->client))
		rc = KRB5_KDCREP_MODIFIED;
	if (rc == 0)
		rc = store(r, out);
	if (rc != 0)
		return fail_code(r, rc);
	set_times(r, out);
	return acquire(r, out);
}

static void round_clear(struct round *r)
{
	krb5_free_principal(r->context, r->user);
	krb5_free_principal(r->context, r->target);
	if (r->self != NULL)
		krb5_free_creds(r->context, r->self);
	if (r->proxy != NULL)
		krb5_free_creds(r->context, r->proxy);
}

int s4u_ticket_get(struct s4u *s, const char *sam, const char *spn, struct s4u_ticket *out,
    struct krb_fault *fault)
{
	for (int tries = 0; tries < 2; tries++) {
		struct round r = { .s4u = s,
			.context = s->service->context,
			.sam = sam,
			.spn = spn,
			.fault = fault };
		struct s4u_ticket t = { .credential = GSS_C_NO_CREDENTIAL };
		int rc;

		if (service_ready(s->service, fault) < 0)
			return -1;
		snprintf(r.account, sizeof(r.account), "%s@%s", sam, s->service->name.realm);
		fault->remedy = REMEDY_NONE;
		rc = play(&r, &t);
		round_clear(&r);
		if (rc == 0) {
			*out = t;
			return 0;
		}
		s4u_ticket_clear(s->service, &t);
		if (fault->remedy != REMEDY_LOGIN_AGAIN)
			return -1;
		service_drop_ticket(s->service);
	}
	return -1;
}

void s4u_ticket_clear(struct service *service, struct s4u_ticket *t)
{
	OM_uint32 minor;

	if (t->credential != GSS_C_NO_CREDENTIAL)
		gss_release_cred(&minor, &t->credential);
	/* gss_release_cred() only closes its handle of the cache; the ticket would stay for ever.
	 */
	if (t->cache != NULL)
		krb5_cc_destroy(service->context, t->cache);
	*t = (struct s4u_ticket){ .credential = GSS_C_NO_CREDENTIAL };
}

int s4u_target(struct service *service, const char *spn, gss_name_t *out, struct krb_fault *fault)
{
	char target[512];
	gss_buffer_desc text = { 0, target };
	OM_uint32 major, minor;
	/* The full principal: a host-based name would be looked up and guessed at. */
	int n = snprintf(target, sizeof(target), "%s%s%s", spn, strchr(spn, '@') != NULL ? "" : "@",
	    strchr(spn, '@') != NULL ? "" : service->name.realm);

	*out = GSS_C_NO_NAME;
	if (n < 0 || (size_t)n >= sizeof(target))
		return gss_failed(fault, "naming the service", GSS_S_BAD_NAME, 0);
	text.length = (size_t)n;
	major = gss_import_name(&minor, &text, GSS_KRB5_NT_PRINCIPAL_NAME, out);
	return GSS_ERROR(major) ? gss_failed(fault, "naming the service", major, minor) : 0;
}

int s4u_token(
    const struct s4u_ticket *t, gss_name_t target, gss_buffer_t out, struct krb_fault *fault)
{
	gss_ctx_id_t context = GSS_C_NO_CONTEXT;
	OM_uint32 major, minor, ignored;
	int rc = 0;

	*out = (gss_buffer_desc){ 0, NULL };
	major = gss_init_sec_context(&minor, t->credential, &context, target, &spnego, 0, 0,
	    GSS_C_NO_CHANNEL_BINDINGS, GSS_C_NO_BUFFER, NULL, out, NULL, NULL);
	if (GSS_ERROR(major) || out->length == 0) {
		rc = gss_failed(fault, "making the token", major, minor);
	} else if (out->length > S4U_TOKEN_MAX) {
		krb_fault_say(fault, KERBEROS_DENIED, REMEDY_NONE,
		    "the token has %zu bytes, more than a mail server takes: the account is in too "
		    "many groups",
		    out->length);
		rc = -1;
	}
	if (rc < 0)
		gss_release_buffer(&ignored, out);
	gss_delete_sec_context(&ignored, &context, GSS_C_NO_BUFFER);
	return rc;
}
