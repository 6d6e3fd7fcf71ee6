/*
 * claim_search: claim to attribute, value and filter. Asks nobody, decides nothing about the
 * account. Must never let a claim's byte become part of a filter's structure. Pure; runs in the
 * *directory* process.
 */
#include "common/directory/claim_search.h"

#include <stdio.h>

#include "common/directory/sid.h"
#include "common/text.h"

#define PERSON_HEAD "(&(objectCategory=person)(objectClass=user)("
#define PERSON_TAIL "))"

static bool plain(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c != '\0' && strchr(" -./:=@_,", c) != NULL);
}

int claim_escape(struct strv text, bool all, char *out, size_t size, size_t *n)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];
		if (size - *n < 4)
			return -1;
		if (!all && plain(c)) {
			out[(*n)++] = (char)c;
			continue;
		}
		out[(*n)++] = '\\';
		out[(*n)++] = digits[c >> 4];
		out[(*n)++] = digits[c & 15];
	}
	out[*n] = '\0';
	return 0;
}

int claim_filter(const struct claim_search *search, char *out, size_t size)
{
	int rc = snprintf(out, size, PERSON_HEAD "%s=", search->attribute);
	size_t n;

	if (rc < 0 || (size_t)rc >= size)
		return -1;
	n = (size_t)rc;
	if (claim_escape((struct strv){ search->value, search->n }, search->binary, out, size, &n) <
	    0)
		return -1;
	if (size - n < sizeof(PERSON_TAIL))
		return -1;
	memcpy(out + n, PERSON_TAIL, sizeof(PERSON_TAIL));
	return 0;
}

bool claim_matches(const struct claim_search *search, struct strv found)
{
	struct strv wanted = { search->value, search->n };

	return search->binary ? strv_eq(wanted, found) : text_eq_nocase(wanted, found);
}

/* --- altSecurityIdentities: DN order --- */

/* Length of the RDN at p: to a comma that is neither escaped nor quoted, or to the end. */
static size_t rdn_length(const char *p, size_t n)
{
	bool quoted = false;

	for (size_t i = 0; i < n; i++) {
		if (p[i] == '\\' && i + 1 < n)
			i++;
		else if (p[i] == '"')
			quoted = !quoted;
		else if (p[i] == ',' && !quoted)
			return i;
	}
	return n;
}

/* Where the DN that begins at p ends: at an unquoted '<' or at the end. */
static size_t dn_length(const char *p)
{
	bool quoted = false;
	size_t i;

	for (i = 0; p[i] != '\0'; i++) {
		if (p[i] == '\\' && p[i + 1] != '\0')
			i++;
		else if (p[i] == '"')
			quoted = !quoted;
		else if (p[i] == '<' && !quoted)
			break;
	}
	return i;
}

/* Writes the n bytes of a DN with its RDNs reversed: same length. */
static void reverse_dn(const char *dn, size_t n, char *out)
{
	size_t at = 0, end = n;

	while (at < n) {
		size_t rdn = rdn_length(dn + at, n - at);
		end -= rdn;
		memcpy(out + end, dn + at, rdn);
		at += rdn;
		if (at < n) { /* the comma */
			out[--end] = ',';
			at++;
			if (at == n) /* nothing behind it: an empty last part */
				break;
		}
	}
}

int claim_alt_reversed(const char *value, char *out, size_t size)
{
	size_t at = 5, n = strlen(value);
	bool any = false;

	if (n >= size || n < 8 || memcmp(value, "X509:", 5) != 0)
		return -1;
	memcpy(out, value, n + 1);
	while (value[at] == '<') {
		const char *close = strchr(value + at, '>');
		size_t tag, dn;
		if (close == NULL)
			return -1;
		tag = (size_t)(close - (value + at)) + 1;
		dn = dn_length(value + at + tag);
		if (tag == 3 && (value[at + 1] == 'I' || value[at + 1] == 'S')) {
			reverse_dn(value + at + tag, dn, out + at + tag);
			any = true;
		}
		at += tag + dn;
	}
	return any ? 0 : -1;
}

/* --- claim to searches --- */

struct list {
	struct claim_search *search;
	unsigned n;
};

