/*
 * SCEP messages: what real clients send is read, whatever its encoding; what was touched on its way, or is signed by another
 * than it says, is refused; what is sent back opens with the requester's key alone.
 */
#include "enroll/worker/scep_message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <openssl/err.h>
#include <cmocka.h>

#include "common/certificate.h"
#include "enroll/der_write.h"
#include "scep_client.h"

static EVP_PKEY *key, *other_key, *weak_key, *ra_key, *ec_key;
static X509 *cert, *v1, *other, *weak, *ra, *ec;
static struct client_bytes csr;
static const struct scep_rules usual = { .des3 = true };

static int set_up(void **state)
{
	(void)state;
	key = client_key(2048);
	other_key = client_key(2048);
	weak_key = client_key(1024);
	ra_key = client_key(2048);
	ec_key = EVP_EC_gen("P-256");
	cert = client_certificate(key, "phone", 2, NULL, NULL);
	v1 = client_certificate(key, "phone", 0, NULL, NULL);
	other = client_certificate(other_key, "phone", 2, NULL, NULL);
	weak = client_certificate(weak_key, "weak", 2, NULL, NULL);
	ra = client_certificate(ra_key, "ra", 2, NULL, NULL);
	ec = client_certificate(ec_key, "ec", 2, NULL, NULL);
	csr = client_csr(key, "phone", "challenge");
	return 0;
}

static int tear_down(void **state)
{
	X509 *certs[] = { cert, v1, other, weak, ra, ec };
	EVP_PKEY *keys[] = { key, other_key, weak_key, ra_key, ec_key };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(certs); i++)
		X509_free(certs[i]);
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		EVP_PKEY_free(keys[i]);
	OPENSSL_free(csr.p);
	return 0;
}

/* With SCEP_CORPUS=folder in the environment the messages made here become the fuzzer's first inputs. */
static void keep(const char *name, struct client_bytes m)
{
	const char *folder = getenv("SCEP_CORPUS");
	char path[512];
	FILE *f;

	if (folder == NULL)
		return;
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(m.p, 1, m.n, f), m.n);
	fclose(f);
}

static void check_envelope_opens(const struct scep_request *r)
{
	const unsigned char *p = r->envelope;
	CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &p, (long)r->envelope_n);
	BIO *out = BIO_new(BIO_s_mem());
	char *inside;
	long n;

	assert_non_null(cms);
	assert_int_equal(CMS_decrypt(cms, ra_key, ra, NULL, out, CMS_BINARY), 1);
	n = BIO_get_mem_data(out, &inside);
	assert_int_equal(n, csr.n);
	assert_memory_equal(inside, csr.p, csr.n);
	BIO_free(out);
	CMS_ContentInfo_free(cms);
}

static bool is_signed_by(const struct scep_request *r, EVP_PKEY *by)
{
	unsigned char *spki = NULL;
	int n = i2d_PUBKEY(by, &spki);
	bool is = scep_is_signed_by(r, (struct strv){ (char *)spki, (size_t)n });

	assert_true(n > 0);
	OPENSSL_free(spki);
	return is;
}

static void assert_is_certificate(const struct scep_request *r, X509 *wanted)
{
	unsigned char *der = NULL;
	int n = i2d_X509(wanted, &der);
	uint8_t spki[SHA256_SIZE], own[SHA256_SIZE];

	assert_int_equal(scep_certificate(r).n, n);
	assert_memory_equal(scep_certificate(r).p, der, (size_t)n);
	assert_int_equal(scep_spki_sha256(r, spki), 0);
	assert_int_equal(cert_spki_sha256(wanted, own), 0);
	assert_memory_equal(spki, own, sizeof(spki));
	OPENSSL_free(der);
}

/* A request that this certificate signed, as far as an answer to it goes. */
static struct scep_request request_of(X509 *signer, EVP_PKEY *with, int cipher)
{
	struct scep_request r = { .key = with, .cipher = cipher };

	r.certificate_n = (size_t)i2d_X509(signer, &r.certificate);
	return r;
}

