/*
 * self_signed: a certificate that nobody but its maker believes.
 */
#include "bench/self_signed.h"

X509 *self_signed(EVP_PKEY *key, const char *name)
{
	X509 *x = X509_new();
	X509_NAME *who = X509_NAME_new();

	if (x == NULL || who == NULL || X509_NAME_add_entry_by_txt(who, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0) != 1 ||
	    X509_set_version(x, 2) != 1 || ASN1_INTEGER_set(X509_get_serialNumber(x), 1) != 1 || X509_set_subject_name(x, who) != 1 ||
	    X509_set_issuer_name(x, who) != 1 || X509_gmtime_adj(X509_getm_notBefore(x), -60) == NULL ||
	    X509_gmtime_adj(X509_getm_notAfter(x), 86400) == NULL || X509_set_pubkey(x, key) != 1 || X509_sign(x, key, EVP_sha256()) <= 0) {
		X509_free(x);
		x = NULL;
	}
	X509_NAME_free(who);
	return x;
}
