/*
 * weak_key: what is wrong with a public key. Runs in the signer on hostile keys: sizes are checked before anything is computed.
 */
#include "enroll/signer/weak_key.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>

#include "common/public_key.h"

#define EXPONENT_MAX 32 /* bytes */
#define FERMAT_STEPS 100
#define SMALL_PRIMES 752 /* NIST SP 800-56B section 6.4.2.2 */

/* True if n mod p is a power of 65537 modulo p. */
static bool is_power(unsigned n, unsigned p)
{
	unsigned power = 1, generator = 65537 % p;

	do {
		if (power == n)
			return true;
		power = power * generator % p;
	} while (power != 1);
	return false;
}

/* Primes of such keys are 65537^a mod M for a product M of small primes: modulo each of those, n is a power of 65537 too. */
bool weak_key_roca(const BIGNUM *n)
{
	static const unsigned primes[] = { 11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107,
		109, 127, 151, 157 };

	for (size_t i = 0; i < ARRAY_LEN(primes); i++) {
		BN_ULONG rest = BN_mod_word(n, primes[i]);
		if (rest == (BN_ULONG)-1 || !is_power((unsigned)rest, primes[i]))
			return false;
	}
	return true;
}

/* floor(sqrt(n)). */
static uint64_t word_root(uint64_t n)
{
	uint64_t root = 0;

	for (int bit = 31; bit >= 0; bit--) {
		uint64_t more = root | (uint64_t)1 << bit;
		if (more * more <= n)
			root = more;
	}
	return root;
}

/* A number not below the square root of n, and near: right in its first 30 bits. n of more than 62 bits. */
static bool above_root(BIGNUM *root, const BIGNUM *n)
{
	int shift = (BN_num_bits(n) - 62 + 1) & ~1; /* even, so that half of it is whole */

	return BN_rshift(root, n, shift) && BN_set_word(root, (BN_ULONG)word_root(BN_get_word(root)) + 1) && BN_lshift(root, root, shift / 2);
}

/* root = floor(sqrt(n)), by Newton's method from above. */
static bool square_root(BIGNUM *root, const BIGNUM *n, BN_CTX *ctx)
{
	BIGNUM *next = BN_CTX_get(ctx);

	if (next == NULL || (BN_num_bits(n) > 62 ? !above_root(root, n) : !BN_set_word(root, (BN_ULONG)word_root(BN_get_word(n)) + 1)))
		return false;
	for (;;) {
		if (!BN_div(next, NULL, n, root, ctx) || !BN_add(next, next, root) ||
		    !BN_rshift1(next, next))
			return false;
		if (BN_cmp(next, root) >= 0)
			return true;
		if (BN_copy(root, next) == NULL)
			return false;
	}
}

static const unsigned moduli[] = { 64, 63, 65, 11, 17, 19, 23, 31 };
#define MODULI	    (64ull * 63 * 65 * 11 * 17 * 19 * 23 * 31)
#define MODULUS_MAX 65

/* True where a square can leave this rest; made once. */
static const bool (*square_rests(void))[MODULUS_MAX]
{
	static bool rests[ARRAY_LEN(moduli)][MODULUS_MAX];

	for (size_t i = 0; !rests[ARRAY_LEN(moduli) - 1][0] && i < ARRAY_LEN(moduli); i++) {
		for (unsigned k = moduli[i]; k-- > 0;)
			rests[i][k * k % moduli[i]] = true;
	}
	return rests;
}

/* Squares leave few of the possible rests modulo MODULI: of some thousand numbers one. rest: modulo MODULI. */
static bool may_be_square(uint64_t rest)
{
	const bool (*rests)[MODULUS_MAX] = square_rests();

	for (size_t i = 0; i < ARRAY_LEN(moduli); i++) {
		if (!rests[i][rest % moduli[i]])
			return false;
	}
	return true;
}

/* a*a - n for a = root + i. */
static bool is_square(const BIGNUM *root, BN_ULONG i, const BIGNUM *n, BN_CTX *ctx)
{
	BIGNUM *value, *again;
	bool found;

	BN_CTX_start(ctx);
	value = BN_CTX_get(ctx);
	again = BN_CTX_get(ctx);
	found = again == NULL || BN_copy(value, root) == NULL || !BN_add_word(value, i) || !BN_sqr(value, value, ctx) || !BN_sub(value, value, n) ||
	    BN_is_zero(value) ||
	    (!BN_is_negative(value) && (!square_root(again, value, ctx) || !BN_sqr(again, again, ctx) || BN_cmp(again, value) == 0));
	BN_CTX_end(ctx);
	return found;
}

/*
 * n = a*a - b*b with a just above the square root of n: looks for a b that is whole. Only the rests of a*a - n are reckoned, in one word; from one a to the
 * next a*a grows by 2a+1.
 */
