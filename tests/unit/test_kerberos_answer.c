/*
 * Who is answered before any KDC is asked: form, voucher, and the service's name, which only chooses
 * among what is configured.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/log.h"
#include "proxy/kerberos/answer.h"

static struct vouch *vouch;

/* As after answerer_init() with a keytab that is no good: whatever gets past all checks is told so. */
static struct answerer make(const char *first, const char *second)
{
	struct answerer a = { .broken = { .result = KERBEROS_BROKEN, .text = "the keytab is no good" } };

	a.vouch = vouch;
	a.spn[a.services++] = first;
	a.spn[a.services++] = second;
	return a;
}

static struct kerberos_ask question(const char *spn)
{
	struct kerberos_ask ask = { .sam = "alice", .realm = "CORP.EXAMPLE", .certificate = { 7 } };

	assert_true(strlen(spn) < sizeof(ask.spn));
	strcpy(ask.spn, spn);
	assert_int_equal(vouch_make(vouch, ask.sam, ask.realm, ask.certificate, time(NULL) + 60, ask.voucher), 0);
	return ask;
}

static struct kerberos_token answer(struct answerer *a, const struct kerberos_ask *ask)
{
	struct kerberos_token out;
	struct token token = { NULL, 1 };

	answerer_ask(a, ask, time(NULL), &out, &token);
	assert_int_equal(token.n, 0);
	assert_int_equal(out.token_n, 0);
	return out;
}

static void a_name_means_the_same_service_whatever_its_place(void **state)
{
	struct answerer one = make("HTTP/mail.corp.example", "HTTP/other.corp.example"),
			two = make("HTTP/other.corp.example", "HTTP/mail.corp.example");

	(void)state;
	assert_int_equal(answerer_service(&one, "HTTP/mail.corp.example"), 0);
	assert_int_equal(answerer_service(&two, "HTTP/mail.corp.example"), 1);
	assert_string_equal(two.spn[answerer_service(&two, "HTTP/mail.corp.example")], "HTTP/mail.corp.example");
}

static void a_service_of_the_configuration_is_asked_for(void **state)
{
	struct answerer a = make("HTTP/mail.corp.example", "HTTP/other.corp.example");
	struct kerberos_ask ask = question("HTTP/other.corp.example");
	struct kerberos_token out = answer(&a, &ask);

	(void)state;
	assert_int_equal(out.result, KERBEROS_BROKEN);
	assert_string_equal(out.text, "the keytab is no good");
}

static void threat_39_a_service_that_is_not_configured_is_denied(void **state)
{
	static const char *const names[] = { "", "HTTP/mail.corp.exampl", "HTTP/mail.corp.example.", "http/mail.corp.example",
		"HTTP/mail.corp.example@CORP.EXAMPLE", "cifs/mail.corp.example", "krbtgt/CORP.EXAMPLE" };
	struct answerer a = make("HTTP/mail.corp.example", "HTTP/other.corp.example");

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct kerberos_ask ask = question(names[i]);
		struct kerberos_token out = answer(&a, &ask);

		assert_int_equal(out.result, KERBEROS_DENIED);
		assert_non_null(strstr(out.text, "configuration in force"));
	}
}

static void threat_39_a_name_without_an_end_or_without_a_voucher_is_refused_first(void **state)
{
	struct answerer a = make("HTTP/mail.corp.example", "HTTP/other.corp.example");
	struct kerberos_ask ask = question("HTTP/mail.corp.example");

	(void)state;
	memset(ask.spn, 'a', sizeof(ask.spn));
	assert_int_equal(answer(&a, &ask).result, KERBEROS_REFUSED);
	ask = question("HTTP/nowhere.corp.example");
	ask.voucher[VOUCHER_SIZE - 1] ^= 1;
	assert_int_equal(answer(&a, &ask).result, KERBEROS_REFUSED);
}

static int set_up(void **state)
{
	static const uint8_t key[VOUCH_KEY_SIZE] = { 3 };

	(void)state;
	vouch = vouch_new(key);
	return vouch != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	vouch_free(vouch);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_name_means_the_same_service_whatever_its_place),
		cmocka_unit_test(a_service_of_the_configuration_is_asked_for),
		cmocka_unit_test(threat_39_a_service_that_is_not_configured_is_denied),
		cmocka_unit_test(threat_39_a_name_without_an_end_or_without_a_voucher_is_refused_first),
	};

	log_setup(LOG_ERROR, "test", -1);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
