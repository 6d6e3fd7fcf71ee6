/*
 * policy_list: is a text in the lists of a policy? Patterns are the administrator's, texts are the device's. Pure.
 */
#ifndef EASGATE_POLICY_LIST_H
#define EASGATE_POLICY_LIST_H

#include "proxy/settings.h"

enum list_verdict { LIST_PASSES = 0, LIST_DENIED, LIST_NOT_ALLOWED };

/* deny wins over allow; an empty allow list lets everything in that is not denied. */
enum list_verdict policy_list_judge(const struct pattern_lists *lists, struct strv text);

/*
 * The whole text: '*' any bytes, '?' one byte, else the byte itself, ASCII letters without case. Time: at most pattern times text,
 * whatever either says (fnmatch() may take exponentially long in the number of '*').
 */
bool policy_list_matches(struct strv pattern, struct strv text);

#endif
