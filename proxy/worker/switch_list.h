/*
 * switch_list: Redis' answer to HGETALL of `switches`, read: the DNs of groups that are switched to certificates. Whoever can write to Redis
 * says what stands there, so nothing of it is trusted but to restrict: values are not looked at. Pure but for memory.
 */
#ifndef EASGATE_SWITCH_LIST_H
#define EASGATE_SWITCH_LIST_H

#include <hiredis/hiredis.h>

#include "common/base.h"

#define SWITCHES_MAX 1024	/* of one hash; what is beyond is not looked at */

struct switch_list {
	char **dn;	/* exactly as they stand in Redis; heap */
	unsigned n;
};

/*
 * 0: *out is filled, for switch_list_clear(); *more: there are others than the SWITCHES_MAX that were looked at. -1: no such reply (of another
 * type, an odd count, a member that is no text), or out of memory; *out is empty then. Borrows reply for the call. A field with a NUL
 * in it is no group's DN and is left out.
 */
MUST_CHECK int switch_list_read(struct switch_list *out, const redisReply *reply, bool *more);
/* Empty afterwards; may be called again. */
void switch_list_clear(struct switch_list *list);
/* Bit i: groups[i] is in the list, byte for byte. n: at most 64. */
uint64_t switch_list_mask(const struct switch_list *list, const char *const *groups, unsigned n);

#endif
