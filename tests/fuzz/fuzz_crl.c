/*
 * CRLs: whatever the bytes are, reading stays inside them; what is accepted is what OpenSSL reads too, entry by entry, and
 * collects to as many serials.
 */
#include <openssl/err.h>
#include <openssl/x509.h>

#include "proxy/revocation/crl.h"
#include "proxy/revocation/serials.h"

#include "fuzz.h"

static void check_entry(const X509_REVOKED *entry, const struct serials *list)
{
	const ASN1_INTEGER *number = X509_REVOKED_get0_serialNumber(entry);
	struct serial s = { 0 };
	BIGNUM *n = ASN1_INTEGER_to_BN(number, NULL);

	FUZZ_CHECK(n != NULL && !BN_is_negative(n) && BN_num_bytes(n) <= SERIAL_MAX);
	s.n = (uint8_t)BN_bn2bin(n, s.byte);
	FUZZ_CHECK(s.n == 0 || serials_have(list, &s));
	BN_free(n);
}

/* OpenSSL need not accept what we do (a name it cannot read is only found by crl_verify), but must see the same entries if so. */
static void compare(const char *p, size_t n, const struct crl *crl, const struct serials *list)
{
	const unsigned char *at = (const unsigned char *)p;
	X509_CRL *theirs = d2i_X509_CRL(NULL, &at, (long)n);
	STACK_OF(X509_REVOKED) *entries;

	ERR_clear_error();
	if (theirs == NULL)
		return;
	FUZZ_CHECK(at == (const unsigned char *)p + n);
	entries = X509_CRL_get_REVOKED(theirs);
	FUZZ_CHECK((size_t)(entries != NULL ? sk_X509_REVOKED_num(entries) : 0) == crl->count);
	for (int i = 0; entries != NULL && i < sk_X509_REVOKED_num(entries) && !crl->is_delta; i++)
		check_entry(sk_X509_REVOKED_value(entries, i), list);
	X509_CRL_free(theirs);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	char *p = fuzz_exact(bytes, n);
	struct serials list = { 0 };
	struct crl crl;

	if (crl_read((struct strv){ p, n }, &crl) == CRL_OK) {
		FUZZ_CHECK(crl.next_update != 0 || crl.this_update != INT64_MAX);
		FUZZ_CHECK(crl_collect(&crl, NULL, &list) == CRL_OK && list.n <= crl.count);
		compare(p, n, &crl, &list);
		FUZZ_CHECK(crl_follows(&crl, &crl.number, crl.this_update) == CRL_OK);
		if (crl.is_delta)
			FUZZ_CHECK(crl_delta_fits(&crl, &crl) != CRL_OK);
		serials_clear(&list);
	} else {
		FUZZ_CHECK(crl_result_text(crl_read((struct strv){ p, n }, &crl))[0] != '\0');
	}
	free(p);
	return 0;
}