static void add(struct list *list, const char *attribute, const char *prefix, struct strv value)
{
	struct claim_search *s;
	size_t head = strlen(prefix);

	if (value.n == 0 || head + value.n >= sizeof(s->value) || list->n == CLAIM_SEARCHES_MAX)
		return;
	s = &list->search[list->n++];
	s->attribute = attribute;
	s->binary = false;
	memcpy(s->value, prefix, head);
	memcpy(s->value + head, value.p, value.n);
	s->n = head + value.n;
	s->value[s->n] = '\0';
}

static void add_sid(struct list *list, const char *value)
{
	struct claim_search *s = &list->search[0];
	struct sid sid;

	if (sid_from_text(strv_from(value), &sid) < 0)
		return;
	s->attribute = "objectSid";
	s->binary = true;
	memcpy(s->value, sid.byte, sid.n);
	s->n = sid.n;
	s->value[s->n] = '\0';
	list->n = 1;
}

static void add_upn(struct list *list, struct strv upn, const struct directory_names *names)
{
	const char *at = memrchr(upn.p, '@', upn.n);
	struct strv name, suffix;

	if (at == NULL || at == upn.p || at == upn.p + upn.n - 1)
		return;
	name = (struct strv){ upn.p, (size_t)(at - upn.p) };
	suffix = (struct strv){ at + 1, upn.n - name.n - 1 };
	add(list, "userPrincipalName", "", upn);
	if (text_eq_nocase(suffix, strv_from(names->dns)))
		add(list, "sAMAccountName", "", name);
}

static void add_alt(struct list *list, const char *value)
{
	char other[DIRECTORY_CLAIM_MAX];

	if (strncmp(value, "X509:<", 6) != 0)
		return;
	add(list, "altSecurityIdentities", "", strv_from(value));
	if (claim_alt_reversed(value, other, sizeof(other)) == 0 && strcmp(other, value) != 0)
		add(list, "altSecurityIdentities", "", strv_from(other));
}

static void add_user(struct list *list, const char *value, const struct directory_names *names)
{
	struct strv rest = strv_from(value), domain;

	if (strchr(value, '\\') != NULL) {
		domain = text_split(&rest, '\\');
		if (domain.n > 0 && (text_eq_nocase(domain, strv_from(names->netbios)) ||
					text_eq_nocase(domain, strv_from(names->dns))))
			add(list, "sAMAccountName", "", rest);
		return;
	}
	if (strchr(value, '@') != NULL)
		add_upn(list, rest, names);
	else
		add(list, "sAMAccountName", "", rest);
}

unsigned claim_searches(uint32_t kind, const char *value, const struct directory_names *names,
    struct claim_search out[CLAIM_SEARCHES_MAX])
{
	struct list list = { out, 0 };
	struct strv text = strv_from(value);

	if (text.n == 0 || text.n >= DIRECTORY_CLAIM_MAX || !text_is_clean(text))
		return 0;
	switch (kind) {
	case CLAIM_SID:
		add_sid(&list, value);
		break;
	case CLAIM_UPN:
		add_upn(&list, text, names);
		break;
	case CLAIM_ALT_ISSUER_SERIAL:
	case CLAIM_ALT_SKI:
	case CLAIM_ALT_SHA1_PUBLIC_KEY:
	case CLAIM_WEAK_ISSUER_SUBJECT:
	case CLAIM_WEAK_SUBJECT:
	case CLAIM_WEAK_RFC822:
		add_alt(&list, value);
		break;
	case CLAIM_EMAIL:
	case CLAIM_SUBJECT_EMAIL:
		add(&list, "mail", "", text);
		add(&list, "proxyAddresses", "smtp:", text);
		break;
	case CLAIM_SUBJECT_CN:
		add(&list, "cn", "", text);
		add(&list, "sAMAccountName", "", text);
		break;
	case CLAIM_SUBJECT_UID:
		add(&list, "uid", "", text);
		add(&list, "sAMAccountName", "", text);
		break;
	case CLAIM_USER:
		add_user(&list, value, names);
		break;
	default:
		break;
	}
	return list.n;
}
