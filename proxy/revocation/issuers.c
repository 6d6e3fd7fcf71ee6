/*
 * issuers: the list of CA keys from the configuration's files. Reads them from the bundle; opens nothing.
 * Runs in the revocation process.
 */
#include "proxy/revocation/issuers.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/tls.h"

static int add(struct issuers *all, const X509 *cert, unsigned sources)
{
	uint8_t key[SHA256_SIZE];
	unsigned i;

	if (cert_spki_sha256(cert, key) != 0)
		return -1;
	for (i = 0; i < all->count; i++)
		if (memcmp(all->list[i].issuer, key, SHA256_SIZE) == 0) {
			all->list[i].sources |= sources;
			return 0;
		}
	if (all->count == INDEX_ISSUERS_MAX)
		return -1;
	memcpy(all->list[all->count].issuer, key, SHA256_SIZE);
	all->list[all->count++].sources = sources;
	return 0;
}

static int remember(struct issuers *all, STACK_OF(X509) *certs)
{
	int i;

	for (i = 0; i < sk_X509_num(certs); i++) {
		if (sk_X509_push(all->known, sk_X509_value(certs, i)) <= 0)
			return -1;
		X509_up_ref(sk_X509_value(certs, i));
	}
	return 0;
}

static STACK_OF(X509) *read_file(struct issuers *all, struct bundle *bundle, const char *path, char *why, size_t why_size)
{
	char reason[TLS_WHY_MAX] = "was not given to this process";
	STACK_OF(X509) *certs = NULL;
	struct strv pem;

	if (bundle_get(bundle, path, &pem))
		certs = tls_certificates(pem, reason, sizeof(reason));
	if (certs != NULL && remember(all, certs) < 0) {
		sk_X509_pop_free(certs, X509_free);
		certs = NULL;
	}
	if (certs == NULL)
		snprintf(why, why_size, "%s: %s", path, reason);
	return certs;
}

static int add_crl(struct issuers *all, const struct crl_settings *crl, unsigned sources, struct bundle *bundle, char *why,
    size_t why_size)
{
	STACK_OF(X509) *certs = read_file(all, bundle, crl->issuer_ca, why, why_size);

	if (certs == NULL)
		return -1;
	all->ca[all->ca_count++] = certs;
	if (add(all, sk_X509_value(certs, 0), sources | INDEX_BIT(INDEX_CRL)) == 0)
		return 0;
	snprintf(why, why_size, "%s: its key cannot be used, or more than %d issuers", crl->issuer_ca, INDEX_ISSUERS_MAX);
	return -1;
}

static int add_client_ca(struct issuers *all, const char *path, unsigned sources, struct bundle *bundle, char *why,
    size_t why_size)
{
	STACK_OF(X509) *certs = read_file(all, bundle, path, why, why_size);
	int i, rc = 0;

	if (certs == NULL)
		return -1;
	for (i = 0; i < sk_X509_num(certs) && rc == 0; i++)
		rc = add(all, sk_X509_value(certs, i), sources);
	sk_X509_pop_free(certs, X509_free);
	if (rc < 0)
		snprintf(why, why_size, "%s: a key in it cannot be used, or more than %d issuers", path, INDEX_ISSUERS_MAX);
	return rc;
}

/* Issuers that no source speaks of need no row: they are unknown anyway. */
static void drop_sourceless(struct issuers *all)
{
	unsigned i, kept = 0;

	for (i = 0; i < all->count; i++)
		if (all->list[i].sources != 0)
			all->list[kept++] = all->list[i];
	all->without = all->count - kept;
	all->count = kept;
}

static int same_issuer_twice(const struct issuers *all, char *why, size_t why_size)
{
	unsigned i, k;

	for (i = 0; i < all->ca_count; i++)
		for (k = 0; k < i; k++)
			if (EVP_PKEY_eq(X509_get0_pubkey(sk_X509_value(all->ca[i], 0)),
			    X509_get0_pubkey(sk_X509_value(all->ca[k], 0))) == 1) {
				snprintf(why, why_size, "proxy.revocation.crls[%u] and [%u] are of the same issuer: name each once", k, i);
				return -1;
			}
	return 0;
}

struct issuers *issuers_new(const struct proxy_settings *settings, struct bundle *bundle, char *why, size_t why_size)
{
	unsigned redis = settings->revocation.redis ? INDEX_BIT(INDEX_REDIS) : 0, i, k;
	/* only beside a CRL, which has the last word */
	unsigned local = settings->revocation.local ? INDEX_BIT(INDEX_LOCAL) : 0;
	struct issuers *all = calloc(1, sizeof(*all));

	snprintf(why, why_size, "out of memory");
	if (all == NULL)
		return NULL;
	all->ca = calloc(settings->revocation.crls_count + 1u, sizeof(*all->ca));
	all->known = sk_X509_new_null();
	if (all->ca == NULL || all->known == NULL)
		goto fail;
	for (i = 0; i < settings->revocation.crls_count; i++)
		if (add_crl(all, &settings->revocation.crls[i], redis | local, bundle, why, why_size) < 0)
			goto fail;
	if (same_issuer_twice(all, why, why_size) < 0)
		goto fail;
	for (i = 0; i < settings->hosts_count; i++)
		for (k = 0; k < settings->hosts[i].client_ca_count; k++)
			if (add_client_ca(all, settings->hosts[i].client_ca[k], redis, bundle, why, why_size) < 0)
				goto fail;
	drop_sourceless(all);
	return all;
fail:
	issuers_free(all);
	return NULL;
}

void issuers_free(struct issuers *all)
{
	unsigned i;

	if (all == NULL)
		return;
	for (i = 0; i < all->ca_count; i++)
		sk_X509_pop_free(all->ca[i], X509_free);
	sk_X509_pop_free(all->known, X509_free);
	free(all->ca);
	free(all);
}
