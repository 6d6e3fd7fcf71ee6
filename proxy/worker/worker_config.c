/*
 * worker_config: one configuration with all that is built from it. Worker process, and the trial of a new configuration.
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/bundle.h"
#include "proxy/worker/jwt.h"
#include "proxy/worker/worker.h"

static int read_keys(struct worker_config *c, struct bundle *files, char *why, size_t size)
{
	const struct bearer_settings *b = c->settings->proxy.bearer;
	char reason[200] = "is not among the files that this process may read";
	struct strv json;

	if (b == NULL)
		return 0;
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
	if (c->hosts != NULL && read_keys(c, files, why, why_size) == 0)
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
