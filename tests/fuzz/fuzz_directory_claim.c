/*
 * Claims of any bytes: every filter made of one is an AND of three equalities of which the last is
 * on the claim's attribute with exactly the claim's value; SIDs and DN orders go there and back.
 */
#include "common/directory/claim_search.h"

#include <ldap.h>

#include "common/directory/sid.h"
#include "fuzz.h"

/* libldap's own, exported and declared in no installed header. */
int ldap_pvt_put_filter(BerElement *ber, const char *text);

static void check_filter(const struct claim_search *search)
{
	char filter[CLAIM_FILTER_MAX], *last;
	BerElement *ber = ber_alloc_t(LBER_USE_DER), *in;
	struct berval *flat = NULL;
	ber_tag_t tag;
	ber_len_t len;
	int count = 0;

	FUZZ_CHECK(ber != NULL);
	FUZZ_CHECK(claim_filter(search, filter, sizeof(filter)) == 0);
	FUZZ_CHECK(ldap_pvt_put_filter(ber, filter) == 0);
	FUZZ_CHECK(ber_flatten(ber, &flat) == 0);
	in = ber_init(flat);
	FUZZ_CHECK(in != NULL && ber_peek_tag(in, &len) == LDAP_FILTER_AND);
	for (tag = ber_first_element(in, &len, &last); tag != LBER_DEFAULT;
	     tag = ber_next_element(in, &len, last)) {
		struct berval a = { 0, NULL }, v = { 0, NULL };
		FUZZ_CHECK(tag == LDAP_FILTER_EQUALITY);
		FUZZ_CHECK(ber_scanf(in, "{mm}", &a, &v) != LBER_ERROR);
		if (++count != 3)
			continue;
		FUZZ_CHECK(a.bv_len == strlen(search->attribute) &&
			   memcmp(a.bv_val, search->attribute, a.bv_len) == 0);
		FUZZ_CHECK(
		    v.bv_len == search->n && memcmp(v.bv_val, search->value, search->n) == 0);
	}
	FUZZ_CHECK(count == 3);
	ber_free(in, 1);
	ber_bvfree(flat);
	ber_free(ber, 1);
}

static void check_sid(const char *bytes, size_t n)
{
	struct sid a, b;
	char text[ACCOUNT_SID_MAX];

	if (sid_from_bytes((struct strv){ bytes, n }, &a) == 0) {
		FUZZ_CHECK(sid_to_text(&a, text, sizeof(text)) == 0);
		if (sid_from_text(strv_from(text), &b) == 0)
			FUZZ_CHECK(sid_eq(&a, &b));
	}
	if (sid_from_text((struct strv){ bytes, n }, &a) == 0) {
		FUZZ_CHECK(sid_to_text(&a, text, sizeof(text)) == 0);
		FUZZ_CHECK(strlen(text) == n && memcmp(text, bytes, n) == 0);
	}
}

static void check_order(const char *value)
{
	char other[DIRECTORY_CLAIM_MAX];

	if (claim_alt_reversed(value, other, sizeof(other)) < 0)
		return;
	FUZZ_CHECK(strlen(other) == strlen(value));
}

/* The first byte is the kind, the rest the value. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	static const struct directory_names names = { "corp.example", "CORP" };
	struct claim_search search[CLAIM_SEARCHES_MAX];
	char *copy, *value;
	unsigned found;

	if (n < 1)
		return 0;
	copy = fuzz_exact(bytes + 1, n - 1);
	check_sid(copy, n - 1);
	free(copy);
	value = malloc(n);
	FUZZ_CHECK(value != NULL);
	memcpy(value, bytes + 1, n - 1);
	value[n - 1] = '\0';
	check_order(value);
	found = claim_searches(bytes[0] % (CLAIM_KINDS + 1), value, &names, search);
	for (unsigned i = 0; i < found; i++) {
		check_filter(&search[i]);
		FUZZ_CHECK(
		    claim_matches(&search[i], (struct strv){ search[i].value, search[i].n }));
	}
	free(value);
	return 0;
}
