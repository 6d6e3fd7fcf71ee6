/*
 * CRLs: what is accepted, and every way in which one must be refused (threat 26). The lists are made here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/revocation/crl.h"
#include "common/der.h"
#include "proxy/revocation/crl_file.h"
#include "tests/unit/crl_build.h"

static struct test_ca ca;
static time_t now;

static int setup(void **state)
{
	(void)state;
	now = time(NULL);
	ca = test_ca_new("Device CA", "keyCertSign,cRLSign", -1, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	test_ca_free(&ca);
	return 0;
}

static struct strv view(const struct der *d)
{
	return (struct strv){ (const char *)d->p, d->n };
}

/* Reads and verifies, frees the bytes. */
static int judge(struct der list, X509 *issuer)
{
	struct crl crl;
	int rc = crl_read(view(&list), &crl);

	if (rc == CRL_OK)
		rc = crl_verify(&crl, issuer, issuer, now);
	free(list.p);
	return rc;
}

static struct test_crl begin(void)
{
	struct test_crl c = { .ca = &ca, .this_update = now - 60, .next_update = now + 3600 };

	der_number_extension(&c.extensions, OID_NUMBER, 0, 7);
	return c;
}

static void a_sound_list_is_accepted_and_all_its_serials_are_collected(void **state)
{
	struct der list = crl_simple(&ca, now, 300, 100, 400);
	struct serials serials = { 0 };
	struct serial s = { .n = 1, .byte = { 100 } };
	struct crl crl;

	(void)state;
	assert_int_equal(crl_read(view(&list), &crl), CRL_OK);
	assert_int_equal(crl_verify(&crl, ca.cert, ca.cert, now), CRL_OK);
	assert_int_equal(crl.count, 301);
	assert_true(crl.has_number && crl.number.n == 2 && crl.number.byte[0] == 1 && crl.number.byte[1] == 44);
	assert_int_equal(crl.this_update, now - 60);
	assert_int_equal(crl.next_update, now + 3600);
	assert_int_equal(crl_collect(&crl, NULL, &serials), CRL_OK);
	assert_int_equal(serials.n, 301);
	assert_true(serials_have(&serials, &s));
	s.byte[0] = 99;
	assert_false(serials_have(&serials, &s));
	serials_clear(&serials);
	free(list.p);
}

static void an_empty_list_and_a_version_1_list_are_accepted(void **state)
{
	struct test_crl c = { .ca = &ca, .this_update = now - 60, .next_update = now + 3600, .version1 = 1 };

	(void)state;
	assert_int_equal(judge(crl_simple(&ca, now, 1, 1, 0), ca.cert), CRL_OK);
	crl_entry(&c, 5, -1);
	assert_int_equal(judge(crl_sign(&c), ca.cert), CRL_OK);
}

static void threat_26_any_changed_byte_is_refused(void **state)
{
	struct der list = crl_simple(&ca, now, 300, 100, 103);
	struct crl crl;
	size_t i;
	int rc;

	(void)state;
	for (i = 0; i < list.n; i++) {
		list.p[i] ^= 0x20;
		rc = crl_read(view(&list), &crl);
		if (rc == CRL_OK)
			rc = crl_verify(&crl, ca.cert, ca.cert, now);
		assert_int_not_equal(rc, CRL_OK);
		list.p[i] ^= 0x20;
	}
	for (i = 0; i < list.n; i++)
		assert_int_not_equal(crl_read((struct strv){ (const char *)list.p, i }, &crl), CRL_OK);
	der_bytes(&list, "", 1);
	assert_int_equal(crl_read(view(&list), &crl), CRL_MALFORMED);
	free(list.p);
}

