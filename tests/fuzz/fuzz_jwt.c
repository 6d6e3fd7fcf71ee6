/*
 * Fuzz: bearer tokens against a key set, and key sets. Whatever comes: no token is good but the one of the corpus, whose claims cannot be
 * changed without its signature, and a set that was taken holds no key that somebody could sign with. A token that is only read says less
 * than one that is checked: what is good is read as the same, and what cannot be read is not good.
 */
#include "proxy/worker/jwt.h"

#include "fuzz.h"

#include <string.h>

static const char set[] =
	"{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"r1\",\"use\":\"sig\",\"n\":\"ntOrzcFhuJCpyqglDAFF3KO_rQlbXt_gHCH4BHwpVqV"
	"hX3alGKlbRpNjhJV_6bbsYl_4kLAeWjoiUkF6mifIkPjl5fHgIdyjTTvemM7UisZwLK1BM_XigUbnuFnAnvOijoHOGbJeJ8N8MA-toU5TR62pd"
	"Bfae-fA0AtWPBZjjvZjiujeDdQ6aVyfPpQ8S9S7uIgCcAVZiNLug6nz9MuF7tCPL_ha8T0w_ayevtN6ll9FqQ5EYXYuNDHuMiSx7_xsbK27AVk"
	"uR-BCS8Ub-2PT7u8CMbbkipB3XkXsg2WTg3URIn8PDmSEL1WdozDRqzIvmzgIDBnYTYf_vO4vj6m_sw\",\"e\":\"AQAB\"},{\"kty\":\"E"
	"C\",\"kid\":\"e1\",\"crv\":\"P-256\",\"x\":\"C65qIt-N50eLJZcthLKCw4DIUBFVWgExHdI3tT_fi7E\",\"y\":\"josKtY078T3"
	"9ybCJU4qlSz1AHiexDfnDMoOmv85vyoA\"}]}";

static struct jwt_keys *read_keys(const char *json, size_t n, bool *refused)
{
	char why[200] = "";
	struct jwt_keys *keys = jwt_keys_read((struct strv){ json, n }, why, sizeof(why));

	*refused = keys == NULL;
	FUZZ_CHECK(keys != NULL || why[0] != '\0');
	return keys;
}

static void check_reading(const struct bearer_settings *rules, struct strv token, const struct jwt_facts *good)
{
	struct jwt_facts facts;
	enum jwt_result rc = jwt_read(rules, token, 1700000000, &facts);

	if (good != NULL)
		FUZZ_CHECK(rc == JWT_OK && strcmp(facts.name, good->name) == 0 && facts.until == good->until);
	if (rc == JWT_OK) {
		FUZZ_CHECK(facts.name[0] != '\0' && facts.until > 1700000000 && memchr(token.p, '.', token.n) != NULL);
		for (const char *c = facts.name; *c != '\0'; c++)
			FUZZ_CHECK((unsigned char)*c >= ' ' && *c != 0x7f);
	} else {
		FUZZ_CHECK(facts.name[0] == '\0' && facts.until == 0 && jwt_result_text(rc)[0] != '\0');
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	static char *algorithms[] = { (char *)(uintptr_t) "RS256", (char *)(uintptr_t) "ES256", (char *)(uintptr_t) "PS256" };
	static struct bearer_settings rules = { .issuer = (char *)(uintptr_t) "i", .audience = (char *)(uintptr_t) "a",
		.claim = (char *)(uintptr_t) "upn", .algorithms = algorithms, .algorithms_count = 3, .leeway_seconds = 1 };
	static struct jwt_keys *keys;
	struct jwt_facts facts;
	bool refused;
	char *copy;

	if (keys == NULL) {
		keys = read_keys(set, sizeof(set) - 1, &refused);
		FUZZ_CHECK(!refused);
	}
	if (n < 1)
		return 0;
	copy = fuzz_exact(bytes + 1, n - 1);
	if (bytes[0] == 'k') {
		jwt_keys_free(read_keys(copy, n - 1, &refused));
	} else if (jwt_check(keys, &rules, (struct strv){ copy, n - 1 }, 1700000000, &facts) == JWT_OK) {
		FUZZ_CHECK(strcmp(facts.name, "alice@corp.example") == 0 && facts.until == 4102444801);
		check_reading(&rules, (struct strv){ copy, n - 1 }, &facts);
	} else {
		FUZZ_CHECK(facts.name[0] == '\0' && facts.until == 0);
		check_reading(&rules, (struct strv){ copy, n - 1 }, NULL);
	}
	free(copy);
	return 0;
}
