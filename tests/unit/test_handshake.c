/*
 * test_handshake: who gets in over TLS and what is known of them, and who does not. Client and
 * server talk over memory; certificates are made here.
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

/* --- full handshakes --- */

static void test_a_full_handshake_says_who_the_device_is(void **state)
{
	struct site *s = *state;
	struct client c = device_at(s, "mail.example");
	uint8_t want[SHA256_SIZE];
	struct talk t;

	talk_run(&t, s->hosts, &c);
	assert_int_equal(t.step, TLS_STEP_DONE);
	assert_non_null(t.peer);
	assert_true(t.peer->has_certificate);
	assert_false(t.peer->resumed);
	assert_int_equal(t.peer->host, 0);
	assert_string_equal(t.peer->host_name, "mail.example");
	assert_int_equal(t.peer->claim_result, CERT_OK);
	assert_int_equal(t.peer->kind, CLAIM_UPN);
	assert_string_equal(t.peer->claim, "alice@corp.example");
	assert_string_equal(t.peer->sid, "");
	assert_string_equal(t.peer->version, "TLSv1.3");
	assert_string_equal(t.peer->cipher, "TLS_AES_128_GCM_SHA256");
	assert_int_equal(cert_sha256(s->device.cert, want), 0);
	assert_memory_equal(t.peer->fingerprint, want, SHA256_SIZE);
	assert_int_equal(cert_spki_sha256(s->ca.cert, want), 0);
	assert_memory_equal(t.peer->anchor, want, SHA256_SIZE);
	assert_int_equal(t.peer->links_count, 1);
	assert_memory_equal(t.peer->links[0].issuer, want, SHA256_SIZE);
	assert_int_equal(t.peer->links[0].serial.n, 12);
	assert_in_range(t.peer->not_after, time(NULL) + 86000, time(NULL) + 86400);
	talk_end(&t);
}

static void test_after_the_handshake_no_certificate_is_held_and_data_passes(void **state)
{
	struct site *s = *state;
	static const int versions[] = { TLS1_3_VERSION, TLS1_2_VERSION };

	for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
		struct client c = device_at(s, "mail.example");
		struct talk t;

		c.version = versions[i];
		talk_run(&t, s->hosts, &c);
		assert_int_equal(t.step, TLS_STEP_DONE);
		assert_string_equal(t.peer->version, i == 0 ? "TLSv1.3" : "TLSv1.2");
		assert_null(SSL_get0_peer_certificate(t.server));
		assert_true(sk_X509_num(SSL_get_peer_cert_chain(t.server)) <= 0);
		for (int k = 0; k < 3; k++)
			assert_true(talk_exchange(&t));
		assert_null(peer_from_ssl(t.server));
		/* A key update too */
		if (i == 0) {
			assert_int_equal(SSL_key_update(t.client, SSL_KEY_UPDATE_REQUESTED), 1);
			assert_true(talk_exchange(&t) && talk_exchange(&t));
		}
		/* What passes is encrypted */
		assert_int_equal(SSL_write(t.server, "plainly visible", 15), 15);
		char wire[256];
		int n = BIO_read(SSL_get_rbio(t.client), wire, sizeof(wire));
		assert_true(n > 15 && memmem(wire, (size_t)n, "visible", 7) == NULL);
		talk_end(&t);
	}
}

static void test_every_device_key_that_is_good_gets_in(void **state)
{
	struct site *s = *state;
	static const char *const keys[] = { "P-256", "P-384", "P-521", "RSA-2048", "ED25519" };

	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		struct pki spec = { .cn = "d",
			.issuer = &s->ca,
			.key = keys[i],
			.san = "otherName:1.3.6.1.4.1.311.20.2.3;UTF8:d@corp" };
		struct pki_pair device = pki_make(&spec);
		struct client c = { .sni = "mail.example", .device = &device };
		struct talk t;

		talk_run(&t, s->hosts, &c);
		assert_int_equal(t.step, TLS_STEP_DONE);
		assert_string_equal(t.peer->claim, "d@corp");
		talk_end(&t);
		pki_free(&device);
	}
}

