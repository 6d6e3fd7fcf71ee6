/*
 * der: strict reading of DER. Pure; runs wherever hostile ASN.1 too big for OpenSSL's object trees is read.
 */
#include "common/der.h"

int der_peek(struct strv rest)
{
	return rest.n > 0 ? (unsigned char)rest.p[0] : -1;
}

int der_take(struct strv *rest, int tag, struct strv *contents, struct strv *whole)
{
	const unsigned char *p = (const unsigned char *)rest->p;
	size_t length, head = 2, i, digits;

	if (rest->n < 2 || p[0] != tag || (p[0] & 0x1f) == 0x1f)
		return -1;
	length = p[1];
	if (length >= 0x80) {
		digits = length & 0x7f;
		if (digits == 0 || digits > 4 || rest->n < 2 + digits || p[2] == 0)
			return -1;
		for (length = 0, i = 0; i < digits; i++)
			length = length << 8 | p[2 + i];
		if (length < 0x80)
			return -1;
		head += digits;
	}
	if (length > rest->n - head)
		return -1;
	*contents = (struct strv){ rest->p + head, length };
	if (whole != NULL)
		*whole = (struct strv){ rest->p, head + length };
	rest->p += head + length;
	rest->n -= head + length;
	return 0;
}

int der_unsigned(struct strv contents, struct strv *magnitude)
{
	const unsigned char *p = (const unsigned char *)contents.p;

	if (contents.n == 0 || (p[0] & 0x80) != 0)
		return -1;
	if (contents.n > 1 && p[0] == 0 && (p[1] & 0x80) == 0)
		return -1;
	if (p[0] == 0) {
		contents.p++;
		contents.n--;
	}
	*magnitude = contents;
	return 0;
}

int der_boolean(struct strv contents, bool *out)
{
	if (contents.n != 1 || (contents.p[0] != 0 && (unsigned char)contents.p[0] != 0xff))
		return -1;
	*out = contents.p[0] != 0;
	return 0;
}

static int two_digits(const char *p)
{
	if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9')
		return -1;
	return (p[0] - '0') * 10 + (p[1] - '0');
}

/* Days since the epoch of a date of the Gregorian calendar. */
static int64_t days_from(int year, int month, int day)
{
	int64_t y = month <= 2 ? year - 1 : year, era = y / 400, of_era = y - era * 400;
	int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

int der_time(int tag, struct strv contents, int64_t *out)
{
	static const int days[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	size_t date = tag == DER_UTC_TIME ? 2 : 4;
	const char *p = contents.p;
	int part[5], year, high, i;

	if ((tag != DER_UTC_TIME && tag != DER_TIME) || contents.n != date + 11 || p[contents.n - 1] != 'Z')
		return -1;
	year = two_digits(p);
	if (date == 4) {
		high = year;
		year = two_digits(p + 2);
		if (high < 0 || year < 0)
			return -1;
		year += high * 100;
	} else if (year >= 0) {
		year += year < 50 ? 2000 : 1900;
	}
	for (i = 0; i < 5; i++)
		if ((part[i] = two_digits(p + date + 2 * (size_t)i)) < 0)
			return -1;
	if (year < 1950 || part[0] < 1 || part[0] > 12 || part[1] < 1 || part[1] > days[part[0] - 1] ||
	    part[2] > 23 || part[3] > 59 || part[4] > 59)
		return -1;
	if (part[0] == 2 && part[1] == 29 && (year % 4 != 0 || (year % 100 == 0 && year % 400 != 0)))
		return -1;
	*out = ((days_from(year, part[0], part[1]) * 24 + part[2]) * 60 + part[3]) * 60 + part[4];
	return 0;
}

int der_certificate_read(struct strv der, struct der_certificate *out)
{
	struct strv rest, tbs, inside;

	if (der_take(&der, DER_SEQUENCE, &rest, NULL) < 0 || der.n != 0 || der_take(&rest, DER_SEQUENCE, &tbs, NULL) < 0)
		return -1;
	/* without a version it is v1 */
	if (der_peek(tbs) == DER_CONSTRUCTED(0) && der_take(&tbs, DER_CONSTRUCTED(0), &inside, NULL) < 0)
		return -1;
	if (der_take(&tbs, DER_INTEGER, &inside, &out->serial) < 0 || der_take(&tbs, DER_SEQUENCE, &inside, NULL) < 0 ||
	    der_take(&tbs, DER_SEQUENCE, &inside, &out->issuer) < 0 || der_take(&tbs, DER_SEQUENCE, &inside, NULL) < 0 ||
	    der_take(&tbs, DER_SEQUENCE, &inside, &out->subject) < 0)
		return -1;
	return der_take(&tbs, DER_SEQUENCE, &inside, &out->spki);
}
