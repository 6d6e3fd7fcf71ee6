/*
 * csr_claims: what a request says about who it is for. Nobody believes it: it goes to the audit trail. Pure. Worker process and fuzzers.
 */
#include <openssl/x509v3.h>
#include <stdio.h>

#include "common/certificate.h"
#include "common/text.h"
#include "enroll/worker/csr_parts.h"

#define UNREADABLE "?"	/* a claim that is no text names nobody we know */

/* One more line; what does not fit becomes a claim to be somebody else. */
static void claim(struct csr *out, struct strv text)
{
	size_t n = strlen(out->claimed);

	if (text.n > 256 || n + text.n + 4 > sizeof(out->claimed) || !text_is_clean(text))
		text = STRV(UNREADABLE);
	if (n + text.n + 2 > sizeof(out->claimed))
		return;
	memcpy(out->claimed + n, text.p, text.n);
	memcpy(out->claimed + n + text.n, "\n", 2);
}

static void claim_asn1(struct csr *out, const ASN1_STRING *s)
{
	unsigned char *utf8 = NULL;
	int n = s != NULL ? ASN1_STRING_to_UTF8(&utf8, s) : -1;

	claim(out, n < 0 ? STRV(UNREADABLE) : (struct strv){ (const char *)utf8, (size_t)n });
	if (n >= 0)
		OPENSSL_free(utf8);
}

/* Appends to `asked` what can be shown; the rest of a byte's meaning does not matter. */
static void ask(struct csr *out, const char *what, struct strv text)
{
	size_t n = strlen(out->asked), room = sizeof(out->asked) - 1;

	for (; *what != '\0' && n < room; what++)
		out->asked[n++] = *what;
	for (size_t i = 0; i < text.n && n < room; i++)
		out->asked[n++] = text.p[i] >= 0x20 && text.p[i] < 0x7f ? text.p[i] : '.';
	if (n < room)
		out->asked[n++] = ' ';
	out->asked[n] = '\0';
}

static void take_name(struct csr *out, const GENERAL_NAME *name)
{
	int kind = 0;
	const ASN1_STRING *s = GENERAL_NAME_get0_value(name, &kind);
	ASN1_OBJECT *oid = NULL;
	ASN1_TYPE *value = NULL;

	if (kind == GEN_EMAIL || kind == GEN_DNS || kind == GEN_URI) {
		ask(out, kind == GEN_EMAIL ? "email:" : kind == GEN_DNS ? "dns:" : "uri:",
		    (struct strv){ (const char *)ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s) });
		if (kind == GEN_EMAIL)
			claim_asn1(out, s);
	} else if (kind == GEN_OTHERNAME && GENERAL_NAME_get0_otherName(name, &oid, &value) == 1 && OBJ_obj2nid(oid) == NID_ms_upn) {
		s = value != NULL && value->type == V_ASN1_UTF8STRING ? value->value.asn1_string : NULL;
		ask(out, "upn:", s != NULL ? (struct strv){ (const char *)ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s) } : STRV(UNREADABLE));
		claim_asn1(out, s);
	} else {
		ask(out, "name:", STRV(UNREADABLE));
	}
}

/* The SID stands in there as plain text (MS-WCCE 2.2.2.7.7.4). */
static void take_sid(struct csr *out, const ASN1_OCTET_STRING *value)
{
	const char *p = (const char *)ASN1_STRING_get0_data(value), *sid;
	size_t n = (size_t)ASN1_STRING_length(value), k = 0;

	sid = n > 0 ? memmem(p, n, "S-1-", 4) : NULL;
	if (sid == NULL) {
		claim(out, STRV(UNREADABLE));
		return;
	}
	while (sid + k < p + n && ((sid[k] >= '0' && sid[k] <= '9') || sid[k] == '-' || sid[k] == 'S'))
		k++;
	ask(out, "sid:", (struct strv){ sid, k });
	claim(out, (struct strv){ sid, k });
}

static void take_extension(struct csr *out, X509_EXTENSION *e)
{
	char oid[80];
	GENERAL_NAMES *names;

	if (OBJ_obj2txt(oid, sizeof(oid), X509_EXTENSION_get_object(e), 1) <= 0)
		memcpy(oid, UNREADABLE, sizeof(UNREADABLE));
	if (strcmp(oid, "1.3.6.1.4.1.311.25.2") == 0) {
		take_sid(out, X509_EXTENSION_get_data(e));
		return;
	}
	if (strcmp(oid, "2.5.29.17") != 0) {
		ask(out, "ext:", strv_from(oid));
		return;
	}
	names = X509V3_EXT_d2i(e);
	if (names == NULL)
		claim(out, STRV(UNREADABLE));
	for (int i = 0; i < sk_GENERAL_NAME_num(names) && i < 64; i++)
		take_name(out, sk_GENERAL_NAME_value(names, i));
	GENERAL_NAMES_free(names);
}

void csr_take_claims(const CSR_FORM *form, struct csr *out)
{
	static const int kinds[] = { NID_commonName, NID_userId, NID_pkcs9_emailAddress };
	const X509_NAME *subject = form->info->subject;
	STACK_OF(X509_EXTENSION) *extensions = csr_form_extensions(form);

	cert_name_for_log(subject, out->subject, sizeof(out->subject));
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
		for (int i = X509_NAME_get_index_by_NID(subject, kinds[k], -1); i >= 0; i = X509_NAME_get_index_by_NID(subject, kinds[k], i))
			claim_asn1(out, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, i)));
	for (int i = 0; i < sk_X509_EXTENSION_num(extensions) && i < 64; i++)
		take_extension(out, sk_X509_EXTENSION_value(extensions, i));
	sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
}

bool csr_names_another(const struct csr *c, const char *const *names, size_t n)
{
	struct strv rest = strv_from(c->claimed), one;
	size_t i;

	while (rest.p != NULL) {
		one = text_split(&rest, '\n');
		if (one.n == 0)
			continue;
		for (i = 0; i < n; i++)
			if (names[i] != NULL && names[i][0] != '\0' && text_eq_nocase(one, strv_from(names[i])))
				break;
		if (i == n)
			return true;
	}
	return false;
}
