/*
 * device_store: which Redis the records of devices are in, and how a reload changes that: the new connection is made beside the
 * old one, which serves until the new one answers. Judges no record. Runs in workers.
 */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/device_parts.h"
#include "common/log.h"
#include "common/tls.h"

#define SWITCH_MS 5000		/* for so long an old connection may serve while the new one does not answer */

/* What the section names; borrowed from the bundle. n == 0: not configured. */
struct store_files {
	struct strv password, secret, ca;
};

static int open_files(const struct config_redis *c, struct bundle *bundle, struct store_files *out, char *why, size_t why_size)
{
	*out = (struct store_files){ .password = { NULL, 0 } };
	if (c->password_file[0] != '\0' && !bundle_get_secret(bundle, c->password_file, &out->password))
		snprintf(why, why_size, "redis.password_file: %s: missing or empty: expected the password in the first line",
		    c->password_file);
	else if (c->fleet_secret_file[0] != '\0' && !bundle_get_secret(bundle, c->fleet_secret_file, &out->secret))
		snprintf(why, why_size, "redis.fleet_secret_file: %s: missing or empty: expected the secret in the first line",
		    c->fleet_secret_file);
	else if (c->ca[0] != '\0' && !bundle_get(bundle, c->ca, &out->ca))
		snprintf(why, why_size, "redis.ca: %s: missing: expected CA certificates as PEM", c->ca);
	else
		return 0;
	return -1;
}

int devices_try(const struct config_redis *redis, struct bundle *bundle, char *why, size_t why_size)
{
	struct store_files files;
	char reason[TLS_WHY_MAX];
	SSL_CTX *tls;

	if (redis == NULL)
		return 0;
	if (open_files(redis, bundle, &files, why, why_size) < 0)
		return -1;
	if (!redis->tls)
		return 0;
	tls = tls_client_ctx_new(files.ca, reason, sizeof(reason));
	if (tls == NULL)
		snprintf(why, why_size, "redis.ca: %s: %s", redis->ca, reason);
	SSL_CTX_free(tls);
	return tls != NULL ? 0 : -1;
}

/* --- what it is told from others by --- */

static void hash_part(EVP_MD_CTX *md, const void *p, size_t n, bool *good)
{
	uint64_t size = n;

	*good = *good && EVP_DigestUpdate(md, &size, sizeof(size)) == 1 && EVP_DigestUpdate(md, p, n) == 1;
}

static void hash_cstr(EVP_MD_CTX *md, const char *text, bool *good)
{
	hash_part(md, text, strlen(text), good);
}

/* truth: of what decides which records there are and which are believed; whole: of the way there too. */
static int take_fingerprints(struct device_store *s, const struct store_files *files)
{
	const struct config_redis *c = &s->config;
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	bool good = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1;

	for (unsigned i = 0; good && i < c->servers_count; i++)
		hash_cstr(md, c->servers[i], &good);
	if (good) {
		hash_cstr(md, c->sentinel, &good);
		hash_cstr(md, c->prefix, &good);
		hash_part(md, files->secret.p, files->secret.n, &good);
		good = good && EVP_DigestFinal_ex(md, s->truth, NULL) == 1 && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1;
		hash_part(md, s->truth, sizeof(s->truth), &good);
		hash_cstr(md, c->username, &good);
		hash_part(md, files->password.p, files->password.n, &good);
		hash_part(md, files->ca.p, files->ca.n, &good);
		hash_part(md, &c->tls, sizeof(c->tls), &good);
		hash_part(md, &c->timeout_ms, sizeof(c->timeout_ms), &good);
		good = good && EVP_DigestFinal_ex(md, s->whole, NULL) == 1;
	}
	EVP_MD_CTX_free(md);
	return good ? 0 : -1;
}

/* --- one of them --- */

static void clear_config(struct config_redis *c)
{
	for (unsigned i = 0; c->servers != NULL && i < c->servers_count; i++)
		free(c->servers[i]);
	free(c->servers);
	free(c->sentinel);
	free(c->username);
	free(c->prefix);
}

/* What a connection borrows; the names of files are of no more use. */
static int copy_config(struct config_redis *to, const struct config_redis *from)
{
	*to = (struct config_redis){ .tls = from->tls, .timeout_ms = from->timeout_ms, .sentinel = strdup(from->sentinel),
		.username = strdup(from->username), .prefix = strdup(from->prefix) };
	to->servers = calloc(from->servers_count + 1, sizeof(*to->servers));
	if (to->sentinel == NULL || to->username == NULL || to->prefix == NULL || to->servers == NULL)
		return -1;
	for (unsigned i = 0; i < from->servers_count; i++) {
		to->servers[i] = strdup(from->servers[i]);
		if (to->servers[i] == NULL)
			return -1;
		to->servers_count++;
	}
	return 0;
}

