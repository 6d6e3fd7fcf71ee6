/*
 * test_resumption: what resumes, where, until when, and what a reload changes. Client and server
 * talk over memory; certificates are made here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/text.h"
#include "tests/unit/tls_site.h"

static int setup(void **state)
{
	*state = site_new();
	return 0;
}

static int teardown(void **state)
{
	site_free(*state);
	return 0;
}

static struct client device_at(const struct site *s, const char *sni)
{
	return (struct client){ .sni = sni, .device = &s->device };
}

static void refused(
    struct site *s, const struct client *c, enum handshake_failure failure, const char *why)
{
	struct talk t;

	talk_run(&t, s->hosts, c);
	assert_int_equal(t.step, TLS_STEP_FAILED);
	assert_null(t.peer);
	assert_int_equal(t.report.failure, failure);
	if (strstr(t.report.why, why) == NULL)
		fail_msg("said '%s', expected '%s' in it", t.report.why, why);
	talk_end(&t);
}

/* --- resumption --- */

/* A full handshake at this name; the ticket is the caller's. */
static SSL_SESSION *ticket_from(struct site *s, const struct client *c)
{
	SSL_SESSION *session;
	struct talk t;

	talk_run(&t, s->hosts, c);
	assert_int_equal(t.step, TLS_STEP_DONE);
	assert_int_equal(SSL_session_reused(t.client), 0);
	assert_true(t.tickets <= 1);
	session = t.session;
	t.session = NULL;
	talk_end(&t);
	return session;
}

/* 1 resumed, 0 full, -1 refused; *peer (when not NULL) is the caller's. */
static int comes_back(
    struct tls_hosts *hosts, struct client c, SSL_SESSION *session, struct peer **peer)
{
	struct talk t;
	int how = -1;

	c.session = session;
	talk_run(&t, hosts, &c);
	if (t.step == TLS_STEP_DONE) {
		how = SSL_session_reused(t.client);
		assert_int_equal(t.peer->resumed, how);
		assert_true(talk_exchange(&t));
	}
	if (peer != NULL) {
		*peer = t.peer;
		t.peer = NULL;
	}
	talk_end(&t);
	return how;
}

static void test_a_device_resumes_and_is_known_as_before(void **state)
{
	struct site *s = *state;
	struct client c = device_at(s, "mail.example");
	SSL_SESSION *session = ticket_from(s, &c);
	uint8_t fingerprint[SHA256_SIZE];
	struct peer *peer;

	assert_non_null(session);
	assert_int_equal(cert_sha256(s->device.cert, fingerprint), 0);
	/* Several times with one ticket: a phone opens connections in parallel. */
	for (int i = 0; i < 3; i++) {
		assert_int_equal(comes_back(s->hosts, c, session, &peer), 1);
		assert_true(peer->has_certificate);
		assert_int_equal(peer->claim_result, CERT_OK);
		assert_int_equal(peer->kind, CLAIM_UPN);
		assert_string_equal(peer->claim, "alice@corp.example");
		assert_memory_equal(peer->fingerprint, fingerprint, SHA256_SIZE);
		assert_int_equal(peer->links_count, 1);
		assert_int_equal(peer->links[0].serial.n, 12);
		peer_free(peer);
	}
	SSL_SESSION_free(session);
}

/* A connection that lives for an hour holds neither the certificate nor what would resume it. */
static void holds_no_secret(SSL *server)
{
	unsigned char key[64], zero[64] = { 0 };
	size_t n = SSL_SESSION_get_master_key(SSL_get_session(server), key, sizeof(key));

	assert_true(n > 0 && n <= sizeof(key));
	assert_memory_equal(key, zero, n);
	assert_null(SSL_get0_peer_certificate(server));
}

