/*
 * messages: makes the requests that bench-replay sends, as devices would: SCEP, EST and OCSP, whole HTTP requests. Nothing is sent from here.
 * Standard input: a line for each request. Standard output: length (4 bytes, network order) and bytes of one request after the other.
 *
 *   bench-messages scep RA.pem KEYS     line: a challenge. A CSR of one of KEYS RSA-2048 keys, encrypted to the RA (AES-256-CBC), signed (SHA-256)
 *   bench-messages est HOST             line: USER:SECRET. A CSR of a P-256 key of its own
 *   bench-messages ocsp CA.pem get|post line: a serial in hex
 */
#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/self_signed.h"

#define LINE_MAX_N 512
#define KEYS_MAX   64

struct bytes {
	unsigned char *p; /* OPENSSL_free */
	size_t n;
};

struct maker {
	X509 *ca; /* the RA's, or the issuer's of those asked about */
	EVP_PKEY *keys[KEYS_MAX];
	X509 *self[KEYS_MAX];
	unsigned keys_n, count;
	const char *word;
};

/* A message that cannot be made ends it: there is nothing to measure then. */
static void need(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "bench-messages: %s\n", what);
	ERR_print_errors_fp(stderr);
	exit(1);
}

static void put(const char *head, const void *body, size_t n)
{
	size_t head_n = strlen(head);
	uint32_t size = htonl((uint32_t)(head_n + n));

	need(fwrite(&size, 4, 1, stdout) == 1 && fwrite(head, 1, head_n, stdout) == head_n && fwrite(body, 1, n, stdout) == n, "cannot write");
}

static X509 *certificate_read(const char *path)
{
	FILE *f = fopen(path, "re");
	X509 *x = f != NULL ? PEM_read_X509(f, NULL, NULL, NULL) : NULL;

	if (f != NULL)
		fclose(f);
	need(x != NULL, path);
	return x;
}

static struct bytes base64(const struct bytes *in)
{
	struct bytes out = { OPENSSL_malloc(in->n * 4 / 3 + 8), 0 };

	need(out.p != NULL, "memory");
	out.n = (size_t)EVP_EncodeBlock(out.p, in->p, (int)in->n);
	return out;
}

static struct bytes csr(EVP_PKEY *key, const char *challenge)
{
	X509_REQ *req = X509_REQ_new();
	X509_NAME *name = X509_NAME_new();
	struct bytes der = { NULL, 0 };
	int n;

	need(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)"device", -1, -1, 0) == 1 &&
		X509_REQ_set_subject_name(req, name) == 1 && X509_REQ_set_pubkey(req, key) == 1 &&
		(challenge == NULL ||
		    X509_REQ_add1_attr_by_NID(req, NID_pkcs9_challengePassword, MBSTRING_UTF8, (const unsigned char *)challenge, -1) == 1) &&
		X509_REQ_sign(req, key, EVP_sha256()) > 0,
	    "no request");
	n = i2d_X509_REQ(req, &der.p);
	need(n > 0, "no request");
	der.n = (size_t)n;
	X509_NAME_free(name);
	X509_REQ_free(req);
	return der;
}

/* --- SCEP --- */

static void scep_begin(struct maker *m, const char *keys)
{
	m->keys_n = (unsigned)strtoul(keys, NULL, 10);
	need(m->keys_n > 0 && m->keys_n <= KEYS_MAX, "1 to 64 keys");
	for (unsigned i = 0; i < m->keys_n; i++) {
		m->keys[i] = EVP_RSA_gen(2048);
		need(m->keys[i] != NULL, "no key");
		m->self[i] = self_signed(m->keys[i], "device");
		need(m->self[i] != NULL, "no certificate");
	}
}

static struct bytes encode(CMS_ContentInfo *cms)
{
	BIO *out = BIO_new(BIO_s_mem());
	struct bytes b = { NULL, 0 };
	char *p;
	long n;

	need(out != NULL && i2d_CMS_bio(out, cms) == 1, "no CMS");
	n = BIO_get_mem_data(out, &p);
	b.n = (size_t)n;
	b.p = OPENSSL_memdup(p, b.n);
	BIO_free(out);
	CMS_ContentInfo_free(cms);
	return b;
}

static struct bytes envelope(X509 *to, const struct bytes *inside)
{
	STACK_OF(X509) *who = sk_X509_new_null();
	BIO *in = BIO_new_mem_buf(inside->p, (int)inside->n);
	CMS_ContentInfo *cms = sk_X509_push(who, to) > 0 ? CMS_encrypt(who, in, EVP_aes_256_cbc(), CMS_BINARY) : NULL;

	need(cms != NULL, "no envelope");
	sk_X509_free(who);
	BIO_free(in);
	return encode(cms);
}

static void attribute(CMS_SignerInfo *si, const char *oid, int type, const void *p, size_t n)
{
	need(CMS_signed_add1_attr_by_txt(si, oid, type, p, (int)n) == 1, "no attribute");
}