static void threat_26_a_list_of_another_issuer_is_refused(void **state)
{
	struct test_ca namesake = test_ca_new("Device CA", "cRLSign", -1, NULL), other = test_ca_new("Other CA", "cRLSign", -1, NULL);

	(void)state;
	assert_int_equal(judge(crl_simple(&other, now, 1, 1, 2), ca.cert), CRL_WRONG_ISSUER);
	/* The same name with a new key (a rollover): the old key's list says nothing of the new issuer. */
	assert_int_equal(judge(crl_simple(&namesake, now, 1, 1, 2), ca.cert), CRL_BAD_SIGNATURE);
	test_ca_free(&namesake);
	test_ca_free(&other);
}

static void threat_26_the_authority_key_identifier_must_be_the_issuers(void **state)
{
	const ASN1_OCTET_STRING *ski = X509_get0_subject_key_id(ca.cert);
	struct test_crl right = begin(), wrong = begin();
	struct der id = { 0 }, value = { 0 };

	(void)state;
	der_value(&id, 0x80, ski->data, (size_t)ski->length);
	der_wrap(&value, 0x30, &id);
	der_extension(&right.extensions, OID_AKID, 3, 0, value.p, value.n);
	assert_int_equal(judge(crl_sign(&right), ca.cert), CRL_OK);
	value.p[value.n - 1] ^= 1;
	der_extension(&wrong.extensions, OID_AKID, 3, 0, value.p, value.n);
	assert_int_equal(judge(crl_sign(&wrong), ca.cert), CRL_WRONG_ISSUER);
	free(value.p);
}

static void threat_26_an_issuer_without_the_right_to_sign_lists_is_refused(void **state)
{
	struct test_ca no = test_ca_new("No CRLs", "keyCertSign", -1, NULL), unsaid = test_ca_new("Unsaid", NULL, -1, NULL);

	(void)state;
	assert_int_equal(judge(crl_simple(&no, now, 1, 1, 2), no.cert), CRL_NOT_A_CRL_SIGNER);
	assert_int_equal(judge(crl_simple(&unsaid, now, 1, 1, 2), unsaid.cert), CRL_OK);
	test_ca_free(&no);
	test_ca_free(&unsaid);
}

static void threat_26_times_decide(void **state)
{
	struct test_crl expired = begin(), future = begin(), endless = begin(), backwards = begin(), late = begin();

	(void)state;
	expired.this_update = now - 7200;
	expired.next_update = now - 1;
	assert_int_equal(judge(crl_sign(&expired), ca.cert), CRL_EXPIRED);
	future.this_update = now + 3000;
	assert_int_equal(judge(crl_sign(&future), ca.cert), CRL_NOT_YET_VALID);
	endless.next_update = 0;
	assert_int_equal(judge(crl_sign(&endless), ca.cert), CRL_NO_NEXT_UPDATE);
	backwards.next_update = now - 120;
	assert_int_equal(judge(crl_sign(&backwards), ca.cert), CRL_NOT_YET_VALID);
	late.next_update = 2600000000;		/* after 2050: GeneralizedTime */
	assert_int_equal(judge(crl_sign(&late), ca.cert), CRL_OK);
}

static void threat_26_unknown_critical_extensions_are_refused_others_are_not(void **state)
{
	struct test_crl critical = begin(), harmless = begin(), doubled = begin(), freshest = begin();

	(void)state;
	der_extension(&critical.extensions, "\x2a\x03\x04", 3, 1, "\x05\x00", 2);
	assert_int_equal(judge(crl_sign(&critical), ca.cert), CRL_UNKNOWN_CRITICAL);
	der_extension(&harmless.extensions, "\x2a\x03\x04", 3, 0, "\x05\x00", 2);
	assert_int_equal(judge(crl_sign(&harmless), ca.cert), CRL_OK);
	der_number_extension(&doubled.extensions, OID_NUMBER, 0, 8);
	assert_int_equal(judge(crl_sign(&doubled), ca.cert), CRL_BAD_EXTENSION);
	der_extension(&freshest.extensions, "\x55\x1d\x2e", 3, 1, "\x30\x00", 2);
	assert_int_equal(judge(crl_sign(&freshest), ca.cert), CRL_UNKNOWN_CRITICAL);
}