static void store_free(struct device_store *s)
{
	if (s == NULL)
		return;
	redis_free(s->redis);
	clear_config(&s->config);
	if (s->secret != NULL)
		OPENSSL_clear_free(s->secret, s->secret_n);
	free(s);
}

/* Without a connection yet. NULL: out of memory. */
static struct device_store *store_new(const struct config_redis *config, const struct store_files *files)
{
	struct device_store *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	if (copy_config(&s->config, config) < 0 || take_fingerprints(s, files) < 0)
		goto failed;
	if (files->secret.n > 0) {
		s->secret = OPENSSL_malloc(files->secret.n);
		if (s->secret == NULL)
			goto failed;
		memcpy(s->secret, files->secret.p, files->secret.n);
		s->secret_n = files->secret.n;
	}
	return s;
failed:
	store_free(s);
	return NULL;
}

static void on_state(void *arg, bool up);

static int store_connect(struct devices *d, struct device_store *s, const struct store_files *files)
{
	struct redis_config c = { .loop = d->loop, .settings = &s->config, .name = "devices", .password = files->password,
		.ca_pem = files->ca, .dns = d->dns, .state = on_state, .arg = d };
	char why[320];

	s->redis = redis_new(&c, why, sizeof(why));
	if (s->redis == NULL) {
		log_say(LOG_ERROR, "redis_unusable", "redis: %s", why);
		return -1;
	}
	redis_count(s->redis, d->metrics);
	if (s->secret_n == 0)
		log_say(LOG_WARNING, "no_fleet_secret", "redis.fleet_secret_file is not set: records of devices in Redis cannot be believed, "
		    "only policies with device: any let anybody in");
	return 0;
}

/* --- from one to the next --- */

struct device_store *device_store(const struct devices *d)
{
	return d->leaving != NULL && redis_is_up(d->leaving->redis) && !redis_is_up(d->store->redis) ? d->leaving : d->store;
}

/* What it was asked and has not answered is asked of the one in force: no question does more when it is put twice. */
static void drop_store(struct devices *d, struct device_store *old)
{
	for (struct device_op *op = d->ops; op != NULL; op = op->next) {
		if (op->asked != old)
			continue;
		redis_cancel(old->redis, op->command_number);
		op->command_number = 0;
		op->asked = NULL;
		if (!op->answered)
			device_ask_redis(d, op);
	}
	store_free(old);
}

static void leave(struct devices *d)
{
	struct device_store *old = d->leaving;

	d->leaving = NULL;
	deadline_disarm(&d->switch_over);
	if (old != NULL)
		drop_store(d, old);
}

static void on_switch_over(struct deadline *deadline)
{
	leave(CONTAINER_OF(deadline, struct devices, switch_over));
}

static void on_state(void *arg, bool up)
{
	struct devices *d = arg;

	(void)up;
	if (d->leaving != NULL && redis_is_up(d->store->redis))
		leave(d);
}

int device_store_open(struct devices *d, const struct config_redis *redis, struct bundle *bundle)
{
	struct store_files files;
	char why[512];

	if (open_files(redis, bundle, &files, why, sizeof(why)) < 0) {
		log_say(LOG_ERROR, "redis_files", "%s", why);
		return -1;
	}
	d->store = store_new(redis, &files);
	return d->store != NULL ? store_connect(d, d->store, &files) : -1;
}

void device_store_close(struct devices *d)
{
	deadline_disarm(&d->switch_over);
	store_free(d->leaving);
	store_free(d->store);
	d->leaving = d->store = NULL;
}

/* The new one is there and connects; the one before, or the one before that if it alone ever answered, serves meanwhile. */
static void replace(struct devices *d, struct device_store *fresh)
{
	struct device_store *before = d->store;

	d->store = fresh;
	if (d->leaving == NULL)
		d->leaving = before;
	else
		drop_store(d, before);
	deadline_arm(d->loop, &d->switch_over, SWITCH_MS, on_switch_over);
}

int devices_reload(struct devices *d, const struct config_redis *redis, struct bundle *bundle)
{
	struct device_store *fresh;
	struct store_files files;
	char why[512];

	if (d->table != NULL || redis == NULL)
		return d->table != NULL && redis == NULL ? 0 : -1;
	if (open_files(redis, bundle, &files, why, sizeof(why)) < 0) {
		log_say(LOG_ERROR, "redis_files", "%s", why);
		return -1;
	}
	fresh = store_new(redis, &files);
	if (fresh == NULL)
		return -1;
	if (memcmp(fresh->whole, d->store->whole, sizeof(fresh->whole)) == 0) {
		store_free(fresh);
		return 0;
	}
	if (store_connect(d, fresh, &files) < 0) {
		store_free(fresh);
		return -1;
	}
	/* Other records, or another secret: what the old ones said is not believed, but for whom it bound. */
	if (memcmp(fresh->truth, d->store->truth, sizeof(fresh->truth)) != 0)
		d->believed_from_ms = loop_now_ms(d->loop) + 1;
	replace(d, fresh);
	return 0;
}