static void what_real_clients_send_is_read(void **state)
{
	static const struct {
		const char *name;
		struct client_how how;
		bool v1;
		int type;
	} rows[] = {
		{ "usual", { 0 }, false, SCEP_PKCS_REQ },
		{ "v1_signer", { 0 }, true, SCEP_PKCS_REQ },
		{ "oaep", { .oaep = true }, false, SCEP_PKCS_REQ },
		{ "indefinite", { .indefinite = true }, false, SCEP_PKCS_REQ },
		{ "renewal", { .type = "17" }, false, SCEP_RENEWAL_REQ },
		{ "poll", { .type = "20" }, false, SCEP_CERT_POLL },
		{ "get_cert", { .type = "21" }, false, SCEP_GET_CERT },
		{ "get_crl", { .type = "22" }, false, SCEP_GET_CRL },
		{ "base64_id", { .transaction = "kTSjJu+2aGVa1lhSdz9ZwiKoIiE=" }, false, SCEP_PKCS_REQ },
		{ "long_nonce", { .nonce_n = 64 }, false, SCEP_PKCS_REQ },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct client_bytes m = client_message(ra, rows[i].v1 ? v1 : cert, key, csr, &rows[i].how);
		struct scep_request r;
		const char *id = rows[i].how.transaction ? rows[i].how.transaction : "0123ABCD";

		keep(rows[i].name, m);
		assert_int_equal(scep_request_read(&r, m.p, m.n, &usual), SCEP_OK);
		assert_int_equal(r.type, rows[i].type);
		assert_int_equal(r.transaction_n, strlen(id));
		assert_memory_equal(r.transaction, id, strlen(id));
		assert_int_equal(r.nonce_n, rows[i].how.nonce_n ? rows[i].how.nonce_n : 16);
		assert_int_equal(r.cipher, NID_aes_256_cbc);
		assert_int_equal(r.digest, NID_sha256);
		assert_true(is_signed_by(&r, key));
		assert_false(is_signed_by(&r, other_key));
		assert_is_certificate(&r, rows[i].v1 ? v1 : cert);
		check_envelope_opens(&r);
		scep_request_clear(&r);
		OPENSSL_free(m.p);
	}
}

/* Those who name themselves by their key's identifier, and those who write their issuer's name in another way than the certificate has it. */
static void signers_are_found_by_whatever_names_them(void **state)
{
	const struct client_how by_key = { .key_id = true }, bare = { .no_certificate = true };
	X509 *named = X509_dup(cert), *respelled = client_certificate(key, "PHONE", 2, NULL, NULL);
	X509_EXTENSION *id;
	X509V3_CTX ctx;
	struct client_bytes m, envelope;
	struct scep_request r;
	CMS_ContentInfo *cms;
	const unsigned char *p;

	(void)state;
	X509V3_set_ctx(&ctx, named, named, NULL, NULL, 0);
	id = X509V3_EXT_conf_nid(NULL, &ctx, NID_subject_key_identifier, "hash");
	assert_non_null(id);
	assert_int_equal(X509_add_ext(named, id, -1), 1);
	assert_true(X509_sign(named, key, EVP_sha256()) > 0);
	X509_EXTENSION_free(id);
	m = client_message(ra, named, key, csr, &by_key);
	assert_int_equal(scep_request_read(&r, m.p, m.n, &usual), SCEP_OK);
	assert_is_certificate(&r, named);
	scep_request_clear(&r);
	OPENSSL_free(m.p);
	envelope = client_envelope(ra, csr, &bare);
	m = client_sign(cert, key, envelope, &bare);
	p = m.p;
	cms = d2i_CMS_ContentInfo(NULL, &p, (long)m.n);
	OPENSSL_free(m.p);
	assert_int_equal(CMS_add1_cert(cms, respelled), 1);
	m = client_encode(cms, NULL, false);
	assert_int_equal(scep_request_read(&r, m.p, m.n, &usual), SCEP_OK);
	assert_is_certificate(&r, respelled);
	scep_request_clear(&r);
	OPENSSL_free(m.p);
	CMS_ContentInfo_free(cms);
	OPENSSL_free(envelope.p);
	X509_free(named);
	X509_free(respelled);
}

