/*
 * der_write: see der_write.h. Worker and signer.
 */
#include "enroll/der_write.h"

#include <openssl/asn1.h>
#include <openssl/objects.h>

void der_start(struct der_writer *d, void *room, size_t size)
{
	*d = (struct der_writer){ .room = room, .size = size, .at = size };
}

void der_put(struct der_writer *d, const void *p, size_t n)
{
	if (d->full || n > d->at) {
		d->full = true;
		return;
	}
	d->at -= n;
	if (n > 0)
		memcpy(d->room + d->at, p, n);
}

void der_enclose(struct der_writer *d, uint8_t identifier, size_t mark)
{
	uint8_t head[2 + sizeof(size_t)];
	size_t n = mark - d->at, at = sizeof(head);

	if (n < 0x80) {
		head[--at] = (uint8_t)n;
	} else {
		for (size_t rest = n; rest > 0; rest >>= 8)
			head[--at] = (uint8_t)rest;
		head[at - 1] = (uint8_t)(0x80 | (sizeof(head) - at));
		at--;
	}
	head[--at] = identifier;
	der_put(d, head + at, sizeof(head) - at);
}

void der_value(struct der_writer *d, uint8_t identifier, const void *p, size_t n)
{
	size_t mark = der_mark(d);

	der_put(d, p, n);
	der_enclose(d, identifier, mark);
}

void der_oid(struct der_writer *d, int nid)
{
	const ASN1_OBJECT *oid = OBJ_nid2obj(nid);

	der_value(d, DER_OID, OBJ_get0_data(oid), OBJ_length(oid));
}

size_t der_integer_inside(uint8_t *out, const uint8_t *p, size_t n)
{
	size_t skip = 0, sign;

	while (skip < n && p[skip] == 0)
		skip++;
	sign = skip == n || (p[skip] & 0x80) != 0;
	out[0] = 0;
	memcpy(out + sign, p + skip, n - skip);
	return sign + n - skip;
}

struct strv der_since(const struct der_writer *d, size_t mark)
{
	return (struct strv){ (const char *)d->room + d->at, mark - d->at };
}

struct strv der_done(const struct der_writer *d)
{
	return d->full ? (struct strv){ NULL, 0 } : der_since(d, d->size);
}
