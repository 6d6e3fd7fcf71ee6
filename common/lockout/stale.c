/*
 * stale: see stale.h. *lockout* process.
 */
#include "common/lockout/stale.h"

_Static_assert(LOCKOUT_STRETCHED <= BRIEF_VALUE, "it is the value of an entry");

int stale_name(const struct brief *b, const char *sid, struct strv password, uint8_t name[LOCKOUT_TAG])
{
	return brief_name(b, sid, password.p, password.n, name);
}

bool stale_find(struct brief *b, const uint8_t name[LOCKOUT_TAG], int64_t now, uint8_t stretched[LOCKOUT_STRETCHED])
{
	const struct brief_entry *e = brief_next(b, name, now, NULL);

	if (e != NULL)
		memcpy(stretched, e->value, LOCKOUT_STRETCHED);
	return e != NULL;
}

void stale_keep(struct brief *b, const uint8_t name[LOCKOUT_TAG], int64_t now, const uint8_t stretched[LOCKOUT_STRETCHED])
{
	if (brief_next(b, name, now, NULL) == NULL)
		memcpy(brief_make(b, name, now + STALE_SECONDS)->value, stretched, LOCKOUT_STRETCHED);
}