static void digests_and_ciphers_are_those_of_the_configuration(void **state)
{
	const struct scep_rules all = { .sha1 = true, .des3 = true, .des = true }, none = { 0 };
	const struct {
		struct client_how how;
		const struct scep_rules *rules;
		enum scep_result want;
	} rows[] = {
		{ { .digest = EVP_sha384() }, &none, SCEP_OK },
		{ { .digest = EVP_sha512() }, &none, SCEP_OK },
		{ { .digest = EVP_sha1() }, &usual, SCEP_WEAK_DIGEST },
		{ { .digest = EVP_sha1() }, &all, SCEP_OK },
		{ { .digest = EVP_md5() }, &all, SCEP_WEAK_DIGEST },
		{ { .cipher = EVP_aes_128_cbc() }, &none, SCEP_OK },
		{ { .cipher = EVP_aes_192_cbc() }, &none, SCEP_OK },
		{ { .cipher = EVP_des_ede3_cbc() }, &none, SCEP_BAD_CIPHER },
		{ { .cipher = EVP_des_ede3_cbc() }, &usual, SCEP_OK },
		{ { .cipher = EVP_camellia_128_cbc() }, &all, SCEP_BAD_CIPHER },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct client_bytes m = client_message(ra, cert, key, csr, &rows[i].how);
		struct scep_request r;

		assert_int_equal(scep_request_read(&r, m.p, m.n, rows[i].rules), rows[i].want);
		assert_int_equal(r.type, SCEP_PKCS_REQ);	/* a signed refusal can be sent */
		assert_int_equal(r.nonce_n, 16);
		scep_request_clear(&r);
		OPENSSL_free(m.p);
	}
}

static void a_message_that_lacks_what_it_must_have_is_refused(void **state)
{
	char long_id[300];
	const struct {
		const char *name;
		struct client_how how;
		enum scep_result want;
	} rows[] = {
		{ "no_nonce", { .no_nonce = true }, SCEP_NO_ATTRIBUTES },
		{ "two_types", { .two_types = true }, SCEP_NO_ATTRIBUTES },
		{ "id_octets", { .transaction_type = V_ASN1_OCTET_STRING }, SCEP_NO_ATTRIBUTES },
		{ "id_long", { .transaction = long_id }, SCEP_NO_ATTRIBUTES },
		{ "nonce_long", { .nonce_n = 65 }, SCEP_NO_ATTRIBUTES },
		{ "type_3", { .type = "3" }, SCEP_UNKNOWN_TYPE },
		{ "type_18", { .type = "18" }, SCEP_UNKNOWN_TYPE },
		{ "type_019", { .type = "019" }, SCEP_UNKNOWN_TYPE },
		{ "type_text", { .type = "x" }, SCEP_UNKNOWN_TYPE },
		{ "no_certificate", { .no_certificate = true }, SCEP_NOT_CMS },
		{ "two_signers", { .two_signers = true }, SCEP_NOT_CMS },
		{ "raw_content", { .raw_content = true }, SCEP_BAD_CONTENT },
	};

	(void)state;
	memset(long_id, 'A', sizeof(long_id) - 1);
	long_id[257] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct client_bytes m = client_message(ra, cert, key, csr, &rows[i].how);
		struct scep_request r;

		keep(rows[i].name, m);
		assert_int_equal(scep_request_read(&r, m.p, m.n, &usual), rows[i].want);
		scep_request_clear(&r);
		OPENSSL_free(m.p);
	}
}

static void keys_of_signers_are_rsa_of_a_fit_size(void **state)
{
	const struct client_how how = { 0 };
	struct client_bytes m = client_message(ra, weak, weak_key, csr, &how);
	struct scep_request r;

	(void)state;
	assert_int_equal(scep_request_read(&r, m.p, m.n, &usual), SCEP_BAD_KEY);
	scep_request_clear(&r);
	OPENSSL_free(m.p);
	m = client_message(ra, ec, ec_key, csr, &how);
	assert_true(scep_request_read(&r, m.p, m.n, &usual) <= SCEP_WEAK_DIGEST || r.certificate != NULL);
	scep_request_clear(&r);
	assert_int_not_equal(scep_request_read(&r, m.p, m.n, &usual), SCEP_OK);
	scep_request_clear(&r);
	OPENSSL_free(m.p);
}

