/*
 * errors: the table of krb5 codes. Decides nothing beyond it, asks nobody, keeps nothing.
 * Runs in the *kerberos* process.
 */
#include "proxy/kerberos/errors.h"

#include <errno.h>
#include <krb5/krb5.h>
#include <stdarg.h>
#include <stdio.h>

#define AT(step) (1u << (step))
#define AT_OWN (AT(STEP_KEYTAB) | AT(STEP_LOGIN))
#define AT_S4U (AT(STEP_SELF) | AT(STEP_PROXY))
#define AT_KDC (AT(STEP_LOGIN) | AT_S4U)
#define AT_ANY (AT_OWN | AT_S4U | AT(STEP_TOKEN))

enum ticket { TICKET_ANY = 0, TICKET_FORWARDABLE, TICKET_NOT_FORWARDABLE };

/* First row that fits counts. {p} own principal, {a} account, {s} service, {k} KDCs. */
static const struct row {
	long code;
	unsigned steps;
	enum ticket ticket;
	enum kerberos_result result;
	enum krb_remedy remedy;
	const char *text;
} rows[] = {
	{ KRB5_KDC_UNREACH, AT_ANY, 0, KERBEROS_NO_KDC, REMEDY_NONE,
	    "no KDC answered in time ({k}): check proxy.kerberos.kdcs, the DCs and TCP port 88" },
	{ KRB5_REALM_CANT_RESOLVE, AT_ANY, 0, KERBEROS_NO_KDC, REMEDY_NONE,
	    "no KDC answered in time ({k}): check proxy.kerberos.kdcs, the DCs and TCP port 88" },
	{ KRB5KDC_ERR_SVC_UNAVAILABLE, AT_KDC, 0, KERBEROS_NO_KDC, REMEDY_NONE,
	    "the KDC says that it is not available now ({k}): check the DCs" },
	{ KRB5KRB_AP_ERR_SKEW, AT_ANY, 0, KERBEROS_BROKEN, REMEDY_WAIT,
	    "the clocks of this machine and of the KDC differ by more than 5 minutes: synchronise "
	    "this machine's time with the DCs" },
	{ KRB5_KDCREP_SKEW, AT_ANY, 0, KERBEROS_BROKEN, REMEDY_WAIT,
	    "the clocks of this machine and of the KDC differ by more than 5 minutes: synchronise "
	    "this machine's time with the DCs" },

	/* the own credentials */
	{ KRB5KDC_ERR_PREAUTH_FAILED, AT_OWN, 0, KERBEROS_BROKEN, REMEDY_NEW_KEYTAB,
	    "the KDC refuses the keytab of {p} (its password has changed since): export a new "
	    "keytab and reload; "
	    "not tried again with this one, which would lock the account" },
	{ KRB5KRB_AP_ERR_BAD_INTEGRITY, AT_OWN, 0, KERBEROS_BROKEN, REMEDY_NEW_KEYTAB,
	    "the key in the keytab is not that of {p}: export a new keytab and reload" },
	{ KRB5_KT_NOTFOUND, AT_OWN, 0, KERBEROS_BROKEN, REMEDY_NEW_KEYTAB,
	    "the keytab holds no AES key of {p}: export one for exactly this name (klist -ket "
	    "shows what it holds) and reload" },
	{ KRB5_PREAUTH_FAILED, AT_OWN, 0, KERBEROS_BROKEN, REMEDY_WAIT,
	    "the keytab holds no key of a kind that the account of {p} uses: set "
	    "msDS-SupportedEncryptionTypes to 24, "
	    "its password again, and export a new keytab" },
	{ KRB5_KEYTAB_BADVNO, AT_OWN, 0, KERBEROS_BROKEN, REMEDY_NEW_KEYTAB,
	    "proxy.kerberos.keytab is not a keytab file: export it anew and reload" },
	{ KRB5_KT_FORMAT, AT_OWN, 0, KERBEROS_BROKEN, REMEDY_NEW_KEYTAB,
	    "proxy.kerberos.keytab is damaged: export it anew and reload" },
	{ KRB5_KT_END, AT_OWN, 0, KERBEROS_BROKEN, REMEDY_NEW_KEYTAB,
	    "proxy.kerberos.keytab holds no key: export it anew and reload" },
	{ KRB5KDC_ERR_C_PRINCIPAL_UNKNOWN, AT(STEP_LOGIN), 0, KERBEROS_BROKEN, REMEDY_WAIT,
	    "the KDC does not know {p}: check proxy.kerberos.principal (sAMAccountName@REALM, "
	    "realm in upper case)" },
	{ KRB5KDC_ERR_CLIENT_REVOKED, AT(STEP_LOGIN), 0, KERBEROS_BROKEN, REMEDY_WAIT,
	    "the own account {p} is disabled or locked out: enable or unlock it in AD (a stale "
	    "keytab locks it: look for who uses one)" },
	{ KRB5KDC_ERR_KEY_EXP, AT(STEP_LOGIN), 0, KERBEROS_BROKEN, REMEDY_WAIT,
	    "the password of {p} has expired: set a new one that does not expire, export a new "
	    "keytab and reload" },
	{ KRB5KDC_ERR_NAME_EXP, AT(STEP_LOGIN), 0, KERBEROS_BROKEN, REMEDY_WAIT,
	    "the own account {p} has expired: remove its expiry date in AD" },
	{ KRB5KDC_ERR_ETYPE_NOSUPP, AT(STEP_LOGIN), 0, KERBEROS_BROKEN, REMEDY_WAIT,
	    "{p} has no AES keys: set msDS-SupportedEncryptionTypes to 24, set its password again "
	    "and export a new keytab" },
	{ KRB5KDC_ERR_POLICY, AT(STEP_LOGIN), 0, KERBEROS_BROKEN, REMEDY_WAIT,
	    "the KDC's policy refuses a logon of {p}: look at its logon restrictions in AD" },
	{ KRB5_REALM_UNKNOWN, AT(STEP_LOGIN), 0, KERBEROS_BROKEN, REMEDY_WAIT,
	    "the realm of {p} is not the KDC's: write it in upper case, as AD has it" },
	{ KRB5KDC_ERR_WRONG_REALM, AT(STEP_LOGIN), 0, KERBEROS_BROKEN, REMEDY_WAIT,
	    "the realm of {p} is not the KDC's: check proxy.kerberos.principal and kdcs" },

	/* the own ticket grows old before its time: keys changed, KDC restored */
	{ KRB5KRB_AP_ERR_TKT_EXPIRED, AT_S4U, 0, KERBEROS_DENIED, REMEDY_LOGIN_AGAIN,
	    "the KDC says that the own ticket of {p} has expired: check this machine's clock" },
	{ KRB5KRB_AP_ERR_BAD_INTEGRITY, AT_S4U, 0, KERBEROS_DENIED, REMEDY_LOGIN_AGAIN,
	    "the KDC cannot read the own ticket of {p}: do all of proxy.kerberos.kdcs serve one "
	    "domain?" },
	{ KRB5KRB_AP_ERR_MODIFIED, AT_S4U, 0, KERBEROS_DENIED, REMEDY_LOGIN_AGAIN,
	    "the KDC cannot read the own ticket of {p}: do all of proxy.kerberos.kdcs serve one "
	    "domain?" },
	{ KRB5KRB_AP_ERR_BADKEYVER, AT_S4U, 0, KERBEROS_DENIED, REMEDY_LOGIN_AGAIN,
	    "the KDC cannot read the own ticket of {p}: do all of proxy.kerberos.kdcs serve one "
	    "domain?" },
	{ KRB5KDC_ERR_TGT_REVOKED, AT_S4U, 0, KERBEROS_DENIED, REMEDY_LOGIN_AGAIN,
	    "the KDC has revoked the own ticket of {p}: is that account disabled?" },
	{ KRB5_CC_NOTFOUND, AT_S4U, 0, KERBEROS_DENIED, REMEDY_LOGIN_AGAIN,
	    "there is no valid own ticket of {p}: check this machine's clock" },

	/* the account */
	{ KRB5KDC_ERR_C_PRINCIPAL_UNKNOWN, AT_S4U, 0, KERBEROS_DENIED, REMEDY_NONE,
	    "the KDC does not know {a}, or {p} may not read its groups: check the account; "
	    "add {p} to \"Windows Authorization Access Group\"" },
	{ KRB5KDC_ERR_CLIENT_REVOKED, AT_S4U, 0, KERBEROS_DENIED, REMEDY_NONE,
	    "the KDC refuses {a}: the account is disabled or locked out" },
	{ KRB5KDC_ERR_POLICY, AT_S4U, 0, KERBEROS_DENIED, REMEDY_NONE,
	    "the KDC refuses {a}: the account is disabled, or a policy forbids its logon" },
	{ KRB5KDC_ERR_NAME_EXP, AT_S4U, 0, KERBEROS_DENIED, REMEDY_NONE,
	    "the KDC refuses {a}: the account has expired" },
	{ KRB5KDC_ERR_KEY_EXP, AT_S4U, 0, KERBEROS_DENIED, REMEDY_NONE,
	    "the KDC refuses {a}: its password has expired or must be changed" },
	{ KRB5KDC_ERR_S_PRINCIPAL_UNKNOWN, AT(STEP_SELF), 0, KERBEROS_DENIED, REMEDY_NONE,
	    "{p} has no service principal name, which delegation needs: setspn -S HTTP/<name of "
	    "this proxy> <account>" },
	{ KRB5_REALM_UNKNOWN, AT_S4U, 0, KERBEROS_DENIED, REMEDY_NONE,
	    "the KDC does not serve the realm of {a}" },

	/* the service */
	{ KRB5KDC_ERR_S_PRINCIPAL_UNKNOWN, AT(STEP_PROXY), 0, KERBEROS_DENIED, REMEDY_NONE,
	    "no account owns the SPN {s}: correct spn of the upstream, or setspn -S {s} <account "
	    "of the mail server>" },
	{ KRB5KDC_ERR_BADOPTION, AT(STEP_PROXY), TICKET_FORWARDABLE, KERBEROS_DENIED, REMEDY_NONE,
	    "{p} may not delegate to {s}: add that SPN to its msDS-AllowedToDelegateTo (tab "
	    "Delegation in AD)" },
	{ KRB5KDC_ERR_BADOPTION, AT_S4U, TICKET_NOT_FORWARDABLE, KERBEROS_DENIED, REMEDY_NONE,
	    "{a} cannot be delegated: it is sensitive or a protected user, or {p} lacks \"use any "
	    "authentication protocol\" "
	    "(TRUSTED_TO_AUTH_FOR_DELEGATION)" },
	{ KRB5KDC_ERR_ETYPE_NOSUPP, AT_S4U, 0, KERBEROS_DENIED, REMEDY_NONE,
	    "the KDC finds no AES key for {s}: set msDS-SupportedEncryptionTypes of the mail "
	    "server's account to 24 or 28 "
	    "and its password again" },
	{ KRB5KDC_ERR_PADATA_TYPE_NOSUPP, AT_S4U, 0, KERBEROS_DENIED, REMEDY_NONE,
	    "the KDC does not know protocol transition (S4U): proxy.kerberos.kdcs must be AD "
	    "domain controllers" },
	{ KRB5KDC_ERR_MUST_USE_USER2USER, AT_S4U, 0, KERBEROS_DENIED, REMEDY_NONE,
	    "the owner of {s} is no service account for the KDC: give the SPN to the mail server's "
	    "own account" },
};

