/*
 * Secrets: random, bound, used once, and nothing of them in the registry's file.
 */
#include "tests/unit/registry_site.h"

#include <sys/stat.h>

struct state { struct registry_site site; struct secret_key key; };

static int setup(void **state)
{
	struct state *s = calloc(1, sizeof(*s));
	char why[400] = "";

	site_begin(&s->site);
	if (secret_key_load(s->site.dir, &s->key, why, sizeof(why)) < 0)
		fail_msg("%s", why);
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct state *s = *state;

	site_end(&s->site);
	free(s);
	return 0;
}

static void make(struct state *s, enum secret_form form, const char *device, char text[SECRET_TEXT_MAX])
{
	struct secret_for f = { s->site.owner.id, device, "mail", "scep", 900, form, 100 };

	assert_int_equal(secret_make(s->site.registry, &s->key, &site_by, &f, text), REGISTRY_OK);
}

static void the_key_is_made_once_and_not_used_when_others_may_read_it(void **state)
{
	struct state *s = *state;
	struct secret_key again;
	char path[128], why[400];
	struct stat st;

	snprintf(path, sizeof(path), "%s/registry.key", s->site.dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(secret_key_load(s->site.dir, &again, why, sizeof(why)), 0);
	assert_memory_equal(&again, &s->key, sizeof(again));
	assert_int_equal(chmod(path, 0644), 0);
	assert_int_equal(secret_key_load(s->site.dir, &again, why, sizeof(why)), -1);
	assert_non_null(strstr(why, "chmod"));
}

static void secrets_have_their_forms_and_are_all_different(void **state)
{
	struct state *s = *state;
	char a[SECRET_TEXT_MAX], b[SECRET_TEXT_MAX];

	make(s, SECRET_GROUPS, "", a);
	make(s, SECRET_GROUPS, "", b);
	assert_int_equal(strlen(a), 39);
	assert_int_equal(strspn(a, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567-"), 39);
	assert_string_not_equal(a, b);
	make(s, SECRET_NDES, "", a);
	assert_int_equal(strlen(a), 16);
	assert_int_equal(strspn(a, "0123456789ABCDEF"), 16);
}

static void a_secret_is_found_however_it_was_typed_and_nothing_else_is(void **state)
{
	static const char *const wrong[] = { "", "A", "AAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAAA", "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10",
		"'; DROP TABLE secrets; --" };
	struct state *s = *state;
	char text[SECRET_TEXT_MAX], typed[100];
	struct registry_secret row;

	make(s, SECRET_GROUPS, s->site.device.id, text);
	snprintf(typed, sizeof(typed), " %s\r\n", text);
	for (char *p = typed; *p != '\0'; p++)
		*p = *p == '-' ? ' ' : text_lower_char(*p);
	assert_int_equal(secret_find(s->site.registry, &s->key, strv_from(typed), "scep", SITE_NOW, &row), REGISTRY_OK);
	assert_string_equal(row.device, s->site.device.id);
	assert_int_equal(row.account, s->site.owner.id);
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_int_equal(secret_find(s->site.registry, &s->key, strv_from(wrong[i]), "scep", SITE_NOW, &row), REGISTRY_NONE);
	assert_int_equal(secret_find(s->site.registry, &s->key, strv_from(text), "est", SITE_NOW, &row), REGISTRY_FOREIGN);
	assert_int_equal(secret_find(s->site.registry, &s->key, strv_from(text), "scep", SITE_NOW + 900, &row), REGISTRY_EXPIRED);
	text[0] = text[0] == 'A' ? 'B' : 'A';
	assert_int_equal(secret_find(s->site.registry, &s->key, strv_from(text), "scep", SITE_NOW, &row), REGISTRY_NONE);
}

static void a_secret_serves_once_and_only_who_it_was_made_for(void **state)
{
	struct state *s = *state;
	struct registry *r = s->site.registry;
	struct registry_device other;
	struct registry_by late = { "test", "", SITE_NOW + 900 };
	struct registry_secret row;
	uint8_t mac[SHA256_SIZE];
	char text[SECRET_TEXT_MAX];

	site_add_device(&s->site, "another", &other);
	make(s, SECRET_GROUPS, s->site.device.id, text);
	assert_int_equal(secret_mac(&s->key, strv_from(text), mac), 0);
	assert_int_equal(registry_secret_use(r, &site_by, mac, s->site.owner.id + 1, NULL, NULL, "scep"), REGISTRY_FOREIGN);
	assert_int_equal(registry_secret_use(r, &site_by, mac, s->site.owner.id, other.id, "mail", "scep"), REGISTRY_FOREIGN);
	assert_int_equal(registry_secret_use(r, &site_by, mac, s->site.owner.id, s->site.device.id, "vpn", "scep"), REGISTRY_FOREIGN);
	assert_int_equal(registry_secret_use(r, &site_by, mac, s->site.owner.id, s->site.device.id, "mail", "est"), REGISTRY_FOREIGN);
	assert_int_equal(registry_secret_use(r, &late, mac, s->site.owner.id, s->site.device.id, "mail", "scep"), REGISTRY_EXPIRED);
	assert_int_equal(registry_secret_use(r, &site_by, mac, s->site.owner.id, s->site.device.id, "mail", "scep"), REGISTRY_OK);
	assert_int_equal(registry_secret_use(r, &site_by, mac, s->site.owner.id, s->site.device.id, "mail", "scep"), REGISTRY_TAKEN);
	assert_int_equal(secret_find(r, &s->key, strv_from(text), "scep", SITE_NOW, &row), REGISTRY_TAKEN);
}

static void a_secret_is_nowhere_in_the_files(void **state)
{
	struct state *s = *state;
	char text[SECRET_TEXT_MAX], command[300];

	make(s, SECRET_NDES, s->site.device.id, text);
	snprintf(command, sizeof(command), "! grep -rqaF '%s' '%s'", text, s->site.dir);
	assert_int_equal(system(command), 0);
}

static void an_account_has_no_more_unused_secrets_than_its_limit(void **state)
{
	struct state *s = *state;
	struct secret_for f = { s->site.owner.id, "", "mail", "scep", 900, SECRET_GROUPS, 2 };
	char text[SECRET_TEXT_MAX];

	assert_int_equal(secret_make(s->site.registry, &s->key, &site_by, &f, text), REGISTRY_OK);
	assert_int_equal(secret_make(s->site.registry, &s->key, &site_by, &f, text), REGISTRY_OK);
	assert_int_equal(secret_make(s->site.registry, &s->key, &site_by, &f, text), REGISTRY_LIMIT);
	assert_string_equal(text, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_key_is_made_once_and_not_used_when_others_may_read_it, setup, teardown),
		cmocka_unit_test_setup_teardown(secrets_have_their_forms_and_are_all_different, setup, teardown),
		cmocka_unit_test_setup_teardown(a_secret_is_found_however_it_was_typed_and_nothing_else_is, setup, teardown),
		cmocka_unit_test_setup_teardown(a_secret_serves_once_and_only_who_it_was_made_for, setup, teardown),
		cmocka_unit_test_setup_teardown(a_secret_is_nowhere_in_the_files, setup, teardown),
		cmocka_unit_test_setup_teardown(an_account_has_no_more_unused_secrets_than_its_limit, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
