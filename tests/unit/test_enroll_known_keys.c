/* Keys that others know get no certificate: threat E41. The file's two kinds of lines, one made here and one by the openssl command line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <openssl/pem.h>

#include "common/text.h"
#include "enroll/signer/serve.h"
#include "tests/unit/enroll_ca.h"

static struct test_ca t;
static EVP_PKEY *ec, *rsa;
static char path[128];

static int make(void **state)
{
	struct refusal r;

	(void)state;
	test_ca_make(&t, KEY_EC_P256, "");
	ec = key_make(KEY_EC_P256, &r);
	rsa = key_make(KEY_RSA_2048, &r);
	snprintf(path, sizeof(path), "%s/known.txt", t.folder);
	return ec != NULL && rsa != NULL ? 0 : -1;
}

static int drop(void **state)
{
	(void)state;
	EVP_PKEY_free(ec);
	EVP_PKEY_free(rsa);
	test_ca_remove(&t);
	return 0;
}

static void write_file(const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

/* What the signer says of a certificate for this key. */
static enum signer_status issue(EVP_PKEY *key)
{
	struct signer s;
	struct signer_answer head;
	struct refusal r = { 0 };
	size_t n, answer_n = 0;
	struct signer_issue *q = test_question(&t, key, &n);
	uint8_t *answer;

	t.setup.known_keys_file = path;
	assert_int_equal(signer_init(&s, &t.setup, t.now, &r), 0);
	answer = signer_serve(&s, SIGNER_ISSUE, q, n, t.now, &answer_n);
	assert_non_null(answer);
	assert_true(answer_n >= sizeof(head));
	memcpy(&head, answer, sizeof(head));
	free(answer);
	free(q);
	signer_clear(&s);
	return (enum signer_status)head.status;
}

static void threat_41_a_key_whose_hash_is_in_the_file_gets_no_certificate(void **state)
{
	unsigned char *der = NULL;
	uint8_t hash[SHA256_SIZE];
	char hex[2 * SHA256_SIZE + 1], text[256];
	int n = i2d_PUBKEY(ec, &der);

	(void)state;
	assert_true(n > 0);
	assert_int_equal(EVP_Digest(der, (size_t)n, hash, NULL, EVP_sha256(), NULL), 1);
	OPENSSL_free(der);
	text_hex(hex, hash, sizeof(hash));
	snprintf(text, sizeof(text), "# leaked\n\n%064d\n%s  # ours\n%064x\n", 1, hex, 0xffu);
	write_file(text);
	assert_int_equal(issue(ec), SIGNER_BAD_KEY);
	assert_int_equal(issue(rsa), SIGNER_OK);
}

static void threat_41_a_line_of_debians_blacklist_is_the_modulus_as_openssl_prints_it(void **state)
{
	char command[256], line[64] = "", text[128];
	FILE *f = NULL;

	(void)state;
	snprintf(command, sizeof(command), "%s/key.pem", t.folder);
	f = fopen(command, "w");
	assert_non_null(f);
	assert_int_equal(PEM_write_PUBKEY(f, rsa), 1);
	fclose(f);
	snprintf(command, sizeof(command), "openssl rsa -pubin -noout -modulus -in %s/key.pem | sha1sum", t.folder);
	f = popen(command, "r");
	assert_non_null(f);
	assert_non_null(fgets(line, sizeof(line), f));
	assert_int_equal(pclose(f), 0);
	line[40] = '\0';
	snprintf(text, sizeof(text), "%s\n00000000000000000000\n", line + 20);
	write_file(text);
	assert_int_equal(issue(rsa), SIGNER_BAD_KEY);
	assert_int_equal(issue(ec), SIGNER_OK);
}

static void a_file_that_cannot_be_read_to_its_end_keeps_the_signer_from_starting(void **state)
{
	static const struct { const char *text, *word; } bad[] = {
		{ "abc\n", "known.txt:1: expected 64 hex digits" },
		{ "# fine\n0123456789abcdefghij\n", "known.txt:2: expected" },
		{ "0123456789abcdef01234567\n", "known.txt:1: expected" },
	};
	struct refusal r = { 0 };
	struct known_keys *k;
	struct signer s;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		write_file(bad[i].text);
		assert_null(known_keys_read(path, &r));
		assert_non_null(strstr(r.text, bad[i].word));
	}
	write_file("# nothing yet");
	k = known_keys_read(path, &r);
	assert_non_null(k);
	assert_int_equal(known_keys_count(k), 0);
	known_keys_free(k);
	assert_int_equal(unlink(path), 0);
	t.setup.known_keys_file = path;
	assert_int_equal(signer_init(&s, &t.setup, t.now, &r), -1);
	assert_non_null(strstr(r.text, "enroll.ca.known_keys_file"));
	signer_clear(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threat_41_a_key_whose_hash_is_in_the_file_gets_no_certificate),
		cmocka_unit_test(threat_41_a_line_of_debians_blacklist_is_the_modulus_as_openssl_prints_it),
		cmocka_unit_test(a_file_that_cannot_be_read_to_its_end_keeps_the_signer_from_starting),
	};

	return cmocka_run_group_tests(tests, make, drop);
}
