/*
 * s4u: the two S4U exchanges. Decides about no account by itself but for the refused
 * groups; keeps nothing. Runs in the *kerberos* process: whoever holds this key may become anybody.
 */
#include "proxy/kerberos/s4u.h"

#include <errno.h>
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

/* --- the ticket --- */

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
	if (rc != 0)
		return fail_code(r, rc);
	rc = krb5_k_create_key(r->context, &r->proxy->keyblock, &out->key);
	if (rc != 0)
		return fail_code(r, rc);
	set_times(r, out);
	out->creds = r->proxy;
	r->proxy = NULL;
	return 0;
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
		struct s4u_ticket t = { 0 };
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
	krb5_k_free_key(service->context, t->key);
	if (t->creds != NULL)
		krb5_free_creds(service->context, t->creds);
	*t = (struct s4u_ticket){ 0 };
}

int s4u_token(struct service *service, const struct s4u_ticket *t, struct token *out,
    struct krb_fault *fault)
{
	krb5_error_code rc = token_make(service->context, t->creds, t->key, out);

	if (rc == 0)
		return 0;
	if (rc == KRB5KRB_ERR_FIELD_TOOLONG)
		krb_fault_say(fault, KERBEROS_DENIED, REMEDY_NONE,
		    "the token has more than %d bytes, more than a mail server takes: the account "
		    "is in too many groups",
		    TOKEN_MAX);
	else
		krb_fault_say(fault, KERBEROS_DENIED, REMEDY_NONE,
		    "making the token failed: krb5 error %ld", (long)rc);
	return -1;
}
