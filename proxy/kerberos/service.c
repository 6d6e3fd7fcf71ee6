/*
 * service: logs on with the keytab and keeps the ticket. Makes no ticket for anybody else (s4u.c
 * does). Runs in the *kerberos* process.
 */
#include "proxy/kerberos/service.h"

#include <openssl/evp.h>
#include <stdio.h>

#include "common/log.h"
#include "common/loop.h"
#include "proxy/kerberos/environment.h"
#include "proxy/kerberos/guard.h"

static void fault_of(
    struct service *s, enum krb_step step, krb5_error_code rc, struct krb_fault *fault)
{
	struct krb_parties who = { .principal = s->principal_text,
		.kdcs = transport_names(s->transport) };

	krb_fault_from_code(step, rc, false, &who, fault);
}

/* Bytes and name: the same keytab under another name is another try. */
static int hash_keytab(struct service *s, struct strv keytab)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	unsigned n = 0;
	int rc = -1;

	if (md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
	    EVP_DigestUpdate(md, s->principal_text, strlen(s->principal_text) + 1) == 1 &&
	    EVP_DigestUpdate(md, keytab.p, keytab.n) == 1 &&
	    EVP_DigestFinal_ex(md, s->keytab_hash, &n) == 1)
		rc = 0;
	EVP_MD_CTX_free(md);
	return rc;
}

static krb5_error_code open_all(struct service *s, struct strv keytab)
{
	krb5_error_code rc = krb5_init_context(&s->context);

	if (rc != 0) {
		s->context = NULL;
		return rc;
	}
	transport_attach(s->transport, s->context);
	rc = krb5_parse_name(s->context, s->principal_text, &s->principal);
	if (rc == 0)
		rc = environment_keytab(s->context, keytab, &s->keytab);
	if (rc == 0 && !environment_keytab_serves(s->context, s->keytab, s->principal))
		rc = KRB5_KT_NOTFOUND;
	if (rc == 0)
		rc = krb5_cc_new_unique(s->context, "MEMORY", NULL, &s->cache);
	return rc;
}

int service_init(struct service *s, struct transport *transport, const char *principal,
    struct strv keytab, unsigned timeout_ms, struct krb_fault *fault)
{
	krb5_error_code rc;

	memset(s, 0, sizeof(*s));
	s->transport = transport;
	s->timeout_ms = timeout_ms;
	if (krb_name_parse(&s->name, principal) < 0) {
		krb_fault_say(fault, KERBEROS_BROKEN, REMEDY_NEW_KEYTAB,
		    "proxy.kerberos.principal: expected sAMAccountName@REALM");
		return -1;
	}
	snprintf(
	    s->principal_text, sizeof(s->principal_text), "%s@%s", s->name.name, s->name.realm);
	if (hash_keytab(s, keytab) < 0) {
		krb_fault_say(fault, KERBEROS_BROKEN, REMEDY_WAIT, "out of memory");
		return -1;
	}
	rc = open_all(s, keytab);
	if (rc == 0)
		return 0;
	fault_of(s, STEP_KEYTAB, rc, fault);
	service_clear(s);
	return -1;
}

void service_clear(struct service *s)
{
	if (s->context != NULL) {
		if (s->cache != NULL)
			krb5_cc_destroy(s->context, s->cache);
		if (s->keytab != NULL)
			krb5_kt_close(s->context, s->keytab);
		krb5_free_principal(s->context, s->principal);
		krb5_free_context(s->context);
	}
	memset(s, 0, sizeof(*s));
}

int64_t service_time(struct service *s)
{
	krb5_timestamp t = 0;

	if (krb5_timeofday(s->context, &t) != 0)
		return (int64_t)time(NULL);
	return (int64_t)(uint32_t)t; /* RFC 4120 times past 2038 are kept as unsigned */
}

/*
 * One AS exchange. krb5_init_creds_get() and not krb5_get_init_creds_keytab(): that one asks again
 * "at the primary KDC" after a refusal, and each time counts against the account.
 */
static krb5_error_code get_ticket(struct service *s, krb5_creds *out)
{
	krb5_get_init_creds_opt *opt = NULL;
	krb5_init_creds_context ic = NULL;
	krb5_error_code rc = krb5_get_init_creds_opt_alloc(s->context, &opt);

	if (rc != 0)
		return rc;
	krb5_get_init_creds_opt_set_forwardable(
	    opt, 1); /* else no S4U2Self ticket could be passed on */
	krb5_get_init_creds_opt_set_address_list(opt, NULL);
	rc = krb5_init_creds_init(s->context, s->principal, NULL, NULL, 0, opt, &ic);
	if (rc == 0)
		rc = krb5_init_creds_set_keytab(s->context, ic, s->keytab);
	if (rc == 0)
		rc = krb5_init_creds_get(s->context, ic);
	if (rc == 0)
		rc = krb5_init_creds_get_creds(s->context, ic, out);
	if (ic != NULL)
		krb5_init_creds_free(s->context, ic);
	krb5_get_init_creds_opt_free(s->context, opt);
	return rc;
}

