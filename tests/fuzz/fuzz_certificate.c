/*
 * Certificates: whatever bytes come, what is read as a name is clean text, what is read as a SID is
 * one, and the same certificate says the same twice. The first byte says what the rest is: a whole
 * certificate (DER), a subjectAltName, a SID extension, a subject.
 */
#include "proxy/worker/identity.h"

#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/x509v3.h>

#include "common/text.h"
#include "fuzz.h"

static void add_extension(X509 *cert, const char *oid, const uint8_t *p, size_t n)
{
	ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
	ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
	X509_EXTENSION *ext;

	FUZZ_CHECK(object != NULL && value != NULL && ASN1_OCTET_STRING_set(value, p, (int)n) == 1);
	ext = X509_EXTENSION_create_by_OBJ(NULL, object, 0, value);
	FUZZ_CHECK(ext != NULL && X509_add_ext(cert, ext, -1) == 1);
	X509_EXTENSION_free(ext);
	ASN1_OCTET_STRING_free(value);
	ASN1_OBJECT_free(object);
}

static X509 *certificate_from(const uint8_t *bytes, size_t n)
{
	const unsigned char *p = bytes + 1;
	X509_NAME *name;
	X509 *cert;

	if (bytes[0] == 0)
		return d2i_X509(NULL, &p, (long)n - 1);
	cert = X509_new();
	FUZZ_CHECK(cert != NULL);
	if (bytes[0] == 1)
		add_extension(cert, "2.5.29.17", p, n - 1);
	else if (bytes[0] == 2)
		add_extension(cert, "1.3.6.1.4.1.311.25.2", p, n - 1);
	name = bytes[0] == 3 ? d2i_X509_NAME(NULL, &p, (long)n - 1) : NULL;
	if (name != NULL)
		X509_set_subject_name(cert, name);
	X509_NAME_free(name);
	return cert;
}

static void check_sid(const char *sid)
{
	FUZZ_CHECK(strncmp(sid, "S-1-", 4) == 0);
	FUZZ_CHECK(strspn(sid + 4, "0123456789-") == strlen(sid + 4));
	FUZZ_CHECK(strlen(sid) < CERT_SID_MAX && sid[strlen(sid) - 1] != '-');
}

static void check_claim(const X509 *cert, enum claim_kind kind)
{
	struct claim claim, again;
	enum claim_kind bad, bad_again;
	enum cert_result rc = identity_from_certificate(cert, &kind, 1, &claim, &bad);
	size_t n;

	FUZZ_CHECK(identity_from_certificate(cert, &kind, 1, &again, &bad_again) == rc);
	FUZZ_CHECK(bad == bad_again && memcmp(&claim, &again, sizeof(claim)) == 0);
	if (rc != CERT_OK) {
		FUZZ_CHECK(
		    claim.kind == CLAIM_NONE && claim.value[0] == '\0' && claim.sid[0] == '\0');
		FUZZ_CHECK(cert_result_text(rc)[0] != '\0');
		return;
	}
	FUZZ_CHECK(claim.kind == kind && bad == CLAIM_NONE);
	n = strnlen(claim.value, sizeof(claim.value));
	FUZZ_CHECK(n > 0 && n < sizeof(claim.value));
	FUZZ_CHECK(text_is_clean((struct strv){ claim.value, n }));
	FUZZ_CHECK(kind != CLAIM_UPN || strchr(claim.value, '@') != NULL);
	if (kind == CLAIM_SID)
		check_sid(claim.value);
	if (claim.sid[0] != '\0')
		check_sid(claim.sid);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	char *copy;
	X509 *cert;
	struct serial serial;
	uint8_t hash[SHA256_SIZE];
	char name[64];

	if (n < 2 || n > 65536)
		return 0;
	copy = fuzz_exact(bytes, n);
	cert = certificate_from((const uint8_t *)copy, n);
	for (int kind = CLAIM_SID; cert != NULL && kind < CLAIM_KINDS; kind++)
		check_claim(cert, (enum claim_kind)kind);
	if (cert != NULL && bytes[0] == 0) {
		if (cert_serial(X509_get0_serialNumber(cert), &serial) == CERT_OK)
			FUZZ_CHECK(serial.n >= 1 && serial.n <= SERIAL_MAX && serial.byte[0] != 0);
		(void)!cert_sha256(cert, hash);
		(void)!cert_spki_sha256(cert, hash);
	}
	if (cert != NULL) {
		cert_name_for_log(X509_get_subject_name(cert), name, sizeof(name));
		FUZZ_CHECK(strlen(name) < sizeof(name));
	}
	X509_free(cert);
	ERR_clear_error();
	free(copy);
	return 0;
}
