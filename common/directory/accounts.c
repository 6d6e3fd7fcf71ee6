/*
 * accounts: a YAML text to accounts, and claims to accounts. Opens no file, keeps no time.
 * A wrong file is refused whole. Runs in the *directory* process and in `check`.
 */
#include "common/directory/accounts.h"

#include <ldap.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/directory/claim_kind.h"
#include "common/directory/account_facts.h"
#include "common/directory/claim_search.h"
#include "common/directory/password_hash.h"
#include "common/directory/sid.h"
#include "common/log.h"
#include "common/text.h"

/* --- the file's form --- */

struct row {
	char *sam, *upn, *sid, *mail, *realm, *netbios, *display_name, *expires, *password;
	bool enabled, not_delegated, protect;
	char **groups, **alt;
	unsigned groups_count, alt_count;
};

struct rows {
	struct row *accounts;
	unsigned accounts_count;
};

#define OPTIONAL_TEXT (CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL)
#define TEXT(key)     CYAML_FIELD_STRING_PTR(#key, OPTIONAL_TEXT, struct row, key, 0, ACCOUNT_TEXT_MAX)

static const cyaml_schema_value_t text_entry = {
	CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 1, DIRECTORY_CLAIM_MAX - 1),
};
static const cyaml_schema_field_t row_fields[] = {
	CYAML_FIELD_STRING_PTR("sam", CYAML_FLAG_POINTER, struct row, sam, 1, ACCOUNT_NAME_MAX - 1),
	CYAML_FIELD_STRING_PTR("sid", CYAML_FLAG_POINTER, struct row, sid, 1, ACCOUNT_SID_MAX - 1),
	TEXT(upn),
	TEXT(mail),
	TEXT(realm),
	TEXT(netbios),
	TEXT(display_name),
	TEXT(expires),
	CYAML_FIELD_STRING_PTR("password", OPTIONAL_TEXT, struct row, password, 0, PASSWORD_HASH_MAX - 1),
	CYAML_FIELD_BOOL("enabled", CYAML_FLAG_OPTIONAL, struct row, enabled),
	CYAML_FIELD_BOOL("not_delegated", CYAML_FLAG_OPTIONAL, struct row, not_delegated),
	CYAML_FIELD_BOOL("protected", CYAML_FLAG_OPTIONAL, struct row, protect),
	CYAML_FIELD_SEQUENCE("groups", OPTIONAL_TEXT, struct row, groups, &text_entry, 0, 4096),
	CYAML_FIELD_SEQUENCE_COUNT("alt_security_identities", OPTIONAL_TEXT, struct row, alt,
	    alt_count, &text_entry, 0, 64),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t row_entry = { CYAML_VALUE_MAPPING(
    CYAML_FLAG_DEFAULT, struct row, row_fields) };
static const cyaml_schema_field_t top_fields[] = {
	CYAML_FIELD_SEQUENCE(
	    "accounts", CYAML_FLAG_POINTER, struct rows, accounts, &row_entry, 0, 100000),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t top = { CYAML_VALUE_MAPPING(
    CYAML_FLAG_POINTER, struct rows, top_fields) };

struct accounts {
	struct rows *rows;	 /* alt_security_identities are read from here */
	struct account *account; /* one for each row */
	struct sid *sid;	 /* and its SID in bytes, as claims are compared */
	size_t count;
};

/* --- rows to accounts --- */

/* "2027-01-31" or "2027-01-31T12:00:00Z", UTC, after 1970. */
static int parse_time(const char *text, int64_t *out)
{
	bool whole = strlen(text) == 20;
	struct tm tm = { .tm_isdst = 0 }, given;
	const char *end;
	time_t t;

	if (!whole && strlen(text) != 10)
		return -1;
	end = whole ? strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm) : strptime(text, "%Y-%m-%d", &tm);
	if (end == NULL || *end != '\0')
		return -1;
	given = tm;
	t = timegm(&tm);
	/* timegm() repairs 31 February; we do not. */
	if (t <= 0 || tm.tm_mday != given.tm_mday || tm.tm_hour != given.tm_hour ||
	    tm.tm_sec != given.tm_sec)
		return -1;
	*out = t;
	return 0;
}

/* A DN in one form whatever its spaces; a text that is no DN as it stands. ldap_memfree() it; NULL:
 * out of memory. */
static char *one_form(const char *dn)
{
	LDAPDN parsed = NULL;
	char *text = NULL;

	if (ldap_str2dn(dn, &parsed, LDAP_DN_FORMAT_LDAPV3) == LDAP_SUCCESS && parsed != NULL)
		(void)ldap_dn2str(parsed, &text, LDAP_DN_FORMAT_LDAPV3);
	ldap_dnfree(parsed);
	return text != NULL ? text : ldap_strdup(dn);
}

static int fill_groups(
    struct account *a, const struct row *row, char *const *wanted, unsigned wanted_count)
{
	for (unsigned i = 0; i < row->groups_count; i++) {
		char *dn = one_form(row->groups[i]);
		if (dn == NULL)
			return -1;
		for (unsigned g = 0; g < wanted_count; g++) {
			if (text_eq_nocase(strv_from(dn), strv_from(wanted[g])))
				a->groups |= 1ull << g;
		}
		ldap_memfree(dn);
	}
	return 0;
}

static int take_text(char *out, size_t size, const char *in)
{
	struct strv text = strv_from(in);

	if (!text_is_clean(text))
		return -1;
	return text_copy(out, size, text);
}

/* NULL, or the key that is wrong and (*expected) what was expected. */
static const char *fill(struct account *a, struct sid *sid, const struct row *row, const char **expected)
{
	*expected = "text without control characters that is not too long";
	if (row->sam[0] == '\0' || take_text(a->sam, sizeof(a->sam), row->sam) < 0)
		return "sam";
	if (take_text(a->upn, sizeof(a->upn), row->upn) < 0)
		return "upn";
	if (take_text(a->mail, sizeof(a->mail), row->mail) < 0)
		return "mail";
	if (take_text(a->realm, sizeof(a->realm), row->realm) < 0)
		return "realm";
	if (take_text(a->netbios, sizeof(a->netbios), row->netbios) < 0)
		return "netbios";
	if (take_text(a->display_name, sizeof(a->display_name), row->display_name) < 0)
		return "display_name";
	*expected = "a SID such as S-1-5-21-1-2-3-1104";
	if (sid_from_text(strv_from(row->sid), sid) < 0 ||
	    sid_to_text(sid, a->sid, sizeof(a->sid)) < 0)
		return "sid";
	*expected = "a date such as 2027-01-31 or 2027-01-31T12:00:00Z";
	if (row->expires != NULL && row->expires[0] != '\0' &&
	    parse_time(row->expires, &a->expires) < 0)
		return "expires";
	*expected = "a crypt(3) hash that begins with $y$, $gy$, $6$ or $2b$, as mkpasswd makes it; never the password itself";
	if (row->password != NULL && row->password[0] != '\0' && !password_hash_is_good(row->password))
		return "password";
	a->flags = (row->enabled ? ACCOUNT_ENABLED : 0) |
		   (row->not_delegated ? ACCOUNT_NOT_DELEGATED : 0) |
		   (row->protect ? ACCOUNT_PROTECTED : 0);
	for (char *p = a->realm; *p != '\0'; p++)
		*p = (char)(*p >= 'a' && *p <= 'z' ? *p - 32 : *p);
	return NULL;
}

static int fill_all(struct accounts *a, const char *name, struct strv text, char *const *wanted,
    unsigned wanted_count, struct config_error *error)
{
	for (size_t i = 0; i < a->count; i++) {
		const char *expected, *key = fill(&a->account[i], &a->sid[i], &a->rows->accounts[i], &expected);
		char path[64];
		if (key != NULL) {
			snprintf(path, sizeof(path), "accounts[%zu].%s", i, key);
			config_fail(
			    error, name, text, path, "is not usable: expected %s", expected);
			return -1;
		}
		if (fill_groups(&a->account[i], &a->rows->accounts[i], wanted, wanted_count) < 0) {
			snprintf(error->text, sizeof(error->text), "%s: out of memory", name);
			return -1;
		}
	}
	return 0;
}

/* --- names that stand twice --- */

struct name {
	char key[8 + DIRECTORY_CLAIM_MAX +
		 ACCOUNT_NAME_MAX]; /* "upn alice@corp.example", lower case */
	size_t account;
};

static int compare_names(const void *a, const void *b)
{
	return strcmp(((const struct name *)a)->key, ((const struct name *)b)->key);
}

static void put_name(struct name *names, size_t *n, size_t account, const char *kind,
    const char *value, const char *realm)
{
	struct name *out = &names[*n];

	if (value[0] == '\0')
		return;
	snprintf(out->key, sizeof(out->key), "%s %s%s%s", kind, value, realm[0] != '\0' ? "@" : "",
	    realm);
	text_lower(out->key, strlen(out->key));
	out->account = account;
	(*n)++;
}

/* How many names stand at more than one account; each is logged. */
static unsigned find_duplicates(const struct accounts *a, const char *file)
{
	size_t n = 0, room = 0;
	unsigned found = 0;
	struct name *names;

	for (size_t i = 0; i < a->count; i++)
		room += 4 + a->rows->accounts[i].alt_count;
	names = room > 0 ? calloc(room, sizeof(*names)) : NULL;
	if (names == NULL)
		return 0;
	for (size_t i = 0; i < a->count; i++) {
		const struct account *acc = &a->account[i];
		put_name(names, &n, i, "sid", acc->sid, "");
		put_name(names, &n, i, "sam", acc->sam, acc->realm);
		put_name(names, &n, i, "upn", acc->upn, "");
		put_name(names, &n, i, "mail", acc->mail, "");
		for (unsigned k = 0; k < a->rows->accounts[i].alt_count; k++)
			put_name(names, &n, i, "alt", a->rows->accounts[i].alt[k], "");
	}
	qsort(names, n, sizeof(*names), compare_names);
	for (size_t i = 1; i < n; i++) {
		if (strcmp(names[i].key, names[i - 1].key) != 0 ||
		    names[i].account == names[i - 1].account)
			continue;
		found++;
		log_say(LOG_ERROR, "accounts_duplicate",
		    "%s: \"%s\" stands at accounts %zu and %zu (counted from 1): "
		    "whoever comes by that name is refused; give it to one of them only",
		    file, names[i].key, names[i - 1].account + 1, names[i].account + 1);
	}
	free(names);
	return found;
}

/* --- the whole --- */

struct accounts *accounts_load(const char *name, struct strv text, const char *const *groups,
    unsigned groups_count, unsigned *duplicates, struct config_error *error)
{
	struct accounts *a = calloc(1, sizeof(*a));
	char *wanted[64] = { NULL };
	cyaml_data_t *data = NULL;
	unsigned n = 0, twice;
	bool good = false;

	if (a == NULL || groups_count > ARRAY_LEN(wanted)) {
		snprintf(error->text, sizeof(error->text), "%s: %s", name,
		    a == NULL ? "out of memory" : "too many groups");
		goto out;
	}
	if (config_load(name, text, &top, &data, error) < 0)
		goto out;
	a->rows = (struct rows *)data;
	a->count = a->rows->accounts_count;
	a->account = calloc(a->count > 0 ? a->count : 1, sizeof(*a->account));
	a->sid = calloc(a->count > 0 ? a->count : 1, sizeof(*a->sid));
	for (n = 0; n < groups_count && (wanted[n] = one_form(groups[n])) != NULL; n++)
		;
	if (a->account == NULL || a->sid == NULL || n < groups_count) {
		snprintf(error->text, sizeof(error->text), "%s: out of memory", name);
		goto out;
	}
	if (fill_all(a, name, text, wanted, n, error) < 0)
		goto out;
	twice = find_duplicates(a, name);
	if (duplicates != NULL)
		*duplicates = twice;
	good = true;
out:
	while (n > 0)
		ldap_memfree(wanted[--n]);
	if (good)
		return a;
	accounts_free(a);
	return NULL;
}

void accounts_free(struct accounts *a)
{
	if (a == NULL)
		return;
	config_release(&top, (cyaml_data_t *)a->rows);
	free(a->account);
	free(a->sid);
	free(a);
}

size_t accounts_count(const struct accounts *a)
{
	return a->count;
}

/* --- finding --- */

static bool has_name(const struct account *a, const struct sid *sid, const struct row *row, const struct claim_search *s)
{
	/* first: it is what every enrolment and every certificate with a SID asks for */
	if (strcmp(s->attribute, "objectSid") == 0)
		return claim_matches(s, (struct strv){ (const char *)sid->byte, sid->n });
	if (strcmp(s->attribute, "userPrincipalName") == 0)
		return claim_matches(s, strv_from(a->upn));
	if (strcmp(s->attribute, "sAMAccountName") == 0 || strcmp(s->attribute, "cn") == 0 ||
	    strcmp(s->attribute, "uid") == 0)
		return claim_matches(s, strv_from(a->sam));
	if (strcmp(s->attribute, "mail") == 0)
		return claim_matches(s, strv_from(a->mail));
	if (strcmp(s->attribute, "altSecurityIdentities") == 0) {
		for (unsigned i = 0; i < row->alt_count; i++) {
			if (claim_matches(s, strv_from(row->alt[i])))
				return true;
		}
	}
	return false;
}

enum account_result accounts_find(
    const struct accounts *a, uint32_t kind, const char *value, struct account *out)
{
	struct claim_search search[CLAIM_SEARCHES_MAX];
	struct directory_names names = { NULL, NULL };
	size_t found = 0, which = 0;
	unsigned n = 0;

	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < a->count && found < 2; i++) {
		const struct account *at = &a->account[i];
		/* Each account is in a domain of its own saying, so that "our domain" is that
		 * account's. */
		if (names.dns == NULL || strcmp(names.dns, at->realm) != 0 ||
		    strcmp(names.netbios, at->netbios) != 0) {
			names = (struct directory_names){ at->realm, at->netbios };
			n = claim_searches(kind, value, &names, search);
		}
		for (unsigned k = 0; k < n; k++) {
			if (has_name(at, &a->sid[i], &a->rows->accounts[i], &search[k])) {
				found++;
				which = i;
				break;
			}
		}
	}
	if (found != 1)
		return found == 0 ? ACCOUNT_UNKNOWN : ACCOUNT_AMBIGUOUS;
	*out = a->account[which];
	return ACCOUNT_FOUND;
}