static int judge_scope(const void *value, size_t n, X509 *issuer, const struct test_ca *signer)
{
	struct test_crl c = begin();

	c.ca = signer;
	der_extension(&c.extensions, OID_SCOPE, 3, 1, value, n);
	return judge(crl_sign(&c), issuer);
}

static void threat_26_partial_lists_are_refused(void **state)
{
	struct test_ca leafs = test_ca_new("Leafs only", "cRLSign,keyCertSign", 0, NULL);

	(void)state;
	assert_int_equal(judge_scope("\x30\x00", 2, ca.cert, &ca), CRL_OK);
	assert_int_equal(judge_scope("\x30\x03\x84\x01\xff", 5, ca.cert, &ca), CRL_OK);	/* its own entries are all in it */
	assert_int_equal(judge_scope("\x30\x03\x82\x01\xff", 5, ca.cert, &ca), CRL_PARTIAL);	/* CA certificates only */
	assert_int_equal(judge_scope("\x30\x03\x85\x01\xff", 5, ca.cert, &ca), CRL_PARTIAL);	/* attribute certificates */
	assert_int_equal(judge_scope("\x30\x04\x83\x02\x05\x60", 6, ca.cert, &ca), CRL_PARTIAL);	/* some reasons */
	assert_int_equal(judge_scope("\x30\x06\xa0\x04\xa2\x02\x86\x00", 8, ca.cert, &ca), CRL_PARTIAL);	/* no such form */
	assert_int_equal(judge_scope("\x30\x04\xa0\x02\xa0\x00", 6, ca.cert, &ca), CRL_PARTIAL);	/* a point without a name */
	assert_int_equal(judge_scope("\x30\x03\x86\x01\xff", 5, ca.cert, &ca), CRL_BAD_EXTENSION);
	/* User certificates only: all that an issuer with path length 0 has, and a part of any other's. */
	assert_int_equal(judge_scope("\x30\x03\x81\x01\xff", 5, ca.cert, &ca), CRL_PARTIAL);
	assert_int_equal(judge_scope("\x30\x03\x81\x01\xff", 5, leafs.cert, &leafs), CRL_OK);
	test_ca_free(&leafs);
}

/* The issuing distribution point's name, as full name and relative to the issuer, and what a certificate says of its own. */
static void threat_26_a_list_of_one_distribution_point_covers_the_certificates_that_name_it(void **state)
{
	static const char url[] = "http://crl.example/1.crl";
	struct der names = { 0 }, point = { 0 }, scope = { 0 };
	struct test_crl c = begin();
	struct point of_cert;
	struct der list;
	struct crl crl;
	X509V3_CTX ctx;
	X509_EXTENSION *e;
	X509 *leaf = X509_new();

	(void)state;
	der_value(&names, 0x86, url, sizeof(url) - 1);
	der_wrap(&point, 0xa0, &names);
	der_wrap(&scope, 0xa0, &point);
	der_wrap(&point, 0x30, &scope);
	der_extension(&c.extensions, OID_SCOPE, 3, 1, point.p, point.n);
	free(point.p);
	list = crl_sign(&c);
	assert_int_equal(crl_read(view(&list), &crl), CRL_OK);
	assert_int_equal(crl.points_count, 1);
	X509V3_set_ctx(&ctx, ca.cert, leaf, NULL, NULL, 0);
	X509_set_issuer_name(leaf, X509_get_subject_name(ca.cert));
	point_of_certificate(leaf, &of_cert);
	assert_true(point_is_none(&of_cert));
	e = X509V3_EXT_conf_nid(NULL, &ctx, NID_crl_distribution_points, "URI:http://crl.example/1.crl");
	X509_add_ext(leaf, e, -1);
	X509_EXTENSION_free(e);
	point_of_certificate(leaf, &of_cert);
	assert_memory_equal(&of_cert, &crl.points[0], sizeof(of_cert));
	X509_EXTENSION_free(X509_delete_ext(leaf, 0));
	e = X509V3_EXT_conf_nid(NULL, &ctx, NID_crl_distribution_points, "URI:http://crl.example/2.crl");
	X509_add_ext(leaf, e, -1);
	X509_EXTENSION_free(e);
	point_of_certificate(leaf, &of_cert);
	assert_memory_not_equal(&of_cert, &crl.points[0], sizeof(of_cert));
	X509_free(leaf);
	free(list.p);
}

