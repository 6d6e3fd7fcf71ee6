/*
 * Claims to searches and filters: whatever the claim, each filter is one equality on one attribute.
 */
#include "common/directory/claim_search.h"

#include "table.h"

#include <ldap.h>

static const struct directory_names names = { "corp.example", "CORP" };

static uint32_t kind_of(struct strv word)
{
	static const struct {
		const char *word;
		uint32_t kind;
	} kinds[] = {
		{ "sid", CLAIM_SID },
		{ "upn", CLAIM_UPN },
		{ "email", CLAIM_EMAIL },
		{ "user", CLAIM_USER },
		{ "cn", CLAIM_SUBJECT_CN },
		{ "uid", CLAIM_SUBJECT_UID },
		{ "alt", CLAIM_WEAK_ISSUER_SUBJECT },
		{ "subject-email", CLAIM_SUBJECT_EMAIL },
		{ "nothing", CLAIM_NONE },
	};

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (strv_eq(word, strv_from(kinds[i].word)))
			return kinds[i].kind;
	}
	fail();
	return 0;
}

static void check_claim(const struct table_row *row)
{
	struct claim_search search[CLAIM_SEARCHES_MAX];
	char value[DIRECTORY_CLAIM_MAX], got[4096] = "none";
	unsigned n;
	size_t at = 0;

	memcpy(value, row->column[1].p, row->column[1].n);
	value[row->column[1].n] = '\0';
	n = claim_searches(kind_of(row->column[0]), value, &names, search);
	for (unsigned i = 0; i < n; i++) {
		char hex[256];
		if (search[i].binary)
			text_hex(hex, search[i].value, search[i].n);
		at += (size_t)snprintf(got + at, sizeof(got) - at, "%s%s=%s", i > 0 ? " && " : "",
		    search[i].attribute, search[i].binary ? hex : search[i].value);
	}
	table_want(row, got, row->column[2]);
}

static void each_claim_is_looked_for_where_its_kind_says(void **state)
{
	(void)state;
	table_run("directory_claim.tbl", "", 3, check_claim);
}

static void a_binary_sid_is_escaped_byte_by_byte(void **state)
{
	struct claim_search search[CLAIM_SEARCHES_MAX];
	char filter[CLAIM_FILTER_MAX];

	(void)state;
	assert_int_equal(claim_searches(CLAIM_SID, "S-1-5-32-544", &names, search), 1);
	assert_int_equal(claim_filter(&search[0], filter, sizeof(filter)), 0);
	assert_string_equal(filter,
	    "(&(objectCategory=person)(objectClass=user)(objectSid="
	    "\\01\\02\\00\\00\\00\\00\\00\\05\\20\\00\\00\\00\\20\\02\\00\\00))");
}

/* libldap's own, exported and declared in no installed header. */
int ldap_pvt_put_filter(BerElement *ber, const char *text);

/* What an LDAP library makes of the filter: an AND of three equalities, the third with exactly this
 * value (RFC 4511 4.5.1). */
static void one_equality(const char *filter, const char *attribute, const char *value, size_t n)
{
	BerElement *ber = ber_alloc_t(LBER_USE_DER);
	struct berval *flat = NULL;
	BerElement *in;
	ber_tag_t tag;
	ber_len_t len;
	char *last;
	int count = 0;

	assert_non_null(ber);
	assert_true(ldap_pvt_put_filter(ber, filter) == 0);
	assert_int_equal(ber_flatten(ber, &flat), 0);
	in = ber_init(flat);
	assert_non_null(in);
	assert_int_equal(ber_peek_tag(in, &len), LDAP_FILTER_AND);
	for (tag = ber_first_element(in, &len, &last); tag != LBER_DEFAULT;
	     tag = ber_next_element(in, &len, last)) {
		struct berval a = { 0, NULL }, v = { 0, NULL };
		assert_int_equal(tag, LDAP_FILTER_EQUALITY);
		assert_true(ber_scanf(in, "{mm}", &a, &v) != LBER_ERROR);
		if (++count == 3) {
			assert_int_equal(a.bv_len, strlen(attribute));
			assert_memory_equal(a.bv_val, attribute, a.bv_len);
			assert_int_equal(v.bv_len, n);
			assert_memory_equal(v.bv_val, value, n);
		}
	}
	assert_int_equal(count, 3);
	ber_free(in, 1);
	ber_bvfree(flat);
	ber_free(ber, 1);
}

