/*
 * profile: what the server wants in a certificate. Pure. Worker process.
 */
#include "enroll/worker/profile.h"

#include <stdio.h>

#define DAY 86400

const char *profile_result_text(enum profile_result result)
{
	switch (result) {
	case PROFILE_OK: return "ok";
	case PROFILE_DISABLED: return "the account is disabled";
	case PROFILE_EXPIRED: return "the account has expired";
	case PROFILE_NOT_IN_GROUP: return "the account is not in the profile's group";
	case PROFILE_NO_UPN: return "the account has no UPN, which the profile wants";
	case PROFILE_NO_MAIL: return "the account has no mail address, which the profile wants";
	case PROFILE_NO_SID: return "the account has no SID, which the profile wants";
	case PROFILE_NO_NAME: return "the account has no name";
	case PROFILE_WRONG_KEY: return "the profile wants another kind of key";
	case PROFILE_TOO_LONG: return "the account or the key does not fit";
	}
	return "unknown";
}

enum profile_result profile_allows(const struct profile_rule *rule, const struct account *a, int64_t now)
{
	if ((a->flags & ACCOUNT_ENABLED) == 0)
		return PROFILE_DISABLED;
	if ((a->flags & ACCOUNT_EXPIRED) != 0 || (a->expires != 0 && a->expires <= now))
		return PROFILE_EXPIRED;
	if (rule->group >= 64 || (rule->group >= 0 && (a->groups >> rule->group & 1) == 0))
		return PROFILE_NOT_IN_GROUP;
	if (a->sam[0] == '\0')
		return PROFILE_NO_NAME;
	if (rule->sid && a->sid[0] == '\0')
		return PROFILE_NO_SID;
	if (rule->upn && a->upn[0] == '\0')
		return PROFILE_NO_UPN;
	if (rule->mail && a->mail[0] == '\0')
		return PROFILE_NO_MAIL;
	return PROFILE_OK;
}

/* -1: does not fit. */
static int put(char *out, size_t size, const char *text, size_t text_size)
{
	size_t n = strnlen(text, text_size);

	if (n >= size || n == text_size)
		return -1;
	memcpy(out, text, n);
	return 0;
}

enum profile_result profile_fill(const struct profile_wanted *w, struct signer_issue *out, size_t room, size_t *n)
{
	const struct profile_rule *rule = w->rule;
	const struct account *a = w->account;
	enum profile_result rc = profile_allows(rule, a, w->now);

	if (rc != PROFILE_OK)
		return rc;
	if ((rule->key == PROFILE_KEY_RSA && !w->rsa) || (rule->key == PROFILE_KEY_EC && w->rsa))
		return PROFILE_WRONG_KEY;
	if (room < sizeof(*out) || w->spki.n == 0 || w->spki.n > room - sizeof(*out))
		return PROFILE_TOO_LONG;
	memset(out, 0, sizeof(*out));
	memcpy(out->serial, w->serial, sizeof(out->serial));
	out->not_before = w->now - PROFILE_BACKDATE;
	out->not_after = w->now + (int64_t)rule->days * DAY;
	/* nobody syncs with an account that has ended, so nobody needs a certificate for then */
	if (a->expires != 0 && a->expires < out->not_after)
		out->not_after = a->expires;
	if (put(out->profile, sizeof(out->profile), rule->name, sizeof(out->profile)) < 0 || put(out->sam, sizeof(out->sam), a->sam, sizeof(a->sam)) < 0 ||
	    put(out->display_name, sizeof(out->display_name), a->display_name[0] != '\0' ? a->display_name : a->sam,
	    a->display_name[0] != '\0' ? sizeof(a->display_name) : sizeof(a->sam)) < 0 || put(out->device, sizeof(out->device), w->device,
	    sizeof(out->device)) < 0 || put(out->sid, sizeof(out->sid), a->sid, sizeof(a->sid)) < 0 || put(out->upn, sizeof(out->upn), a->upn,
	    sizeof(a->upn)) < 0 || put(out->mail, sizeof(out->mail), a->mail, sizeof(a->mail)) < 0)
		return PROFILE_TOO_LONG;
	out->spki_n = (uint32_t)w->spki.n;
	memcpy(out + 1, w->spki.p, w->spki.n);
	*n = sizeof(*out) + w->spki.n;
	return PROFILE_OK;
}
