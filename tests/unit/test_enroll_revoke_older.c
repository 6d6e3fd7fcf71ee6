/*
 * A registry that is older than the list beside it: what the list says becomes acts, with the list's reasons, and nothing else does: not by a list that is no
 * newer than the registry, and not by one that is damaged.
 */
#include "tests/unit/registry_site.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <openssl/x509v3.h>

#include "enroll/worker/revoke_parts.h"

#define ENTRIES 6

struct state {
	struct registry_site site;
	struct bundle *bundle;
	struct publish *publish;
	struct revoke *revoke;
	uint8_t serial[ENTRIES][REGISTRY_SERIAL];
};

static int setup(void **state)
{
	struct state *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	site_begin(&s->site);
	site_begin_signer(&s->site);
	s->site.refuses = true;		/* the list that a test has written stays */
	for (size_t i = 0; i < ENTRIES; i++) {
		struct registry_device one;	/* of one device they would replace each other */

		site_add_device(&s->site, "a phone", &one);
		site_live(&s->site, one.id, s->serial[i]);
	}
	(void)mkdir(s->site.list_dir, 0755);
	*state = s;
	return 0;
}

static void stop(struct state *s)
{
	revoke_free(s->revoke);
	site_unlink_signer(&s->site);
	site_link_signer(&s->site);
	publish_free(s->publish);
	bundle_free(s->bundle);
	s->revoke = NULL;
}

/* Until the lists were looked at. */
static void start(struct state *s)
{
	struct revoke_config config = { .loop = s->site.loop, .registry = s->site.registry, .issuer = s->site.issuer, .list_dir = s->site.list_dir,
		.crl_seconds = 86400, .crl_overlap_seconds = 7200 };
	struct publish_config publish = { .loop = s->site.loop };
	char why[400] = "";

	publish.bundle = s->bundle = bundle_from_disk();
	config.publish = s->publish = publish_new(&publish, why, sizeof(why));
	s->revoke = s->publish != NULL ? revoke_new(&config, why, sizeof(why)) : NULL;
	if (s->revoke == NULL)
		fail_msg("%s", why);
	for (int i = 0; i < 2000 && (s->revoke->issuers == 0 || !s->revoke->issuer[0].compared); i++)
		turn_for(s->site.loop, 5);
	assert_true(s->revoke->issuers == 1 && s->revoke->issuer[0].compared);
}

static int end(void **state)
{
	struct state *s = *state;

	if (s->revoke != NULL)
		stop(s);
	site_end_signer(&s->site);
	site_end(&s->site);
	free(s);
	return 0;
}

static void add_entry(X509_CRL *crl, const uint8_t serial[REGISTRY_SERIAL], int reason)
{
	BIGNUM *number = BN_bin2bn(serial, REGISTRY_SERIAL, NULL);
	ASN1_INTEGER *value = BN_to_ASN1_INTEGER(number, NULL);
	ASN1_TIME *now = ASN1_TIME_set(NULL, time(NULL));
	ASN1_ENUMERATED *why = ASN1_ENUMERATED_new();
	X509_REVOKED *entry = X509_REVOKED_new();

	MUST(entry != NULL && X509_REVOKED_set_serialNumber(entry, value) == 1 && X509_REVOKED_set_revocationDate(entry, now) == 1);
	MUST(ASN1_ENUMERATED_set(why, reason) == 1);
	if (reason > 0)
		MUST(X509_REVOKED_add1_ext_i2d(entry, NID_crl_reason, why, 0, 0) == 1);
	MUST(X509_CRL_add0_revoked(crl, entry) == 1);
	ASN1_ENUMERATED_free(why);
	ASN1_TIME_free(now);
	ASN1_INTEGER_free(value);
	BN_free(number);
}

static void write_bytes(struct state *s, const char *ending, const void *p, size_t n)
{
	char path[300];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s%s", s->site.list_dir, s->site.name, ending);
	f = fopen(path, "w");
	MUST(f != NULL && fwrite(p, 1, n, f) == n && fclose(f) == 0);
}

/* A list of these, each with its reason; -1: not on it. Written; *der (NULL: not wanted) is freed with OPENSSL_free(). */
static int write_list(struct state *s, const char *ending, int64_t number, const int reasons[ENTRIES], unsigned char **der)
{
	X509_CRL *crl = X509_CRL_new();
	ASN1_TIME *now = ASN1_TIME_set(NULL, time(NULL)), *later = ASN1_TIME_set(NULL, time(NULL) + 86400);
	ASN1_INTEGER *value = ASN1_INTEGER_new();
	unsigned char *bytes = NULL;
	int n;

	MUST(crl != NULL && X509_CRL_set_version(crl, 1) == 1 && X509_CRL_set_issuer_name(crl, X509_get_subject_name(s->site.ca.cert)) == 1);
	MUST(X509_CRL_set1_lastUpdate(crl, now) == 1 && X509_CRL_set1_nextUpdate(crl, later) == 1);
	MUST(ASN1_INTEGER_set_int64(value, number) == 1 && X509_CRL_add1_ext_i2d(crl, NID_crl_number, value, 0, 0) == 1);
	for (size_t i = 0; i < ENTRIES; i++)
		if (reasons[i] >= 0)
			add_entry(crl, s->serial[i], reasons[i]);
	MUST(X509_CRL_sign(crl, s->site.ca.key, EVP_sha256()) > 0);
	n = i2d_X509_CRL(crl, &bytes);
	MUST(n > 0);
	write_bytes(s, ending, bytes, (size_t)n);
	if (der != NULL)
		*der = bytes;
	else
		OPENSSL_free(bytes);
	ASN1_INTEGER_free(value);
	ASN1_TIME_free(now);
	ASN1_TIME_free(later);
	X509_CRL_free(crl);
	return n;
}

