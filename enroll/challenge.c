/*
 * challenge: length, and how many different bytes. Runs in the worker of easenroll and in `easenroll check`.
 */
#include "enroll/challenge.h"

#define DIFFERENT 8

const char *challenge_weakness(struct strv challenge)
{
	bool seen[256] = { false };
	unsigned different = 0;

	if (challenge.n == 0)
		return "is empty";
	if (challenge.n > CHALLENGE_LONG)
		return "is longer than 128 bytes, and no request can bring it";
	if (challenge.n < CHALLENGE_SHORT)
		return "has fewer than 16 characters and can be guessed";
	for (size_t i = 0; i < challenge.n; i++) {
		different += !seen[(unsigned char)challenge.p[i]];
		seen[(unsigned char)challenge.p[i]] = true;
	}
	return different < DIFFERENT ? "has fewer than 8 different characters and can be guessed" : NULL;
}
