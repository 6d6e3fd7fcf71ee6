/*
 * switch_list: all or nothing: half a list would let in by password whom the other half shuts out. Worker process.
 */
#include "proxy/worker/switch_list.h"

#include <stdlib.h>

#include "common/redis.h"

void switch_list_clear(struct switch_list *list)
{
	for (unsigned i = 0; i < list->n; i++)
		free(list->dn[i]);
	free(list->dn);
	*list = (struct switch_list){ NULL, 0 };
}

int switch_list_read(struct switch_list *out, const redisReply *reply, bool *more)
{
	struct switch_list list = { NULL, 0 };
	struct strv text;
	size_t n;

	*out = list;
	*more = false;
	if (reply == NULL || reply->type != REDIS_REPLY_ARRAY || reply->elements % 2 != 0)
		return -1;
	n = reply->elements / 2;
	*more = n > SWITCHES_MAX;
	if (*more)
		n = SWITCHES_MAX;
	list.dn = calloc(n > 0 ? n : 1, sizeof(*list.dn));
	if (list.dn == NULL)
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (!redis_text(reply->element[2 * i], &text))
			goto failed;
		if (memchr(text.p, '\0', text.n) != NULL)
			continue;
		list.dn[list.n] = strndup(text.p, text.n);
		if (list.dn[list.n] == NULL)
			goto failed;
		list.n++;
	}
	*out = list;
	return 0;
failed:
	switch_list_clear(&list);
	*more = false;
	return -1;
}

uint64_t switch_list_mask(const struct switch_list *list, const char *const *groups, unsigned n)
{
	uint64_t mask = 0;

	for (unsigned i = 0; i < list->n; i++) {
		for (unsigned k = 0; k < n; k++) {
			if (strcmp(list->dn[i], groups[k]) == 0)
				mask |= UINT64_C(1) << k;
		}
	}
	return mask;
}
