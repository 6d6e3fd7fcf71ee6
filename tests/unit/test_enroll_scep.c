/*
 * The SCEP server with its real registry, issuing and signer: who may have a certificate, what it says, and that the same question never
 * makes two.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>
#include <sqlite3.h>

#include "common/certificate.h"
#include "common/text.h"
#include "enroll/worker/enrol.h"
#include "enroll/worker/secret.h"
#include "scep_client.h"
#include "tests/unit/enroll_site.h"

static EVP_PKEY *key, *other_key;
static X509 *self, *other_self;
static X509 *ra;

static int set_up(void **state)
{
	char why[256];

	(void)state;
	site_make(scep_routes);
	site.settings.enroll.portal.devices_per_user = 100;
	site.w.scep = scep_new(&site.w, why, sizeof(why));
	assert_non_null(site.w.scep);
	ra = chain_first(site.w.chain, SIGNER_CHAIN_RA)->certificate;
	key = client_key(2048);
	other_key = client_key(2048);
	self = client_certificate(key, "phone", 0, NULL, NULL);
	other_self = client_certificate(other_key, "phone", 2, NULL, NULL);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	scep_free(site.w.scep);
	site_remove();
	EVP_PKEY_free(key);
	EVP_PKEY_free(other_key);
	X509_free(self);
	X509_free(other_self);
	return 0;
}

/* A one-time secret for anna; device NULL: any. */
static void make_secret(char text[SECRET_TEXT_MAX], const char *device)
{
	const struct registry_by by = { .actor = "test", .detail = "", .at = (int64_t)time(NULL) };
	struct registry_account row;
	struct secret_for wanted = { .device = device ? device : "", .profile = "mail", .purpose = "scep", .seconds = 900, .limit = 50 };

	assert_int_equal(registry_account_seen(site.w.registry, &by, &site.account, &row), REGISTRY_OK);
	wanted.account = row.id;
	assert_int_equal(secret_make(site.w.registry, &site.w.secret_key, &by, &wanted, text), REGISTRY_OK);
}

struct answer {
	int status, fail;	/* -1: none */
	X509 *cert;
	X509_CRL *crl;
};

static int attribute_number(CMS_SignerInfo *si, const char *nn)
{
	char oid[64];
	ASN1_OBJECT *object;
	ASN1_STRING *s;

	snprintf(oid, sizeof(oid), "2.16.840.1.113733.1.9.%s", nn);
	object = OBJ_txt2obj(oid, 1);
	s = CMS_signed_get0_data_by_OBJ(si, object, -3, V_ASN1_PRINTABLESTRING);
	ASN1_OBJECT_free(object);
	return s ? atoi((const char *)ASN1_STRING_get0_data(s)) : -1;
}

static void open_content(struct answer *a, BIO *content, X509 *cert, EVP_PKEY *with)
{
	CMS_ContentInfo *envelope = d2i_CMS_bio(content, NULL), *inner;
	BIO *inside = BIO_new(BIO_s_mem());
	STACK_OF(X509) *certs;
	STACK_OF(X509_CRL) *crls;

	assert_non_null(envelope);
	assert_int_equal(CMS_decrypt(envelope, with, cert, NULL, inside, CMS_BINARY), 1);
	inner = d2i_CMS_bio(inside, NULL);
	assert_non_null(inner);
	certs = CMS_get1_certs(inner);
	crls = CMS_get1_crls(inner);
	if (sk_X509_num(certs) > 0)
		a->cert = X509_dup(sk_X509_value(certs, 0));
	if (sk_X509_CRL_num(crls) > 0)
		a->crl = X509_CRL_dup(sk_X509_CRL_value(crls, 0));
	sk_X509_pop_free(certs, X509_free);
	sk_X509_CRL_pop_free(crls, X509_CRL_free);
	CMS_ContentInfo_free(inner);
	CMS_ContentInfo_free(envelope);
	BIO_free(inside);
}

/* A CertRep signed by the RA, for a request signed with `cert`. */
static struct answer open_answer(struct strv body, X509 *cert, EVP_PKEY *with)
{
	const unsigned char *p = (const unsigned char *)body.p;
	CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &p, (long)body.n);
	STACK_OF(X509) *certs = sk_X509_new_null();
	BIO *content = BIO_new(BIO_s_mem());
	struct answer a = { -1, -1, NULL, NULL };
	CMS_SignerInfo *si;

	assert_non_null(cms);
	sk_X509_push(certs, ra);
	assert_int_equal(CMS_verify(cms, certs, NULL, NULL, content, CMS_NO_SIGNER_CERT_VERIFY | CMS_BINARY), 1);
	si = sk_CMS_SignerInfo_value(CMS_get0_SignerInfos(cms), 0);
	assert_int_equal(attribute_number(si, "2"), 3);
	a.status = attribute_number(si, "3");
	a.fail = attribute_number(si, "4");
	assert_non_null(*CMS_get0_content(cms));	/* empty perhaps, never absent */
	if (a.status == 0)
		open_content(&a, content, cert, with);
	else
		assert_int_equal(BIO_pending(content), 0);
	sk_X509_free(certs);
	BIO_free(content);
	CMS_ContentInfo_free(cms);
	return a;
}

