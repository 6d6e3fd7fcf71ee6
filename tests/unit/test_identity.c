/*
 * test_identity: which claim a certificate makes by a configured order, and what ends the walk.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proxy/worker/identity.h"
#include "tests/unit/pki.h"

#define SECURITY_EXT "1.3.6.1.4.1.311.25.2"
#define SID	     "S-1-5-21-1-2-3-1104"
#define UPN(text)    "otherName:1.3.6.1.4.1.311.20.2.3;UTF8:" text

struct walk {
	enum claim_kind order[8];
	unsigned count;
	enum cert_result want;
	enum claim_kind kind, bad;
	const char *value, *sid;
};

static void walk(const struct pki *spec, const struct walk *w)
{
	struct pki_pair pair = pki_make(spec);
	struct claim claim;
	enum claim_kind bad;

	memset(&claim, 0xff, sizeof(claim));
	assert_int_equal(
	    identity_from_certificate(pair.cert, w->order, w->count, &claim, &bad), w->want);
	assert_int_equal(claim.kind, w->kind);
	assert_int_equal(bad, w->bad);
	assert_string_equal(claim.value, w->value != NULL ? w->value : "");
	assert_string_equal(claim.sid, w->sid != NULL ? w->sid : "");
	pki_free(&pair);
}

static void test_the_first_of_the_order_that_is_there_decides(void **state UNUSED)
{
	struct pki spec = { .cn = "alice", .san = UPN("alice@corp") ",email:mail@corp" };

	walk(&spec,
	    &(struct walk){ { CLAIM_SID, CLAIM_UPN, CLAIM_EMAIL }, 3, CERT_OK, CLAIM_UPN,
		CLAIM_NONE, "alice@corp", NULL });
	walk(&spec,
	    &(struct walk){ { CLAIM_EMAIL, CLAIM_UPN }, 2, CERT_OK, CLAIM_EMAIL, CLAIM_NONE,
		"mail@corp", NULL });
	walk(&spec,
	    &(struct walk){ { CLAIM_SUBJECT_UID, CLAIM_SUBJECT_CN }, 2, CERT_OK, CLAIM_SUBJECT_CN,
		CLAIM_NONE, "alice", NULL });
	walk(&spec,
	    &(struct walk){ { CLAIM_WEAK_RFC822 }, 1, CERT_OK, CLAIM_WEAK_RFC822, CLAIM_NONE,
		"X509:<RFC822>mail@corp", NULL });
	walk(&spec,
	    &(struct walk){ { CLAIM_WEAK_SUBJECT }, 1, CERT_OK, CLAIM_WEAK_SUBJECT, CLAIM_NONE,
		"X509:<S>CN=alice", NULL });
}

static void test_nothing_of_the_order_there_is_no_claim(void **state UNUSED)
{
	struct pki spec = { .cn = "alice" };

	walk(&spec,
	    &(struct walk){
		{ CLAIM_SID, CLAIM_UPN, CLAIM_EMAIL }, 3, CERT_ABSENT, 0, 0, NULL, NULL });
	walk(&spec, &(struct walk){ { CLAIM_USER, CLAIM_NONE }, 2, CERT_ABSENT, 0, 0, NULL, NULL });
	walk(&spec, &(struct walk){ { CLAIM_NONE }, 0, CERT_ABSENT, 0, 0, NULL, NULL });
}

static void test_31_what_is_there_but_unusable_ends_the_walk(void **state UNUSED)
{
	struct pki spec = { .cn = "alice",
		.ext = { { "2.5.29.17", false,
		    der_tlv(0x30, der_upn(0x0c, DER_TEXT("alice@corp\0.evil"))) } } };
	struct pki two = { .cn = "alice", .san = UPN("alice@corp") "," UPN("bob@corp") };

	walk(&spec,
	    &(struct walk){
		{ CLAIM_UPN, CLAIM_SUBJECT_CN }, 2, CERT_BAD_TEXT, 0, CLAIM_UPN, NULL, NULL });
	walk(&two,
	    &(struct walk){
		{ CLAIM_UPN, CLAIM_SUBJECT_CN }, 2, CERT_AMBIGUOUS, 0, CLAIM_UPN, NULL, NULL });
	/* Not asked for is not looked at. */
	walk(&two,
	    &(struct walk){ { CLAIM_SUBJECT_CN }, 1, CERT_OK, CLAIM_SUBJECT_CN, 0, "alice", NULL });
}

static void test_36_the_sid_goes_along_whatever_names_the_user(void **state UNUSED)
{
	struct pki spec = { .cn = "alice",
		.san = UPN("alice@corp"),
		.ext = { { SECURITY_EXT, false, der_sid(DER_TEXT(SID)) } } };

	walk(&spec, &(struct walk){ { CLAIM_UPN }, 1, CERT_OK, CLAIM_UPN, 0, "alice@corp", SID });
	walk(&spec, &(struct walk){ { CLAIM_SID, CLAIM_UPN }, 2, CERT_OK, CLAIM_SID, 0, SID, SID });
}

static void test_36_an_empty_or_broken_sid_refuses_the_certificate_even_if_upn_decides(
    void **state UNUSED)
{
	struct pki empty = { .cn = "alice",
		.san = UPN("alice@corp"),
		.ext = { { SECURITY_EXT, false, der_sid(DER_TEXT("")) } } };
	struct pki trailing = { .cn = "alice",
		.san = UPN("alice@corp"),
		.ext = {
		    { SECURITY_EXT, false, der_cat(der_sid(DER_TEXT(SID)), DER_TEXT("x")) } } };

	walk(&empty, &(struct walk){ { CLAIM_UPN }, 1, CERT_MALFORMED, 0, CLAIM_SID, NULL, NULL });
	walk(&trailing,
	    &(struct walk){ { CLAIM_UPN }, 1, CERT_MALFORMED, 0, CLAIM_SID, NULL, NULL });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_first_of_the_order_that_is_there_decides),
		cmocka_unit_test(test_nothing_of_the_order_there_is_no_claim),
		cmocka_unit_test(test_31_what_is_there_but_unusable_ends_the_walk),
		cmocka_unit_test(test_36_the_sid_goes_along_whatever_names_the_user),
		cmocka_unit_test(
		    test_36_an_empty_or_broken_sid_refuses_the_certificate_even_if_upn_decides),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
