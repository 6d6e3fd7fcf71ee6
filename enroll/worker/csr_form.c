/*
 * csr_form: templates for OpenSSL's reader of ASN.1, and what is taken out of them. Pure. Worker process and fuzzers.
 */
#include "enroll/worker/csr_form.h"

#include <openssl/asn1t.h>
#include <openssl/x509v3.h>

ASN1_SEQUENCE_enc(CSR_INFO, enc, 0) = {
	ASN1_SIMPLE(CSR_INFO, version, ASN1_INTEGER),
	ASN1_SIMPLE(CSR_INFO, subject, X509_NAME),
	ASN1_SIMPLE(CSR_INFO, key, ASN1_ANY),
	/* some leave them out, which is no DER of RFC 2986: OpenSSL takes it, too */
	ASN1_IMP_SET_OF_OPT(CSR_INFO, attributes, X509_ATTRIBUTE, 0),
} static_ASN1_SEQUENCE_END_ref(CSR_INFO, CSR_INFO)

ASN1_SEQUENCE(CSR_FORM) = {
	ASN1_SIMPLE(CSR_FORM, info, CSR_INFO),
	ASN1_SIMPLE(CSR_FORM, algorithm, X509_ALGOR),
	ASN1_SIMPLE(CSR_FORM, signature, ASN1_BIT_STRING),
} static_ASN1_SEQUENCE_END(CSR_FORM)

CSR_FORM *csr_form_read(struct strv der)
{
	const unsigned char *p = (const unsigned char *)der.p;
	CSR_FORM *form = (CSR_FORM *)ASN1_item_d2i(NULL, &p, (long)der.n, ASN1_ITEM_rptr(CSR_FORM));

	if (form != NULL && (p != (const unsigned char *)der.p + der.n || ASN1_TYPE_get(form->info->key) != V_ASN1_SEQUENCE)) {
		csr_form_free(form);
		form = NULL;
	}
	return form;
}

void csr_form_free(CSR_FORM *form)
{
	ASN1_item_free((ASN1_VALUE *)form, ASN1_ITEM_rptr(CSR_FORM));
}

struct strv csr_form_key(const CSR_FORM *form)
{
	const ASN1_STRING *key = form->info->key->value.sequence;

	return (struct strv){ (const char *)ASN1_STRING_get0_data(key), (size_t)ASN1_STRING_length(key) };
}

bool csr_form_is_signed_by(const CSR_FORM *form, EVP_PKEY *key)
{
	/* BIT STRINGs of X.509 are whole bytes; ASN1_item_verify() says so itself */
	return ASN1_item_verify(ASN1_ITEM_rptr(CSR_INFO), form->algorithm, form->signature, form->info, key) == 1;
}

STACK_OF(X509_EXTENSION) *csr_form_extensions(const CSR_FORM *form)
{
	static const int kinds[] = { NID_ext_req, NID_ms_ext_req };
	const ASN1_TYPE *value = NULL;
	const unsigned char *p;
	int at;

	for (size_t i = 0; i < ARRAY_LEN(kinds) && value == NULL; i++) {
		at = X509at_get_attr_by_NID(form->info->attributes, kinds[i], -1);
		if (at >= 0)
			value = X509_ATTRIBUTE_get0_type(X509at_get_attr(form->info->attributes, at), 0);
	}
	if (value == NULL || ASN1_TYPE_get(value) != V_ASN1_SEQUENCE)
		return NULL;
	p = ASN1_STRING_get0_data(value->value.sequence);
	return (STACK_OF(X509_EXTENSION) *)ASN1_item_d2i(NULL, &p, ASN1_STRING_length(value->value.sequence), ASN1_ITEM_rptr(X509_EXTENSIONS));
}