static struct answer post(struct client_bytes message, X509 *cert, EVP_PKEY *with)
{
	struct strv head, body;

	assert_int_equal(site_post("/scep/pkiclient.exe?operation=PKIOperation", message.p, message.n, &head, &body), 200);
	assert_non_null(memmem(head.p, head.n, "Content-Type: application/x-pki-message\r\n", 41));
	return open_answer(body, cert, with);
}

/* A whole request for `with`, signed by cert and signing key, with this challenge. */
static struct answer request(EVP_PKEY *with, X509 *cert, EVP_PKEY *signing, const char *challenge, const struct client_how *how)
{
	struct client_bytes csr = client_csr(with, "Administrator", challenge), m = client_message(ra, cert, signing, csr, how);
	struct answer a = post(m, cert, signing);

	OPENSSL_free(csr.p);
	OPENSSL_free(m.p);
	return a;
}

static X509 *enrol(EVP_PKEY *with, X509 *cert, const char *transaction)
{
	const struct client_how how = { .transaction = transaction };
	char secret[SECRET_TEXT_MAX];
	struct answer a;

	make_secret(secret, NULL);
	a = request(with, cert, with, secret, &how);
	assert_int_equal(a.status, 0);
	assert_non_null(a.cert);
	return a.cert;
}

static int64_t live(void)
{
	struct registry_counts counts;

	assert_int_equal(registry_count(site.w.registry, &counts), REGISTRY_OK);
	return counts.live;
}

static void capabilities_and_certificates_are_what_clients_compare_byte_by_byte(void **state)
{
	static const char caps[] = "AES\nDES3\nSHA-256\nSHA-384\nSHA-512\nSCEPStandard\nPOSTPKIOperation\nRenewal\n";
	static const char *const paths[] = { "/scep", "/SCEP/mail", "/scep/mail/PKIClient.exe", "/cgi-bin/pkiclient.exe", "/certsrv/mscep",
		"/certsrv/mscep/", "/CertSrv/mscep/mscep.dll", "/certsrv/mscep/mscep.dll/pkiclient.exe", "/scep/pkiclient.exe" };
	struct strv head, body;
	char target[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		snprintf(target, sizeof(target), "%s?operation=GetCACaps&message=anything", paths[i]);
		assert_int_equal(site_get(target, &head, &body), 200);
		assert_true(strv_eq(body, STRV(caps)));
		assert_non_null(memmem(head.p, head.n, "Content-Type: text/plain\r\n", 26));
		snprintf(target, sizeof(target), "%s?operation=GetCACert", paths[i]);
		assert_int_equal(site_get(target, &head, &body), 200);
		assert_non_null(memmem(head.p, head.n, "Content-Type: application/x-x509-ca-ra-cert\r\n", 45));
	}
	assert_int_equal(site_get("/scep/none?operation=GetCACaps", &head, &body), 404);
	assert_int_equal(site_get("/scep/mail/mail?operation=GetCACaps", &head, &body), 404);
	assert_int_equal(site_get("/scep?operation=GetNextCACert", &head, &body), 404);
	assert_int_equal(site_get("/scep?operation=x", &head, &body), 400);
}

static void threat_40_a_certificate_says_what_the_directory_says_and_nothing_of_the_request(void **state)
{
	X509 *cert = enrol(key, self, "T1");
	char text[CERT_TEXT_MAX], sid[CERT_SID_MAX];

	(void)state;
	assert_int_equal(cert_upn(cert, text), CERT_OK);
	assert_string_equal(text, "anna@corp.example");
	assert_int_equal(cert_sid(cert, sid), CERT_OK);
	assert_string_equal(sid, ANNA_SID);
	assert_int_equal(cert_subject_attribute(cert, NID_commonName, text), CERT_OK);
	assert_string_equal(text, "Anna Example");
	assert_int_equal(EVP_PKEY_eq(X509_get0_pubkey(cert), key), 1);
	X509_free(cert);
}

