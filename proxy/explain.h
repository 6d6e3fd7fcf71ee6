/*
 * explain: `easproxy explain`: asks a running easproxy, and says in words which line of which policy decides for each method, and why.
 */
#ifndef EASGATE_PROXY_EXPLAIN_H
#define EASGATE_PROXY_EXPLAIN_H

#include <stdbool.h>

struct explain_wish {
	const char *user, *device, *certificate;	/* NULL: not given; at least user or certificate is */
	bool json;
};
/* 0: answered; 1: not, and said why. */
int explain_run(const char *config_file, const struct explain_wish *wish);

#endif