void accounts_members(const struct accounts *a, unsigned group, time_t now, size_t *at, struct directory_member_page *page)
{
	for (; *at < a->count && page->n < DIRECTORY_MEMBERS_MAX; (*at)++) {
		const struct account *one = &a->account[*at];
		struct directory_member *m = &page->member[page->n];
		uint32_t flags = facts_flags_now(one, now);
		if ((one->groups >> group & 1) == 0 || (flags & ACCOUNT_ENABLED) == 0 || (flags & ACCOUNT_EXPIRED) != 0)
			continue;
		memset(m, 0, sizeof(*m));
		memcpy(m->sid, one->sid, sizeof(m->sid));
		snprintf(m->name, sizeof(m->name), "%s", one->upn[0] != '\0' ? one->upn : one->sam);
		page->n++;
	}
	page->more = *at < a->count;
	page->result = ACCOUNT_FOUND;
}

const char *accounts_password(const struct accounts *a, const char *sid, const char **like)
{
	const char *own = NULL;

	*like = NULL;
	for (size_t i = 0; i < a->count; i++) {
		const char *hash = a->rows->accounts[i].password;
		if (hash == NULL || hash[0] == '\0')
			continue;
		*like = hash;
		if (strcmp(a->account[i].sid, sid) == 0)
			own = hash;
	}
	return own;
}