/* The same place named in both ways is the same place. */
static void a_relative_name_is_the_issuers_name_with_one_more_part(void **state)
{
	static const char rdn[] = "\x30\x0a\x06\x03\x55\x04\x03\x0c\x03" "CRL";	/* CN=CRL */
	struct der full = { 0 }, inside = { 0 }, name = { 0 }, relative = { 0 };
	struct point a[POINTS_MAX], b[POINTS_MAX];
	unsigned char *issuer = NULL;
	int n = i2d_X509_NAME(X509_get_subject_name(ca.cert), &issuer);
	struct strv whole = { (const char *)issuer, (size_t)n }, contents;

	(void)state;
	assert_int_equal(der_take(&whole, DER_SEQUENCE, &contents, NULL), 0);
	whole = (struct strv){ (const char *)issuer, (size_t)n };
	der_value(&relative, 0xa1, rdn, sizeof(rdn) - 1);
	der_bytes(&inside, contents.p, contents.n);
	der_value(&inside, 0x31, rdn, sizeof(rdn) - 1);
	der_wrap(&name, 0x30, &inside);
	der_wrap(&inside, 0xa4, &name);
	der_wrap(&full, 0xa0, &inside);
	assert_int_equal(point_names(view(&full), whole, a), 1);
	assert_int_equal(point_names(view(&relative), whole, b), 1);
	assert_memory_equal(&a[0], &b[0], sizeof(a[0]));
	free(full.p);
	free(relative.p);
	OPENSSL_free(issuer);
}

static void a_list_signed_by_another_key_of_the_issuer_needs_that_key_to_be_named(void **state)
{
	struct test_ca signer = test_ca_new("Device CA", "cRLSign", -1, NULL), stranger = test_ca_new("Stranger", "cRLSign", -1, NULL);
	struct der list = crl_simple(&signer, now, 1, 1, 2), other = crl_simple(&stranger, now, 1, 1, 2);
	struct crl crl;

	(void)state;
	assert_int_equal(crl_read(view(&list), &crl), CRL_OK);
	assert_int_equal(crl_verify(&crl, ca.cert, ca.cert, now), CRL_BAD_SIGNATURE);
	assert_int_equal(crl_verify(&crl, ca.cert, signer.cert, now), CRL_OK);
	assert_int_equal(crl_verify(&crl, ca.cert, stranger.cert, now), CRL_WRONG_ISSUER);
	assert_int_equal(crl_read(view(&other), &crl), CRL_OK);
	assert_int_equal(crl_verify(&crl, ca.cert, stranger.cert, now), CRL_WRONG_ISSUER);
	free(list.p);
	free(other.p);
	test_ca_free(&signer);
	test_ca_free(&stranger);
}

static int judge_entry(const void *extension_oid, int critical, const void *value, size_t n)
{
	struct der e = { 0 }, list = { 0 };
	struct test_crl c = begin();

	der_integer(&e, 77);
	der_when(&e, now);
	der_extension(&list, extension_oid, 3, critical, value, n);
	der_wrap(&e, 0x30, &list);
	der_wrap(&c.entries, 0x30, &e);
	return judge(crl_sign(&c), ca.cert);
}