static void a_repeated_transaction_gets_the_same_certificate_and_never_two(void **state)
{
	const struct client_how how = { .transaction = "kTSjJu+2aGVa1lhSdz9ZwiKoIiE=" };
	char secret[SECRET_TEXT_MAX];
	struct answer first, again;
	int64_t before = live();

	(void)state;
	make_secret(secret, NULL);
	first = request(key, self, key, secret, &how);
	again = request(key, self, key, secret, &how);
	assert_int_equal(first.status, 0);
	assert_int_equal(again.status, 0);
	assert_int_equal(X509_cmp(first.cert, again.cert), 0);
	assert_int_equal(live(), before + 1);
	X509_free(first.cert);
	X509_free(again.cert);
}

static void threat_42_a_wrong_missing_or_used_challenge_is_a_signed_failure(void **state)
{
	const struct client_how how = { .transaction = "T3" };
	char secret[SECRET_TEXT_MAX];
	int64_t before = live(), at, after;
	struct answer a;

	(void)state;
	assert_int_equal(registry_audit_last(site.w.registry, &at), REGISTRY_OK);
	a = request(key, self, key, "wrong", &how);
	assert_int_equal(a.status, 2);
	assert_int_equal(a.fail, 2);
	a = request(key, self, key, NULL, &how);
	assert_int_equal(a.status, 2);
	assert_int_equal(a.fail, 2);
	assert_int_equal(registry_audit_last(site.w.registry, &after), REGISTRY_OK);
	assert_int_equal(after, at + 2);
	make_secret(secret, NULL);
	a = request(key, self, key, secret, &how);
	assert_int_equal(a.status, 0);
	X509_free(a.cert);
	a = request(other_key, other_self, other_key, secret, &how);
	assert_int_equal(a.status, 2);
	assert_int_equal(a.fail, 2);
	assert_int_equal(live(), before + 1);
}

static bool count_device(void *arg, const struct registry_device *row, const struct registry_account *owner)
{
	(void)row;
	(void)owner;
	++*(int64_t *)arg;
	return true;
}

static bool is_left_out(void *arg, const struct registry_audit_entry *e)
{
	(void)arg;
	assert_string_equal(e->action, "refusals_left_out");
	assert_non_null(strstr(e->detail, "100 refusals"));
	return true;
}

static unsigned post_status(EVP_PKEY *with, X509 *cert, const char *challenge, const struct client_how *how)
{
	struct client_bytes csr = client_csr(with, "anna", challenge), m = client_message(ra, cert, with, csr, how);
	struct strv head, body;
	unsigned status = site_post("/scep?operation=PKIOperation", m.p, m.n, &head, &body);

	OPENSSL_free(csr.p);
	OPENSSL_free(m.p);
	return status;
}

static int64_t devices(void)
{
	struct registry_counts counts;
	int64_t revoked = 0;

	assert_int_equal(registry_count(site.w.registry, &counts), REGISTRY_OK);
	assert_int_equal(registry_devices_in(site.w.registry, REGISTRY_DEVICE_REVOKED, 0, "", 0, 1000, count_device, &revoked), REGISTRY_OK);
	return counts.devices - revoked;
}

static void tries_that_come_to_nothing_leave_no_devices_behind(void **state)
{
	const struct client_how how = { .transaction = "T20" };
	char secret[SECRET_TEXT_MAX];
	int64_t before = devices();
	struct answer a;

	(void)state;
	make_secret(secret, NULL);
	site.no_issue = true;
	for (int i = 0; i < 25; i++) {	/* the account may have 20 devices */
		assert_int_equal(post_status(key, self, secret, &how), 503);
		assert_int_equal(devices(), before);
	}
	site.no_issue = false;
	a = request(key, self, key, secret, &how);
	assert_int_equal(a.status, 0);
	assert_int_equal(devices(), before + 1);
	X509_free(a.cert);
}

static void threat_42_strangers_cannot_fill_the_audit_trail(void **state)
{
	int64_t at, after;

	(void)state;
	site.w.refusals.since = 0;
	assert_int_equal(registry_audit_last(site.w.registry, &at), REGISTRY_OK);
	for (int i = 0; i < ENROL_REFUSALS + 100; i++)
		enrol_refused(&site.w, "scep", "challenge_refused", "192.0.2.1:1", "challenge unknown");
	assert_int_equal(registry_audit_last(site.w.registry, &after), REGISTRY_OK);
	assert_int_equal(after, at + ENROL_REFUSALS);
	enrol_refusals_tidy(&site.w);
	assert_int_equal(registry_audit_last(site.w.registry, &after), REGISTRY_OK);
	assert_int_equal(after, at + ENROL_REFUSALS);
	site.w.refusals.since -= ENROL_REFUSALS_SECONDS;	/* the time is over: what was left out is told, and entries are written again */
	enrol_refused(&site.w, "scep", "challenge_refused", "192.0.2.1:1", "challenge unknown");
	assert_int_equal(registry_audit_last(site.w.registry, &after), REGISTRY_OK);
	assert_int_equal(after, at + ENROL_REFUSALS + 2);
	assert_int_equal(registry_audit_list(site.w.registry, at + ENROL_REFUSALS + 1, 1, "", is_left_out, NULL), REGISTRY_OK);
}

