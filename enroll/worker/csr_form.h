/*
 * csr_form: the shape of a PKCS#10 request (RFC 2986 §4). Its key stays bytes: OpenSSL's X509_REQ would make a key object of them by its decoders, which
 * costs more than the verification of the signature (common/public_key.h). Pure. Worker process and fuzzers.
 */
#ifndef EASGATE_ENROLL_CSR_FORM_H
#define EASGATE_ENROLL_CSR_FORM_H

#include <openssl/x509.h>

#include "common/base.h"

typedef struct csr_info {
	ASN1_ENCODING enc;	/* as received: what is signed */
	ASN1_INTEGER *version;
	X509_NAME *subject;
	ASN1_TYPE *key;		/* SubjectPublicKeyInfo; a SEQUENCE */
	STACK_OF(X509_ATTRIBUTE) *attributes;
} CSR_INFO;
typedef struct csr_form {
	CSR_INFO *info;
	X509_ALGOR *algorithm;
	ASN1_BIT_STRING *signature;
} CSR_FORM;

/* All of `der`, which is not longer than a long can say. NULL: none. */
CSR_FORM *csr_form_read(struct strv der);
void csr_form_free(CSR_FORM *form);	/* accepts NULL */
/* The bytes of its SubjectPublicKeyInfo; as long as form. */
struct strv csr_form_key(const CSR_FORM *form);
bool csr_form_is_signed_by(const CSR_FORM *form, EVP_PKEY *key);
/* Of the first extensionRequest. NULL: none, or unreadable. The caller frees. */
STACK_OF(X509_EXTENSION) *csr_form_extensions(const CSR_FORM *form);

#endif
