/*
 * ldap_entry: typed values of an LDAP entry, with every length and form checked. Keeps nothing,
 * asks nobody. Runs in the *directory* process.
 */
#include "common/directory/ldap_parts.h"
#include "common/text.h"

static struct strv view(const struct berval *v)
{
	return (struct strv){ v->bv_val, v->bv_len };
}

/* The only value of an attribute. False: none, or several. */
static bool single(struct berval **values)
{
	return values != NULL && values[0] != NULL && values[1] == NULL;
}

bool ldap_entry_text(LDAP *ld, LDAPMessage *e, const char *attribute, char *out, size_t size)
{
	struct berval **values = ldap_get_values_len(ld, e, attribute);
	bool good = single(values) && text_is_clean(view(values[0])) &&
		    text_copy(out, size, view(values[0])) == 0;

	if (!good)
		out[0] = '\0';
	ldap_value_free_len(values);
	return good;
}

bool ldap_entry_number(LDAP *ld, LDAPMessage *e, const char *attribute, int64_t *out)
{
	struct berval **values = ldap_get_values_len(ld, e, attribute);
	struct strv digits = { NULL, 0 };
	bool minus, good = false;
	uint64_t n;

	*out = 0;
	if (single(values)) {
		digits = view(values[0]);
		minus = digits.n > 0 && digits.p[0] == '-';
		if (minus)
			digits = (struct strv){ digits.p + 1, digits.n - 1 };
		good = text_u64(digits, minus ? (uint64_t)INT64_MAX + 1 : INT64_MAX, &n) == 0;
		if (good)
			*out = minus ? -1 - (int64_t)(n - 1) : (int64_t)n;
	}
	ldap_value_free_len(values);
	return good;
}

uint32_t ldap_window_seconds(int64_t window)
{
	int64_t seconds = window < 0 ? window / -10000000 : 0;

	return seconds > INT32_MAX ? INT32_MAX : (uint32_t)seconds;
}

bool ldap_entry_time(LDAP *ld, LDAPMessage *e, const char *attribute, int64_t *out)
{
	char text[32];
	struct tm t;
	const char *end;

	*out = 0;
	memset(&t, 0, sizeof(t));
	if (!ldap_entry_text(ld, e, attribute, text, sizeof(text)))
		return false;
	end = strptime(text, "%Y%m%d%H%M%S", &t);
	if (end == NULL || (end[0] != 'Z' && end[0] != '.') || text[strlen(text) - 1] != 'Z')
		return false;
	*out = timegm(&t);
	return *out > 0;
}

bool ldap_entry_sid(LDAP *ld, LDAPMessage *e, const char *attribute, struct sid *out)
{
	struct berval **values = ldap_get_values_len(ld, e, attribute);
	bool good = single(values) && sid_from_bytes(view(values[0]), out) == 0;

	if (!good)
		memset(out, 0, sizeof(*out));
	ldap_value_free_len(values);
	return good;
}

bool ldap_entry_has(LDAP *ld, LDAPMessage *e, const struct claim_search *search)
{
	struct berval **values = ldap_get_values_len(ld, e, search->attribute);
	bool found = false;

	for (size_t i = 0; values != NULL && values[i] != NULL && !found; i++)
		found = claim_matches(search, view(values[i]));
	ldap_value_free_len(values);
	return found;
}

bool ldap_entry_has_text(LDAP *ld, LDAPMessage *e, const char *attribute, const char *value)
{
	struct berval **values = ldap_get_values_len(ld, e, attribute);
	bool found = false;

	for (size_t i = 0; values != NULL && values[i] != NULL && !found; i++)
		found = text_eq_nocase(view(values[i]), strv_from(value));
	ldap_value_free_len(values);
	return found;
}

bool ldap_entry_dn(LDAP *ld, LDAPMessage *e, char *out, size_t size)
{
	char *dn = ldap_get_dn(ld, e);
	bool good = dn != NULL && text_copy(out, size, strv_from(dn)) == 0 && out[0] != '\0';

	if (!good)
		out[0] = '\0';
	ldap_memfree(dn);
	return good;
}

static bool is_label(struct strv label)
{
	for (size_t i = 0; i < label.n; i++) {
		char c = text_lower_char(label.p[i]);
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
			return false;
	}
	return label.n > 0;
}

bool ldap_dn_domain(const char *dn, char *out, size_t size)
{
	LDAPDN parsed = NULL;
	size_t n = 0;
	bool good = ldap_str2dn(dn, &parsed, LDAP_DN_FORMAT_LDAPV3) == LDAP_SUCCESS &&
		    parsed != NULL;

	for (size_t i = 0; good && parsed[i] != NULL; i++) {
		const LDAPAVA *ava = parsed[i][0];
		struct strv value;
		if (ava == NULL || ava->la_attr.bv_val == NULL || ava->la_value.bv_val == NULL) {
			good = false; /* libldap had no memory for it, and does not say so */
			break;
		}
		if (!text_eq_nocase(view(&ava->la_attr), STRV("DC")))
			continue;
		value = view(&ava->la_value);
		good = is_label(value) && n + value.n + 2 <= size;
		if (!good)
			break;
		if (n > 0)
			out[n++] = '.';
		memcpy(out + n, value.p, value.n);
		n += value.n;
	}
	ldap_dnfree(parsed);
	out[good ? n : 0] = '\0';
	return good && n > 0;
}
