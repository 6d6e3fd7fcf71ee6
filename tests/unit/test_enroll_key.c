/* Keys in a PKCS#11 token (SoftHSM, made here in a temporary folder) sign certificates, CRLs and OCSP signers, and openssl's command line verifies them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <openssl/pem.h>
#include <sys/stat.h>

#include "enroll/signer/certificate_build.h"
#include "tests/unit/enroll_ca.h"

#define PIN "1234567"
#define URI "pkcs11:token=easgate-test;object=%s;type=private"

static const char *const modules[] = { "/usr/lib/softhsm/libsofthsm2.so",
	"/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
	"/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so" };

static char home[64], pin_file[96];
static struct test_ca cas
    [2]; /* their issuing keys, EC and RSA, are in the token: SoftHSM reads its configuration once in a process */
static const char *const labels[] = { "ec", "rsa" };

static const char *module_path(void)
{
	for (size_t i = 0; i < ARRAY_LEN(modules); i++) {
		if (access(modules[i], R_OK) == 0)
			return modules[i];
	}
	return NULL;
}

PRINTF(1, 2) static int run(const char *fmt, ...)
{
	char command[2048];
	va_list args;

	va_start(args, fmt);
	vsnprintf(command, sizeof(command), fmt, args);
	va_end(args);
	return system(command);
}

static bool import_key(EVP_PKEY *key, const char *label)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/key.pem", home);
	f = fopen(path, "w");
	PEM_write_PKCS8PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
	fclose(f);
	return run("softhsm2-util --import %s --token easgate-test --label %s --id %s --pin " PIN
		   " >/dev/null 2>&1",
		   path, label, strcmp(label, "ec") == 0 ? "a1" : "a2") == 0 &&
	    unlink(path) == 0;
}

static int make(void **state)
{
	char path[128];
	FILE *f;

	(void)state;
	snprintf(home, sizeof(home), "/tmp/test-token-XXXXXX");
	if (module_path() == NULL || mkdtemp(home) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/softhsm2.conf", home);
	f = fopen(path, "w");
	fprintf(
	    f, "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", home);
	fclose(f);
	setenv("SOFTHSM2_CONF", path, 1);
	snprintf(pin_file, sizeof(pin_file), "%s/pin", home);
	f = fopen(pin_file, "w");
	fprintf(f, PIN "\n");
	fclose(f);
	chmod(pin_file, 0600);
	test_ca_make(&cas[0], KEY_EC_P256, "");
	test_ca_make(&cas[1], KEY_RSA_2048, "");
	if (run("softhsm2-util --init-token --free --label easgate-test --pin " PIN
		" --so-pin 7654321 >/dev/null 2>&1") != 0)
		return -1;
	return import_key(cas[0].files.entries[1].pkey, labels[0]) &&
		import_key(cas[1].files.entries[1].pkey, labels[1]) ?
	    0 :
	    -1;
}

static int drop(void **state)
{
	(void)state;
	test_ca_remove(&cas[0]);
	test_ca_remove(&cas[1]);
	return run("rm -r %s", home);
}

static void write_pem(const char *folder, const char *name, X509 *x)
{
	char path[160];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "w");
	assert_int_equal(PEM_write_X509(f, x), 1);
	fclose(f);
}

static void check_crl(const struct test_ca *t)
{
	struct crl_order o = { .issuer = &t->files.entries[1],
		.question = {
		    .number = 1, .this_update = t->now, .next_update = t->now + 3600 } };
	struct refusal r = { 0 };
	char in[128], out[128];
	struct crl_job *job;
	int rc;

	snprintf(in, sizeof(in), "%s/in.1", t->folder);
	snprintf(out, sizeof(out), "%s/a.crl", t->folder);
	assert_int_equal(folder_write(in, "", 0, 0600, &r), 0);
	o.in = in;
	o.out = out;
	job = crl_job_new(&o, &r);
	assert_non_null(job);
	while ((rc = crl_job_step(job, &r)) == 1)
		;
	if (rc < 0)
		fail_msg("%s", r.text);
	crl_job_free(job);
	assert_int_equal(
	    run("openssl crl -inform DER -in %s -CAfile %s/issuing-1.pem -noout 2>&1 | grep -q 'verify OK'",
		out, t->folder),
	    0);
}

static void check_token(int which)
{
	struct refusal r = { 0 };
	struct test_ca t = cas[which];
	struct key_source source = { "", module_path(), pin_file };
	struct issue_order order = { 0 };
	struct signer_issue *q;
	struct ocsp_signer ocsp = { .seconds = 86400 };
	struct ca_entry *issuing = &t.files.entries[1];
	EVP_PKEY *device = key_make(KEY_EC_P256, &r);
	unsigned char *der;
	const unsigned char *p;
	size_t n;
	X509 *x;

	issuing->pkey = NULL;
	snprintf(issuing->key, sizeof(issuing->key), URI, labels[which]);
	if (ca_files_load_keys(&t.files, 1u << CA_ISSUING, &source, &r) < 0)
		fail_msg("%s", r.text);
	q = test_question(&t, device, &n);
	assert_int_equal(profile_check(&t.setup, &t.files, q, n, t.now, &order, &r), 0);
	p = der = certificate_build(&t.setup, issuing, q, &order, &n, &r);
	if (der == NULL)
		fail_msg("%s", r.text);
	x = d2i_X509(NULL, &p, (long)n);
	OPENSSL_free(der);
	assert_int_equal(X509_verify(x, X509_get0_pubkey(issuing->certificate)), 1);
	write_pem(t.folder, "device.pem", x);
	assert_int_equal(
	    run("openssl verify -x509_strict -purpose sslclient -CAfile %s/root-1.pem -untrusted %s/issuing-1.pem %s/device.pem >/dev/null",
		t.folder, t.folder, t.folder),
	    0);
	ocsp.issuer = issuing;
	if (ocsp_signer_keep(&ocsp, t.now, &r) < 0)
		fail_msg("%s", r.text);
	ocsp_signer_clear(&ocsp);
	check_crl(&t);
	X509_free(x);
	EVP_PKEY_free(order.key);
	EVP_PKEY_free(device);
	free(q);
	EVP_PKEY_free(issuing->pkey);
}

static void an_ec_key_in_a_token_signs_certificates_and_crls(void **state)
{
	(void)state;
	check_token(0);
}

static void an_rsa_key_in_a_token_signs_certificates_and_crls(void **state)
{
	(void)state;
	check_token(1);
}

static void a_token_without_that_key_or_a_pin_that_others_may_read_is_said(void **state)
{
	struct key_source source = { "", module_path(), pin_file }, none = { "", "", "" };
	struct refusal r = { 0 };

	(void)state;
	assert_null(key_load("pkcs11:token=easgate-test;object=nothing;type=private", &source, &r));
	assert_non_null(strstr(r.text, "no such private key"));
	assert_null(key_load("pkcs11:token=easgate-test;object=ec;type=private", &none, &r));
	assert_non_null(strstr(r.text, "pkcs11_module"));
	chmod(pin_file, 0644);
	assert_null(key_load("pkcs11:token=easgate-test;object=ec;type=private", &source, &r));
	assert_non_null(strstr(r.text, "chmod 600"));
	chmod(pin_file, 0600);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_ec_key_in_a_token_signs_certificates_and_crls),
		cmocka_unit_test(an_rsa_key_in_a_token_signs_certificates_and_crls),
		cmocka_unit_test(a_token_without_that_key_or_a_pin_that_others_may_read_is_said),
	};

	return cmocka_run_group_tests(tests, make, drop);
}
