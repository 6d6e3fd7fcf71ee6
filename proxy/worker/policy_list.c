/*
 * policy_list: patterns and lists of them. Decides nothing about a device. Worker process.
 */
#include "proxy/worker/policy_list.h"

#include "common/text.h"

bool policy_list_matches(struct strv pattern, struct strv text)
{
	size_t p = 0, t = 0, star = SIZE_MAX, again = 0;

	while (t < text.n) {
		if (p < pattern.n && pattern.p[p] == '*') {
			star = p++;
			again = t;
		} else if (p < pattern.n && (pattern.p[p] == '?' || text_lower_char(pattern.p[p]) == text_lower_char(text.p[t]))) {
			p++;
			t++;
		} else if (star != SIZE_MAX) {
			/* the last '*' takes one byte more; those before it need no second look */
			p = star + 1;
			t = ++again;
		} else {
			return false;
		}
	}
	while (p < pattern.n && pattern.p[p] == '*')
		p++;
	return p == pattern.n;
}

static bool listed(char *const *list, unsigned n, struct strv text)
{
	for (unsigned i = 0; i < n; i++) {
		if (policy_list_matches(strv_from(list[i]), text))
			return true;
	}
	return false;
}

enum list_verdict policy_list_judge(const struct pattern_lists *lists, struct strv text)
{
	if (listed(lists->deny, lists->deny_count, text))
		return LIST_DENIED;
	return lists->allow_count == 0 || listed(lists->allow, lists->allow_count, text) ? LIST_PASSES : LIST_NOT_ALLOWED;
}
