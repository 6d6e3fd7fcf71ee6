/*
 * confine: folders rather than files: a list is published by giving a new file the old one's name. Revocation process.
 */
#include "proxy/revocation/confine.h"

#include <limits.h>
#include <stdlib.h>

#define PATHS_MAX 600

/* The folder that holds `path` (a new file takes its name there), and the one that it leads to when it is a link. */
static size_t add_folders(const char **paths, char (*store)[PATH_MAX], size_t n, const char *path)
{
	char real[PATH_MAX];
	const char *names[2] = { path, realpath(path, real) };
	char *slash;
	int i;

	for (i = 0; i < 2; i++) {
		if (names[i] == NULL || names[i][0] == '\0' || strlen(names[i]) >= PATH_MAX || n + 1 >= PATHS_MAX)
			continue;
		memcpy(store[n], names[i], strlen(names[i]) + 1);
		slash = strrchr(store[n], '/');
		if (slash == NULL)
			memcpy(store[n], ".", sizeof("."));
		else
			slash[slash == store[n] ? 1 : 0] = '\0';
		paths[n] = store[n];
		n++;
	}
	return n;
}

int revocation_confine(struct child *child, const struct settings *settings)
{
	/* Names of servers and the system's CAs, for URLs of CRLs and for Redis. */
	static const char *const always[] = { "/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/ssl",
		"/usr/lib/ssl", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates" };
	const struct revocation_settings *s = &settings->proxy.revocation;
	const char *writable[] = { settings->common.state_dir, NULL };
	char (*store)[PATH_MAX] = calloc(PATHS_MAX, sizeof(*store));
	const char **readable = calloc(PATHS_MAX + 1, sizeof(*readable));
	size_t n = 0;
	int rc = -1;
	unsigned i;

	if (store == NULL || readable == NULL)
		goto out;
	for (i = 0; i < ARRAY_LEN(always); i++)
		readable[n++] = always[i];
	for (i = 0; i < s->crls_count; i++) {
		n = add_folders(readable, store, n, s->crls[i].file);
		n = add_folders(readable, store, n, s->crls[i].delta_file);
	}
	rc = child_confine(child, readable, writable);
out:
	free(store);
	free(readable);
	return rc;
}
