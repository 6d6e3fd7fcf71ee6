/*
 * crl_parts: writes the parts of a CRL byte by byte: a million X509_REVOKED would take a gigabyte. Runs in the signer.
 */
#include "enroll/signer/crl_parts.h"

#include <openssl/objects.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#include "enroll/der_write.h"

#define YEAR_2050 2524608000 /* from here on GeneralizedTime (RFC 5280 section 5.1.2.4) */
#define YEAR_9999 253402300799
#define TIME_MAX  17

size_t der_head(uint8_t *out, uint8_t tag, size_t n)
{
	size_t bytes = 0, i;

	out[0] = tag;
	if (n < 128) {
		out[1] = (uint8_t)n;
		return 2;
	}
	while (bytes < 4 && n >> 8 * bytes != 0)
		bytes++;
	out[1] = (uint8_t)(0x80 | bytes);
	for (i = 0; i < bytes; i++)
		out[2 + i] = (uint8_t)(n >> 8 * (bytes - 1 - i));
	return 2 + bytes;
}

static void two_digits(uint8_t *out, int number)
{
	out[0] = (uint8_t)('0' + number / 10 % 10);
	out[1] = (uint8_t)('0' + number % 10);
}

/* 0: not a time that a CRL may hold. */
static size_t write_time(uint8_t *out, int64_t when)
{
	time_t t = (time_t)when;
	struct tm tm;
	size_t at = 2;

	if (when < 0 || when > YEAR_9999 || gmtime_r(&t, &tm) == NULL)
		return 0;
	out[0] = when < YEAR_2050 ? 0x17 : 0x18;
	if (when >= YEAR_2050) {
		two_digits(out + at, (tm.tm_year + 1900) / 100);
		at += 2;
	}
	two_digits(out + at, tm.tm_year % 100);
	two_digits(out + at + 2, tm.tm_mon + 1);
	two_digits(out + at + 4, tm.tm_mday);
	two_digits(out + at + 6, tm.tm_hour);
	two_digits(out + at + 8, tm.tm_min);
	two_digits(out + at + 10, tm.tm_sec);
	out[at + 12] = 'Z';
	out[1] = (uint8_t)(at + 11);
	return at + 13;
}

static size_t write_serial(uint8_t *out, const uint8_t serial[SIGNER_SERIAL])
{
	size_t n = der_integer_inside(out + 2, serial, SIGNER_SERIAL);

	out[0] = DER_INTEGER;
	out[1] = (uint8_t)n;
	return 2 + n;
}

static bool good_reason(uint8_t reason, bool delta)
{
	return reason <= 6 || reason == 9 || reason == 10 || (reason == 8 && delta);
}

int crl_entry_write(uint8_t *out, const struct signer_crl_entry *e, bool delta)
{
	static const uint8_t reason[] = { 0x30, 0x0c, 0x30, 0x0a, 0x06, 0x03, 0x55, 0x1d, 0x15,
		0x04, 0x03, 0x0a, 0x01 };
	size_t n = 2, time_n;

	if (!good_reason(e->reason, delta))
		return -1;
	n += write_serial(out + n, e->serial);
	time_n = write_time(out + n, e->when);
	if (time_n == 0)
		return -1;
	n += time_n;
	if (e->reason != 0) { /* "unspecified" should not be written (RFC 5280 section 5.3.1) */
		memcpy(out + n, reason, sizeof(reason));
		n += sizeof(reason);
		out[n++] = e->reason;
	}
	out[0] = 0x30;
	out[1] = (uint8_t)(n - 2);
	return (int)n;
}

/* --- the extensions --- */

static bool add_number(X509_CRL *crl, int nid, uint64_t number, int critical)
{
	ASN1_INTEGER *value = ASN1_INTEGER_new();
	bool good = value != NULL && ASN1_INTEGER_set_uint64(value, number) &&
	    X509_CRL_add1_ext_i2d(crl, nid, value, critical, X509V3_ADD_APPEND) == 1;

	ASN1_INTEGER_free(value);
	return good;
}

