/*
 * worker_config: one configuration with all that is built from it. Worker process, and the trial of a new configuration.
 */
#include <fcntl.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/bundle.h"
#include "proxy/jwt_keys.h"
#include "proxy/worker/worker.h"

bool worker_config_fetched_keys(struct worker_config *c)
{
	const struct bearer_settings *b = c->settings->proxy.bearer;
	char path[4096 + JWT_KEYS_FILE], name[JWT_KEYS_FILE], why[200], *text;
	uint8_t sum[SHA256_SIZE];
	struct jwt_keys *keys = NULL;
	struct stat st;
	ssize_t n = -1;
	int fd;

	if (b == NULL || b->keys_url[0] == '\0')
		return false;
	jwt_keys_file(b->keys_url, name);
	snprintf(path, sizeof(path), "%s/%s", c->settings->common.state_dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	text = fd >= 0 && fstat(fd, &st) == 0 ? malloc(JWT_KEYS_BYTES_MAX) : NULL;
	if (text != NULL)
		n = read(fd, text, JWT_KEYS_BYTES_MAX);
	if (fd >= 0)
		close(fd);
	if (n > 0) {
		SHA256((const uint8_t *)text, (size_t)n, sum);
		if (c->keys == NULL || memcmp(sum, c->keys_sum, SHA256_SIZE) != 0)
			keys = jwt_keys_read((struct strv){ text, (size_t)n }, why, sizeof(why));
		if (keys != NULL || (c->keys != NULL && memcmp(sum, c->keys_sum, SHA256_SIZE) == 0))
			c->keys_until = st.st_mtim.tv_sec + b->keys_max_age_seconds;
	}
	free(text);
	if (keys == NULL)
		return false;
	jwt_keys_free(c->keys);
	c->keys = keys;
	memcpy(c->keys_sum, sum, SHA256_SIZE);
	return true;
}

/* A trial has no loop, and asks nobody. */
static int read_keys(struct worker_config *c, bool trial, struct bundle *files, char *why, size_t size)
{
	const struct bearer_settings *b = c->settings->proxy.bearer;
	char reason[200] = "is not among the files that this process may read";
	struct strv json;

	if (b == NULL || b->passes)
		return 0;
	if (b->keys_url[0] != '\0') {
		if (!trial)
			worker_config_fetched_keys(c);
		return 0;
	}
	c->keys_until = INT64_MAX;
	if (bundle_get(files, b->keys_file, &json))
		c->keys = jwt_keys_read(json, reason, sizeof(reason));
	if (c->keys == NULL)
		snprintf(why, size, "%s: %s", b->keys_file, reason);
	return c->keys != NULL ? 0 : -1;
}

struct worker_config *worker_config_new(struct loop *loop, struct evdns_base *dns, struct settings *settings, struct bundle *files,
    struct session_records *records, char *why, size_t why_size)
{
	struct worker_config *c = calloc(1, sizeof(*c));

	if (c == NULL) {
		snprintf(why, why_size, "out of memory");
		settings_free(settings);
		return NULL;
	}
	c->settings = settings;
	c->hosts = tls_hosts_new(settings, files, records, why, why_size);
	if (c->hosts != NULL && read_keys(c, loop == NULL, files, why, why_size) == 0)
		c->upstreams = upstreams_new(loop, dns, settings, files, why, why_size);
	if (c->upstreams == NULL) {
		worker_config_free(c);
		return NULL;
	}
	return c;
}

void worker_config_free(struct worker_config *c)
{
	if (c == NULL)
		return;
	upstreams_retire(c->upstreams);
	tls_hosts_unref(c->hosts);
	jwt_keys_free(c->keys);
	settings_free(c->settings);
	free(c);
}