static void test_a_resumed_session_gives_a_ticket_that_resumes_again(void **state)
{
	struct site *s = *state;
	struct client c = device_at(s, "mail.example");
	SSL_SESSION *session = ticket_from(s, &c);

	for (int i = 0; i < 3; i++) {
		struct talk t;

		c.session = session;
		talk_run(&t, s->hosts, &c);
		assert_int_equal(SSL_session_reused(t.client), 1);
		assert_int_equal(t.tickets, 1);
		holds_no_secret(t.server);
		assert_true(talk_exchange(&t));
		SSL_SESSION_free(session);
		session = t.session;
		t.session = NULL;
		talk_end(&t);
	}
	SSL_SESSION_free(session);
}

static void test_18_a_session_of_one_host_never_resumes_on_another(void **state)
{
	struct site *s = *state;
	struct client c = device_at(s, "mail.example");
	SSL_SESSION *session = ticket_from(s, &c);
	struct peer *peer;

	/*
	 * Another policy, optional instead of required: full handshakes, by that host's own rules
	 */
	c.sni = "other.example";
	assert_int_equal(comes_back(s->hosts, c, session, &peer), 0);
	assert_int_equal(peer->host, 1);
	peer_free(peer);
	c.sni = "migrate.example";
	assert_int_equal(comes_back(s->hosts, c, session, NULL), 0);
	/* Another CA set: our device is a stranger there, ticket or not */
	c.sni = "partner.example";
	assert_int_equal(comes_back(s->hosts, c, session, NULL), -1);
	/* Its own host, by another of its names: resumes */
	c.sni = "autodiscover.example";
	assert_int_equal(comes_back(s->hosts, c, session, NULL), 1);
	SSL_SESSION_free(session);
}

static void test_18_a_ticket_without_certificate_in_hand_does_not_help_on_another_host(void **state)
{
	struct site *s = *state;
	struct client c = device_at(s, "mail.example");
	SSL_SESSION *session = ticket_from(s, &c);
	struct peer *peer;

	c.device = NULL;
	c.sni = "other.example";
	assert_int_equal(comes_back(s->hosts, c, session, NULL), -1);
	/* Where certificates are optional it comes as nobody, not as alice. */
	c.sni = "migrate.example";
	assert_int_equal(comes_back(s->hosts, c, session, &peer), 0);
	assert_false(peer->has_certificate);
	assert_string_equal(peer->claim, "");
	peer_free(peer);
	SSL_SESSION_free(session);
}

static void test_18_without_certificate_there_is_nothing_to_resume(void **state)
{
	struct site *s = *state;
	struct client c = { .sni = "migrate.example" };
	struct session_record_counts counts;

	assert_null(ticket_from(s, &c));
	session_record_counts(s->records, &counts);
	assert_int_equal(counts.sessions, 0);
	c.version = TLS1_2_VERSION;
	SSL_SESSION *session = ticket_from(s, &c);
	c.sni = "mail.example";
	assert_int_equal(comes_back(s->hosts, c, session, NULL), -1);
	SSL_SESSION_free(session);
}

static void test_tls_1_2_clients_shake_hands_in_full_each_time(void **state)
{
	struct site *s = *state;
	struct client c = device_at(s, "mail.example");
	SSL_SESSION *session;

	c.version = TLS1_2_VERSION;
	session = ticket_from(s, &c);
	assert_int_equal(comes_back(s->hosts, c, session, NULL), 0);
	SSL_SESSION_free(session);
}

/* The key of the device's chain in the table of host 0. */
static void chain_key_of(struct site *s, uint8_t key[SHA256_SIZE])
{
	STACK_OF(X509) *chain = sk_X509_new_null();

	MUST(sk_X509_push(chain, s->device.cert) == 1);
	MUST(chain_key(&s->hosts->hosts[0].trust, chain, key) == 0);
	sk_X509_free(chain);
}