static bool add_text(X509_CRL *crl, X509 *issuer, int nid, const char *value)
{
	X509_EXTENSION *extension;
	X509V3_CTX ctx;
	bool good;

	X509V3_set_ctx(&ctx, issuer, NULL, NULL, crl, 0);
	extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	good = extension != NULL && X509_CRL_add_ext(crl, extension, -1);
	X509_EXTENSION_free(extension);
	return good;
}

static int write_tail(const struct crl_order *o, uint8_t **out, size_t *out_n)
{
	X509_CRL *crl = X509_CRL_new();
	unsigned char *der = NULL;
	char url[2048];
	bool good;
	int n = -1;
	uint8_t *p;

	good = crl != NULL &&
	    add_text(crl, o->issuer->certificate, NID_authority_key_identifier, "keyid:always") &&
	    add_number(crl, NID_crl_number, o->question.number, 0);
	if (good && o->question.base_number != 0)
		good = add_number(crl, NID_delta_crl, o->question.base_number, 1);
	else if (good && o->delta_url != NULL)
		good = (size_t)snprintf(url, sizeof(url), "URI:%s", o->delta_url) < sizeof(url) &&
		    add_text(crl, o->issuer->certificate, NID_freshest_crl, url);
	if (good)
		n = i2d_X509_EXTENSIONS(
		    (X509_EXTENSIONS *)(uintptr_t)X509_CRL_get0_extensions(crl), &der);
	p = n > 0 ? malloc((size_t)n + DER_HEAD_MAX) : NULL;
	if (p != NULL) {
		*out_n = der_head(p, 0xa0, (size_t)n);
		memcpy(p + *out_n, der, (size_t)n);
		*out_n += (size_t)n;
		*out = p;
	}
	OPENSSL_free(der);
	X509_CRL_free(crl);
	return p != NULL ? 0 : -1;
}

int crl_frame(const struct crl_order *o, size_t entries_n, uint8_t **head, size_t *head_n,
    uint8_t **tail, size_t *tail_n, struct refusal *r)
{
	static const uint8_t version[] = { 0x02, 0x01, 0x01 };
	uint8_t times[2 * (TIME_MAX + 1)], list[DER_HEAD_MAX], whole[DER_HEAD_MAX], *algorithm,
	    *name = NULL, *p = NULL;
	size_t algorithm_n = 0, times_n, list_n, whole_n, body_n, at = 0, part;
	int name_n, rc = -1;

	*head = *tail = NULL;
	algorithm = key_algorithm(o->issuer->pkey, &algorithm_n);
	name_n = i2d_X509_NAME(X509_get_subject_name(o->issuer->certificate), &name);
	times_n = write_time(times, o->question.this_update);
	part = write_time(times + times_n, o->question.next_update);
	times_n += part;
	if (algorithm == NULL || name_n <= 0 || part == 0 || write_tail(o, tail, tail_n) < 0) {
		refuse_openssl(r, "cannot write the CRL's head");
		goto out;
	}
	list_n = entries_n > 0 ? der_head(list, 0x30, entries_n) :
				 0; /* absent when there is none (RFC 5280 section 5.1.2.6) */
	body_n = sizeof(version) + algorithm_n + (size_t)name_n + times_n + list_n;
	whole_n = der_head(whole, 0x30, body_n + entries_n + *tail_n);
	p = malloc(whole_n + body_n);
	if (p == NULL) {
		refuse(r, SIGNER_BROKEN, "out of memory");
		goto out;
	}
#define PUT(bytes, n) (memcpy(p + at, bytes, n), at += (n))
	PUT(whole, whole_n);
	PUT(version, sizeof(version));
	PUT(algorithm, algorithm_n);
	PUT(name, (size_t)name_n);
	PUT(times, times_n);
	PUT(list, list_n);
#undef PUT
	*head = p;
	*head_n = at;
	rc = 0;
out:
	if (rc < 0) {
		free(*tail);
		*tail = NULL;
	}
	free(algorithm);
	OPENSSL_free(name);
	return rc;
}