static void nobody_outside_the_portals_group_gets_a_certificate_by_another_way(void **state)
{
	static char staff[] = "CN=staff", none[] = "";
	const struct client_how how = { .transaction = "T21" };
	char secret[SECRET_TEXT_MAX];
	struct answer a;

	(void)state;
	make_secret(secret, NULL);
	site.settings.enroll.portal.required_group = staff;
	site.settings.enroll.portal.required_bit = 3;
	site.account.groups = 1 << 2;
	a = request(key, self, key, secret, &how);
	assert_int_equal(a.status, 2);
	site.account.groups = 1 << 3;
	a = request(key, self, key, secret, &how);
	assert_int_equal(a.status, 0);
	X509_free(a.cert);
	site.settings.enroll.portal.required_group = none;
	site.account.groups = 0;
}

static void an_account_has_no_more_devices_than_it_may_by_another_way(void **state)
{
	const struct client_how how = { .transaction = "T21d" };
	uint32_t most = site.settings.enroll.portal.devices_per_user;
	X509 *one = enrol(key, self, "T21c");
	char secret[SECRET_TEXT_MAX];
	struct answer a;

	(void)state;
	make_secret(secret, NULL);
	site.settings.enroll.portal.devices_per_user = 1;
	a = request(other_key, other_self, other_key, secret, &how);
	assert_int_equal(a.status, 2);
	site.settings.enroll.portal.devices_per_user = most;
	a = request(other_key, other_self, other_key, secret, &how);
	assert_int_equal(a.status, 0);
	X509_free(a.cert);
	X509_free(one);
}

static void threat_42_a_message_signed_by_another_key_than_the_one_it_certifies_is_refused(void **state)
{
	const struct client_how how = { .transaction = "T4" };
	char secret[SECRET_TEXT_MAX];
	int64_t before = live();
	struct answer a;

	(void)state;
	make_secret(secret, NULL);
	a = request(key, other_self, other_key, secret, &how);
	assert_int_equal(a.status, 2);
	assert_int_equal(a.fail, 2);
	assert_int_equal(live(), before);
}

static struct registry_certificate certificate_of(X509 *cert)
{
	struct registry_certificate row;
	uint8_t sha256[SHA256_SIZE];
	unsigned n;

	assert_int_equal(X509_digest(cert, EVP_sha256(), sha256, &n), 1);
	assert_int_equal(registry_certificate_by_sha256(site.w.registry, sha256, &row), REGISTRY_OK);
	return row;
}

static void a_renewal_needs_no_challenge_but_a_live_certificate(void **state)
{
	const char *const types[] = { "17", "19" };
	X509 *old = enrol(key, self, "T5");

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		const struct client_how how = { .transaction = "T5", .type = types[i] };
		struct answer a = request(other_key, old, key, NULL, &how), again = request(other_key, old, key, NULL, &how), same;

		assert_int_equal(a.status, 0);
		assert_int_equal(EVP_PKEY_eq(X509_get0_pubkey(a.cert), other_key), 1);
		assert_int_not_equal(X509_cmp(a.cert, old), 0);
		assert_int_equal(again.status, 0);
		assert_int_equal(X509_cmp(a.cert, again.cert), 0);
		same = request(key, old, key, NULL, &how);	/* with the same key, as some do */
		assert_int_equal(same.status, 0);
		assert_int_not_equal(X509_cmp(same.cert, old), 0);
		X509_free(a.cert);
		X509_free(again.cert);
		X509_free(same.cert);
	}
	assert_true(certificate_of(old).first_used > 0);
	X509_free(old);
}

static void threat_42_a_renewal_that_no_certificate_of_ours_signed_is_none_whatever_its_challenge(void **state)
{
	const struct client_how how = { .type = "17", .transaction = "T5f" };
	char secret[SECRET_TEXT_MAX];
	struct answer a = request(key, self, key, NULL, &how);

	(void)state;
	assert_int_equal(a.status, 2);
	make_secret(secret, NULL);
	a = request(key, self, key, secret, &how);
	assert_int_equal(a.status, 2);
}