bool weak_key_close_primes(const BIGNUM *n)
{
	BN_CTX *ctx = BN_CTX_new();
	BIGNUM *root;
	bool found = false;

	if (ctx == NULL)
		return true; /* no memory to look: refuse */
	BN_CTX_start(ctx);
	root = BN_CTX_get(ctx);
	if (root == NULL || !square_root(root, n, ctx)) {
		found = true;
	} else {
		BN_ULONG a = BN_mod_word(root, MODULI), of_n = BN_mod_word(n, MODULI);
		uint64_t rest = a == (BN_ULONG)-1 || of_n == (BN_ULONG)-1 ? 0 : (uint64_t)((unsigned __int128)a * a % MODULI + MODULI - of_n) % MODULI;

		found = a == (BN_ULONG)-1 || of_n == (BN_ULONG)-1;
		for (unsigned i = 0; i <= FERMAT_STEPS && !found; i++) {
			found = may_be_square(rest) && is_square(root, i, n, ctx);
			rest = (rest + 2 * a + 1) % MODULI;
			a++;
		}
	}
	BN_CTX_end(ctx);
	BN_CTX_free(ctx);
	return found;
}

/* Small primes, as many together as a word holds their product. */
struct primes {
	BN_ULONG product;
	unsigned first, end; /* of the odd numbers from here to before there */
};

static bool is_prime(unsigned p)
{
	for (unsigned k = 3; k * k <= p; k += 2) {
		if (p % k == 0)
			return false;
	}
	return true;
}

/* Made once; returns how many groups there are. */
static size_t group_primes(const struct primes **out)
{
	static struct primes group[SMALL_PRIMES / 2];
	static size_t n;

	*out = group;
	if (n > 0)
		return n;
	for (unsigned p = 3; p < SMALL_PRIMES; p += 2) {
		BN_ULONG factor = is_prime(p) ? p : 1;

		if (n == 0 || group[n - 1].product > INT64_MAX / factor)
			group[n++] = (struct primes){ .product = 1, .first = p };
		group[n - 1].product *= factor;
		group[n - 1].end = p + 2;
	}
	return n;
}

/*
 * A modulus of two large primes has no small factor. (OpenSSL's own check of a public key takes a test for primes of the modulus besides, which costs more
 * than ten signatures.) One long division for each group: a division for each prime cost three signatures on P-256.
 */
static bool has_small_factor(const BIGNUM *n)
{
	const struct primes *group;
	size_t groups = group_primes(&group);

	for (size_t i = 0; i < groups; i++) {
		BN_ULONG rest = BN_mod_word(n, group[i].product);

		if (rest == (BN_ULONG)-1)
			return true; /* no memory to look: refuse */
		for (unsigned p = group[i].first; p < group[i].end; p += 2) {
			/* p divides the product, so that n leaves the same rest */
			if (rest % p == 0 && group[i].product % p == 0)
				return true;
		}
	}
	return false;
}

static const char *weak_rsa(EVP_PKEY *key)
{
	BIGNUM *n, *e;
	const char *what = NULL;
	int bits = EVP_PKEY_get_bits(key);

	if (bits < RSA_BITS_MIN)
		return "an RSA key of fewer than 2048 bits";
	if (bits > RSA_BITS_MAX)
		return "an RSA key of more than 8192 bits";
	n = public_key_number(key, OSSL_PKEY_PARAM_RSA_N, ((size_t)bits + 7) / 8);
	e = public_key_number(key, OSSL_PKEY_PARAM_RSA_E, EXPONENT_MAX);
	if (n == NULL)
		what = "an RSA key that cannot be read";
	else if (e == NULL || !BN_is_odd(e) || BN_is_one(e))
		what = "an RSA key with an exponent that is even, 1 or longer than 256 bits";
	else if (!BN_is_odd(n))
		what = "an RSA key with an even modulus";
	else if (weak_key_roca(n))
		what =
		    "an RSA key with the mark of ROCA (CVE-2017-15361): its device's chip makes keys that can be computed";
	else if (has_small_factor(n))
		what = "an RSA key whose modulus has a small factor";
	else if (weak_key_close_primes(n))
		what = "an RSA key whose primes are too close to each other";
	BN_free(n);
	BN_free(e);
	return what;
}

static const char *weak_ec(EVP_PKEY *key)
{
	char group[64], encoding[64];
	EVP_PKEY_CTX *ctx;
	bool good;

	if (!EVP_PKEY_get_utf8_string_param(
		key, OSSL_PKEY_PARAM_EC_ENCODING, encoding, sizeof(encoding), NULL) ||
	    strcmp(encoding, OSSL_PKEY_EC_ENCODING_GROUP) != 0)
		return "an EC key whose curve is spelled out instead of named";
	if (!EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) ||
	    (strcmp(group, SN_X9_62_prime256v1) != 0 && strcmp(group, SN_secp384r1) != 0 &&
		strcmp(group, SN_secp521r1) != 0))
		return "an EC key that is not on P-256, P-384 or P-521";
	/* these curves have no cofactor: a point that is on the curve, and not its zero, is a key */
	ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
	good = ctx != NULL && EVP_PKEY_public_check_quick(ctx) == 1;
	EVP_PKEY_CTX_free(ctx);
	return good ? NULL : "an EC key whose point is not on its curve";
}

const char *weak_key(EVP_PKEY *key)
{
	const char *what;

	if (EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA)
		what = weak_rsa(key);
	else if (EVP_PKEY_get_base_id(key) == EVP_PKEY_EC)
		what = weak_ec(key);
	else
		what = "neither an RSA key nor an EC key";
	ERR_clear_error();
	return what;
}
