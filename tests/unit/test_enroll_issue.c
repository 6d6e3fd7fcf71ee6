/*
 * Issue: the only path to a certificate: what it answers, what it refuses, and that a crash at any step leaves no certificate without a row that
 * could be good.
 */
#include "tests/unit/registry_site.h"

#include <sys/wait.h>

struct state {
	struct registry_site site;
	struct issue *issue;
	EVP_PKEY *key;
	uint8_t spki[1024];
	size_t spki_n;
	int answered;
	enum issue_status status;
	char text[300];
	uint8_t serial[REGISTRY_SERIAL];
	size_t der_n;
	uint8_t der[8192];
};

static const struct profile_rule rule = { "mail", 365, true, true, true, PROFILE_KEY_ANY, -1 };
static const char *step_wanted;

static void at_step(const char *name)
{
	if (step_wanted != NULL && strcmp(name, step_wanted) == 0)
		kill(getpid(), SIGKILL);
}

static void start(struct state *s)
{
	struct issue_config config = { s->site.loop, s->site.registry, s->site.issuer, NULL, true, at_step };

	s->issue = issue_new(&config);
	assert_non_null(s->issue);
}

static int setup(void **state)
{
	struct state *s = calloc(1, sizeof(*s));

	site_begin(&s->site);
	site_begin_signer(&s->site);
	s->key = pki_key(NULL);
	s->spki_n = site_spki(s->key, s->spki);
	start(s);
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct state *s = *state;

	issue_free(s->issue);
	site_end_signer(&s->site);
	site_end(&s->site);
	EVP_PKEY_free(s->key);
	free(s);
	return 0;
}

static void on_issued(void *arg, const struct issue_result *r)
{
	struct state *s = arg;

	s->answered++;
	s->status = r->status;
	snprintf(s->text, sizeof(s->text), "%s", r->text);
	memcpy(s->serial, r->serial, sizeof(s->serial));
	s->der_n = r->der.n;
	if (r->der.n > 0)
		memcpy(s->der, r->der.p, r->der.n);
}

static struct issue_request request(struct state *s, const char *transaction)
{
	return (struct issue_request){ .rule = &rule, .account = &s->site.account, .device = s->site.device.id, .spki = { (char *)s->spki, s->spki_n },
		.transaction = strv_from(transaction), .actor = "test", .detail = "" };
}

static enum issue_status run(struct state *s, const struct issue_request *r)
{
	s->answered = 0;
	assert_int_not_equal(issue_start(s->issue, r, on_issued, s), 0);
	assert_int_equal(s->answered, 0);
	assert_true(wait_for(s->site.loop, &s->answered, 20));
	return s->status;
}

static void a_certificate_is_answered_once_it_is_in_the_registry(void **state)
{
	struct state *s = *state;
	struct issue_request r = request(s, "");
	uint8_t der[8192];
	size_t n = 0;

	assert_int_equal(run(s, &r), ISSUE_DONE);
	assert_int_equal(site_state(&s->site, s->serial), REGISTRY_LIVE);
	assert_int_equal(registry_certificate_der(s->site.registry, s->serial, der, sizeof(der), &n), REGISTRY_OK);
	assert_int_equal(n, s->der_n);
	assert_memory_equal(der, s->der, n);
}

static void a_repeated_transaction_is_the_same_certificate(void **state)
{
	struct state *s = *state;
	struct issue_request r = request(s, "transaction 1");
	uint8_t first[REGISTRY_SERIAL];

	assert_int_equal(run(s, &r), ISSUE_DONE);
	memcpy(first, s->serial, sizeof(first));
	assert_int_equal(run(s, &r), ISSUE_DONE);
	assert_memory_equal(first, s->serial, sizeof(first));
	assert_true(s->der_n > 0);
	assert_int_equal(s->site.signed_n, 1);
}

static void a_repeat_while_the_first_is_under_way_issues_nothing(void **state)
{
	struct state *s = *state;
	struct issue_request r = request(s, "transaction 1");

	s->site.silent = true;
	assert_int_not_equal(issue_start(s->issue, &r, on_issued, s), 0);
	assert_int_equal(run(s, &r), ISSUE_BUSY);
}

static void threat_46_a_serial_is_128_bits_of_which_none_stands_still(void **state)
{
	struct state *s = *state;
	struct issue_request r = request(s, "");
	uint8_t ones[REGISTRY_SERIAL] = { 0 }, zeros[REGISTRY_SERIAL] = { 0 };
	struct registry_device d;

	/* one that is always the same would pass by chance once in 10^10 runs */
	for (int i = 0; i < 40; i++) {
		site_add_device(&s->site, "one more", &d);
		r.device = d.id;
		assert_int_equal(run(s, &r), ISSUE_DONE);
		for (size_t k = 0; k < REGISTRY_SERIAL; k++) {
			ones[k] |= s->serial[k];
			zeros[k] |= (uint8_t)~s->serial[k];
		}
	}
	for (size_t k = 0; k < REGISTRY_SERIAL; k++) {
		assert_int_equal(ones[k], 0xff);
		assert_int_equal(zeros[k], 0xff);
	}
}