static void threat_26_entries_of_other_issuers_and_unknown_critical_entry_extensions_are_refused(void **state)
{
	struct test_crl negative = begin(), zeros = begin(), endless = begin();
	struct der e = { 0 };

	(void)state;
	assert_int_equal(judge_entry("\x55\x1d\x1d", 1, "\x30\x00", 2), CRL_INDIRECT);
	assert_int_equal(judge_entry("\x2a\x03\x04", 1, "\x05\x00", 2), CRL_UNKNOWN_CRITICAL);
	assert_int_equal(judge_entry("\x2a\x03\x04", 0, "\x05\x00", 2), CRL_OK);
	assert_int_equal(judge_entry(OID_REASON, 0, "\x0a\x01\x01", 3), CRL_OK);
	assert_int_equal(judge_entry(OID_REASON, 0, "\x0a\x01\x08", 3), CRL_BAD_ENTRY);	/* removeFromCRL belongs in a delta */
	assert_int_equal(judge_entry(OID_REASON, 0, "\x0a\x02\x00\x01", 4), CRL_BAD_ENTRY);
	der_value(&e, 0x02, "\xff", 1);
	der_when(&e, now);
	der_wrap(&negative.entries, 0x30, &e);
	assert_int_equal(judge(crl_sign(&negative), ca.cert), CRL_BAD_ENTRY);
	der_value(&e, 0x02, "\x00\x01", 2);
	der_when(&e, now);
	der_wrap(&zeros.entries, 0x30, &e);
	assert_int_equal(judge(crl_sign(&zeros), ca.cert), CRL_BAD_ENTRY);
	der_value(&e, 0x02, "\x01" "23456789012345678901", 21);
	der_when(&e, now);
	der_wrap(&endless.entries, 0x30, &e);
	assert_int_equal(judge(crl_sign(&endless), ca.cert), CRL_BAD_ENTRY);
}

static void weak_or_differing_signature_algorithms_are_refused(void **state)
{
	struct test_crl sha1 = begin(), differ = begin(), rsa = begin();

	(void)state;
	sha1.algorithm = "\x30\x09\x06\x07\x2a\x86\x48\xce\x3d\x04\x01";
	sha1.algorithm_n = 11;
	sha1.md = EVP_sha1();
	assert_int_equal(judge(crl_sign(&sha1), ca.cert), CRL_BAD_ALGORITHM);
	differ.outer_algorithm = "\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03";
	differ.outer_n = 12;
	assert_int_equal(judge(crl_sign(&differ), ca.cert), CRL_BAD_ALGORITHM);
	rsa.algorithm = "\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00";	/* but the key is P-256 */
	rsa.algorithm_n = 15;
	assert_int_equal(judge(crl_sign(&rsa), ca.cert), CRL_BAD_ALGORITHM);
}

static void rsa_pss_rsa_and_ed25519_signatures_are_verified(void **state)
{
	struct test_ca r = test_ca_new("RSA", "cRLSign", -1, EVP_RSA_gen(2048));
	struct test_ca e = test_ca_new("Ed", "cRLSign", -1, EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"));
	X509_CRL *pss = X509_CRL_new();
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	ASN1_TIME *t = ASN1_TIME_new();
	EVP_PKEY_CTX *pctx;
	struct test_crl c;
	struct der list = { 0 };
	int n;

	(void)state;
	c = begin();
	c.ca = &r;
	c.algorithm = "\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00";
	c.algorithm_n = 15;
	assert_int_equal(judge(crl_sign(&c), r.cert), CRL_OK);
	c = begin();
	c.ca = &e;
	c.algorithm = "\x30\x05\x06\x03\x2b\x65\x70";
	c.algorithm_n = 7;
	c.no_digest = 1;
	assert_int_equal(judge(crl_sign(&c), e.cert), CRL_OK);
	X509_CRL_set_version(pss, 1);
	X509_CRL_set_issuer_name(pss, X509_get_subject_name(r.cert));
	X509_CRL_set1_lastUpdate(pss, ASN1_TIME_set(t, now - 60));
	X509_CRL_set1_nextUpdate(pss, ASN1_TIME_set(t, now + 60));
	assert_int_equal(EVP_DigestSignInit(ctx, &pctx, EVP_sha256(), NULL, r.key), 1);
	EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING);
	EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, 32);
	assert_true(X509_CRL_sign_ctx(pss, ctx) > 0);
	n = i2d_X509_CRL(pss, &list.p);
	assert_true(n > 0);
	list.n = (size_t)n;
	assert_int_equal(judge((struct der){ memcpy(malloc(list.n), list.p, list.n), list.n, list.n }, r.cert), CRL_OK);
	list.p[list.n - 1] ^= 1;
	assert_int_equal(judge((struct der){ memcpy(malloc(list.n), list.p, list.n), list.n, list.n }, r.cert), CRL_BAD_SIGNATURE);
	OPENSSL_free(list.p);
	ASN1_TIME_free(t);
	EVP_MD_CTX_free(ctx);
	X509_CRL_free(pss);
	test_ca_free(&r);
	test_ca_free(&e);
}

