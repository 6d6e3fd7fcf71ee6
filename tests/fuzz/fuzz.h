/*
 * fuzz: what every libFuzzer target here uses.
 */
#ifndef EASGATE_TESTS_FUZZ_H
#define EASGATE_TESTS_FUZZ_H

#include "common/base.h"

#include <stdio.h>
#include <stdlib.h>

/* An invariant; the fuzzer keeps the input that broke it. */
#define FUZZ_CHECK(what)                                                                           \
	do {                                                                                       \
		if (!(what)) {                                                                     \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #what);  \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

/*
 * A copy of exactly that size, so that AddressSanitizer sees every byte read beyond it. The caller
 * frees.
 */
static inline char *fuzz_exact(const void *p, size_t n)
{
	char *copy = malloc(n > 0 ? n : 1);

	FUZZ_CHECK(copy != NULL);
	if (n > 0)
		memcpy(copy, p, n);
	return copy;
}

#endif