static const struct row *find_row(enum krb_step step, long code, bool forwardable)
{
	enum ticket ticket = forwardable ? TICKET_FORWARDABLE : TICKET_NOT_FORWARDABLE;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (rows[i].code == code && (rows[i].steps & AT(step)) != 0 &&
		    (rows[i].ticket == TICKET_ANY || rows[i].ticket == ticket))
			return &rows[i];
	}
	return NULL;
}

static const char *party(const struct krb_parties *who, char mark)
{
	const char *name = mark == 'p' ? who->principal
	    : mark == 'a'              ? who->account
	    : mark == 's'              ? who->service
				       : who->kdcs;

	return name != NULL ? name : "";
}

/* Cut where it does not fit; never inside a UTF-8 character. */
static void fill_in(char out[FAULT_TEXT_MAX], const char *text, const struct krb_parties *who)
{
	size_t n = 0;

	for (; *text != '\0' && n + 1 < FAULT_TEXT_MAX; text++) {
		const char *name;

		if (text[0] != '{' || text[1] == '\0' || text[2] != '}') {
			out[n++] = *text;
			continue;
		}
		for (name = party(who, text[1]); *name != '\0' && n + 1 < FAULT_TEXT_MAX; name++)
			out[n++] = *name;
		text += 2;
	}
	while (n > 0 && n + 1 == FAULT_TEXT_MAX && ((unsigned char)out[n - 1] & 0x80) != 0)
		n--;
	out[n] = '\0';
}