static void threat_26_an_older_number_or_thisupdate_is_a_rollback(void **state)
{
	struct der list = crl_simple(&ca, now, 300, 1, 2);
	struct serial older = { .n = 2, .byte = { 1, 43 } }, same = { .n = 2, .byte = { 1, 44 } }, newer = { .n = 3, .byte = { 1, 0, 0 } };
	struct crl crl;

	(void)state;
	assert_int_equal(crl_read(view(&list), &crl), CRL_OK);
	assert_int_equal(crl_follows(&crl, &older, now - 100), CRL_OK);
	assert_int_equal(crl_follows(&crl, &same, now - 60), CRL_OK);
	assert_int_equal(crl_follows(&crl, &newer, now - 100), CRL_ROLLBACK);
	assert_int_equal(crl_follows(&crl, &older, now - 59), CRL_ROLLBACK);
	free(list.p);
}

static int fits(struct der base, struct der delta)
{
	struct crl b, d;
	int rc;

	assert_int_equal(crl_read(view(&base), &b), CRL_OK);
	assert_int_equal(crl_read(view(&delta), &d), CRL_OK);
	rc = crl_delta_fits(&b, &d);
	free(base.p);
	free(delta.p);
	return rc;
}

static void threat_26_a_delta_fits_only_its_base(void **state)
{
	struct test_crl scoped = begin();

	(void)state;
	assert_int_equal(fits(crl_simple(&ca, now, 10, 1, 5), crl_delta(&ca, now, 12, 10, 9, 0)), CRL_OK);
	assert_int_equal(fits(crl_simple(&ca, now, 10, 1, 5), crl_delta(&ca, now, 12, 9, 9, 0)), CRL_OK);
	assert_int_equal(fits(crl_simple(&ca, now, 10, 1, 5), crl_delta(&ca, now, 12, 11, 9, 0)), CRL_DELTA_BASE);
	assert_int_equal(fits(crl_simple(&ca, now, 10, 1, 5), crl_simple(&ca, now, 12, 1, 5)), CRL_NOT_A_DELTA);
	assert_int_equal(fits(crl_delta(&ca, now, 10, 9, 1, 0), crl_delta(&ca, now, 12, 9, 9, 0)), CRL_IS_DELTA);
	der_extension(&scoped.extensions, OID_SCOPE, 3, 1, "\x30\x03\x81\x01\xff", 5);
	assert_int_equal(fits(crl_sign(&scoped), crl_delta(&ca, now, 12, 7, 9, 0)), CRL_DELTA_SCOPE);
}

static size_t combined(struct der base, struct der delta, unsigned has, unsigned has_not)
{
	struct serials list = { 0 };
	struct serial s = { .n = 1 };
	struct crl b, d;
	size_t n;

	assert_int_equal(crl_read(view(&base), &b), CRL_OK);
	assert_int_equal(crl_read(view(&delta), &d), CRL_OK);
	assert_int_equal(crl_collect(&b, &d, &list), CRL_OK);
	s.byte[0] = (uint8_t)has;
	assert_true(serials_have(&list, &s));
	s.byte[0] = (uint8_t)has_not;
	assert_false(serials_have(&list, &s));
	n = list.n;
	serials_clear(&list);
	free(base.p);
	free(delta.p);
	return n;
}