static void test_19_no_session_outlives_its_chain(void **state)
{
	struct site *s = *state;
	struct client c = device_at(s, "mail.example");
	SSL_SESSION *session = ticket_from(s, &c);
	const uint8_t *scope = s->hosts->hosts[0].trust.scope;
	struct chain_facts facts;
	struct session_record_counts counts;
	uint8_t key[SHA256_SIZE];

	chain_key_of(s, key);
	assert_true(session_record_chain(s->records, key, scope, time(NULL), &facts));
	facts.not_after = time(NULL) - 1; /* as if it had ended since */
	assert_true(session_record_chain_put(s->records, key, &facts));
	assert_int_equal(comes_back(s->hosts, c, session, NULL), 0);
	/*
	 * Its record was taken away; the ticket stays useless although the chain was verified anew.
	 */
	assert_int_equal(comes_back(s->hosts, c, session, NULL), 0);
	session_record_counts(s->records, &counts);
	assert_int_equal(counts.chains, 1);
	SSL_SESSION_free(session);
}

static void test_19_a_certificate_that_has_expired_since_gets_in_neither_way(void **state)
{
	struct site *s = *state;
	struct pki spec = { .cn = "d", .issuer = &s->ca, .from = -3600, .to = -1 };
	struct pki_pair device = pki_make(&spec);
	struct client c = { .sni = "mail.example", .device = &device };

	refused(s, &c, HANDSHAKE_CERTIFICATE, "expired");
	refused(s, &c, HANDSHAKE_CERTIFICATE, "expired");
	pki_free(&device);
}

static void test_a_session_whose_chain_was_evicted_is_made_anew(void **state)
{
	struct site *s = *state;
	struct client c = device_at(s, "mail.example");
	SSL_SESSION *session = ticket_from(s, &c);

	session_record_clear(s->records);
	assert_int_equal(comes_back(s->hosts, c, session, NULL), 0);
	SSL_SESSION_free(session);
}

static void test_a_session_ends_with_session_seconds_however_often_it_resumed(void **state)
{
	struct site *s = *state;
	struct client c = device_at(s, "mail.example");
	SSL_SESSION *session = ticket_from(s, &c);
	const struct tls_host *host = &s->hosts->hosts[0];
	struct session_record record;
	struct chain_facts facts;
	const unsigned char *id;
	size_t n;
	struct talk t;

	/*
	 * As if the full handshake had been 3,000 s ago; resuming gives a new ticket of the same
	 * age.
	 */
	SSL_SESSION_get0_ticket(session, &id, &n);
	assert_int_equal(n, SESSION_ID_SIZE);
	assert_true(session_record_find(s->records, id, n, host->context, host->trust.scope, 3600,
	    time(NULL), &record, &facts));
	record.authenticated = time(NULL) - 3000;
	assert_true(session_record_put(s->records, id, &record));
	c.session = session;
	talk_run(&t, s->hosts, &c);
	assert_int_equal(SSL_session_reused(t.client), 1);
	SSL_SESSION_get0_ticket(t.session, &id, &n);
	assert_true(session_record_find(s->records, id, n, host->context, host->trust.scope, 3600,
	    time(NULL), &record, &facts));
	assert_in_range(time(NULL) - record.authenticated, 3000, 3010);
	assert_false(session_record_find(s->records, id, n, host->context, host->trust.scope, 2000,
	    time(NULL), &record, &facts));
	/* Taken away by that: too old is too old. */
	assert_int_equal(comes_back(s->hosts, c, t.session, NULL), 0);
	talk_end(&t);
	SSL_SESSION_free(session);
}

static void test_a_ticket_without_its_secret_is_refused(void **state)
{
	struct site *s = *state;
	struct client c = device_at(s, "mail.example");
	SSL_SESSION *session = ticket_from(s, &c), *forged = SSL_SESSION_dup(session);
	unsigned char secret[SESSION_SECRET_MAX] = { 1 };
	size_t n = SSL_SESSION_get_master_key(session, NULL, 0);

	assert_int_equal(SSL_SESSION_set1_master_key(forged, secret, n), 1);
	c.device = NULL;
	assert_int_equal(comes_back(s->hosts, c, forged, NULL), -1);
	c.sni = "migrate.example";
	assert_int_equal(comes_back(s->hosts, c, forged, NULL), 0);
	SSL_SESSION_free(forged);
	SSL_SESSION_free(session);
}