static void test_a_certificate_without_usable_claim_gets_in_with_the_reason_noted(void **state)
{
	struct site *s = *state;
	struct pki nul = { .cn = "d",
		.issuer = &s->ca,
		.ext = { { "2.5.29.17", false,
		    der_tlv(0x30, der_upn(0x0c, DER_TEXT("alice@corp.example\0.evil"))) } } };
	struct pki none = { .cn = "d", .issuer = &s->ca };
	struct pki serial = { .cn = "d",
		.issuer = &s->ca,
		.serial = DER_TEXT("\xff"),
		.san = "otherName:1.3.6.1.4.1.311.20.2.3;UTF8:d@corp" };
	struct {
		struct pki *spec;
		enum cert_result result;
		enum claim_kind bad;
	} cases[] = {
		{ &nul, CERT_BAD_TEXT, CLAIM_UPN },
		{ &none, CERT_ABSENT, CLAIM_NONE },
		{ &serial, CERT_BAD_SERIAL, CLAIM_NONE },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct pki_pair device = pki_make(cases[i].spec);
		struct client c = { .sni = "mail.example", .device = &device };
		struct talk t;

		talk_run(&t, s->hosts, &c);
		assert_int_equal(t.step, TLS_STEP_DONE);
		assert_int_equal(t.peer->claim_result, cases[i].result);
		assert_int_equal(t.peer->bad_kind, cases[i].bad);
		assert_int_equal(t.peer->kind, CLAIM_NONE);
		assert_string_equal(t.peer->claim, "");
		talk_end(&t);
		pki_free(&device);
	}
}

/* --- who does not get in --- */

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

static void refused_device(struct site *s, const struct pki *spec, const char *why)
{
	struct pki_pair device = pki_make(spec);
	struct client c = { .sni = "mail.example", .device = &device };

	refused(s, &c, HANDSHAKE_CERTIFICATE, why);
	pki_free(&device);
}

static void test_25_leaves_that_are_no_device_certificates_are_refused(void **state)
{
	struct site *s = *state;
	const struct pki_pair *ca = &s->ca;
	struct pki server = { .cn = "d", .issuer = ca, .eku = "serverAuth" };
	struct pki any = { .cn = "d", .issuer = ca, .eku = "anyExtendedKeyUsage" };
	struct pki is_ca = { .cn = "d", .issuer = ca, .ca = true, .eku = "clientAuth" };
	struct pki signer = {
		.cn = "d", .issuer = ca, .key_usage = "critical,digitalSignature,keyCertSign"
	};
	struct pki usage = { .cn = "d", .issuer = ca, .key_usage = "critical,keyEncipherment" };
	struct pki expired = { .cn = "d", .issuer = ca, .from = -7200, .to = -60 };
	struct pki early = { .cn = "d", .issuer = ca, .from = 3600, .to = 7200 };
	struct pki critical = {
		.cn = "d", .issuer = ca, .ext = { { "1.2.3.4", true, DER_TEXT("\x05\x00") } }
	};
	struct pki stranger = { .cn = "d", .issuer = &s->partner };
	struct pki self = { .cn = "d" };

	refused_device(s, &server, "purpose");
	refused_device(s, &any, "purpose");
	refused_device(s, &is_ca, "a CA's certificate");
	refused_device(s, &signer, "a CA's certificate");
	refused_device(s, &usage, "purpose");
	refused_device(s, &expired, "expired");
	refused_device(s, &early, "not yet valid");
	refused_device(s, &critical, "unhandled critical extension");
	refused_device(s, &stranger, "unable to get");
	refused_device(s, &self, "self-signed");
}

static void test_25_weak_signatures_and_keys_are_refused(void **state)
{
	struct site *s = *state;
	struct pki sha1 = { .cn = "d", .issuer = &s->ca, .md = EVP_sha1() };
	struct pki small = { .cn = "d", .issuer = &s->ca, .key = "RSA-1024" };
	struct pki curve = { .cn = "d", .issuer = &s->ca, .key = "secp256k1" };
	struct pki_pair device = pki_make(&curve);
	struct client c = { .sni = "mail.example", .device = &device, .version = TLS1_2_VERSION };

	refused_device(s, &sha1, "too weak");
	refused_device(s, &small, "too weak");
	/* TLS 1.3 has no such signature: in 1.2 the certificate does arrive. */
	refused(s, &c, HANDSHAKE_CERTIFICATE, "a key that is not");
	pki_free(&device);
}

/* A P-256 certificate whose curve is written out in parameters. */
static struct pki_pair explicit_curve(const struct site *s)
{
	struct pki spec = { .cn = "d", .issuer = &s->ca };
	struct pki_pair pair = pki_make(&spec);