static void threat_42_a_revoked_certificate_renews_nothing(void **state)
{
	const struct registry_by by = { .actor = "test", .detail = "", .at = (int64_t)time(NULL) };
	const struct client_how how = { .transaction = "T6", .type = "17" }, initial = { .transaction = "T6b" }, same = { .transaction = "T6" };
	X509 *old = enrol(key, self, "T6");
	uint8_t serial[REGISTRY_SERIAL] = { 0 };
	struct serial read;
	struct registry_act act;
	char secret[SECRET_TEXT_MAX];
	struct answer a;

	(void)state;
	assert_int_equal(cert_serial(X509_get0_serialNumber(old), &read), CERT_OK);
	memcpy(serial + sizeof(serial) - read.n, read.byte, read.n);
	assert_int_equal(registry_act_begin(site.w.registry, &by, REGISTRY_ACT_REVOKE, serial, 1, &act), REGISTRY_OK);
	a = request(other_key, old, key, NULL, &how);
	assert_int_equal(a.status, 2);
	assert_int_equal(a.fail, 2);
	make_secret(secret, NULL);
	a = request(key, old, key, secret, &initial);	/* nor with a good challenge beside it */
	assert_int_equal(a.status, 2);
	a = request(key, self, key, secret, &same);	/* nor is it given out again */
	assert_int_equal(a.status, 2);
	X509_free(old);
}