/* --- what changed --- */

static bool same_alt(const struct row *a, const struct row *b)
{
	if (a->alt_count != b->alt_count)
		return false;
	for (unsigned i = 0; i < a->alt_count; i++) {
		if (strcmp(a->alt[i], b->alt[i]) != 0)
			return false;
	}
	return true;
}

/* Both were zeroed before they were filled, so that padding is equal too. */
static bool same_account(const struct accounts *a, size_t i, const struct accounts *b, size_t k)
{
	return memcmp(&a->account[i], &b->account[k], sizeof(struct account)) == 0 &&
	       same_alt(&a->rows->accounts[i], &b->rows->accounts[k]);
}

/* True when `in` has exactly this account; most often at the same place. */
static bool stands_in(const struct accounts *in, const struct accounts *from, size_t i)
{
	if (in == NULL)
		return false;
	if (i < in->count && same_account(in, i, from, i))
		return true;
	for (size_t k = 0; k < in->count; k++) {
		if (same_account(in, k, from, i))
			return true;
	}
	return false;
}

void accounts_compare(const struct accounts *before, const struct accounts *after,
    void (*changed)(void *arg, const char *sid), void *arg)
{
	for (size_t i = 0; before != NULL && i < before->count; i++) {
		if (!stands_in(after, before, i))
			changed(arg, before->account[i].sid);
	}
	for (size_t i = 0; after != NULL && i < after->count; i++) {
		if (!stands_in(before, after, i))
			changed(arg, after->account[i].sid);
	}
}