	MUST(EVP_PKEY_set_utf8_string_param(pair.key, "point-format", "uncompressed") == 1);
	MUST(EVP_PKEY_set_utf8_string_param(pair.key, "encoding", "explicit") == 1);
	MUST(X509_set_pubkey(pair.cert, pair.key) == 1);
	MUST(X509_sign(pair.cert, s->ca.key, EVP_sha256()) > 0);
	return pair;
}

static void test_23_a_curve_by_explicit_parameters_is_refused(void **state)
{
	struct site *s = *state;
	struct pki_pair device = explicit_curve(s);
	struct client c = { .sni = "mail.example", .device = &device, .version = TLS1_2_VERSION };

	refused(s, &c, HANDSHAKE_CERTIFICATE, "a key that is not");
	pki_free(&device);
}

static void test_23_too_many_certificates_are_refused_before_they_are_verified(void **state)
{
	struct site *s = *state;
	X509 *extra[200];
	struct client c = device_at(s, "mail.example");

	for (size_t i = 0; i < ARRAY_LEN(extra); i++)
		extra[i] = s->partner.cert;
	c.extra = extra;
	c.extra_count = 11;
	refused(s, &c, HANDSHAKE_CERTIFICATE, "too many");
	c.extra_count = ARRAY_LEN(extra);
	refused(s, &c, HANDSHAKE_TOO_BIG, "");
}

static void test_25_intermediates_are_held_to_the_rules(void **state)
{
	struct site *s = *state;
	struct pki good = { .cn = "Issuing", .issuer = &s->ca, .ca = true, .pathlen = -1 };
	struct pki no_ca = { .cn = "Issuing", .issuer = &s->ca };
	struct pki_pair inter = pki_make(&good), leaf_as_ca = pki_make(&no_ca);
	struct pki under = { .cn = "Below", .issuer = &inter, .ca = true };
	struct pki_pair below = pki_make(&under);
	struct pki device = {
		.cn = "d", .issuer = &inter, .san = "otherName:1.3.6.1.4.1.311.20.2.3;UTF8:d@corp"
	};
	struct pki deep = { .cn = "d", .issuer = &below },
		   false_one = { .cn = "d", .issuer = &leaf_as_ca };
	struct pki_pair one = pki_make(&device), two = pki_make(&deep),
			three = pki_make(&false_one);
	struct client c = {
		.sni = "mail.example", .device = &one, .extra = &inter.cert, .extra_count = 1
	};
	X509 *both[] = { below.cert, inter.cert };
	uint8_t spki[SHA256_SIZE];
	struct talk t;

	talk_run(&t, s->hosts, &c);
	assert_int_equal(t.step, TLS_STEP_DONE);
	assert_int_equal(t.peer->links_count, 2);
	assert_int_equal(cert_spki_sha256(inter.cert, spki), 0);
	assert_memory_equal(t.peer->links[0].issuer, spki, SHA256_SIZE);
	assert_int_equal(cert_spki_sha256(s->ca.cert, spki), 0);
	assert_memory_equal(t.peer->links[1].issuer, spki, SHA256_SIZE);
	assert_memory_equal(t.peer->anchor, spki, SHA256_SIZE);
	talk_end(&t);
	c = (struct client){
		.sni = "mail.example", .device = &two, .extra = both, .extra_count = 2
	};
	refused(s, &c, HANDSHAKE_CERTIFICATE, "path length");
	c = (struct client){
		.sni = "mail.example", .device = &three, .extra = &leaf_as_ca.cert, .extra_count = 1
	};
	refused(s, &c, HANDSHAKE_CERTIFICATE, "invalid CA certificate");
	pki_free(&inter);
	pki_free(&leaf_as_ca);
	pki_free(&below);
	pki_free(&one);
	pki_free(&two);
	pki_free(&three);
}