static void a_delta_adds_and_removes_unless_it_is_older_than_the_base(void **state)
{
	(void)state;
	assert_int_equal(combined(crl_simple(&ca, now, 10, 1, 5), crl_delta(&ca, now, 12, 10, 9, 3), 9, 3), 5);
	assert_int_equal(combined(crl_simple(&ca, now, 12, 1, 5), crl_delta(&ca, now, 12, 10, 9, 3), 3, 9), 5);
}

static int read_text(const char *text, size_t n, struct crl_file *f)
{
	int fd = memfd_create("crl", MFD_CLOEXEC), dir = open("/tmp", O_RDONLY | O_DIRECTORY), rc;

	assert_int_equal(write(fd, text, n), (ssize_t)n);
	lseek(fd, 0, SEEK_SET);
	rc = crl_file_read(fd, dir, f);
	close(fd);
	close(dir);
	return rc;
}

static void pem_and_der_files_give_the_same_bytes(void **state)
{
	struct der list = crl_simple(&ca, now, 300, 100, 400);
	const unsigned char *p = list.p;
	X509_CRL *crl = d2i_X509_CRL(NULL, &p, (long)list.n);
	BIO *bio = BIO_new(BIO_s_mem());
	struct crl_file a, b;
	char *text;
	long n;

	(void)state;
	assert_non_null(crl);
	assert_int_equal(read_text((const char *)list.p, list.n, &a), 0);
	assert_true(strv_eq(a.der, view(&list)));
	BIO_puts(bio, "Certificate Revocation List (CRL):\n  with words before it\n");
	PEM_write_bio_X509_CRL(bio, crl);
	n = BIO_get_mem_data(bio, &text);
	assert_int_equal(read_text(text, (size_t)n, &b), 0);
	assert_true(strv_eq(b.der, a.der));
	assert_memory_equal(a.sha256, b.sha256, SHA256_SIZE);
	crl_file_clear(&b);
	assert_int_equal(read_text(text, (size_t)n - 1, &b), 0);		/* no line end at the end */
	crl_file_clear(&b);
	assert_int_equal(read_text(text, (size_t)n - 10, &b), -EBADMSG);	/* cut */
	assert_int_equal(read_text(text, 40, &b), -EBADMSG);
	assert_int_equal(read_text("", 0, &b), -EBADMSG);
	crl_file_clear(&a);
	BIO_free(bio);
	X509_CRL_free(crl);
	free(list.p);
}

static void times_are_read_strictly(void **state)
{
	static const struct { int tag; const char *text; int64_t want; } cases[] = {
		{ DER_UTC_TIME, "700101000000Z", 0 },
		{ DER_UTC_TIME, "491231235959Z", 2524607999 },
		{ DER_UTC_TIME, "500101000000Z", -631152000 },
		{ DER_TIME, "20500101000000Z", 2524608000 },
		{ DER_TIME, "20240229120000Z", 1709208000 },
		{ DER_TIME, "20230229120000Z", -1 },
		{ DER_TIME, "21000229120000Z", -1 },
		{ DER_TIME, "20231301120000Z", -1 },
		{ DER_TIME, "20230100120000Z", -1 },
		{ DER_TIME, "20230101240000Z", -1 },
		{ DER_TIME, "20230101120000.5Z", -1 },
		{ DER_TIME, "20230101120000+0100", -1 },
		{ DER_UTC_TIME, "2301011200Z", -1 },
		{ DER_UTC_TIME, "230101120000", -1 },
		{ DER_UTC_TIME, "23010112000 Z", -1 },
	};
	size_t i;
	int64_t t;

	(void)state;
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		t = -1;
		if (der_time(cases[i].tag, strv_from(cases[i].text), &t) < 0)
			t = -1;
		if (t != cases[i].want)
			fail_msg("%s: %lld", cases[i].text, (long long)t);
	}
}