static struct bytes signed_message(struct maker *m, const struct bytes *content, unsigned key)
{
	BIO *in = BIO_new_mem_buf(content->p, (int)content->n);
	CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, in, CMS_BINARY | CMS_PARTIAL);
	CMS_SignerInfo *si = cms != NULL ? CMS_add1_signer(cms, m->self[key], m->keys[key], EVP_sha256(), CMS_BINARY | CMS_NOSMIMECAP) : NULL;
	unsigned char nonce[16];
	char id[33];

	need(si != NULL && RAND_bytes(nonce, sizeof(nonce)) == 1, "no signer");
	for (size_t i = 0; i < sizeof(nonce); i++)
		snprintf(id + 2 * i, 3, "%02X", nonce[i]);
	attribute(si, "2.16.840.1.113733.1.9.2", V_ASN1_PRINTABLESTRING, "19", 2);
	attribute(si, "2.16.840.1.113733.1.9.7", V_ASN1_PRINTABLESTRING, id, 32);
	attribute(si, "2.16.840.1.113733.1.9.5", V_ASN1_OCTET_STRING, nonce, sizeof(nonce));
	need(CMS_final(cms, in, NULL, CMS_BINARY) == 1, "no signature");
	BIO_free(in);
	return encode(cms);
}

static void scep(struct maker *m, const char *challenge)
{
	unsigned key = m->count % m->keys_n;
	struct bytes request = csr(m->keys[key], challenge), inside = envelope(m->ca, &request), whole = signed_message(m, &inside, key);
	char head[256];

	snprintf(head, sizeof(head), "POST /scep?operation=PKIOperation HTTP/1.1\r\nHost: enroll\r\nContent-Type: application/x-pki-message\r\n"
	    "Content-Length: %zu\r\n\r\n", whole.n);
	put(head, whole.p, whole.n);
	OPENSSL_free(request.p);
	OPENSSL_free(inside.p);
	OPENSSL_free(whole.p);
}

/* --- EST --- */

static void est(const struct maker *m, char *credentials)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	struct bytes name = { (unsigned char *)credentials, strlen(credentials) }, request, text, basic = base64(&name);
	char head[1024];

	need(key != NULL, "no key");
	request = csr(key, NULL);
	text = base64(&request);
	snprintf(head, sizeof(head), "POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: %s\r\nAuthorization: Basic %s\r\n"
	    "Content-Type: application/pkcs10\r\nContent-Length: %zu\r\n\r\n", m->word, basic.p, text.n);
	put(head, text.p, text.n);
	OPENSSL_free(request.p);
	OPENSSL_free(text.p);
	OPENSSL_free(basic.p);
	EVP_PKEY_free(key);
}

/* --- OCSP --- */

static void ocsp(const struct maker *m, const char *serial)
{
	OCSP_REQUEST *request = OCSP_REQUEST_new();
	BIGNUM *bn = NULL;
	ASN1_INTEGER *number = BN_hex2bn(&bn, serial) > 0 ? BN_to_ASN1_INTEGER(bn, NULL) : NULL;
	OCSP_CERTID *id = number != NULL ? OCSP_cert_id_new(EVP_sha1(), X509_get_subject_name(m->ca), X509_get0_pubkey_bitstr(m->ca), number) : NULL;
	struct bytes der = { NULL, 0 }, text;
	char head[1024], path[512];
	size_t at = 0;
	int n;

	need(id != NULL && OCSP_request_add0_id(request, id) != NULL, "no OCSP request");
	n = i2d_OCSP_REQUEST(request, &der.p);
	need(n > 0, "no OCSP request");
	der.n = (size_t)n;
	if (strcmp(m->word, "post") == 0) {
		snprintf(head, sizeof(head), "POST /ocsp HTTP/1.1\r\nHost: enroll\r\nContent-Type: application/ocsp-request\r\nContent-Length: %zu\r\n\r\n", der.n);
		put(head, der.p, der.n);
	} else {
		text = base64(&der);
		for (size_t i = 0; i < text.n && at + 4 < sizeof(path); i++) {
			bool plain = text.p[i] != '+' && text.p[i] != '/' && text.p[i] != '=';
			at += (size_t)snprintf(path + at, sizeof(path) - at, plain ? "%c" : "%%%02X", text.p[i]);
		}
		snprintf(head, sizeof(head), "GET /ocsp/%s HTTP/1.1\r\nHost: enroll\r\n\r\n", path);
		put(head, "", 0);
		OPENSSL_free(text.p);
	}
	OPENSSL_free(der.p);
	ASN1_INTEGER_free(number);
	BN_free(bn);
	OCSP_REQUEST_free(request);
}

int main(int argc, char **argv)
{
	struct maker m = { .word = argc > 2 ? argv[argc - 1] : "" };
	char line[LINE_MAX_N];
	bool is_scep = argc == 4 && strcmp(argv[1], "scep") == 0, is_ocsp = argc == 4 && strcmp(argv[1], "ocsp") == 0;

	need(is_scep || is_ocsp || (argc == 3 && strcmp(argv[1], "est") == 0), "scep RA.pem KEYS | est HOST | ocsp CA.pem get|post");
	if (is_scep || is_ocsp)
		m.ca = certificate_read(argv[2]);
	if (is_scep)
		scep_begin(&m, argv[3]);
	for (; fgets(line, sizeof(line), stdin) != NULL; m.count++) {
		line[strcspn(line, "\r\n")] = '\0';
		if (is_scep)
			scep(&m, line);
		else if (is_ocsp)
			ocsp(&m, line);
		else
			est(&m, line);
	}
	need(fflush(stdout) == 0, "cannot write");
	for (unsigned i = 0; i < m.keys_n; i++) {
		EVP_PKEY_free(m.keys[i]);
		X509_free(m.self[i]);
	}
	X509_free(m.ca);
	return 0;
}