static void test_an_intermediate_that_is_listed_with_its_root_can_still_be_revoked(void **state)
{
	struct site *s = *state;
	struct pki issuing = { .cn = "Issuing", .issuer = &s->ca, .ca = true };
	struct pki_pair inter = pki_make(&issuing);
	struct pki spec = { .cn = "d", .issuer = &inter };
	struct pki_pair device = pki_make(&spec);
	X509 *listed[] = { inter.cert, s->ca.cert };
	struct client c = { .sni = "mail.example", .device = &device };
	uint8_t spki[SHA256_SIZE];
	struct talk t;

	/* The intermediate alone is an anchor... */
	pki_write(s->device_ca, listed, 1, NULL);
	tls_hosts_unref(s->hosts);
	s->hosts = site_load(s);
	talk_run(&t, s->hosts, &c);
	assert_int_equal(t.step, TLS_STEP_DONE);
	assert_int_equal(t.peer->links_count, 1);
	talk_end(&t);
	/* ... and with its root it is a link that revocation is asked about. */
	pki_write(s->device_ca, listed, 2, NULL);
	tls_hosts_unref(s->hosts);
	s->hosts = site_load(s);
	talk_run(&t, s->hosts, &c);
	assert_int_equal(t.step, TLS_STEP_DONE);
	assert_int_equal(t.peer->links_count, 2);
	assert_int_equal(cert_spki_sha256(s->ca.cert, spki), 0);
	assert_memory_equal(t.peer->links[1].issuer, spki, SHA256_SIZE);
	assert_memory_equal(t.peer->anchor, spki, SHA256_SIZE);
	talk_end(&t);
	pki_free(&inter);
	pki_free(&device);
}

static void test_a_required_certificate_that_is_not_given_is_refused(void **state)
{
	struct site *s = *state;
	struct client c = { .sni = "mail.example" };

	refused(s, &c, HANDSHAKE_NO_CERTIFICATE, "certificate");
	c.version = TLS1_2_VERSION;
	refused(s, &c, HANDSHAKE_NO_CERTIFICATE, "certificate");
}

static void test_a_certificate_that_is_not_accepted_where_none_is_demanded_says_so_and_nothing_else(void **state)
{
	struct site *s = *state;
	struct pki spec = { .cn = "d", .issuer = &s->partner };
	struct pki_pair device = pki_make(&spec);
	struct client c = { .sni = "migrate.example", .device = &device };

	struct talk t;

	talk_run(&t, s->hosts, &c);
	assert_int_equal(t.step, TLS_STEP_DONE);
	assert_true(t.peer->has_certificate && !t.peer->resumed);
	assert_int_equal(t.peer->refused, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY);
	assert_non_null(strstr(t.peer->why, "unable to get"));
	assert_int_equal(t.peer->claim_result, CERT_ABSENT);
	assert_int_equal(t.peer->links_count, 0);
	assert_string_equal(t.peer->claim, "");
	assert_int_equal(t.peer->not_after, 0);
	/* it may go on being refused after a reload, but not where a certificate is demanded by then */
	assert_true(tls_hosts_trust(s->hosts, "migrate.example", t.peer));
	assert_false(tls_hosts_trust(s->hosts, "mail.example", t.peer));
	talk_end(&t);
	c.sni = "mail.example";
	refused(s, &c, HANDSHAKE_CERTIFICATE, "unable to get");
	pki_free(&device);
}

/* --- names, ALPN, versions --- */

static int host_for(struct site *s, const char *sni)
{
	struct client c = device_at(s, sni);
	struct talk t;
	int host;

	talk_run(&t, s->hosts, &c);
	host = t.peer != NULL ? t.peer->host : -1;
	talk_end(&t);
	return host;
}

static void test_sni_chooses_the_host_in_any_case_and_none_means_the_first(void **state)
{
	struct site *s = *state;

	assert_int_equal(host_for(s, "mail.example"), 0);
	assert_int_equal(host_for(s, "AutoDiscover.EXAMPLE"), 0);
	assert_int_equal(host_for(s, "other.example"), 1);
	assert_int_equal(host_for(s, NULL), 0);
	assert_true(tls_hosts_serves(s->hosts, 0, STRV("Mail.Example")));
	assert_false(tls_hosts_serves(s->hosts, 0, STRV("other.example")));
	assert_false(tls_hosts_serves(s->hosts, 0, STRV("unknown.example")));
	assert_false(tls_hosts_serves(s->hosts, 0, STRV("mail.example\0.evil")));
}