/* `other` has the issuer and serial of `cert`: the message says one and was signed by the other. */
static void threat_42_a_message_whose_signer_is_not_its_certificate_is_refused(void **state)
{
	const struct client_how bare = { .no_certificate = true };
	struct client_bytes envelope = client_envelope(ra, csr, &bare), m = client_sign(cert, key, envelope, &bare);
	const unsigned char *p = m.p;
	CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &p, (long)m.n);
	struct client_bytes forged;
	struct scep_request r;

	(void)state;
	assert_int_equal(CMS_add1_cert(cms, other), 1);
	forged = client_encode(cms, NULL, false);
	keep("forged", forged);
	assert_int_equal(scep_request_read(&r, forged.p, forged.n, &usual), SCEP_BAD_SIGNATURE);
	scep_request_clear(&r);
	OPENSSL_free(forged.p);
	assert_int_equal(CMS_add0_cert(cms, X509_dup(cert)), 1);	/* now two that fit */
	forged = client_encode(cms, NULL, false);
	assert_int_equal(scep_request_read(&r, forged.p, forged.n, &usual), SCEP_NOT_CMS);
	scep_request_clear(&r);
	OPENSSL_free(forged.p);
	CMS_ContentInfo_free(cms);
	OPENSSL_free(envelope.p);
	OPENSSL_free(m.p);
}

static void threat_43_cut_and_flipped_messages_are_never_taken_for_another(void **state)
{
	const struct client_how how = { 0 };
	struct client_bytes m = client_message(ra, cert, key, csr, &how);
	struct scep_request good, r;
	unsigned accepted = 0;

	(void)state;
	assert_int_equal(scep_request_read(&good, m.p, m.n, &usual), SCEP_OK);
	for (size_t n = 0; n < m.n; n += n < 64 ? 1 : 37) {
		unsigned char *cut = OPENSSL_memdup(m.p, n > 0 ? n : 1);

		assert_int_not_equal(scep_request_read(&r, cut, n, &usual), SCEP_OK);
		scep_request_clear(&r);
		OPENSSL_free(cut);
	}
	for (size_t i = 0; i < m.n; i++) {
		m.p[i] ^= 0x10;
		if (scep_request_read(&r, m.p, m.n, &usual) == SCEP_OK) {
			/* bits of the self-signed certificate's own text: its names mean nothing, the rest is the same */
			accepted++;
			assert_true(is_signed_by(&r, key));
			assert_int_equal(r.envelope_n, good.envelope_n);
			assert_memory_equal(r.envelope, good.envelope, good.envelope_n);
			assert_int_equal(r.transaction_n, good.transaction_n);
			assert_memory_equal(r.transaction, good.transaction, good.transaction_n);
		}
		scep_request_clear(&r);
		m.p[i] ^= 0x10;
	}
	assert_true(accepted < 600);
	scep_request_clear(&good);
	OPENSSL_free(m.p);
}

static struct strv inside(struct strv *rest, int tag)
{
	struct strv contents;

	assert_int_equal(der_take(rest, tag, &contents, NULL), 0);
	return contents;
}

/* The message with other bytes where its signer says who he is (RFC 5652 section 5.3: sid). */
static struct client_bytes signed_by(struct client_bytes m, const void *who, size_t who_n)
{
	struct strv all = { (const char *)m.p, m.n }, info = inside(&all, DER_SEQUENCE), head = info, form, before, signers, signer, version = { NULL, 0 }, old;
	struct client_bytes out = { OPENSSL_malloc(m.n + 64), 0 };
	struct der_writer d;
	struct strv done;

	inside(&info, DER_OID);
	head.n -= info.n;
	form = inside(&info, DER_CONSTRUCTED(0));
	form = inside(&form, DER_SEQUENCE);
	before = form;
	inside(&form, DER_INTEGER);
	inside(&form, DER_SET);
	inside(&form, DER_SEQUENCE);
	inside(&form, DER_CONSTRUCTED(0));
	before.n -= form.n;
	signers = inside(&form, DER_SET);
	signer = inside(&signers, DER_SEQUENCE);
	assert_int_equal(der_take(&signer, DER_INTEGER, &old, &version), 0);
	assert_int_equal(der_take(&signer, DER_SEQUENCE, &old, NULL), 0);
	assert_non_null(out.p);
	der_start(&d, out.p, m.n + 64);
	der_put(&d, signer.p, signer.n);
	der_put(&d, who, who_n);
	der_put(&d, version.p, version.n);
	der_enclose(&d, DER_SEQUENCE, m.n + 64);
	der_enclose(&d, DER_SET, m.n + 64);
	der_put(&d, before.p, before.n);
	der_enclose(&d, DER_SEQUENCE, m.n + 64);
	der_enclose(&d, DER_CONSTRUCTED(0), m.n + 64);
	der_put(&d, head.p, head.n);
	der_enclose(&d, DER_SEQUENCE, m.n + 64);
	done = der_done(&d);
	assert_true(done.n > 0);
	out.n = done.n;
	memmove(out.p, done.p, done.n);
	return out;
}

