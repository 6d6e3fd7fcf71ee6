/*
 * crl: the form of a certificate revocation list: what is in it, and refusing what is not understood.
 * Verifies nothing (crl_verify.c), opens nothing (crl_file.c). Pure; runs in the revocation process and the fuzzer.
 */
#include "proxy/revocation/crl.h"

#include "common/der.h"

#define OID_CE(n) "\x55\x1d" n		/* 2.5.29.n */

static const struct {
	int result;
	const char *text;
} texts[] = {
	{ CRL_OK, "accepted" },
	{ CRL_MALFORMED, "not a DER or PEM certificate revocation list" },
	{ CRL_BAD_ENTRY, "an entry's serial, date or extensions are malformed" },
	{ CRL_BAD_EXTENSION, "an extension is malformed or there twice" },
	{ CRL_UNKNOWN_CRITICAL, "an unknown critical extension" },
	{ CRL_INDIRECT, "entries of other issuers in a list that is not indirect" },
	{ CRL_PARTIAL, "covers only a part of the issuer's certificates (issuing distribution point)" },
	{ CRL_NO_NEXT_UPDATE, "has no nextUpdate: it would never grow old" },
	{ CRL_WRONG_ISSUER, "is not of this issuer (name or authority key identifier)" },
	{ CRL_NOT_A_CRL_SIGNER, "the issuer's key usage does not allow it to sign lists" },
	{ CRL_BAD_ALGORITHM, "signature algorithm is weak, unknown, or differs inside and outside" },
	{ CRL_BAD_SIGNATURE, "the signature is not the issuer's" },
	{ CRL_NOT_YET_VALID, "thisUpdate is in the future" },
	{ CRL_EXPIRED, "nextUpdate has passed" },
	{ CRL_ROLLBACK, "is older than the list that is already known" },
	{ CRL_IS_DELTA, "is a delta list, a complete one was expected" },
	{ CRL_NOT_A_DELTA, "is not a delta list" },
	{ CRL_DELTA_BASE, "the delta list is for a later complete list than the one at hand" },
	{ CRL_DELTA_SCOPE, "the delta list covers other certificates than the complete one" },
	{ CRL_TOO_MANY, "too many entries, or out of memory" },
	{ CRL_BAD_SIGNER, "signed by another key of the issuer that no configured CA certifies, or that is expired or revoked" },
	{ CRL_SIGNER_UNKNOWN, "signed by another key of the issuer, and whether that is revoked is not known" },
};

const char *crl_result_text(int result)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(texts); i++)
		if (texts[i].result == result)
			return texts[i].text;
	return "unknown";
}

int serial_compare(const struct serial *a, const struct serial *b)
{
	if (a->n != b->n)
		return a->n < b->n ? -1 : 1;
	return memcmp(a->byte, b->byte, a->n);
}

/* The number 0 is n == 0. */
static int take_number(struct strv *rest, struct serial *out)
{
	struct strv contents, magnitude;

	memset(out, 0, sizeof(*out));
	if (der_take(rest, DER_INTEGER, &contents, NULL) < 0 || der_unsigned(contents, &magnitude) < 0 ||
	    magnitude.n > SERIAL_MAX)
		return -1;
	out->n = (uint8_t)magnitude.n;
	memcpy(out->byte, magnitude.p, magnitude.n);
	return 0;
}

static int take_time(struct strv *rest, int64_t *out)
{
	int tag = der_peek(*rest);
	struct strv contents;

	if (tag != DER_UTC_TIME && tag != DER_TIME)
		return -1;
	return der_take(rest, tag, &contents, NULL) < 0 ? -1 : der_time(tag, contents, out);
}

struct extension {
	struct strv oid, value;
	bool critical;
};

static int take_extension(struct strv *rest, struct extension *e)
{
	struct strv in, contents;

	e->critical = false;
	if (der_take(rest, DER_SEQUENCE, &in, NULL) < 0 || der_take(&in, DER_OID, &e->oid, NULL) < 0)
		return -1;
	if (der_peek(in) == DER_BOOLEAN &&
	    (der_take(&in, DER_BOOLEAN, &contents, NULL) < 0 || der_boolean(contents, &e->critical) < 0 || !e->critical))
		return -1;
	return der_take(&in, DER_OCTETS, &e->value, NULL) < 0 || in.n != 0 ? -1 : 0;
}

/* --- entries --- */

/* *removed: the reason is removeFromCRL. */
static int read_entry_extensions(struct strv list, const struct crl *crl, bool *removed)
{
	struct extension e;
	struct strv contents;

	while (list.n > 0) {
		if (take_extension(&list, &e) < 0)
			return CRL_BAD_ENTRY;
		if (strv_eq(e.oid, STRV(OID_CE("\x15")))) {		/* reasonCode */
			if (der_take(&e.value, DER_ENUMERATED, &contents, NULL) < 0 || e.value.n != 0 ||
			    contents.n != 1 || contents.p[0] < 0 || contents.p[0] > 10)
				return CRL_BAD_ENTRY;
			*removed = contents.p[0] == 8;
			if (*removed && !crl->is_delta)
				return CRL_BAD_ENTRY;
		} else if (strv_eq(e.oid, STRV(OID_CE("\x1d")))) {	/* certificateIssuer */
			if (!crl->is_indirect)
				return CRL_INDIRECT;
		} else if (e.critical) {
			return CRL_UNKNOWN_CRITICAL;
		}
	}
	return CRL_OK;
}