static int reason_of(struct state *s, size_t i)
{
	struct registry_certificate c;

	assert_int_equal(registry_certificate_get(s->site.registry, s->serial[i], &c), REGISTRY_OK);
	return c.state == REGISTRY_LIVE ? -1 : c.reason;
}

static void assert_reasons(struct state *s, const int wanted[ENTRIES])
{
	for (size_t i = 0; i < ENTRIES; i++)
		if (reason_of(s, i) != wanted[i])
			fail_msg("entry %zu: %d, not %d", i, reason_of(s, i), wanted[i]);
}

static void what_a_newer_list_says_is_taken_over_with_its_reasons(void **state)
{
	static const int said[ENTRIES] = { REVOKE_KEY_COMPROMISE, REVOKE_HOLD, REVOKE_UNSPECIFIED, 2, -1, -1 };
	static const int taken[ENTRIES] = { REVOKE_KEY_COMPROMISE, REVOKE_HOLD, REVOKE_UNSPECIFIED, REVOKE_UNSPECIFIED, -1, -1 };
	struct state *s = *state;

	write_list(s, ".crl", time(NULL), said, NULL);
	start(s);
	assert_int_equal(site_state(&s->site, s->serial[0]), REGISTRY_REVOKING);
	assert_int_equal(site_state(&s->site, s->serial[1]), REGISTRY_HOLD);
	assert_reasons(s, taken);
}

static void a_delta_that_is_newer_still_adds_and_takes_nothing_off(void **state)
{
	static const int full[ENTRIES] = { REVOKE_HOLD, REVOKE_CESSATION, -1, -1, -1, -1 }, delta[ENTRIES] = { REVOKE_KEY_COMPROMISE, 8, REVOKE_SUPERSEDED, 8, -1, -1 };
	static const int taken[ENTRIES] = { REVOKE_KEY_COMPROMISE, REVOKE_CESSATION, REVOKE_SUPERSEDED, -1, -1, -1 };
	struct state *s = *state;

	write_list(s, ".crl", time(NULL), full, NULL);
	write_list(s, ".delta.crl", time(NULL) + 1, delta, NULL);
	start(s);
	assert_reasons(s, taken);
}

static void a_list_that_is_no_newer_than_the_registry_changes_nothing(void **state)
{
	static const int said[ENTRIES] = { REVOKE_KEY_COMPROMISE, REVOKE_HOLD, REVOKE_UNSPECIFIED, -1, -1, -1 }, none[ENTRIES] = { -1, -1, -1, -1, -1, -1 };
	struct state *s = *state;
	int64_t now = time(NULL);
	struct registry_crl c;

	assert_int_equal(registry_crl_begin(s->site.registry, s->site.name, false, now, now + 86400, &c), REGISTRY_OK);
	write_list(s, ".crl", (int64_t)c.number, said, NULL);
	start(s);
	assert_reasons(s, none);
}

static void a_damaged_list_changes_nothing_beyond_what_can_be_read_of_it(void **state)
{
	static const int said[ENTRIES] = { REVOKE_KEY_COMPROMISE, REVOKE_KEY_COMPROMISE, -1, -1, -1, -1 };
	struct state *s = *state;
	unsigned char *der;
	int n = write_list(s, ".crl", time(NULL), said, &der);

	for (int cut = 0; cut < n; cut += 29) {
		write_bytes(s, ".crl", der, (size_t)cut);
		start(s);
		assert_int_equal(reason_of(s, 0), -1);
		stop(s);
	}
	for (int i = 0; i < n; i += 17) {
		der[i] ^= 0x40;
		write_bytes(s, ".crl", der, (size_t)n);
		start(s);
		for (size_t k = 2; k < ENTRIES; k++)
			assert_int_equal(reason_of(s, k), -1);
		stop(s);
		der[i] ^= 0x40;
	}
	OPENSSL_free(der);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_a_newer_list_says_is_taken_over_with_its_reasons, setup, end),
		cmocka_unit_test_setup_teardown(a_delta_that_is_newer_still_adds_and_takes_nothing_off, setup, end),
		cmocka_unit_test_setup_teardown(a_list_that_is_no_newer_than_the_registry_changes_nothing, setup, end),
		cmocka_unit_test_setup_teardown(a_damaged_list_changes_nothing_beyond_what_can_be_read_of_it, setup, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