/* Anything may stand there, and most of it is no text: NULL and BOOLEAN have no bytes at all. */
static void threat_42_a_signer_that_is_named_by_something_else_is_none(void **state)
{
	static const struct { const char *name, *p; size_t n; } whos[] = {
		{ "who_null", "\x05\x00", 2 }, { "who_true", "\x01\x01\xff", 3 }, { "who_false", "\x01\x01\x00", 3 }, { "who_oid", "\x06\x01\x2a", 3 },
		{ "who_integer", "\x02\x01\x05", 3 }, { "who_minus", "\x02\x01\x85", 3 }, { "who_empty", "\x30\x00", 2 }, { "who_set", "\x31\x00", 2 },
		{ "who_key", "\x80\x00", 2 }, { "who_other", "\xa0\x02\x05\x00", 4 }, { "who_bits", "\x03\x01\x00", 3 }, { "who_time", "\x17\x00", 2 },
	};
	const struct client_how how = { 0 };
	struct client_bytes m = client_message(ra, cert, key, csr, &how), forged;
	struct scep_request r;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(whos); i++) {
		forged = signed_by(m, whos[i].p, whos[i].n);
		keep(whos[i].name, forged);
		assert_int_equal(scep_request_read(&r, forged.p, forged.n, &usual), SCEP_NOT_CMS);
		scep_request_clear(&r);
		OPENSSL_free(forged.p);
	}
	OPENSSL_free(m.p);
}

static void bytes_behind_a_message_and_messages_over_the_limit_are_refused(void **state)
{
	const struct client_how how = { 0 };
	struct client_bytes m = client_message(ra, cert, key, csr, &how);
	unsigned char *longer = OPENSSL_zalloc(SCEP_MESSAGE_MAX + 2);
	struct scep_request r;

	(void)state;
	memcpy(longer, m.p, m.n);
	assert_int_equal(scep_request_read(&r, longer, m.n, &usual), SCEP_OK);
	scep_request_clear(&r);
	assert_int_equal(scep_request_read(&r, longer, m.n + 1, &usual), SCEP_NOT_CMS);
	assert_int_equal(scep_request_read(&r, longer, SCEP_MESSAGE_MAX + 1, &usual), SCEP_NOT_CMS);
	assert_int_equal(scep_request_read(&r, "", 0, &usual), SCEP_NOT_CMS);
	OPENSSL_free(longer);
	OPENSSL_free(m.p);
}

static void certificates_come_back_in_the_order_they_were_given(void **state)
{
	STACK_OF(X509) *in = sk_X509_new_null(), *out;
	CMS_ContentInfo *cms;
	unsigned char *der;
	const unsigned char *p;
	size_t n;

	(void)state;
	sk_X509_push(in, ra);
	sk_X509_push(in, cert);
	sk_X509_push(in, other);
	der = scep_degenerate(in, (struct strv){ NULL, 0 }, (struct strv){ NULL, 0 }, &n);
	assert_non_null(der);
	p = der;
	cms = d2i_CMS_ContentInfo(NULL, &p, (long)n);
	assert_non_null(cms);
	assert_ptr_equal(p, der + n);
	out = CMS_get1_certs(cms);
	assert_int_equal(sk_X509_num(out), 3);
	assert_int_equal(X509_cmp(sk_X509_value(out, 0), ra), 0);
	assert_int_equal(X509_cmp(sk_X509_value(out, 1), cert), 0);
	assert_int_equal(X509_cmp(sk_X509_value(out, 2), other), 0);
	sk_X509_pop_free(out, X509_free);
	CMS_ContentInfo_free(cms);
	OPENSSL_free(der);
	sk_X509_free(in);
}

