/*
 * load_device: client certificates from a manifest, the TLS settings of a phone, the request text.
 * Opens no connection. Runs in the load generator.
 */
#include "load.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int device_read(struct device *d, const char *path)
{
	FILE *f = fopen(path, "r");

	if (!f) {
		perror(path);
		return -1;
	}
	d->certificate = PEM_read_X509(f, NULL, NULL, NULL);
	rewind(f);
	d->key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
	fclose(f);
	if (!d->certificate || !d->key) {
		fprintf(stderr, "%s: no certificate and key in PEM\n", path);
		return -1;
	}
	return 0;
}

int devices_load(struct load *l)
{
	FILE *f = fopen(l->opt.devices, "r");
	char path[512], user[LOAD_NAME_MAX], id[LOAD_NAME_MAX];
	int rc = -1;

	if (!f) {
		perror(l->opt.devices);
		return -1;
	}
	while (fscanf(f, "%511s %63s %63s", path, user, id) == 3) {
		struct device *more = realloc(l->devices, (l->device_n + 1) * sizeof(*more));

		if (!more)
			goto out;
		l->devices = more;
		more += l->device_n;
		memset(more, 0, sizeof(*more));
		memcpy(more->user, user, sizeof(user));
		memcpy(more->id, id, sizeof(id));
		l->device_n++;
		if (device_read(more, path) < 0)
			goto out;
	}
	if (l->device_n)
		rc = 0;
	else
		fprintf(stderr, "%s: no devices\n", l->opt.devices);
out:
	fclose(f);
	return rc;
}

void devices_free(struct load *l)
{
	for (size_t i = 0; i < l->device_n; i++) {
		X509_free(l->devices[i].certificate);
		EVP_PKEY_free(l->devices[i].key);
	}
	free(l->devices);
	l->devices = NULL;
	l->device_n = 0;
}

/* OpenSSL calls this for each session the proxy offers; 1 means the reference is ours now. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
	struct conn *c = SSL_get_app_data(ssl);
	struct load *l = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	l->counts.tickets++;
	if (l->opt.mode != MODE_RESUMED)
		return 0;
	SSL_SESSION_free(c->session);
	c->session = session;
	return 1;
}

/*
 * TLS 1.3 with one cipher suite and one group, so that no proxy is measured with a cheaper cipher
 * than another: the first choices of today's phones.
 */
int context_new(struct load *l)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	if (!ctx)
		return -1;
	if (!SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) ||
	    !SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256") ||
	    !SSL_CTX_set1_groups_list(ctx, "X25519") ||
	    SSL_CTX_load_verify_locations(ctx, l->opt.ca, NULL) != 1) {
		ERR_print_errors_fp(stderr);
		SSL_CTX_free(ctx);
		return -1;
	}
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
	                 SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, on_session);
	SSL_CTX_set_app_data(ctx, l);
	SSL_CTX_set_read_ahead(ctx, 1);
	l->ctx = ctx;
	return 0;
}

/* RFC 7617; empty where devices have certificates. */
static int authorization_format(const struct load *l, const struct device *d, char *out, size_t size)
{
	unsigned char both[2 * LOAD_NAME_MAX], digits[4 * LOAD_NAME_MAX];
	int n;

	out[0] = '\0';
	if (!l->opt.password)
		return 0;
	n = snprintf((char *)both, sizeof(both), "%s:%s", d->user, l->opt.password);
	if (n < 0 || (size_t)n >= sizeof(both))
		return -1;
	EVP_EncodeBlock(digits, both, n);
	n = snprintf(out, size, "Authorization: Basic %s\r\n", digits);
	return n < 0 || (size_t)n >= size ? -1 : 0;
}

int request_format(const struct load *l, struct conn *c)
{
	char authorization[5 * LOAD_NAME_MAX];
	int n;

	if (authorization_format(l, c->device, authorization, sizeof(authorization)) < 0)
		return -1;
	n = snprintf(c->request, sizeof(c->request),
	                 "POST /Microsoft-Server-ActiveSync?Cmd=%s&User=%s&DeviceId=%s"
	                 "&DeviceType=Bench HTTP/1.1\r\n"
	                 "Host: %s\r\n"
	                 "User-Agent: easgate-bench/1\r\n"
	                 "Content-Type: application/vnd.ms-sync.wbxml\r\n"
	                 "MS-ASProtocolVersion: 14.1\r\n"
	                 "X-MS-PolicyKey: 1307199584\r\n"
	                 "%s"
	                 "X-Bench-Size: %zu\r\n"
	                 "Content-Length: %zu\r\n\r\n",
	                 l->opt.mode == MODE_HOLD ? "Ping" : "Sync", c->device->user,
	                 c->device->id, l->opt.host, authorization, l->opt.down, l->opt.up);

	if (n < 0 || (size_t)n >= sizeof(c->request))
		return -1;
	c->request_n = (size_t)n;
	return 0;
}