static void test_an_unknown_name_gets_unrecognized_name(void **state)
{
	struct site *s = *state;
	static const char *const names[] = { "unknown.example", "mail.example.evil",
		"xmail.example", "192.0.2.1" };
	struct talk t;

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct client c = device_at(s, names[i]);

		refused(s, &c, HANDSHAKE_NAME, names[i]);
	}
	struct client c = device_at(s, "unknown.example");
	talk_run(&t, s->hosts, &c);
	ERR_clear_error();
	assert_int_equal(SSL_do_handshake(t.client), -1);
	talk_end(&t);
}

static void test_a_star_stands_for_one_label(void **state)
{
	struct site *s = *state;

	s->names[1][0] = SITE_TEXT("*.example");
	tls_hosts_unref(s->hosts);
	s->hosts = site_load(s);
	assert_int_equal(host_for(s, "any.example"), 1);
	assert_int_equal(host_for(s, "mail.example"), 0);
	assert_int_equal(host_for(s, "a.b.example"), -1);
	assert_int_equal(host_for(s, "example"), -1);
}

static void test_only_http_1_1_is_spoken(void **state)
{
	struct site *s = *state;
	struct client c = device_at(s, "mail.example");
	const unsigned char *got;
	unsigned n;
	struct talk t;

	c.alpn = "\x02h2\x08http/1.1";
	talk_run(&t, s->hosts, &c);
	assert_int_equal(t.step, TLS_STEP_DONE);
	SSL_get0_alpn_selected(t.client, &got, &n);
	assert_int_equal(n, 8);
	assert_memory_equal(got, "http/1.1", 8);
	talk_end(&t);
	c.alpn = "\x02h2\x08http/1.0";
	refused(s, &c, HANDSHAKE_PROTOCOL, "http/1.1");
}

static void test_old_versions_are_refused(void **state)
{
	struct site *s = *state;
	struct client c = device_at(s, "mail.example");

	c.version = TLS1_1_VERSION;
	refused(s, &c, HANDSHAKE_PROTOCOL, "protocol");
}

static void test_21_renegotiation_is_refused(void **state)
{
	struct site *s = *state;
	struct client c = device_at(s, "mail.example");
	struct talk t;
	char byte;

	c.version = TLS1_2_VERSION;
	talk_run(&t, s->hosts, &c);
	assert_int_equal(t.step, TLS_STEP_DONE);
	assert_int_equal(SSL_renegotiate(t.client), 1);
	(void)SSL_do_handshake(t.client);
	assert_true(SSL_read(t.server, &byte, 1) <= 0);
	ERR_clear_error();
	assert_true(SSL_do_handshake(t.client) <= 0);
	assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_NO_RENEGOTIATION);
	talk_end(&t);
}

/* Bytes of the test's own instead of a client. */
static void raw_bytes(
    struct site *s, const void *bytes, size_t n, bool end, enum handshake_failure failure)
{
	struct handshake_report report;
	SSL *ssl = handshake_new(s->hosts);
	BIO *in = BIO_new_mem_buf(bytes, (int)n), *out = BIO_new(BIO_s_mem());
	enum tls_step step = TLS_STEP_WANT_READ;

	BIO_set_mem_eof_return(in, end ? 0 : -1);
	SSL_set_bio(ssl, in, out);
	for (int i = 0; i < 200 && step == TLS_STEP_WANT_READ && BIO_pending(in) > 0; i++)
		step = handshake_step(ssl, &report);
	if (step == TLS_STEP_WANT_READ && end)
		step = handshake_step(ssl, &report);
	assert_int_equal(step, TLS_STEP_FAILED);
	assert_int_equal(report.failure, failure);
	assert_true(report.why[0] != '\0');
	SSL_free(ssl);
}

static void test_what_is_no_tls_or_ends_early_is_refused(void **state)
{
	struct site *s = *state;

	raw_bytes(s, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, false, HANDSHAKE_PROTOCOL);
	raw_bytes(s, "", 0, true, HANDSHAKE_CLOSED);
	raw_bytes(s, "\x16\x03\x01\x02\x00\x01", 6, true, HANDSHAKE_CLOSED);
	raw_bytes(s, "\x15\x03\x01\x00\x02\x02\x28", 7, true, HANDSHAKE_PROTOCOL);
}