/* Random numbers of 16 bytes, as public CAs use them. */
static void a_list_of_a_million_is_read_without_memory_of_its_own(void **state)
{
	const char *text = getenv("TEST_SERIALS");
	size_t n = text != NULL ? strtoul(text, NULL, 10) : 1000000, i;
	struct test_crl c = begin();
	struct serials serials = { 0 };
	struct timespec t[5];
	struct crl_file f;
	struct der list;
	struct crl crl;

	(void)state;
	for (i = 0; i < n; i++) {
		uint64_t x[2] = { (i + 1) * 0x9e3779b97f4a7c15ull, (i + 7) * 0xbf58476d1ce4e5b9ull };
		unsigned char head[20] = { 0x30, 0x21, 0x02, 0x10 };

		memcpy(head + 4, x, 16);
		head[4] = (unsigned char)((head[4] & 0x7f) | 0x40);
		der_bytes(&c.entries, head, 20);
		der_bytes(&c.entries, "\x17\x0d" "260101000000Z", 15);
	}
	list = crl_sign(&c);
	clock_gettime(CLOCK_MONOTONIC, &t[0]);
	assert_int_equal(read_text((const char *)list.p, list.n, &f), 0);
	free(list.p);
	clock_gettime(CLOCK_MONOTONIC, &t[1]);
	assert_int_equal(crl_read(f.der, &crl), CRL_OK);
	clock_gettime(CLOCK_MONOTONIC, &t[2]);
	assert_int_equal(crl_verify(&crl, ca.cert, ca.cert, now), CRL_OK);
	clock_gettime(CLOCK_MONOTONIC, &t[3]);
	assert_int_equal(crl_collect(&crl, NULL, &serials), CRL_OK);
	clock_gettime(CLOCK_MONOTONIC, &t[4]);
	assert_int_equal(serials.n, n);
#define MS(a) ((double)(t[a + 1].tv_sec - t[a].tv_sec) * 1e3 + (double)(t[a + 1].tv_nsec - t[a].tv_nsec) / 1e6)
	print_message("crl: %zu entries, %zu bytes: copy and hash %.0f ms, read %.0f ms, verify %.0f ms, collect and sort %.0f ms\n",
	    n, f.der.n, MS(0), MS(1), MS(2), MS(3));
	serials_clear(&serials);
	crl_file_clear(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_sound_list_is_accepted_and_all_its_serials_are_collected),
		cmocka_unit_test(an_empty_list_and_a_version_1_list_are_accepted),
		cmocka_unit_test(threat_26_any_changed_byte_is_refused),
		cmocka_unit_test(threat_26_a_list_of_another_issuer_is_refused),
		cmocka_unit_test(threat_26_the_authority_key_identifier_must_be_the_issuers),
		cmocka_unit_test(threat_26_an_issuer_without_the_right_to_sign_lists_is_refused),
		cmocka_unit_test(threat_26_times_decide),
		cmocka_unit_test(threat_26_unknown_critical_extensions_are_refused_others_are_not),
		cmocka_unit_test(threat_26_partial_lists_are_refused),
		cmocka_unit_test(threat_26_a_list_of_one_distribution_point_covers_the_certificates_that_name_it),
		cmocka_unit_test(a_relative_name_is_the_issuers_name_with_one_more_part),
		cmocka_unit_test(a_list_signed_by_another_key_of_the_issuer_needs_that_key_to_be_named),
		cmocka_unit_test(threat_26_entries_of_other_issuers_and_unknown_critical_entry_extensions_are_refused),
		cmocka_unit_test(weak_or_differing_signature_algorithms_are_refused),
		cmocka_unit_test(rsa_pss_rsa_and_ed25519_signatures_are_verified),
		cmocka_unit_test(threat_26_an_older_number_or_thisupdate_is_a_rollback),
		cmocka_unit_test(threat_26_a_delta_fits_only_its_base),
		cmocka_unit_test(a_delta_adds_and_removes_unless_it_is_older_than_the_base),
		cmocka_unit_test(pem_and_der_files_give_the_same_bytes),
		cmocka_unit_test(times_are_read_strictly),
		cmocka_unit_test(a_list_of_a_million_is_read_without_memory_of_its_own),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