static const char *step_name(enum krb_step step)
{
	static const char *const names[] = {
		[STEP_KEYTAB] = "reading the keytab",
		[STEP_LOGIN] = "logging on with the keytab",
		[STEP_SELF] = "S4U2Self",
		[STEP_PROXY] = "S4U2Proxy",
		[STEP_TOKEN] = "making the token",
	};
	return names[step];
}

void krb_fault_from_code(enum krb_step step, long code, bool forwardable,
    const struct krb_parties *who, struct krb_fault *out)
{
	const struct row *row = find_row(step, code, forwardable);
	char text[160];

	if (row != NULL) {
		out->result = row->result;
		out->remedy = row->remedy;
		fill_in(out->text, row->text, who);
		return;
	}
	out->result = (AT(step) & AT_OWN) != 0 ? KERBEROS_BROKEN : KERBEROS_DENIED;
	out->remedy = (AT(step) & AT_OWN) != 0 ? REMEDY_WAIT : REMEDY_NONE;
	if (code == ENOMEM)
		snprintf(text, sizeof(text), "out of memory at %s", step_name(step));
	else if (code >= KRB5KDC_ERR_NONE && code < KRB5KDC_ERR_NONE + 128)
		snprintf(text, sizeof(text), "the KDC refuses %s: error %ld (RFC 4120 7.5.9)",
		    step_name(step), code - (long)KRB5KDC_ERR_NONE);
	else
		snprintf(text, sizeof(text), "%s failed: krb5 error %ld", step_name(step), code);
	fill_in(out->text, text, who);
}

void krb_fault_say(struct krb_fault *out, enum kerberos_result result, enum krb_remedy remedy,
    const char *fmt, ...)
{
	va_list args;

	out->result = result;
	out->remedy = remedy;
	va_start(args, fmt);
	vsnprintf(out->text, sizeof(out->text), fmt, args);
	va_end(args);
}