static krb5_error_code keep_ticket(struct service *s, krb5_creds *creds)
{
	int64_t now, life;
	krb5_error_code rc = krb5_cc_initialize(s->context, s->cache, s->principal);

	if (rc == 0)
		rc = krb5_cc_store_cred(s->context, s->cache, creds);
	if (rc != 0) {
		s->end = s->renew = 0;
		return rc;
	}
	now = service_time(s);
	s->end = (int64_t)(uint32_t)creds->times.endtime;
	life = s->end > now ? s->end - now : 0;
	/* The accounts' tickets end with this one: a new one early enough keeps theirs long. */
	s->renew = s->end - life / 4;
	log_say(LOG_INFO, "kerberos_ready", "logged on as %s: ticket for %lld minutes, KDCs %s",
	    s->principal_text, (long long)(life / 60), transport_names(s->transport));
	return 0;
}

static void remember(struct service *s, const struct krb_fault *fault)
{
	if (fault->remedy != REMEDY_WAIT && fault->remedy != REMEDY_NEW_KEYTAB)
		return;
	if (s->broken.remedy != fault->remedy || strcmp(s->broken.text, fault->text) != 0)
		log_say(LOG_ERROR, "kerberos_broken", "%s", fault->text);
	s->broken = *fault;
	s->broken_until_ms = loop_now_fresh() + SERVICE_PAUSE_MS;
}

/* May this process log on now? 0, then guard_leave() is due; or -1 with *fault. Thousands of
 * questions may stand behind this one. */
static int enter_guard(struct service *s, struct krb_fault *fault)
{
	bool refused = false;

	if (transport_resting(s->transport)) {
		fault_of(s, STEP_LOGIN, KRB5_KDC_UNREACH, fault);
		return -1;
	}
	if (loop_now_fresh() >= s->busy_until_ms) {
		if (guard_enter(s->keytab_hash, s->timeout_ms, &refused))
			return 0;
		if (!refused)
			s->busy_until_ms = loop_now_fresh() + TRANSPORT_REST_MS;
	}
	if (refused)
		krb_fault_say(fault, KERBEROS_BROKEN, REMEDY_NEW_KEYTAB,
		    "the KDC has refused this keytab of %s: export a new keytab and reload; not "
		    "tried again with this one "
		    "(but once after a restart in %d minutes), which would lock the account",
		    s->principal_text, GUARD_SECONDS / 60);
	else
		krb_fault_say(fault, KERBEROS_NO_KDC, REMEDY_NONE,
		    "another kerberos process is still logging on as %s", s->principal_text);
	return -1;
}

static int logon(struct service *s, struct krb_fault *fault)
{
	krb5_creds creds = { 0 };
	krb5_error_code rc;

	if (enter_guard(s, fault) < 0)
		return -1;
	rc = get_ticket(s, &creds);
	if (rc == 0) {
		rc = keep_ticket(s, &creds);
		krb5_free_cred_contents(s->context, &creds);
	}
	if (rc != 0)
		fault_of(s, STEP_LOGIN, rc, fault);
	guard_leave(
	    s->keytab_hash, rc == KRB5KDC_ERR_PREAUTH_FAILED || rc == KRB5KRB_AP_ERR_BAD_INTEGRITY);
	return rc == 0 ? 0 : -1;
}

int service_ready(struct service *s, struct krb_fault *fault)
{
	int64_t now;

	if (s->broken.remedy == REMEDY_NEW_KEYTAB ||
	    (s->broken.remedy == REMEDY_WAIT && loop_now_fresh() < s->broken_until_ms)) {
		*fault = s->broken;
		return -1;
	}
	now = service_time(s);
	if (s->end != 0 && now < s->renew)
		return 0;
	if (logon(s, fault) == 0) {
		memset(&s->broken, 0, sizeof(s->broken));
		return 0;
	}
	remember(s, fault);
	/* A renewal that fails for want of a KDC leaves the old ticket, which still holds. */
	return fault->result == KERBEROS_NO_KDC && s->end > now + 60 ? 0 : -1;
}

void service_drop_ticket(struct service *s)
{
	s->end = s->renew = 0;
}
