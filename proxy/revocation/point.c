/*
 * point: reading distribution points. Pure; runs in the revocation process (CRLs) and in workers (certificates).
 */
#include "proxy/revocation/point.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>

#include "common/der.h"

#define NAME_MAX_BYTES 2048
#define DIRECTORY_NAME DER_CONSTRUCTED(4)

static void hash(const void *p, size_t n, struct point *out)
{
	uint8_t all[SHA256_SIZE];

	SHA256(p, n, all);
	memcpy(out->hash, all, POINT_SIZE);
}

static size_t put_head(unsigned char *out, int tag, size_t n)
{
	out[0] = (unsigned char)tag;
	if (n < 0x80) {
		out[1] = (unsigned char)n;
		return 2;
	}
	if (n < 0x100) {
		out[1] = 0x81;
		out[2] = (unsigned char)n;
		return 3;
	}
	out[1] = 0x82;
	out[2] = (unsigned char)(n >> 8);
	out[3] = (unsigned char)n;
	return 4;
}

/* nameRelativeToCRLIssuer: the issuer's name with one more RDN, as the directory name that it stands for. */
static int relative_name(struct strv rdn, struct strv issuer, struct point *out)
{
	unsigned char text[NAME_MAX_BYTES + 16];
	struct strv inside;
	size_t set_n, name_n, at;
	unsigned char set[4], name[4];

	if (der_take(&issuer, DER_SEQUENCE, &inside, NULL) < 0 || issuer.n != 0 || inside.n + rdn.n > NAME_MAX_BYTES)
		return -1;
	set_n = put_head(set, 0x31, rdn.n);
	name_n = put_head(name, DER_SEQUENCE, inside.n + set_n + rdn.n);
	at = put_head(text, DIRECTORY_NAME, name_n + inside.n + set_n + rdn.n);
	memcpy(text + at, name, name_n);
	at += name_n;
	memcpy(text + at, inside.p, inside.n);
	at += inside.n;
	memcpy(text + at, set, set_n);
	at += set_n;
	memcpy(text + at, rdn.p, rdn.n);
	hash(text, at + rdn.n, out);
	return 1;
}

int point_names(struct strv name, struct strv issuer, struct point out[POINTS_MAX])
{
	struct strv in, contents, whole;
	int n = 0, tag = der_peek(name);

	if (tag == DER_CONSTRUCTED(1))
		return der_take(&name, tag, &in, NULL) < 0 || name.n != 0 ? -1 : relative_name(in, issuer, out);
	if (tag != DER_CONSTRUCTED(0) || der_take(&name, tag, &in, NULL) < 0 || name.n != 0)
		return -1;
	while (in.n > 0) {
		if (n == POINTS_MAX || der_take(&in, der_peek(in), &contents, &whole) < 0)
			return -1;
		hash(whole.p, whole.n, &out[n++]);
	}
	return n > 0 ? n : -1;
}

/* One DistributionPoint: 1 found, 0 not one that counts, -1 malformed. */
static int read_point(struct strv in, struct strv issuer, struct point *out)
{
	struct point names[POINTS_MAX];
	struct strv name;

	/* With reasons or a CRL issuer of its own behind the name it says less than "all of this issuer". */
	if (der_peek(in) != DER_CONSTRUCTED(0))
		return 0;
	if (der_take(&in, DER_CONSTRUCTED(0), &name, NULL) < 0)
		return -1;
	if (in.n != 0)
		return 0;
	if (point_names(name, issuer, names) < 1)
		return -1;
	*out = names[0];
	return 1;
}

void point_of_certificate(const X509 *cert, struct point *out)
{
	int at = X509_get_ext_by_NID(cert, NID_crl_distribution_points, -1), rc = 0, n;
	const ASN1_OCTET_STRING *value;
	struct strv rest, in, point;
	unsigned char *der = NULL;
	struct strv issuer;

	memset(out, 0, sizeof(*out));
	if (at < 0)
		return;
	value = X509_EXTENSION_get_data(X509_get_ext(cert, at));
	n = i2d_X509_NAME(X509_get_issuer_name(cert), &der);
	if (n <= 0)
		return;
	issuer = (struct strv){ (const char *)der, (size_t)n };
	rest = (struct strv){ (const char *)ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value) };
	if (der_take(&rest, DER_SEQUENCE, &in, NULL) == 0 && rest.n == 0)
		while (rc == 0 && in.n > 0)
			rc = der_take(&in, DER_SEQUENCE, &point, NULL) < 0 ? -1 : read_point(point, issuer, out);
	OPENSSL_free(der);
}
