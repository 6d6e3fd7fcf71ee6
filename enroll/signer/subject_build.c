/*
 * subject_build: the subject from the profile's template and the account's values. Runs in the signer; certificate_build.h describes it.
 */
#include <openssl/asn1.h>
#include <openssl/objects.h>
#include <stdio.h>

#include "common/text.h"
#include "enroll/signer/certificate_build.h"

#define VALUE_MAX 1024

/* The value that a word in braces stands for; NULL: none of ours. */
static const char *word_value(struct strv word, const struct signer_issue *q)
{
	if (strv_eq(word, STRV("display_name")))
		return q->display_name;
	if (strv_eq(word, STRV("sam")))
		return q->sam;
	if (strv_eq(word, STRV("upn")))
		return q->upn;
	if (strv_eq(word, STRV("mail")))
		return q->mail;
	return strv_eq(word, STRV("device")) ? q->device : NULL;
}

static int append(char *out, size_t *n, const char *p, size_t len)
{
	if (len >= VALUE_MAX - *n)
		return -1;
	memcpy(out + *n, p, len);
	*n += len;
	out[*n] = '\0';
	return 0;
}

/* Fills in the words. -1: an unknown word, a brace that does not close, too long. */
static int fill(struct strv text, const struct signer_issue *q, char out[VALUE_MAX])
{
	size_t n = 0;

	out[0] = '\0';
	while (text.n > 0) {
		const char *brace = memchr(text.p, '{', text.n), *end;
		size_t plain = brace != NULL ? (size_t)(brace - text.p) : text.n;
		const char *value;

		if (append(out, &n, text.p, plain) < 0)
			return -1;
		text.p += plain;
		text.n -= plain;
		if (brace == NULL)
			break;
		end = memchr(text.p, '}', text.n);
		value = end != NULL ?
		    word_value((struct strv){ text.p + 1, (size_t)(end - text.p) - 1 }, q) :
		    NULL;
		if (value == NULL || append(out, &n, value, strlen(value)) < 0)
			return -1;
		text.n -= (size_t)(end - text.p) + 1;
		text.p = end + 1;
	}
	return 0;
}

/* SET { SEQUENCE { attribute, value } } (RFC 5280 section 4.1.2.4), the value of the type and within the length that OpenSSL knows for it. */
static bool put_attribute(struct der_writer *d, int nid, const char *value)
{
	ASN1_STRING *text = ASN1_STRING_set_by_NID(NULL, (const unsigned char *)value, (int)strlen(value), MBSTRING_UTF8, nid);
	size_t mark = der_mark(d);

	if (text == NULL)
		return false;
	der_value(d, (uint8_t)ASN1_STRING_type(text), ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text));
	ASN1_STRING_free(text);
	der_oid(d, nid);
	der_enclose(d, DER_SEQUENCE, mark);
	der_enclose(d, DER_SET, mark);
	return true;
}

static int put_part(struct der_writer *d, struct strv part, const struct signer_issue *q, struct refusal *r)
{
	char key[32], value[VALUE_MAX];
	struct strv word = text_split(&part, '=');
	int nid;

	word = text_trim(word);
	if (part.p == NULL || text_copy(key, sizeof(key), word) < 0 ||
	    (nid = OBJ_txt2nid(key)) == NID_undef || fill(part, q, value) < 0)
		return refuse(r, SIGNER_REFUSED,
		    "enroll.profiles.subject: \"%.*s\" is no attribute, or its value has an unknown word in braces",
		    word.n > 40 ? 40 : (int)word.n, word.p);
	if (value[0] != '\0' && !put_attribute(d, nid, value))
		return refuse(r, SIGNER_REFUSED,
		    "%s in the subject: \"%.80s\" is too long or of characters it may not have; use another word in enroll.profiles.subject",
		    key, value);
	return 0;
}

/* From its end to its front, as all that is written. */
int certificate_subject(
    struct der_writer *d, const char *template, const struct signer_issue *q, struct refusal *r)
{
	struct strv rest = strv_from(template), part;
	size_t mark = der_mark(d);
	const char *comma;

	do {
		comma = memrchr(rest.p, ',', rest.n);
		part = comma != NULL ? (struct strv){ comma + 1, (size_t)(rest.p + rest.n - comma) - 1 } : rest;
		rest.n = comma != NULL ? (size_t)(comma - rest.p) : 0;
		if (put_part(d, part, q, r) < 0)
			return -1;
	} while (comma != NULL);
	if (der_mark(d) == mark)
		return refuse(r, SIGNER_REFUSED,
		    "the subject would be empty: the account has none of what enroll.profiles.subject names");
	der_enclose(d, DER_SEQUENCE, mark);
	return 0;
}
