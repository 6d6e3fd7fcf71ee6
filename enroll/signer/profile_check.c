/*
 * profile_check: the signer's own judgement of a question from a worker that may be captured. Runs in the signer; reads nothing but its arguments.
 */
#include "enroll/signer/profile_check.h"

#include <openssl/x509.h>

#include "common/public_key.h"
#include "common/text.h"
#include "enroll/signer/weak_key.h"

#define DAY 86400

bool profile_check_sid(const char *sid)
{
	struct strv rest = strv_from(sid), part;
	unsigned parts = 0;
	uint64_t number;

	if (strncmp(sid, "S-1-", 4) != 0)
		return false;
	rest.p += 4;
	rest.n -= 4;
	while (rest.p != NULL) {
		part = text_split(&rest, '-');
		/* identifier authority: 48 bits; the others: 32. A leading zero is another spelling of the same number: refused */
		if (text_u64(part, parts == 0 ? (1ull << 48) - 1 : UINT32_MAX, &number) < 0 ||
		    (part.n > 1 && part.p[0] == '0'))
			return false;
		parts++;
	}
	return parts >= 2 && parts <= 16;
}

bool profile_check_address(const char *address, bool ascii)
{
	const char *at = strchr(address, '@');

	if (!text_is_clean(strv_from(address)) || strchr(address, ' ') != NULL)
		return false;
	if (at == NULL || at == address || at[1] == '\0' || strchr(at + 1, '@') != NULL)
		return false;
	for (const char *c = address; ascii && *c != '\0'; c++) {
		if ((unsigned char)*c > 127)
			return false;
	}
	return true;
}

static bool ends(const char *room, size_t size) { return memchr(room, '\0', size) != NULL; }

static int check_texts(
    const struct signer_issue *q, const struct signer_profile *p, struct refusal *r)
{
	if (!text_is_clean(strv_from(q->sam)) || !text_is_clean(strv_from(q->display_name)) ||
	    !text_is_clean(strv_from(q->device)))
		return refuse(r, SIGNER_REFUSED,
		    "account name, display name or device has bytes that are no text");
	if ((p->sid || q->sid[0] != '\0') && !profile_check_sid(q->sid))
		return refuse(r, SIGNER_REFUSED,
		    "profile %s wants the account's SID: \"%.60s\" is none", p->name, q->sid);
	if ((p->upn || q->upn[0] != '\0') && !profile_check_address(q->upn, false))
		return refuse(r, SIGNER_REFUSED,
		    "profile %s wants the account's UPN: \"%.60s\" is none", p->name, q->upn);
	if ((p->mail || q->mail[0] != '\0') && !profile_check_address(q->mail, true))
		return refuse(r, SIGNER_REFUSED,
		    "profile %s wants the account's mail address: \"%.60s\" is none; fill it in the directory, or set mail: false",
		    p->name, q->mail);
	return 0;
}

static int check_times(
    const struct signer_issue *q, const struct signer_profile *p, int64_t now, struct refusal *r)
{
	if (q->not_before < now - ISSUE_BACKDATE_MAX || q->not_before > now + DAY)
		return refuse(r, SIGNER_REFUSED, "notBefore is not within a day of now");
	if (q->not_after <= now || q->not_after <= q->not_before)
		return refuse(r, SIGNER_REFUSED, "notAfter is not after now and notBefore");
	if (q->not_after > now + (int64_t)p->days * DAY)
		return refuse(r, SIGNER_REFUSED,
		    "notAfter is more than the %u days away that profile %s allows", p->days,
		    p->name);
	return 0;
}

static int check_serial(const struct signer_issue *q, struct refusal *r)
{
	static const uint8_t zero[SIGNER_SERIAL / 2];

	/* 64 random bits at least (CA/Browser Forum 7.1): a serial with half of its bytes zero is a counter */
	if (memcmp(q->serial, zero, sizeof(zero)) == 0)
		return refuse(r, SIGNER_REFUSED, "the serial is not 128 random bits");
	return 0;
}

static int check_own(const struct ca_files *ca, EVP_PKEY *key, struct refusal *r)
{
	for (size_t i = 0; i < ca->n; i++) {
		const struct ca_entry *e = &ca->entries[i];
		EVP_PKEY *own = e->certificate != NULL ? X509_get0_pubkey(e->certificate) : e->pkey;

		if (own != NULL && EVP_PKEY_eq(own, key) == 1)
			return refuse(r, SIGNER_BAD_KEY, "this public key is the %s key of this CA",
			    ca_kind_name(e->kind));
	}
	return 0;
}

static int check_key(const struct signer_profile *p, const struct ca_files *ca, const uint8_t *spki,
    size_t n, EVP_PKEY **out, struct refusal *r)
{
	EVP_PKEY *key = public_key_read((struct strv){ (const char *)spki, n });
	const char *what;
	int rc;

	if (key == NULL)
		return refuse(r, SIGNER_BAD_KEY, "not a SubjectPublicKeyInfo of an RSA or EC key");
	what = weak_key(key);
	if (what != NULL)
		rc = refuse(r, SIGNER_BAD_KEY, "refused: %s", what);
	else if (p->key == SIGNER_KEY_RSA && EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA)
		rc = refuse(r, SIGNER_BAD_KEY, "profile %s takes RSA keys only", p->name);
	else if (p->key == SIGNER_KEY_EC && EVP_PKEY_get_base_id(key) != EVP_PKEY_EC)
		rc = refuse(r, SIGNER_BAD_KEY, "profile %s takes EC keys only", p->name);
	else
		rc = check_own(ca, key, r);
	if (rc < 0) {
		EVP_PKEY_free(key);
		return -1;
	}
	*out = key;
	return 0;
}

static const struct signer_profile *find_profile(const struct signer_setup *setup, const char *name)
{
	for (size_t i = 0; i < setup->profiles_n; i++) {
		if (strcmp(setup->profiles[i].name, name) == 0)
			return &setup->profiles[i];
	}
	return NULL;
}

int profile_check(const struct signer_setup *setup, const struct ca_files *ca, const void *body,
    size_t n, int64_t now, struct issue_order *out, struct refusal *r)
{
	struct signer_issue q;

	if (n < sizeof(q))
		return refuse(r, SIGNER_REFUSED, "the question is cut");
	memcpy(&q, body, sizeof(q));
	if (q.spki_n != n - sizeof(q))
		return refuse(
		    r, SIGNER_REFUSED, "the question's key has another length than it says");
	if (!ends(q.profile, sizeof(q.profile)) || !ends(q.sid, sizeof(q.sid)) ||
	    !ends(q.upn, sizeof(q.upn)) || !ends(q.mail, sizeof(q.mail)) ||
	    !ends(q.sam, sizeof(q.sam)) || !ends(q.display_name, sizeof(q.display_name)) ||
	    !ends(q.device, sizeof(q.device)))
		return refuse(r, SIGNER_REFUSED, "a text in the question has no end");
	out->profile = find_profile(setup, q.profile);
	if (out->profile == NULL)
		return refuse(r, SIGNER_REFUSED, "there is no such profile in enroll.profiles");
	if (check_serial(&q, r) < 0 || check_times(&q, out->profile, now, r) < 0 ||
	    check_texts(&q, out->profile, r) < 0)
		return -1;
	out->spki = (const uint8_t *)body + sizeof(q);
	out->spki_n = q.spki_n;
	return check_key(
	    out->profile, ca, (const uint8_t *)body + sizeof(q), q.spki_n, &out->key, r);
}
