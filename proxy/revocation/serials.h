/*
 * serials: a growing array of serials of fixed width, sorted in place. What CRLs and Redis are read into before
 * they go to the index. Its memory is mapped, not on the heap, so that all of it goes back to the system.
 */
#ifndef EASGATE_REVOCATION_SERIALS_H
#define EASGATE_REVOCATION_SERIALS_H

#include "common/certificate.h"

#define SERIALS_MAX 16000000u	/* of one issuer: 320 MB while it is read; more is refused */

struct serials {		/* zero-initialise */
	uint8_t (*row)[SERIAL_MAX];	/* big-endian, zeros in front: so equal numbers are equal bytes */
	size_t n;
	size_t size;		/* bytes mapped */
	bool sorted;		/* ascending and without doubles */
};

/* Unmaps; the array may be used again. */
void serials_clear(struct serials *s);
/* Room for n serials in all: avoids growing. 0, or -1: too many or out of memory. */
MUST_CHECK int serials_reserve(struct serials *s, size_t n);
/* 0, or -1 (nothing added): too many or out of memory. */
MUST_CHECK int serials_add(struct serials *s, const struct serial *serial);
/* Sorts in place (radix, no second copy) and drops doubles. */
void serials_sort(struct serials *s);
/* Takes out of `s` what stands in `gone`; both must be sorted. */
void serials_subtract(struct serials *s, const struct serials *gone);
/* Only when sorted. */
bool serials_have(const struct serials *s, const struct serial *serial);

/* Left-padded to SERIAL_MAX, and the length without the zeros in front (0 for an empty number). */
void serial_widen(const struct serial *serial, uint8_t out[SERIAL_MAX]);
unsigned serial_width(const uint8_t row[SERIAL_MAX]);

#endif
