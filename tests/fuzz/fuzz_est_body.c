/*
 * Bodies of EST requests: PEM, base64 or DER. What is decoded is the same however it is written.
 */
#include "enroll/worker/csr.h"

#include "common/text.h"
#include "fuzz.h"

static void check_form(const char *before, const char *text, size_t n, size_t line, const char *after, const uint8_t *der, size_t der_n)
{
	uint8_t out[CSR_BYTES_MAX];
	char *all = malloc(strlen(before) + 2 * n + strlen(after) + 1);
	size_t at = strlen(before), got;
	enum csr_result rc;

	FUZZ_CHECK(all != NULL);
	memcpy(all, before, at);
	for (size_t i = 0; i < n; i++) {
		all[at++] = text[i];
		if (line > 0 && i % line == line - 1)
			all[at++] = '\n';
	}
	memcpy(all + at, after, strlen(after));
	at += strlen(after);
	rc = csr_decode((struct strv){ all, at }, out, &got);
	FUZZ_CHECK(at > CSR_TEXT_MAX ? rc == CSR_TOO_LONG : rc == CSR_OK && got == der_n && memcmp(out, der, got) == 0);
	free(all);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	uint8_t der[CSR_BYTES_MAX];
	char *copy, *text;
	size_t der_n, text_n;
	enum csr_result rc;

	if (n > CSR_TEXT_MAX + 16)
		return 0;
	copy = fuzz_exact(bytes, n);
	rc = csr_decode((struct strv){ copy, n }, der, &der_n);
	FUZZ_CHECK(rc == CSR_OK ? der_n > 0 && der_n <= sizeof(der) : der_n == 0);
	if (rc == CSR_OK) {
		text = malloc(4 * ((der_n + 2) / 3) + 1);
		FUZZ_CHECK(text != NULL);
		text_n = text_base64(text, der, der_n);
		/* base64 that begins as DER does would be taken for DER: no request does */
		if (text[0] != 0x30 || (uint8_t)text[1] < 0x80) {
			check_form("", text, text_n, 0, "", der, der_n);
			check_form("", text, text_n, 64, "\r\n", der, der_n);
		}
		check_form("-----BEGIN CERTIFICATE REQUEST-----\n", text, text_n, 64, "-----END CERTIFICATE REQUEST-----\n", der, der_n);
		free(text);
	}
	free(copy);
	return 0;
}
