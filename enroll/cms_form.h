/*
 * cms_form: the two kinds of CMS (RFC 5652) that SCEP is made of, as templates for OpenSSL's reader of ASN.1 (BER: indefinite lengths, too). Certificates,
 * names and recipients stay bytes: its own CMS makes objects of them, and OpenSSL 3.0 spends more on a certificate's key than on verifying what it signed.
 * Pure; knows no key, verifies and decrypts nothing. Worker, signer and fuzzers.
 */
#ifndef EASGATE_ENROLL_CMS_FORM_H
#define EASGATE_ENROLL_CMS_FORM_H

#include <openssl/asn1t.h>
#include <openssl/x509.h>

#include "common/base.h"

typedef struct cms_content_form {
	ASN1_OBJECT *type;
	ASN1_OCTET_STRING *bytes;	/* NULL: none */
} CMS_CONTENT_FORM;

typedef struct cms_signer_form {
	ASN1_INTEGER *version;
	ASN1_TYPE *who;		/* SEQUENCE: IssuerAndSerialNumber; else [0] a subject key identifier */
	X509_ALGOR *digest;
	STACK_OF(X509_ATTRIBUTE) *attributes;	/* the signed ones, in the order in which they came; NULL: none */
	X509_ALGOR *algorithm;
	ASN1_OCTET_STRING *signature;
	STACK_OF(X509_ATTRIBUTE) *more;		/* nobody signed them */
} CMS_SIGNER_FORM;
DEFINE_STACK_OF(CMS_SIGNER_FORM)

typedef struct cms_signed_form {
	ASN1_INTEGER *version;
	STACK_OF(X509_ALGOR) *digests;
	CMS_CONTENT_FORM *content;
	STACK_OF(ASN1_TYPE) *certificates;	/* SEQUENCE: a certificate; NULL: none */
	STACK_OF(ASN1_TYPE) *crls;
	STACK_OF(CMS_SIGNER_FORM) *signers;
} CMS_SIGNED_FORM;

/* KeyTransRecipientInfo: no other kind is read. */
typedef struct cms_recipient_form {
	ASN1_INTEGER *version;
	ASN1_TYPE *who;
	X509_ALGOR *algorithm;
	ASN1_OCTET_STRING *key;
} CMS_RECIPIENT_FORM;
DEFINE_STACK_OF(CMS_RECIPIENT_FORM)

typedef struct cms_encrypted_form {
	ASN1_OBJECT *type;
	X509_ALGOR *cipher;
	ASN1_OCTET_STRING *bytes;
} CMS_ENCRYPTED_FORM;

typedef struct cms_enveloped_form {
	ASN1_INTEGER *version;
	STACK_OF(CMS_RECIPIENT_FORM) *recipients;
	CMS_ENCRYPTED_FORM *content;
	STACK_OF(ASN1_TYPE) *attributes;
} CMS_ENVELOPED_FORM;

/* A ContentInfo of that kind with nothing behind it, or NULL. Leaves OpenSSL's errors in its queue. */
CMS_SIGNED_FORM *cms_signed_read(struct strv bytes);
void cms_signed_free(CMS_SIGNED_FORM *form);	/* accepts NULL */
CMS_ENVELOPED_FORM *cms_enveloped_read(struct strv bytes);
void cms_enveloped_free(CMS_ENVELOPED_FORM *form);	/* accepts NULL */

/* What a signer signs (RFC 5652 section 5.4): DER of its attributes as a SET OF, in their order. *der: OPENSSL_free(). Its length, or -1. */
int cms_signed_attributes(const CMS_SIGNER_FORM *signer, unsigned char **der);
/* The value of a signed attribute that stands there once with one value of this type (V_ASN1_...); NULL if not. oid: the bytes inside its head. */
const ASN1_TYPE *cms_signed_attribute(const CMS_SIGNER_FORM *signer, struct strv oid, int type);

static inline struct strv asn1_string_view(const ASN1_STRING *s)
{
	return (struct strv){ (const char *)ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s) };
}

#endif
