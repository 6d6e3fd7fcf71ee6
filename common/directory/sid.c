/*
 * sid: bytes to text and back, and which domain a SID belongs to.
 * Must not allocate or guess: anything but the one right form is refused. Pure; runs in the
 * *directory* process and in tools.
 */
#include "common/directory/sid.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/text.h"

static uint32_t part(const struct sid *sid, unsigned i)
{
	const uint8_t *p = sid->byte + 8 + 4 * i;

	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put_part(struct sid *sid, unsigned i, uint32_t value)
{
	for (unsigned b = 0; b < 4; b++)
		sid->byte[8 + 4 * i + b] = (uint8_t)(value >> (8 * b));
}

static uint64_t authority(const struct sid *sid)
{
	uint64_t value = 0;

	for (unsigned b = 2; b < 8; b++)
		value = value << 8 | sid->byte[b];
	return value;
}

int sid_from_bytes(struct strv bytes, struct sid *out)
{
	uint8_t parts;

	memset(out, 0, sizeof(*out));
	if (bytes.n < 12 || bytes.n > SID_BYTES_MAX || bytes.p[0] != 1)
		return -1;
	parts = (uint8_t)bytes.p[1];
	if (parts < 1 || parts > SID_PARTS_MAX || bytes.n != 8u + 4u * parts)
		return -1;
	memcpy(out->byte, bytes.p, bytes.n);
	out->n = (uint8_t)bytes.n;
	return 0;
}

/* One number between hyphens. */
static int number(struct strv *rest, uint32_t *out)
{
	struct strv digits = text_split(rest, '-');
	uint64_t value;

	if (digits.n == 0 || digits.n > 10 || (digits.n > 1 && digits.p[0] == '0'))
		return -1;
	if (text_u64(digits, UINT32_MAX, &value) < 0)
		return -1;
	*out = (uint32_t)value;
	return 0;
}

int sid_from_text(struct strv text, struct sid *out)
{
	struct sid sid = { .n = 0 };
	struct strv rest;
	uint32_t value;
	unsigned parts = 0;

	memset(out, 0, sizeof(*out));
	if (text.n < 4 || memcmp(text.p, "S-1-", 4) != 0)
		return -1;
	rest = (struct strv){ text.p + 4, text.n - 4 };
	if (number(&rest, &value) < 0)
		return -1;
	for (unsigned b = 0; b < 4; b++)
		sid.byte[4 + b] = (uint8_t)(value >> (8 * (3 - b)));
	while (rest.p != NULL) {
		if (parts == SID_PARTS_MAX || number(&rest, &value) < 0)
			return -1;
		put_part(&sid, parts++, value);
	}
	if (parts == 0)
		return -1;
	sid.byte[0] = 1;
	sid.byte[1] = (uint8_t)parts;
	sid.n = (uint8_t)(8 + 4 * parts);
	*out = sid;
	return 0;
}

int sid_to_text(const struct sid *sid, char *out, size_t size)
{
	uint64_t top = authority(sid);
	size_t n;
	int rc;

	if (size == 0)
		return -1;
	out[0] = '\0';
	if (sid->n < 12)
		return -1;
	rc = snprintf(out, size, top <= UINT32_MAX ? "S-1-%" PRIu64 : "S-1-0x%012" PRIX64, top);
	for (unsigned i = 0; i < sid->byte[1]; i++) {
		if (rc < 0 || (size_t)rc >= size)
			break;
		n = (size_t)rc;
		rc = snprintf(out + n, size - n, "-%" PRIu32, part(sid, i));
		if (rc >= 0)
			rc += (int)n;
	}
	if (rc < 0 || (size_t)rc >= size) {
		out[0] = '\0';
		return -1;
	}
	return 0;
}

bool sid_eq(const struct sid *a, const struct sid *b)
{
	return a->n != 0 && a->n == b->n && memcmp(a->byte, b->byte, a->n) == 0;
}

uint32_t sid_rid(const struct sid *sid)
{
	return sid->n < 12 ? 0 : part(sid, sid->byte[1] - 1u);
}

bool sid_is_of_domain(const struct sid *sid)
{
	return sid->n == 8 + 4 * 5 && authority(sid) == 5 && part(sid, 0) == 21;
}

bool sid_same_domain(const struct sid *a, const struct sid *b)
{
	return a->n >= 12 && a->n == b->n && memcmp(a->byte, b->byte, a->n - 4u) == 0;
}