/* In the registry's file, as time or a crash would have it. */
static void change_certificate(X509 *cert, const char *what)
{
	struct registry_certificate row = certificate_of(cert);
	char serial[2 * REGISTRY_SERIAL + 1], sql[256];
	sqlite3 *db;

	text_hex(serial, row.serial, sizeof(row.serial));
	snprintf(sql, sizeof(sql), "UPDATE certificates SET %s WHERE serial=x'%s'", what, serial);
	assert_int_equal(sqlite3_open(site.path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_changes(db), 1);
	sqlite3_close(db);
}

static void threat_42_a_certificate_that_has_ended_renews_nothing_before_the_registry_is_tidied(void **state)
{
	const struct client_how how = { .transaction = "T6e", .type = "17" };
	X509 *old = enrol(key, self, "T6d");
	struct answer a;

	(void)state;
	change_certificate(old, "not_after=not_before+1");
	a = request(other_key, old, key, NULL, &how);
	assert_int_equal(a.status, 2);
	X509_free(old);
}

static void threat_42_a_certificate_of_a_revoked_device_renews_nothing_be_it_live(void **state)
{
	const struct registry_by by = { .actor = "test", .detail = "", .at = (int64_t)time(NULL) };
	const struct client_how how = { .transaction = "T6g", .type = "17" };
	X509 *old = enrol(key, self, "T6f");
	struct answer a;

	(void)state;
	assert_int_equal(registry_device_set_state(site.w.registry, &by, certificate_of(old).device, REGISTRY_DEVICE_REVOKED), REGISTRY_OK);
	a = request(other_key, old, key, NULL, &how);
	assert_int_equal(a.status, 2);
	X509_free(old);
}

static void a_message_by_get_is_read_escaped_or_not(void **state)
{
	const struct client_how how = { .transaction = "T7" };
	char secret[SECRET_TEXT_MAX], *base64, *target;
	struct client_bytes csr, m;
	struct strv head, body;
	size_t n, at;

	(void)state;
	make_secret(secret, NULL);
	csr = client_csr(key, "phone", secret);
	m = client_message(ra, self, key, csr, &how);
	base64 = malloc(4 * m.n);
	n = text_base64(base64, m.p, m.n);
	target = malloc(3 * n + 128);
	for (int escaped = 0; escaped < 2; escaped++) {
		struct answer a;

		at = (size_t)sprintf(target, "/scep?operation=PKIOperation&message=");
		for (size_t i = 0; i < n; i++) {
			bool special = base64[i] == '+' || base64[i] == '/' || base64[i] == '=';

			at += (size_t)sprintf(target + at, escaped && special ? "%%%02x" : "%c", base64[i]);
			if (escaped && i % 64 == 63)
				at += (size_t)sprintf(target + at, "%%0A");
		}
		assert_int_equal(site_get(target, &head, &body), 200);
		a = open_answer(body, self, key);
		assert_int_equal(a.status, 0);
		X509_free(a.cert);
	}
	assert_int_equal(site_get("/scep?operation=PKIOperation&message=%zz", &head, &body), 400);
	assert_int_equal(site_get("/scep?operation=PKIOperation", &head, &body), 400);
	free(base64);
	free(target);
	OPENSSL_free(csr.p);
	OPENSSL_free(m.p);
}

static struct client_bytes names_of(X509 *cert)
{
	unsigned char *issuer = NULL, *subject = NULL, *p = NULL;
	int a = i2d_X509_NAME(X509_get_issuer_name(cert), &issuer), b = i2d_X509_NAME(X509_get_subject_name(cert), &subject);
	int n = ASN1_object_size(1, a + b, V_ASN1_SEQUENCE);
	struct client_bytes out = { OPENSSL_malloc((size_t)n), (size_t)n };

	p = out.p;
	ASN1_put_object(&p, 1, a + b, V_ASN1_SEQUENCE, V_ASN1_UNIVERSAL);
	memcpy(p, issuer, (size_t)a);
	memcpy(p + a, subject, (size_t)b);
	OPENSSL_free(issuer);
	OPENSSL_free(subject);
	return out;
}

static bool approve_one(void *arg, const struct registry_device *row, const struct registry_account *owner)
{
	(void)owner;
	if (row->state == REGISTRY_DEVICE_WAITING)
		memcpy(arg, row->id, REGISTRY_DEVICE);
	return true;
}

static void what_waits_for_approval_is_pending_until_an_admin_approves_the_device(void **state)
{
	const struct registry_by by = { .actor = "test", .detail = "", .at = (int64_t)time(NULL) };
	const struct client_how how = { .transaction = "T8" }, poll = { .transaction = "T8", .type = "20" };
	char secret[SECRET_TEXT_MAX], device[REGISTRY_DEVICE] = "";
	struct client_bytes names = names_of(self), m, foreign;
	struct answer a;
	struct strv head, body;
	uint8_t spki[SHA256_SIZE], der[CSR_BYTES_MAX];
	size_t n = sizeof(der);

	(void)state;
	site.settings.enroll.scep.approve = true;
	make_secret(secret, NULL);
	a = request(key, self, key, secret, &how);
	assert_int_equal(a.status, 3);
	a = request(key, self, key, secret, &how);
	assert_int_equal(a.status, 3);
	m = client_message(ra, self, key, names, &poll);
	a = post(m, self, key);
	assert_int_equal(a.status, 3);
	assert_int_equal(registry_devices(site.w.registry, 0, "", 0, 100, approve_one, device), REGISTRY_OK);
	assert_int_equal(registry_device_set_state(site.w.registry, &by, device, REGISTRY_DEVICE_ACTIVE), REGISTRY_OK);
	foreign = client_message(ra, other_self, other_key, names, &poll);
	a = post(foreign, other_self, other_key);
	assert_int_equal(a.status, 2);
	assert_int_equal(a.fail, 4);
	/* the signer is away for a moment: the approval is not lost */
	site.no_issue = true;
	for (int i = 0; i < 2; i++)
		assert_int_equal(site_post("/scep?operation=PKIOperation", m.p, m.n, &head, &body), 503);
	site.no_issue = false;
	a = post(m, self, key);
	assert_int_equal(a.status, 0);
	assert_non_null(a.cert);
	X509_free(a.cert);
	/* what the device sent, its challenge in it, is kept no longer than it waits */
	assert_int_equal(cert_spki_sha256(self, spki), CERT_OK);
	assert_int_equal(registry_transaction_request(site.w.registry, STRV("T8"), spki, der, &n), REGISTRY_NONE);
	site.settings.enroll.scep.approve = false;
	OPENSSL_free(names.p);
	OPENSSL_free(m.p);
	OPENSSL_free(foreign.p);
}

static struct client_bytes issuer_serial_of(X509 *cert)
{
	unsigned char *issuer = NULL, *serial = NULL, *p;
	int a = i2d_X509_NAME(X509_get_issuer_name(cert), &issuer), b = i2d_ASN1_INTEGER(X509_get0_serialNumber(cert), &serial);
	int n = ASN1_object_size(1, a + b, V_ASN1_SEQUENCE);
	struct client_bytes out = { OPENSSL_malloc((size_t)n), (size_t)n };

	p = out.p;
	ASN1_put_object(&p, 1, a + b, V_ASN1_SEQUENCE, V_ASN1_UNIVERSAL);
	memcpy(p, issuer, (size_t)a);
	memcpy(p + a, serial, (size_t)b);
	OPENSSL_free(issuer);
	OPENSSL_free(serial);
	return out;
}

static void a_device_fetches_its_own_certificates_and_no_others(void **state)
{
	const struct client_how how = { .type = "21", .transaction = "T9c" };
	X509 *cert = enrol(key, self, "T9"), *foreign = enrol(other_key, other_self, "T9b");
	struct client_bytes own = issuer_serial_of(cert), others = issuer_serial_of(foreign), m;
	struct answer a;

	(void)state;
	m = client_message(ra, cert, key, own, &how);
	a = post(m, cert, key);
	assert_int_equal(a.status, 0);
	assert_int_equal(X509_cmp(a.cert, cert), 0);
	X509_free(a.cert);
	OPENSSL_free(m.p);
	m = client_message(ra, cert, key, others, &how);
	a = post(m, cert, key);
	assert_int_equal(a.status, 2);
	assert_int_equal(a.fail, 4);
	OPENSSL_free(m.p);
	m = client_message(ra, self, key, own, &how);
	a = post(m, self, key);
	assert_int_equal(a.status, 2);
	OPENSSL_free(m.p);
	OPENSSL_free(own.p);
	OPENSSL_free(others.p);
	X509_free(cert);
	X509_free(foreign);
}

/* Puts a CRL where the signer would. */
static void write_crl(void)
{
	const struct chain_entry *ca = chain_first(site.w.chain, SIGNER_CHAIN_ISSUING);
	X509_CRL *crl = X509_CRL_new();
	ASN1_TIME *now = ASN1_TIME_set(NULL, time(NULL));
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/crl", site.dir);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/crl/%s.crl", site.dir, ca->name);
	X509_CRL_set_version(crl, 1);
	X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca->certificate));
	X509_CRL_set1_lastUpdate(crl, now);
	X509_CRL_set1_nextUpdate(crl, now);
	assert_true(X509_CRL_sign(crl, site.ca.files.entries[1].pkey, EVP_sha256()) > 0);
	f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(i2d_X509_CRL_fp(f, crl), 1);
	fclose(f);
	ASN1_TIME_free(now);
	X509_CRL_free(crl);
}

