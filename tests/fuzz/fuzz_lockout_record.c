/*
 * A record of the lockout guard as Redis may give it: bytes of anybody, which are refused; and bytes with the fleet's own MAC, as a faulty node
 * would write them, which are refused or are a record that comes back the same and that no decision runs out of.
 */
#include "common/lockout/decide.h"

#include "fuzz.h"

#define SID "S-1-5-21-1-2-3-1104"

static uint8_t key[LOCKOUT_KEY];
static bool has_key;

static void decide(struct lockout_record *r, int64_t now)
{
	static const struct lockout_rules rules = { .limit = 3, .window = 1800, .attempts = 5, .attempts_window = 900, .pending_seconds = 12,
		.good_seconds = 3600 };
	uint8_t stretched[LOCKOUT_STRETCHED] = { 1 };
	struct lockout_try t = { .key = key, .sid = SID, .generation = 7, .set_at = now, .stretched = stretched, .now = now, .late = now, .wall = now };
	struct lockout_record same = *r;
	enum lockout_verdict verdict, unknown;
	int64_t until;
	bool changed;

	FUZZ_CHECK(lockout_tag(key, SID, t.generation, stretched, t.tag) == 0);
	unknown = lockout_unknown(&same, &rules, &t, &until);
	FUZZ_CHECK(unknown == VERDICT_GO || unknown == VERDICT_GUARDED || unknown == VERDICT_BUDGET);
	FUZZ_CHECK(unknown == VERDICT_GO || until > now);
	verdict = lockout_take(r, &rules, &t, &until, &changed);
	FUZZ_CHECK(verdict != VERDICT_GO || (r->count >= 1 && r->count <= rules.limit && r->pending_n >= 1));
	FUZZ_CHECK((verdict != VERDICT_GUARDED && verdict != VERDICT_BUDGET) || verdict == unknown);
	FUZZ_CHECK(verdict != VERDICT_RIGHT || (until > now && until - now <= (int64_t)rules.good_seconds + 60));
	FUZZ_CHECK(verdict != VERDICT_BUDGET || (until > now && until - now <= (int64_t)rules.attempts_window + 1));
	FUZZ_CHECK(verdict != VERDICT_PENDING || (until > now && until - now <= 2 * (int64_t)rules.pending_seconds));
	FUZZ_CHECK(verdict != VERDICT_GUARDED || (until > now && until - now <= (int64_t)rules.window + 1 + 2 * (int64_t)rules.pending_seconds));
	FUZZ_CHECK(lockout_learn(r, &rules, &t, verdict == VERDICT_GO ? LESSON_WRONG : LESSON_RIGHT, 1) == 0);
	FUZZ_CHECK(r->bad_n <= RECORD_BAD && r->good_n <= RECORD_GOOD && r->pending_n <= RECORD_PENDING && r->addresses_n <= RECORD_ADDRESSES);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	uint8_t made[RECORD_BYTES_MAX], again[RECORD_BYTES_MAX];
	struct lockout_record r;
	char *copy;
	long m;

	if (n > RECORD_BYTES_MAX - SHA256_SIZE)
		return 0;
	if (!has_key)
		FUZZ_CHECK((has_key = lockout_key(STRV("fleet"), key) == 0));
	copy = fuzz_exact(bytes, n);
	FUZZ_CHECK(lockout_record_read(&r, key, SID, (struct strv){ copy, n }) == -1);
	free(copy);
	if (n > 0)
		memcpy(made, bytes, n);
	FUZZ_CHECK(lockout_mac(key, SID, made, n, made + n) == 0);
	copy = fuzz_exact(made, n + SHA256_SIZE);
	if (lockout_record_read(&r, key, SID, (struct strv){ copy, n + SHA256_SIZE }) == 0) {
		m = lockout_record_write(&r, key, SID, again);
		FUZZ_CHECK(m == (long)(n + SHA256_SIZE) && memcmp(again, made, (size_t)m) == 0);
		decide(&r, 1800000000);
	}
	free(copy);
	return 0;
}