static const char *const nasty[] = {
	"*",
	"*)(uid=*",
	"alice)(|(objectClass=*)",
	"\\2a",
	"\\",
	"\\\\",
	"()",
	"(&(a=b))",
	"a=b",
	"!alice",
	"|",
	"&",
	"alice,OU=x",
	"alice*",
	":dn:=x",
	"a:1.2.840.113556.1.4.1941:=x",
	"<SID=S-1-5-32-544>",
	"\"alice\"",
	"a;b",
	"a/b",
	"a#b",
	" alice",
	"alice ",
	"\xc3\xab",
	"\xe2\x82\xac",
	"\xf0\x9f\x98\x80",
	"~=x",
	">=x",
	"<=x",
	"alice\\00",
	"%2a",
	"alice\\29\\28",
};

static void no_claim_changes_the_form_of_a_filter(void **state)
{
	static const uint32_t kinds[] = { CLAIM_EMAIL, CLAIM_SUBJECT_CN, CLAIM_SUBJECT_UID,
		CLAIM_USER, CLAIM_UPN };
	struct claim_search search[CLAIM_SEARCHES_MAX];
	char filter[CLAIM_FILTER_MAX], value[DIRECTORY_CLAIM_MAX];
	unsigned made = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(nasty); i++) {
		for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
			unsigned n;
			snprintf(value, sizeof(value), "%s%s", nasty[i],
			    kinds[k] == CLAIM_UPN ? "@corp.example" : "");
			n = claim_searches(kinds[k], value, &names, search);
			for (unsigned s = 0; s < n; s++, made++) {
				assert_int_equal(
				    claim_filter(&search[s], filter, sizeof(filter)), 0);
				one_equality(
				    filter, search[s].attribute, search[s].value, search[s].n);
			}
		}
	}
	assert_true(made > 200);
}

static void the_longest_claim_of_the_worst_bytes_still_fits(void **state)
{
	struct claim_search search[CLAIM_SEARCHES_MAX];
	char value[DIRECTORY_CLAIM_MAX + 1], filter[CLAIM_FILTER_MAX];

	(void)state;
	memset(value, '*', sizeof(value));
	value[DIRECTORY_CLAIM_MAX - 1] = '\0';
	assert_int_equal(claim_searches(CLAIM_EMAIL, value, &names, search), 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(claim_filter(&search[i], filter, sizeof(filter)), 0);
		one_equality(filter, search[i].attribute, search[i].value, search[i].n);
		assert_int_equal(claim_filter(&search[i], filter, strlen(filter)), -1);
	}
	value[DIRECTORY_CLAIM_MAX - 1] = '*';
	value[DIRECTORY_CLAIM_MAX] = '\0';
	assert_int_equal(claim_searches(CLAIM_EMAIL, value, &names, search), 0);
}

static void only_ascii_case_may_differ_in_what_was_found(void **state)
{
	struct claim_search search[CLAIM_SEARCHES_MAX];

	(void)state;
	assert_int_equal(claim_searches(CLAIM_USER, "zoe", &names, search), 1);
	assert_true(claim_matches(&search[0], STRV("ZOE")));
	assert_false(claim_matches(&search[0], STRV("zo\xc3\xab")));
	assert_false(claim_matches(&search[0], STRV("zoe ")));
	assert_false(claim_matches(&search[0], STRV("zo")));
	assert_false(claim_matches(&search[0], (struct strv){ "zoe\0x", 5 }));
	assert_int_equal(claim_searches(CLAIM_SID, "S-1-5-32-97", &names, search), 1);
	assert_true(claim_matches(&search[0], (struct strv){ search[0].value, search[0].n }));
	search[1] = search[0];
	search[1].value[12] = 'A'; /* 97 is 'a': bytes have no case */
	assert_false(claim_matches(&search[0], (struct strv){ search[1].value, search[1].n }));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_claim_is_looked_for_where_its_kind_says),
		cmocka_unit_test(a_binary_sid_is_escaped_byte_by_byte),
		cmocka_unit_test(no_claim_changes_the_form_of_a_filter),
		cmocka_unit_test(the_longest_claim_of_the_worst_bytes_still_fits),
		cmocka_unit_test(only_ascii_case_may_differ_in_what_was_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