static void a_secret_is_used_up_by_success_and_kept_by_failure(void **state)
{
	struct state *s = *state;
	struct issue_request r = request(s, "");
	struct registry_secret secret = { .mac = { 9 }, .account = s->site.owner.id, .profile = "mail", .purpose = "scep",
		.ends = loop_wall(s->site.loop) + 900 };

	assert_int_equal(registry_secret_add(s->site.registry, &site_by, &secret, 5), REGISTRY_OK);
	r.secret_mac = secret.mac;
	r.purpose = "scep";
	s->site.refuses = true;
	assert_int_equal(run(s, &r), ISSUE_REFUSED);
	assert_int_equal(site_state(&s->site, s->serial), REGISTRY_REVOKING);
	s->site.refuses = false;
	r.purpose = "est";
	assert_int_equal(run(s, &r), ISSUE_SECRET);
	r.purpose = "scep";
	assert_int_equal(run(s, &r), ISSUE_DONE);
	assert_int_equal(run(s, &r), ISSUE_SECRET);
	assert_int_equal(s->site.signed_n, 1);
}

static void another_s_device_and_a_revoked_one_get_nothing(void **state)
{
	struct state *s = *state;
	struct issue_request r = request(s, "");
	struct account boris;

	site_account(&boris, "boris", "S-1-5-21-1-2-3-1105");
	r.account = &boris;
	assert_int_equal(run(s, &r), ISSUE_REFUSED);
	assert_non_null(strstr(s->text, "another account"));
	r.account = &s->site.account;
	assert_int_equal(registry_device_set_state(s->site.registry, &site_by, s->site.device.id, REGISTRY_DEVICE_REVOKED), REGISTRY_OK);
	assert_int_equal(run(s, &r), ISSUE_REFUSED);
	assert_int_equal(s->site.signed_n, 0);
}

static void a_certificate_that_is_not_the_one_asked_for_reaches_nobody(void **state)
{
	struct state *s = *state;
	struct issue_request r = request(s, "");

	s->site.lies = true;
	assert_int_equal(run(s, &r), ISSUE_UNAVAILABLE);
	assert_int_equal(s->der_n, 0);
	assert_int_equal(site_state(&s->site, s->serial), REGISTRY_REVOKING);
}

static void nothing_is_promised_while_the_ca_is_unknown(void **state)
{
	struct state *s = *state;
	struct issue_request r = request(s, "");

	issuer_embedded_set_name(s->site.issuer, "");
	assert_int_equal(run(s, &r), ISSUE_UNAVAILABLE);
}

/* --- crashes --- */

struct found { unsigned rows, good, never; };

static bool look(void *arg, const struct registry_certificate *c)
{
	struct found *f = arg;

	f->rows++;
	f->good += c->state == REGISTRY_LIVE;
	f->never += c->state == REGISTRY_REVOKING;
	return true;
}

/* In a child of its own, which is killed at that step; whether it had told its caller. */
static void crash_at(struct registry_site *s, const char *step)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		struct state child = { .answered = 0 };
		struct issue_request r;

		child.site = *s;
		site_open(&child.site);
		site_begin_signer(&child.site);
		child.key = pki_key(NULL);
		child.spki_n = site_spki(child.key, child.spki);
		start(&child);
		step_wanted = step;
		r = request(&child, "t");
		if (issue_start(child.issue, &r, on_issued, &child) != 0)
			wait_for(child.site.loop, &child.answered, 20);
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void a_crash_at_any_step_leaves_no_certificate_that_could_be_good_without_its_row(void **state)
{
	static const struct { const char *step; unsigned good, never; } row[] = {
		{ "issue-row", 0, 1 }, { "issue-signed", 0, 1 }, { "issue-live", 1, 0 },
	};
	struct registry_by by = { "system", "", SITE_NOW };
	unsigned n;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct registry_site s;
		struct found f = { 0 };

		site_begin(&s);
		registry_close(s.registry);
		crash_at(&s, row[i].step);
		site_open(&s);
		assert_int_equal(registry_issue_recover(s.registry, &by, &n), REGISTRY_OK);
		assert_int_equal(n, row[i].never);
		assert_int_equal(registry_certificates(s.registry, s.device.id, look, &f), REGISTRY_OK);
		assert_int_equal(f.rows, 1);
		assert_int_equal(f.good, row[i].good);
		assert_int_equal(f.never, row[i].never);
		site_end(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_crash_at_any_step_leaves_no_certificate_that_could_be_good_without_its_row),
		cmocka_unit_test_setup_teardown(a_certificate_is_answered_once_it_is_in_the_registry, setup, teardown),
		cmocka_unit_test_setup_teardown(a_repeated_transaction_is_the_same_certificate, setup, teardown),
		cmocka_unit_test_setup_teardown(a_repeat_while_the_first_is_under_way_issues_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(threat_46_a_serial_is_128_bits_of_which_none_stands_still, setup, teardown),
		cmocka_unit_test_setup_teardown(a_secret_is_used_up_by_success_and_kept_by_failure, setup, teardown),
		cmocka_unit_test_setup_teardown(another_s_device_and_a_revoked_one_get_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(a_certificate_that_is_not_the_one_asked_for_reaches_nobody, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_is_promised_while_the_ca_is_unknown, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