static void the_crl_comes_by_scep_to_holders_of_a_live_certificate(void **state)
{
	const struct client_how how = { .type = "22", .transaction = "T13c" };
	X509 *cert = enrol(key, self, "T13");
	struct client_bytes own = issuer_serial_of(cert), m = client_message(ra, cert, key, own, &how);
	struct answer a;

	(void)state;
	a = post(m, cert, key);		/* there is none yet */
	assert_int_equal(a.status, 2);
	assert_int_equal(a.fail, 4);
	write_crl();
	a = post(m, cert, key);
	assert_int_equal(a.status, 0);
	assert_non_null(a.crl);
	assert_int_equal(X509_CRL_verify(a.crl, X509_get0_pubkey(chain_first(site.w.chain, SIGNER_CHAIN_ISSUING)->certificate)), 1);
	X509_CRL_free(a.crl);
	OPENSSL_free(m.p);
	m = client_message(ra, self, key, own, &how);	/* by a stranger */
	a = post(m, self, key);
	assert_int_equal(a.status, 2);
	OPENSSL_free(m.p);
	OPENSSL_free(own.p);
	X509_free(cert);
}

static void what_another_ca_issued_is_not_fetched_here_whatever_its_serial_is(void **state)
{
	X509 *cert = enrol(key, self, "T14"), *theirs = X509_dup(self);
	struct client_bytes named, m;

	(void)state;
	assert_int_equal(X509_set_serialNumber(theirs, X509_get_serialNumber(cert)), 1);
	named = issuer_serial_of(theirs);
	for (int i = 0; i < 2; i++) {
		const struct client_how how = { .type = i == 0 ? "21" : "22", .transaction = "T14c" };
		struct answer a;

		m = client_message(ra, cert, key, named, &how);
		a = post(m, cert, key);
		assert_int_equal(a.status, 2);
		assert_int_equal(a.fail, 4);
		OPENSSL_free(m.p);
	}
	OPENSSL_free(named.p);
	X509_free(theirs);
	X509_free(cert);
}

static void threat_43_all_that_fails_behind_the_decryption_reads_the_same(void **state)
{
	const struct client_how how = { .transaction = "T10" };
	struct client_bytes junk = { (unsigned char *)"junk", 4 }, m = client_message(ra, self, key, junk, &how), wrong;
	struct answer a = post(m, self, key);

	(void)state;
	assert_int_equal(a.status, 2);
	assert_int_equal(a.fail, 2);
	OPENSSL_free(m.p);
	wrong = client_message(self, self, key, junk, &how);	/* to somebody else than the RA */
	a = post(wrong, self, key);
	assert_int_equal(a.status, 2);
	assert_int_equal(a.fail, 2);
	OPENSSL_free(wrong.p);
}