/* Takes one entry off *rest. */
static int take_entry(struct strv *rest, const struct crl *crl, struct serial *serial, bool *removed)
{
	struct strv in, list;
	int64_t date;

	*removed = false;
	if (der_take(rest, DER_SEQUENCE, &in, NULL) < 0 || take_number(&in, serial) < 0 || take_time(&in, &date) < 0)
		return CRL_BAD_ENTRY;
	if (in.n == 0)
		return CRL_OK;
	if (der_take(&in, DER_SEQUENCE, &list, NULL) < 0 || in.n != 0 || list.n == 0)
		return CRL_BAD_ENTRY;
	return read_entry_extensions(list, crl, removed);
}

static int check_entries(struct crl *crl)
{
	struct strv rest = crl->entries;
	struct serial serial;
	bool removed;
	int rc;

	while (rest.n > 0) {
		rc = take_entry(&rest, crl, &serial, &removed);
		if (rc < 0)
			return rc;
		crl->count++;
	}
	return crl->count > SERIALS_MAX ? CRL_TOO_MANY : CRL_OK;
}

/* --- extensions of the list --- */

static int read_points(struct crl *crl, struct strv name)
{
	int n = point_names(name, crl->issuer, crl->points);

	if (n < 0)
		return CRL_PARTIAL;
	crl->points_count = (unsigned)n;
	return CRL_OK;
}

/* IssuingDistributionPoint, RFC 5280 §5.2.5. */
static int read_scope(struct crl *crl, struct strv value)
{
	struct strv in, contents;
	bool flag;
	int tag;

	if (der_take(&value, DER_SEQUENCE, &in, NULL) < 0 || value.n != 0)
		return CRL_BAD_EXTENSION;
	crl->scope = in;
	while ((tag = der_peek(in)) >= 0) {
		if (der_take(&in, tag, &contents, NULL) < 0)
			return CRL_BAD_EXTENSION;
		if (tag == DER_CONTEXT(3))
			return CRL_PARTIAL;	/* some reasons */
		if (tag == DER_CONSTRUCTED(0)) {
			if (crl->points_count > 0 || read_points(crl, contents) < 0)
				return CRL_PARTIAL;
			continue;
		}
		if (der_boolean(contents, &flag) < 0)
			return CRL_BAD_EXTENSION;
		if (tag == DER_CONTEXT(1))
			crl->only_user = flag;
		else if (tag == DER_CONTEXT(4))
			crl->is_indirect = flag;
		else if ((tag == DER_CONTEXT(2) || tag == DER_CONTEXT(5)) && flag)
			return CRL_PARTIAL;
		else if (tag != DER_CONTEXT(2) && tag != DER_CONTEXT(5))
			return CRL_BAD_EXTENSION;
	}
	return CRL_OK;
}

static int read_number(struct strv value, struct serial *out)
{
	return take_number(&value, out) < 0 || value.n != 0 ? CRL_BAD_EXTENSION : CRL_OK;
}

/* Extensions that are understood; a bit each finds doubles. */
enum known { KNOWN_NUMBER, KNOWN_DELTA, KNOWN_SCOPE, KNOWN_AUTHORITY_KEY, KNOWN_FRESHEST, KNOWN_ALT_NAME, KNOWN_COUNT };

static int read_extension(struct crl *crl, const struct extension *e, unsigned *seen)
{
	static const struct strv oid[KNOWN_COUNT] = {
		[KNOWN_NUMBER] = { OID_CE("\x14"), 3 },
		[KNOWN_DELTA] = { OID_CE("\x1b"), 3 },
		[KNOWN_SCOPE] = { OID_CE("\x1c"), 3 },
		[KNOWN_AUTHORITY_KEY] = { OID_CE("\x23"), 3 },
		[KNOWN_FRESHEST] = { OID_CE("\x2e"), 3 },
		[KNOWN_ALT_NAME] = { OID_CE("\x12"), 3 },
	};
	unsigned k;

	for (k = 0; k < KNOWN_COUNT && !strv_eq(e->oid, oid[k]); k++)
		;
	if (k < KNOWN_COUNT && (*seen & (1u << k)))
		return CRL_BAD_EXTENSION;
	*seen |= 1u << k;
	switch (k) {
	case KNOWN_NUMBER:
		crl->has_number = true;
		return read_number(e->value, &crl->number);
	case KNOWN_DELTA:
		crl->is_delta = true;
		return read_number(e->value, &crl->base_number);
	case KNOWN_SCOPE:
		return read_scope(crl, e->value);
	case KNOWN_AUTHORITY_KEY:
		crl->authority_key = e->value;
		return CRL_OK;
	default:
		/* FreshestCRL and issuerAltName say nothing that counts here, but must not be critical (§5.2.2, §5.2.6). */
		return e->critical ? CRL_UNKNOWN_CRITICAL : CRL_OK;
	}
}