static void an_answer_opens_with_the_requesters_key_and_mirrors_its_cipher(void **state)
{
	static const struct { int asked, used; } rows[] = {
		{ NID_aes_128_cbc, NID_aes_128_cbc }, { NID_aes_256_cbc, NID_aes_256_cbc }, { NID_des_ede3_cbc, NID_des_ede3_cbc },
		{ NID_des_cbc, NID_aes_128_cbc }, { NID_undef, NID_aes_256_cbc },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		size_t n;
		struct scep_request asked = request_of(v1, key, rows[i].asked);
		unsigned char *der = scep_envelope(&asked, "inside", 6, &n);
		const struct client_how how = { 0 };
		struct client_bytes m;
		struct scep_request r;
		CMS_ContentInfo *cms;
		BIO *out = BIO_new(BIO_s_mem());
		const unsigned char *p = der;
		char *text;

		assert_non_null(der);
		cms = d2i_CMS_ContentInfo(NULL, &p, (long)n);
		assert_int_equal(CMS_decrypt(cms, key, v1, NULL, out, CMS_BINARY), 1);
		assert_int_equal(BIO_get_mem_data(out, &text), 6);
		assert_memory_equal(text, "inside", 6);
		m = client_sign(cert, key, (struct client_bytes){ der, n }, &how);
		assert_int_equal(scep_request_read(&r, m.p, m.n, &usual), SCEP_OK);
		assert_int_equal(r.cipher, rows[i].used);
		scep_request_clear(&r);
		OPENSSL_free(m.p);
		BIO_free(out);
		CMS_ContentInfo_free(cms);
		OPENSSL_free(der);
		OPENSSL_free(asked.certificate);
	}
	struct scep_request of_ec = request_of(ec, ec_key, NID_aes_128_cbc);
	size_t n;
	assert_null(scep_envelope(&of_ec, "inside", 6, &n));
	OPENSSL_free(of_ec.certificate);
}

static void contents_of_polls_and_fetches_are_read_whole_or_not_at_all(void **state)
{
	unsigned char *name = NULL, der[512];
	int n = i2d_X509_NAME(X509_get_subject_name(cert), &name);
	X509_NAME *issuer, *subject;
	ASN1_INTEGER *serial;
	size_t all = (size_t)n + 3;

	(void)state;
	assert_true(n > 0 && n < 100);
	der[0] = 0x30;
	der[1] = (unsigned char)all;
	memcpy(der + 2, name, (size_t)n);
	memcpy(der + 2 + n, "\x02\x01\x07", 3);
	assert_int_equal(scep_read_issuer_serial(der, all + 2, &issuer, &serial), 0);
	assert_int_equal(X509_NAME_cmp(issuer, X509_get_subject_name(cert)), 0);
	assert_int_equal(ASN1_INTEGER_get(serial), 7);
	X509_NAME_free(issuer);
	ASN1_INTEGER_free(serial);
	assert_int_equal(scep_read_issuer_serial(der, all + 1, &issuer, &serial), -1);
	assert_int_equal(scep_read_issuer_serial(der, all + 3, &issuer, &serial), -1);
	assert_int_equal(scep_read_issuer_subject(der, all + 2, &issuer, &subject), -1);
	der[1] = (unsigned char)(2 * n);
	memcpy(der + 2 + n, name, (size_t)n);
	assert_int_equal(scep_read_issuer_subject(der, (size_t)n * 2 + 2, &issuer, &subject), 0);
	X509_NAME_free(issuer);
	X509_NAME_free(subject);
	OPENSSL_free(name);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_real_clients_send_is_read),
		cmocka_unit_test(signers_are_found_by_whatever_names_them),
		cmocka_unit_test(digests_and_ciphers_are_those_of_the_configuration),
		cmocka_unit_test(a_message_that_lacks_what_it_must_have_is_refused),
		cmocka_unit_test(keys_of_signers_are_rsa_of_a_fit_size),
		cmocka_unit_test(threat_42_a_message_whose_signer_is_not_its_certificate_is_refused),
		cmocka_unit_test(threat_43_cut_and_flipped_messages_are_never_taken_for_another),
		cmocka_unit_test(threat_42_a_signer_that_is_named_by_something_else_is_none),
		cmocka_unit_test(bytes_behind_a_message_and_messages_over_the_limit_are_refused),
		cmocka_unit_test(certificates_come_back_in_the_order_they_were_given),
		cmocka_unit_test(an_answer_opens_with_the_requesters_key_and_mirrors_its_cipher),
		cmocka_unit_test(contents_of_polls_and_fetches_are_read_whole_or_not_at_all),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