static void threat_42_who_sends_what_nobody_can_open_has_to_wait_but_devices_at_the_same_address_renew(void **state)
{
	const struct client_how how = { .transaction = "T22" }, renewal = { .transaction = "T23", .type = "17" };
	struct client_bytes junk = { (unsigned char *)"junk", 4 }, wrong = client_message(self, self, key, junk, &how);
	X509 *old = enrol(key, self, "T22b");
	char secret[SECRET_TEXT_MAX];
	struct strv head, body;
	struct answer a;

	(void)state;
	make_secret(secret, NULL);
	scep_free(site.w.scep);		/* what the tests before sent is forgotten */
	site.w.scep = scep_new(&site.w, (char[256]){ 0 }, 256);
	site.settings.common.lockout.address_attempts = 3;
	for (int i = 0; i < 3; i++) {
		a = post(wrong, self, key);
		assert_int_equal(a.status, 2);
	}
	assert_int_equal(site_post("/scep?operation=PKIOperation", wrong.p, wrong.n, &head, &body), 429);
	assert_non_null(memmem(head.p, head.n, "Retry-After: ", 13));
	assert_int_equal(post_status(other_key, other_self, secret, &how), 429);
	a = request(other_key, old, key, NULL, &renewal);
	assert_int_equal(a.status, 0);
	X509_free(a.cert);
	site.settings.common.lockout.address_attempts = 100000;
	a = request(other_key, other_self, other_key, secret, &how);
	assert_int_equal(a.status, 0);
	X509_free(a.cert);
	X509_free(old);
	OPENSSL_free(wrong.p);
}

static void threat_43_no_cut_message_gets_more_than_an_error(void **state)
{
	const struct client_how how = { .transaction = "T11" };
	char secret[SECRET_TEXT_MAX];
	struct client_bytes csr, m;
	struct strv head, body;
	int64_t before = live();

	(void)state;
	make_secret(secret, NULL);
	csr = client_csr(key, "phone", secret);
	m = client_message(ra, self, key, csr, &how);
	for (size_t n = 1; n < m.n; n += 131)
		assert_int_equal(site_post("/scep?operation=PKIOperation", m.p, n, &head, &body), 400);
	for (size_t i = 7; i < m.n; i += 61) {
		m.p[i] ^= 0x40;
		(void)site_post("/scep?operation=PKIOperation", m.p, m.n, &head, &body);
		m.p[i] ^= 0x40;
	}
	assert_true(live() <= before + 1);	/* a flipped bit of the signer's own made-up names changes nothing */
	OPENSSL_free(csr.p);
	OPENSSL_free(m.p);
}

static void a_disabled_account_gets_nothing(void **state)
{
	const struct client_how how = { .transaction = "T12" };
	char secret[SECRET_TEXT_MAX];
	struct answer a;

	(void)state;
	make_secret(secret, NULL);
	site.account.flags = 0;
	a = request(key, self, key, secret, &how);
	assert_int_equal(a.status, 2);
	site.account.flags = ACCOUNT_ENABLED;
	a = request(key, self, key, secret, &how);	/* and the secret is not lost */
	assert_int_equal(a.status, 0);
	X509_free(a.cert);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(capabilities_and_certificates_are_what_clients_compare_byte_by_byte),
		cmocka_unit_test(threat_40_a_certificate_says_what_the_directory_says_and_nothing_of_the_request),
		cmocka_unit_test(a_repeated_transaction_gets_the_same_certificate_and_never_two),
		cmocka_unit_test(threat_42_a_wrong_missing_or_used_challenge_is_a_signed_failure),
		cmocka_unit_test(tries_that_come_to_nothing_leave_no_devices_behind),
		cmocka_unit_test(threat_42_strangers_cannot_fill_the_audit_trail),
		cmocka_unit_test(nobody_outside_the_portals_group_gets_a_certificate_by_another_way),
		cmocka_unit_test(an_account_has_no_more_devices_than_it_may_by_another_way),
		cmocka_unit_test(threat_42_a_message_signed_by_another_key_than_the_one_it_certifies_is_refused),
		cmocka_unit_test(a_renewal_needs_no_challenge_but_a_live_certificate),
		cmocka_unit_test(threat_42_a_renewal_that_no_certificate_of_ours_signed_is_none_whatever_its_challenge),
		cmocka_unit_test(threat_42_a_revoked_certificate_renews_nothing),
		cmocka_unit_test(threat_42_a_certificate_that_has_ended_renews_nothing_before_the_registry_is_tidied),
		cmocka_unit_test(threat_42_a_certificate_of_a_revoked_device_renews_nothing_be_it_live),
		cmocka_unit_test(a_message_by_get_is_read_escaped_or_not),
		cmocka_unit_test(what_waits_for_approval_is_pending_until_an_admin_approves_the_device),
		cmocka_unit_test(a_device_fetches_its_own_certificates_and_no_others),
		cmocka_unit_test(the_crl_comes_by_scep_to_holders_of_a_live_certificate),
		cmocka_unit_test(what_another_ca_issued_is_not_fetched_here_whatever_its_serial_is),
		cmocka_unit_test(threat_43_all_that_fails_behind_the_decryption_reads_the_same),
		cmocka_unit_test(threat_42_who_sends_what_nobody_can_open_has_to_wait_but_devices_at_the_same_address_renew),
		cmocka_unit_test(threat_43_no_cut_message_gets_more_than_an_error),
		cmocka_unit_test(a_disabled_account_gets_nothing),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
