/*
 * The groups of a ticket: whatever the bytes, nothing is read outside them, and what is not read
 * whole counts as protected.
 */
#include "proxy/kerberos/pac.h"

#include "common/text.h"
#include "fuzz.h"

#define HEX "hex:"

/* "hex:0110..." stands for those bytes, so that seeds are text. An exact copy, the caller's. */
static char *input_of(const uint8_t *bytes, size_t n, size_t *out_n)
{
	size_t prefix = sizeof(HEX) - 1;
	struct strv hex;
	char *out;

	*out_n = n;
	if (n < prefix || memcmp(bytes, HEX, prefix) != 0)
		return fuzz_exact(bytes, n);
	*out_n = (n - prefix) / 2;
	hex = (struct strv){ (const char *)bytes + prefix, 2 * *out_n };
	out = malloc(*out_n + 1);
	FUZZ_CHECK(out != NULL);
	if (text_unhex(out, *out_n, hex) < 0)
		*out_n = 0;
	return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	static struct refused_groups none;
	static struct pac_identity who;
	char *p = input_of(bytes, n, &n);

	if (pac_identity_parse((struct strv){ p, n }, &who) < 0) {
		FUZZ_CHECK(who.n == 0 && who.own.n == 0);
		FUZZ_CHECK(pac_identity_protected(&who, &none));
	} else {
		FUZZ_CHECK(who.n >= 1 && who.n <= PAC_SIDS_MAX);
		FUZZ_CHECK(who.own.n >= 12 && who.own.n <= SID_BYTES_MAX);
		FUZZ_CHECK(strnlen(who.name, sizeof(who.name)) < sizeof(who.name));
	}
	free(p);
	return 0;
}
