/*
 * OCSP requests: what is accepted asks for something, within every bound, and reads the same twice.
 */
#include "enroll/worker/ocsp_read.h"

#include <openssl/err.h>

#include "der_mutate.h"

static void check(const struct ocsp_query *q)
{
	static const uint8_t none[SIGNER_SERIAL];

	FUZZ_CHECK(q->n >= 1 && q->n <= OCSP_REQUESTS_MAX && q->nonce_n <= sizeof(q->nonce));
	for (unsigned i = 0; i < q->n; i++) {
		const struct ocsp_asked *a = &q->asked[i];

		FUZZ_CHECK(a->id_n > 0 && a->id_n <= sizeof(a->id) && a->id[0] == 0x30);
		FUZZ_CHECK(a->hash_n == 0 || a->hash_n == 20 || a->hash_n == 32);
		FUZZ_CHECK(a->possible || memcmp(a->serial, none, sizeof(none)) == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	static struct ocsp_query q, again;
	enum ocsp_result rc;
	char *copy;

	if (n > OCSP_BYTES_MAX + 16)
		return 0;
	copy = fuzz_exact(bytes, n);
	memset(&q, 0, sizeof(q));
	memset(&again, 0, sizeof(again));
	rc = ocsp_read((struct strv){ copy, n }, &q);
	FUZZ_CHECK(ERR_peek_error() == 0);
	FUZZ_CHECK(ocsp_read((struct strv){ copy, n }, &again) == rc);
	if (rc == OCSP_READ_OK) {
		FUZZ_CHECK(memcmp(&q, &again, sizeof(q)) == 0);
		check(&q);
	}
	free(copy);
	return 0;
}