static int read_extensions(struct crl *crl)
{
	struct strv rest = crl->extensions;
	struct extension e;
	unsigned seen = 0;
	int rc;

	while (rest.n > 0) {
		if (take_extension(&rest, &e) < 0)
			return CRL_BAD_EXTENSION;
		rc = read_extension(crl, &e, &seen);
		if (rc < 0)
			return rc;
	}
	return CRL_OK;
}

/* --- the list --- */

static int read_tbs(struct crl *crl, struct strv in, struct strv *inner_algorithm)
{
	struct strv contents, list;
	bool v2 = false;

	if (der_peek(in) == DER_INTEGER) {
		if (der_take(&in, DER_INTEGER, &contents, NULL) < 0 || contents.n != 1 || contents.p[0] != 1)
			return CRL_MALFORMED;
		v2 = true;
	}
	if (der_take(&in, DER_SEQUENCE, &contents, inner_algorithm) < 0 ||
	    der_take(&in, DER_SEQUENCE, &contents, &crl->issuer) < 0 || take_time(&in, &crl->this_update) < 0)
		return CRL_MALFORMED;
	if (der_peek(in) != DER_UTC_TIME && der_peek(in) != DER_TIME)
		return CRL_NO_NEXT_UPDATE;
	if (take_time(&in, &crl->next_update) < 0)
		return CRL_MALFORMED;
	if (der_peek(in) == DER_SEQUENCE && der_take(&in, DER_SEQUENCE, &crl->entries, NULL) < 0)
		return CRL_MALFORMED;
	if (der_peek(in) == DER_CONSTRUCTED(0)) {
		if (!v2 || der_take(&in, DER_CONSTRUCTED(0), &list, NULL) < 0 ||
		    der_take(&list, DER_SEQUENCE, &crl->extensions, NULL) < 0 || list.n != 0 || crl->extensions.n == 0)
			return CRL_MALFORMED;
	}
	return in.n == 0 ? CRL_OK : CRL_MALFORMED;
}

int crl_read(struct strv der, struct crl *out)
{
	struct strv in, tbs, contents, inner;
	struct crl crl = { 0 };
	int rc;

	if (der_take(&der, DER_SEQUENCE, &in, NULL) < 0 || der.n != 0 ||
	    der_take(&in, DER_SEQUENCE, &tbs, &crl.tbs) < 0 ||
	    der_take(&in, DER_SEQUENCE, &contents, &crl.algorithm) < 0 ||
	    der_take(&in, DER_BIT_STRING, &contents, NULL) < 0 || in.n != 0 || contents.n < 2 || contents.p[0] != 0)
		return CRL_MALFORMED;
	crl.signature = (struct strv){ contents.p + 1, contents.n - 1 };
	rc = read_tbs(&crl, tbs, &inner);
	if (rc == CRL_OK && !strv_eq(inner, crl.algorithm))
		rc = CRL_BAD_ALGORITHM;
	if (rc == CRL_OK)
		rc = read_extensions(&crl);
	if (rc == CRL_OK)
		rc = check_entries(&crl);
	if (rc == CRL_OK)
		*out = crl;
	return rc;
}

static int collect(const struct crl *crl, struct serials *revoked, struct serials *gone)
{
	struct strv rest = crl->entries;
	struct serial serial;
	bool removed;
	int rc;

	while (rest.n > 0) {
		rc = take_entry(&rest, crl, &serial, &removed);
		if (rc < 0)
			return rc;
		/* No certificate has the number 0 (cert_serial refuses it): nothing to look up. */
		if (serial.n > 0 && serials_add(removed ? gone : revoked, &serial) < 0)
			return CRL_TOO_MANY;
	}
	return CRL_OK;
}

int crl_collect(const struct crl *base, const struct crl *delta, struct serials *out)
{
	struct serials gone = { 0 };
	int rc = CRL_TOO_MANY;

	serials_clear(out);
	if (delta != NULL && serial_compare(&delta->number, &base->number) <= 0)
		delta = NULL;
	if (serials_reserve(out, base->count + (delta != NULL ? delta->count : 0)) == 0)
		rc = collect(base, out, &gone);
	if (rc == CRL_OK && delta != NULL)
		rc = collect(delta, out, &gone);
	if (rc == CRL_OK) {
		serials_sort(out);
		serials_sort(&gone);
		serials_subtract(out, &gone);
	} else {
		serials_clear(out);
	}
	serials_clear(&gone);
	return rc;
}