static void test_23_a_client_hello_of_a_hundred_kilobytes_is_refused(void **state)
{
	struct site *s = *state;
	size_t n = 110000, at = 0;
	uint8_t *bytes = calloc(1, n + 64);
	uint8_t head[9] = { 0x16, 3, 1, 0x40, 0, 1, 1, 0xa0, 0 };

	/* Records of 16 kB that say: one ClientHello of 106,496 bytes. */
	memcpy(bytes, head, sizeof(head));
	for (at = 5 + 0x4000; at < n; at += 5 + 0x4000)
		memcpy(bytes + at, head, 5);
	raw_bytes(s, bytes, n, false, HANDSHAKE_TOO_BIG);
	free(bytes);
}

/* --- hosts --- */

static void test_a_host_that_cannot_be_built_is_an_error_that_names_the_file(void **state)
{
	struct site *s = *state;
	struct bundle *files = bundle_from_disk();
	char why[400];
	FILE *f;

	s->host[1].key = SITE_TEXT("/nonexistent/key.pem");
	assert_null(tls_hosts_new(&s->settings, files, s->records, why, sizeof(why)));
	assert_non_null(strstr(why, "/nonexistent/key.pem"));
	s->host[1].key = s->device_ca;
	assert_null(tls_hosts_new(&s->settings, files, s->records, why, sizeof(why)));
	assert_non_null(strstr(why, "no private key"));
	bundle_free(files);
	files = bundle_from_disk();
	s->host[1].key = s->server_key;
	pki_write(s->server_key, NULL, 0, s->device.key);
	assert_null(tls_hosts_new(&s->settings, files, s->records, why, sizeof(why)));
	assert_non_null(strstr(why, "is not the key of certificate"));
	bundle_free(files);
	files = bundle_from_disk();
	f = fopen(s->device_ca, "w");
	fputs("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", f);
	fclose(f);
	assert_null(tls_hosts_new(&s->settings, files, s->records, why, sizeof(why)));
	assert_non_null(strstr(why, "malformed"));
	bundle_free(files);
}

static void test_the_hosts_say_when_their_certificates_end(void **state)
{
	struct site *s = *state;
	const char *name;

	assert_int_equal(tls_hosts_count(s->hosts), SITE_HOSTS);
	assert_in_range(
	    tls_hosts_expiry(s->hosts, 1, &name), time(NULL) + 86000, time(NULL) + 86400);
	assert_string_equal(name, "other.example");
	assert_int_equal(tls_hosts_expiry(s->hosts, SITE_HOSTS, &name), 0);
	assert_string_equal(name, "");
}

static void test_a_handshake_that_is_given_up_leaves_nothing(void **state)
{
	struct site *s = *state;
	SSL *ssl = handshake_new(s->hosts);

	assert_non_null(ssl);
	assert_int_equal(s->hosts->references, 2);
	assert_null(peer_from_ssl(ssl));
	SSL_free(ssl);
	assert_int_equal(s->hosts->references, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_full_handshake_says_who_the_device_is),
		TEST(test_after_the_handshake_no_certificate_is_held_and_data_passes),
		TEST(test_every_device_key_that_is_good_gets_in),
		TEST(test_a_certificate_without_usable_claim_gets_in_with_the_reason_noted),
		TEST(test_25_leaves_that_are_no_device_certificates_are_refused),
		TEST(test_25_weak_signatures_and_keys_are_refused),
		TEST(test_23_a_curve_by_explicit_parameters_is_refused),
		TEST(test_23_too_many_certificates_are_refused_before_they_are_verified),
		TEST(test_25_intermediates_are_held_to_the_rules),
		TEST(test_an_intermediate_that_is_listed_with_its_root_can_still_be_revoked),
		TEST(test_a_required_certificate_that_is_not_given_is_refused),
		TEST(test_a_certificate_that_is_not_accepted_where_none_is_demanded_says_so_and_nothing_else),
		TEST(test_sni_chooses_the_host_in_any_case_and_none_means_the_first),
		TEST(test_an_unknown_name_gets_unrecognized_name),
		TEST(test_a_star_stands_for_one_label),
		TEST(test_only_http_1_1_is_spoken),
		TEST(test_old_versions_are_refused),
		TEST(test_21_renegotiation_is_refused),
		TEST(test_what_is_no_tls_or_ends_early_is_refused),
		TEST(test_23_a_client_hello_of_a_hundred_kilobytes_is_refused),
		TEST(test_a_host_that_cannot_be_built_is_an_error_that_names_the_file),
		TEST(test_the_hosts_say_when_their_certificates_end),
		TEST(test_a_handshake_that_is_given_up_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
