/* The CA's folder: what is written comes back, what others may read is refused, keys are encrypted when a password is given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "tests/unit/enroll_ca.h"

#define ALL_KINDS 15u

static void what_is_saved_comes_back_with_its_keys(void **state)
{
	struct key_source source = { "", "", "" };
	struct ca_files *f = calloc(1, sizeof(*f));
	struct refusal r = { 0 };
	struct test_ca t;

	(void)state;
	test_ca_make(&t, KEY_EC_P384, "");
	assert_true(ca_files_exist(t.folder));
	assert_int_equal(ca_files_load(f, t.folder, &r), 0);
	assert_int_equal(f->n, 4);
	assert_string_equal(f->name, "Test");
	assert_int_equal(ca_files_load_keys(f, ALL_KINDS, &source, &r), 0);
	for (size_t i = 0; i < f->n; i++) {
		assert_int_equal(
		    X509_cmp(f->entries[i].certificate, t.files.entries[i].certificate), 0);
		assert_int_equal(EVP_PKEY_eq(f->entries[i].pkey, t.files.entries[i].pkey), 1);
	}
	assert_ptr_equal(ca_files_issuer_of(f, f->entries[2].certificate), &f->entries[1]);
	assert_ptr_equal(ca_files_issuer_of(f, f->entries[1].certificate), &f->entries[0]);
	assert_null(ca_files_issuer_of(f, f->entries[0].certificate));
	assert_int_equal(ca_files_next_generation(f, CA_ISSUING), 2);
	ca_files_clear(f);
	free(f);
	test_ca_remove(&t);
}

static void a_key_that_others_may_read_is_refused(void **state)
{
	struct key_source source = { "", "", "" };
	struct ca_files *f = calloc(1, sizeof(*f));
	struct refusal r = { 0 };
	struct stat st;
	struct test_ca t;
	char path[256];

	(void)state;
	test_ca_make(&t, KEY_EC_P256, "");
	snprintf(path, sizeof(path), "%s/issuing-1.key", t.folder);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(chmod(path, 0640), 0);
	assert_int_equal(ca_files_load(f, t.folder, &r), 0);
	assert_int_equal(ca_files_load_keys(f, ALL_KINDS, &source, &r), -1);
	assert_non_null(strstr(r.text, "issuing-1.key"));
	assert_non_null(strstr(r.text, "chmod 600"));
	if (geteuid() == 0) { /* nor one that another user may have put there */
		assert_int_equal(chmod(path, 0600), 0);
		assert_int_equal(chown(path, 65534, 65534), 0);
		assert_int_equal(ca_files_load_keys(f, ALL_KINDS, &source, &r), -1);
		assert_non_null(strstr(r.text, "chown it to root"));
	}
	ca_files_clear(f);
	free(f);
	test_ca_remove(&t);
}

static void keys_are_encrypted_under_the_password_and_open_with_no_other(void **state)
{
	char password[] = "/tmp/test-ca-password-XXXXXX", other[] = "/tmp/test-ca-password-XXXXXX";
	int a = mkstemp(password), b = mkstemp(other);
	struct key_source right = { password, "", "" }, wrong = { other, "", "" },
			  none = { "", "", "" };
	struct ca_files *f = calloc(1, sizeof(*f));
	struct refusal r = { 0 };
	struct test_ca t;
	char path[256], *text;
	size_t n;

	(void)state;
	assert_int_equal(write(a, "correct horse\n", 14), 14);
	assert_int_equal(write(b, "battery staple\n", 15), 15);
	test_ca_make(&t, KEY_EC_P256, password);
	snprintf(path, sizeof(path), "%s/issuing-1.key", t.folder);
	text = folder_read(path, true, &n, &r);
	assert_non_null(strstr(text, "BEGIN ENCRYPTED PRIVATE KEY"));
	free(text);
	assert_int_equal(ca_files_load(f, t.folder, &r), 0);
	assert_int_equal(ca_files_load_keys(f, ALL_KINDS, &wrong, &r), -1);
	assert_int_equal(ca_files_load_keys(f, ALL_KINDS, &none, &r), -1);
	assert_non_null(strstr(r.text, "key_password_file"));
	assert_int_equal(ca_files_load_keys(f, ALL_KINDS, &right, &r), 0);
	ca_files_clear(f);
	free(f);
	test_ca_remove(&t);
	close(a);
	close(b);
	unlink(password);
	unlink(other);
}

static void a_key_is_never_overwritten(void **state)
{
	struct key_source source = { "", "", "" };
	struct refusal r = { 0 };
	struct test_ca t;

	(void)state;
	test_ca_make(&t, KEY_EC_P256, "");
	assert_null(ca_files_add(
	    &t.files, CA_ISSUING, CA_NEXT, 1, NULL, key_make(KEY_EC_P256, &r), NULL, &source, &r));
	assert_non_null(strstr(r.text, "is there already"));
	test_ca_remove(&t);
}

static void an_index_that_leads_out_of_the_folder_is_refused(void **state)
{
	static const char *const bad[] = {
		"{\"version\":1,\"name\":\"x\",\"entries\":[{\"kind\":\"ra\",\"state\":\"waiting\",\"generation\":1,\"key\":\"../../etc/shadow\"}]}",
		"{\"version\":1,\"name\":\"x\",\"entries\":[{\"kind\":\"ra\",\"state\":\"waiting\",\"generation\":0,\"key\":\"a\"}]}",
		"{\"version\":1,\"name\":\"x\",\"entries\":[{\"kind\":\"king\",\"state\":\"waiting\",\"generation\":1,\"key\":\"a\"}]}",
		"{\"version\":2,\"name\":\"x\",\"entries\":[]}",
		"{\"version\":1,\"version\":1,\"name\":\"x\",\"entries\":[]}",
		"[]",
		"",
		"{\"version\":1,\"name\":\"x\",\"entries\":[1]}",
	};
	struct ca_files *f = calloc(1, sizeof(*f));
	struct refusal r = { 0 };
	struct test_ca t;
	char path[256];

	(void)state;
	test_ca_make(&t, KEY_EC_P256, "");
	snprintf(path, sizeof(path), "%s/ca.json", t.folder);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(folder_write(path, bad[i], strlen(bad[i]), 0644, &r), 0);
		assert_int_equal(ca_files_load(f, t.folder, &r), -1);
		ca_files_clear(f);
	}
	free(f);
	test_ca_remove(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_saved_comes_back_with_its_keys),
		cmocka_unit_test(a_key_that_others_may_read_is_refused),
		cmocka_unit_test(keys_are_encrypted_under_the_password_and_open_with_no_other),
		cmocka_unit_test(a_key_is_never_overwritten),
		cmocka_unit_test(an_index_that_leads_out_of_the_folder_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