/* --- reload --- */

static void test_18_after_a_reload_sessions_resume_only_under_the_same_rules(void **state)
{
	struct site *s = *state;
	struct client c = device_at(s, "mail.example");
	SSL_SESSION *session = ticket_from(s, &c);
	struct tls_hosts *same = site_load(s), *policy, *order, *anchors;
	X509 *two[] = { s->ca.cert, s->partner.cert };

	assert_int_equal(comes_back(same, c, session, NULL), 1);
	s->host[0].policy = SITE_TEXT("new");
	policy = site_load(s);
	assert_int_equal(comes_back(policy, c, session, NULL), 0);
	s->host[0].policy = SITE_TEXT("default");
	s->settings.proxy.claim_count = 1;
	order = site_load(s);
	assert_int_equal(comes_back(order, c, session, NULL), 0);
	s->settings.proxy.claim_count = 2;
	pki_write(s->device_ca, two, 2, NULL);
	anchors = site_load(s);
	assert_int_equal(comes_back(anchors, c, session, NULL), 0);
	/* The old one is still there and still takes it. */
	assert_int_equal(comes_back(same, c, session, NULL), 1);
	SSL_SESSION_free(session);
	tls_hosts_unref(same);
	tls_hosts_unref(policy);
	tls_hosts_unref(order);
	tls_hosts_unref(anchors);
}

static void test_after_a_reload_it_is_known_whose_anchor_has_gone(void **state)
{
	struct site *s = *state;
	struct client c = device_at(s, "mail.example"), nobody = { .sni = "migrate.example" };
	struct tls_hosts *new;
	struct talk t, none;

	talk_run(&t, s->hosts, &c);
	talk_run(&none, s->hosts, &nobody);
	assert_true(tls_hosts_trust(s->hosts, "mail.example", t.peer));
	assert_false(tls_hosts_trust(s->hosts, "partner.example", t.peer));
	assert_false(tls_hosts_trust(s->hosts, "gone.example", t.peer));
	assert_true(tls_hosts_trust(s->hosts, "migrate.example", none.peer));
	assert_false(tls_hosts_trust(s->hosts, "mail.example", none.peer));
	s->host[0].client_ca = s->partner_cas;
	new = site_load(s);
	assert_false(tls_hosts_trust(new, "mail.example", t.peer));
	tls_hosts_unref(new);
	/* A connection outlives the configuration it began with. */
	tls_hosts_unref(s->hosts);
	s->hosts = NULL;
	assert_true(talk_exchange(&t));
	talk_end(&t);
	talk_end(&none);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_device_resumes_and_is_known_as_before),
		TEST(test_a_resumed_session_gives_a_ticket_that_resumes_again),
		TEST(test_18_a_session_of_one_host_never_resumes_on_another),
		TEST(test_18_a_ticket_without_certificate_in_hand_does_not_help_on_another_host),
		TEST(test_18_without_certificate_there_is_nothing_to_resume),
		TEST(test_tls_1_2_clients_shake_hands_in_full_each_time),
		TEST(test_19_no_session_outlives_its_chain),
		TEST(test_19_a_certificate_that_has_expired_since_gets_in_neither_way),
		TEST(test_a_session_whose_chain_was_evicted_is_made_anew),
		TEST(test_a_session_ends_with_session_seconds_however_often_it_resumed),
		TEST(test_a_ticket_without_its_secret_is_refused),
		TEST(test_18_after_a_reload_sessions_resume_only_under_the_same_rules),
		TEST(test_after_a_reload_it_is_known_whose_anchor_has_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
