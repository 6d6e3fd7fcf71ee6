/*
 * cms_form: the templates, and what is found by them. Worker, signer and fuzzers.
 */
#include "enroll/cms_form.h"

#include <limits.h>

typedef struct signed_info {
	ASN1_OBJECT *type;
	CMS_SIGNED_FORM *form;
} SIGNED_INFO;
typedef struct enveloped_info {
	ASN1_OBJECT *type;
	CMS_ENVELOPED_FORM *form;
} ENVELOPED_INFO;

ASN1_SEQUENCE(CMS_CONTENT_FORM) = {
	ASN1_SIMPLE(CMS_CONTENT_FORM, type, ASN1_OBJECT),
	ASN1_EXP_OPT(CMS_CONTENT_FORM, bytes, ASN1_OCTET_STRING, 0),
} static_ASN1_SEQUENCE_END(CMS_CONTENT_FORM)

ASN1_SEQUENCE(CMS_SIGNER_FORM) = {
	ASN1_SIMPLE(CMS_SIGNER_FORM, version, ASN1_INTEGER),
	ASN1_SIMPLE(CMS_SIGNER_FORM, who, ASN1_ANY),
	ASN1_SIMPLE(CMS_SIGNER_FORM, digest, X509_ALGOR),
	ASN1_IMP_SET_OF_OPT(CMS_SIGNER_FORM, attributes, X509_ATTRIBUTE, 0),
	ASN1_SIMPLE(CMS_SIGNER_FORM, algorithm, X509_ALGOR),
	ASN1_SIMPLE(CMS_SIGNER_FORM, signature, ASN1_OCTET_STRING),
	ASN1_IMP_SET_OF_OPT(CMS_SIGNER_FORM, more, X509_ATTRIBUTE, 1),
} static_ASN1_SEQUENCE_END(CMS_SIGNER_FORM)

ASN1_SEQUENCE(CMS_SIGNED_FORM) = {
	ASN1_SIMPLE(CMS_SIGNED_FORM, version, ASN1_INTEGER),
	ASN1_SET_OF(CMS_SIGNED_FORM, digests, X509_ALGOR),
	ASN1_SIMPLE(CMS_SIGNED_FORM, content, CMS_CONTENT_FORM),
	ASN1_IMP_SET_OF_OPT(CMS_SIGNED_FORM, certificates, ASN1_ANY, 0),
	ASN1_IMP_SET_OF_OPT(CMS_SIGNED_FORM, crls, ASN1_ANY, 1),
	ASN1_SET_OF(CMS_SIGNED_FORM, signers, CMS_SIGNER_FORM),
} static_ASN1_SEQUENCE_END(CMS_SIGNED_FORM)

ASN1_SEQUENCE(SIGNED_INFO) = {
	ASN1_SIMPLE(SIGNED_INFO, type, ASN1_OBJECT),
	ASN1_EXP(SIGNED_INFO, form, CMS_SIGNED_FORM, 0),
} static_ASN1_SEQUENCE_END(SIGNED_INFO)

ASN1_SEQUENCE(CMS_RECIPIENT_FORM) = {
	ASN1_SIMPLE(CMS_RECIPIENT_FORM, version, ASN1_INTEGER),
	ASN1_SIMPLE(CMS_RECIPIENT_FORM, who, ASN1_ANY),
	ASN1_SIMPLE(CMS_RECIPIENT_FORM, algorithm, X509_ALGOR),
	ASN1_SIMPLE(CMS_RECIPIENT_FORM, key, ASN1_OCTET_STRING),
} static_ASN1_SEQUENCE_END(CMS_RECIPIENT_FORM)

ASN1_SEQUENCE(CMS_ENCRYPTED_FORM) = {
	ASN1_SIMPLE(CMS_ENCRYPTED_FORM, type, ASN1_OBJECT),
	ASN1_SIMPLE(CMS_ENCRYPTED_FORM, cipher, X509_ALGOR),
	ASN1_IMP(CMS_ENCRYPTED_FORM, bytes, ASN1_OCTET_STRING, 0),
} static_ASN1_SEQUENCE_END(CMS_ENCRYPTED_FORM)

ASN1_SEQUENCE(CMS_ENVELOPED_FORM) = {
	ASN1_SIMPLE(CMS_ENVELOPED_FORM, version, ASN1_INTEGER),
	ASN1_SET_OF(CMS_ENVELOPED_FORM, recipients, CMS_RECIPIENT_FORM),
	ASN1_SIMPLE(CMS_ENVELOPED_FORM, content, CMS_ENCRYPTED_FORM),
	ASN1_IMP_SET_OF_OPT(CMS_ENVELOPED_FORM, attributes, ASN1_ANY, 1),
} static_ASN1_SEQUENCE_END(CMS_ENVELOPED_FORM)

ASN1_SEQUENCE(ENVELOPED_INFO) = {
	ASN1_SIMPLE(ENVELOPED_INFO, type, ASN1_OBJECT),
	ASN1_EXP(ENVELOPED_INFO, form, CMS_ENVELOPED_FORM, 0),
} static_ASN1_SEQUENCE_END(ENVELOPED_INFO)

/* SEQUENCE OF with the head of a SET: a SET OF would be brought into another order than the signer's. */
ASN1_ITEM_TEMPLATE(SIGNED_ATTRIBUTES) = ASN1_EX_TEMPLATE_TYPE(
    ASN1_TFLG_SEQUENCE_OF | ASN1_TFLG_IMPTAG | ASN1_TFLG_UNIVERSAL, V_ASN1_SET, SIGNED_ATTRIBUTES, X509_ATTRIBUTE)
static_ASN1_ITEM_TEMPLATE_END(SIGNED_ATTRIBUTES)

static ASN1_VALUE *read_all(struct strv bytes, const ASN1_ITEM *item)
{
	const unsigned char *p = (const unsigned char *)bytes.p;
	ASN1_VALUE *value = bytes.n > 0 && bytes.n <= LONG_MAX ? ASN1_item_d2i(NULL, &p, (long)bytes.n, item) : NULL;

	if (value != NULL && p != (const unsigned char *)bytes.p + bytes.n) {
		ASN1_item_free(value, item);
		value = NULL;
	}
	return value;
}

CMS_SIGNED_FORM *cms_signed_read(struct strv bytes)
{
	SIGNED_INFO *info = (SIGNED_INFO *)read_all(bytes, ASN1_ITEM_rptr(SIGNED_INFO));
	CMS_SIGNED_FORM *form = NULL;

	if (info != NULL && OBJ_obj2nid(info->type) == NID_pkcs7_signed) {
		form = info->form;
		info->form = NULL;
	}
	ASN1_item_free((ASN1_VALUE *)info, ASN1_ITEM_rptr(SIGNED_INFO));
	return form;
}

void cms_signed_free(CMS_SIGNED_FORM *form)
{
	ASN1_item_free((ASN1_VALUE *)form, ASN1_ITEM_rptr(CMS_SIGNED_FORM));
}

CMS_ENVELOPED_FORM *cms_enveloped_read(struct strv bytes)
{
	ENVELOPED_INFO *info = (ENVELOPED_INFO *)read_all(bytes, ASN1_ITEM_rptr(ENVELOPED_INFO));
	CMS_ENVELOPED_FORM *form = NULL;

	if (info != NULL && OBJ_obj2nid(info->type) == NID_pkcs7_enveloped) {
		form = info->form;
		info->form = NULL;
	}
	ASN1_item_free((ASN1_VALUE *)info, ASN1_ITEM_rptr(ENVELOPED_INFO));
	return form;
}

void cms_enveloped_free(CMS_ENVELOPED_FORM *form)
{
	ASN1_item_free((ASN1_VALUE *)form, ASN1_ITEM_rptr(CMS_ENVELOPED_FORM));
}

int cms_signed_attributes(const CMS_SIGNER_FORM *signer, unsigned char **der)
{
	*der = NULL;
	return ASN1_item_i2d((const ASN1_VALUE *)signer->attributes, der, ASN1_ITEM_rptr(SIGNED_ATTRIBUTES));
}

const ASN1_TYPE *cms_signed_attribute(const CMS_SIGNER_FORM *signer, struct strv oid, int type)
{
	const ASN1_TYPE *value;
	X509_ATTRIBUTE *found = NULL;

	for (int i = 0; i < sk_X509_ATTRIBUTE_num(signer->attributes); i++) {
		X509_ATTRIBUTE *one = sk_X509_ATTRIBUTE_value(signer->attributes, i);
		const ASN1_OBJECT *object = X509_ATTRIBUTE_get0_object(one);

		if (!strv_eq(oid, (struct strv){ (const char *)OBJ_get0_data(object), OBJ_length(object) }))
			continue;
		if (found != NULL)
			return NULL;
		found = one;
	}
	if (found == NULL || X509_ATTRIBUTE_count(found) != 1)
		return NULL;
	value = X509_ATTRIBUTE_get0_type(found, 0);
	return value != NULL && ASN1_TYPE_get(value) == type ? value : NULL;
}
