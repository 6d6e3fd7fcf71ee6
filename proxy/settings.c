/*
 * settings: defaults, limits and cross-references of easproxy's configuration. Opens no file that it names.
 */
#include "proxy/settings.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/address.h"
#include "common/config_fill.h"
#include "common/device.h"
#include "common/http_head.h"
#include "common/network.h"
#include "common/text.h"
#include "proxy/settings_parts.h"
#include "proxy/settings_schema.h"

static const char *const claim_names[CLAIM_KINDS + 1] = {
	"none", "sid", "upn", "alt-issuer-serial", "alt-ski", "alt-sha1-public-key", "weak-issuer-subject", "weak-subject",
	"weak-rfc822", "email", "subject:CN", "subject:UID", "subject:emailAddress", "user", NULL,
};

const char *claim_kind_name(enum claim_kind kind)
{
	return (unsigned)kind < CLAIM_KINDS ? claim_names[kind] : "?";
}

static const struct config_fill listener_rows[] = {
	FILL_TEXT(struct listener_settings, address, "", "host:port"),
	{ .key = NULL },
};
static const struct config_fill host_rows[] = {
	FILL_TEXT(struct host_settings, certificate, "", "a PEM file, leaf first"),
	FILL_TEXT(struct host_settings, key, "", "a PEM file with the private key"),
	FILL_TEXT(struct host_settings, policy, "", "the name of an entry of proxy.policies"),
	FILL_TEXT(struct host_settings, upstream, "", "the name of an entry of proxy.upstreams"),
	{ .key = NULL },
};
static const struct config_fill crl_rows[] = {
	FILL_TEXT(struct crl_settings, issuer_ca, "", "the PEM file of the CA that issues this CRL"),
	FILL_TEXT(struct crl_settings, file, "", NULL),
	FILL_TEXT(struct crl_settings, url, "", NULL),
	FILL_TEXT(struct crl_settings, delta_file, "", NULL),
	FILL_TEXT(struct crl_settings, delta_url, "", NULL),
	{ .key = NULL },
};
static const struct config_fill revocation_rows[] = {
	FILL_U32(struct revocation_settings, max_age_seconds, 3600, 10, 2592000),
	FILL_U32(struct revocation_settings, refresh_seconds, 60, 1, 86400),
	FILL_TEXT(struct revocation_settings, unknown, "refuse", NULL),
	{ .key = NULL },
};
static const struct config_fill policy_rows[] = {
	FILL_TEXT(struct policy_settings, name, "", "a name that hosts refer to"),
	FILL_TEXT(struct policy_settings, required_group, "", NULL),
	FILL_TEXT(struct policy_settings, device, "pin", NULL),
	FILL_TEXT(struct policy_settings, pin, "", NULL),
	FILL_TEXT(struct policy_settings, quarantine, "off", NULL),
	FILL_U32(struct policy_settings, devices_per_user, DEVICE_TABLE_LIMIT, 1, 1000),
	{ .key = NULL },
};
static const struct config_fill upstream_rows[] = {
	FILL_TEXT(struct upstream_settings, name, "", "a name that hosts refer to"),
	FILL_TEXT(struct upstream_settings, server_name, "", NULL),
	FILL_TEXT(struct upstream_settings, ca, "", NULL),
	FILL_TEXT(struct upstream_settings, credential, "", "kerberos, header, passthrough or none"),
	FILL_TEXT(struct upstream_settings, header, "", NULL),
	FILL_TEXT(struct upstream_settings, header_value, "sam", NULL),
	FILL_TEXT(struct upstream_settings, spn, "", NULL),
	FILL_TEXT(struct upstream_settings, health_path, "", NULL),
	FILL_U32(struct upstream_settings, health_status, 200, 100, 599),
	FILL_U32(struct upstream_settings, health_seconds, 5, 1, 3600),
	FILL_U32(struct upstream_settings, connect_ms, 5000, 50, 60000),
	FILL_U32(struct upstream_settings, response_ms, 60000, 100, 3600000),
	FILL_U32(struct upstream_settings, ping_seconds, 3600, 1, 7200),
	FILL_U32(struct upstream_settings, idle_seconds, 60, 1, 3600),
	FILL_U32(struct upstream_settings, pool, 1000, 1, 100000),
	{ .key = NULL },
};
static const struct config_fill kerberos_rows[] = {
	FILL_TEXT(struct kerberos_settings, principal, "", "the service account as NAME@REALM"),
	FILL_TEXT(struct kerberos_settings, keytab, "", "the service account's keytab"),
	FILL_U32(struct kerberos_settings, processes, 2, 1, 16),
	FILL_U32(struct kerberos_settings, timeout_ms, 2000, 100, 30000),
	FILL_U32(struct kerberos_settings, cache_entries, 20000, 16, 1000000),
	{ .key = NULL },
};
static const struct config_fill limit_rows[] = {
	FILL_U32(struct limit_settings, head_bytes, 16384, 1024, 65536),
	FILL_U32(struct limit_settings, headers, 100, 8, 128),
	FILL_U32(struct limit_settings, body_bytes, 30000000, 1024, UINT32_MAX),
	FILL_U32(struct limit_settings, connections_per_address, 0, 0, 1000000),
	FILL_U32(struct limit_settings, handshake_seconds, 10, 1, 300),
	FILL_U32(struct limit_settings, head_seconds, 30, 1, 300),
	FILL_U32(struct limit_settings, body_idle_seconds, 60, 1, 3600),
	FILL_U32(struct limit_settings, idle_seconds, 300, 1, 7200),
	FILL_U32(struct limit_settings, drain_seconds, 30, 1, 7200),
	FILL_U32(struct limit_settings, session_records, 65536, 64, 16777216),
	FILL_U32(struct limit_settings, session_seconds, 28800, 1, 604800),
	FILL_U32(struct limit_settings, retry_after_seconds, 30, 1, 3600),
	FILL_U32(struct limit_settings, device_days, 90, 1, 3650),
	{ .key = NULL },
};
static const struct config_fill proxy_rows[] = {
	FILL_U32(struct proxy_settings, workers, 0, 0, 48),
	FILL_U32(struct proxy_settings, sessions, 9000, 8, 1000000),
	FILL_TEXT(struct proxy_settings, autodiscover, "forward", NULL),
	FILL_TEXT(struct proxy_settings, autodiscover_url, "", NULL),
	{ .key = NULL },
};
static const struct config_fill autodiscover_rows[] = {
	FILL_TEXT(struct autodiscover_urls, certificate, "", NULL),
	FILL_TEXT(struct autodiscover_urls, password, "", NULL),
	FILL_TEXT(struct autodiscover_urls, bearer, "", NULL),
	{ .key = NULL },
};
static const struct config_fill admin_rows[] = {
	FILL_TEXT(struct admin_settings, address, "", NULL),
	{ .key = NULL },
};

static int check_listeners(struct proxy_settings *p, const struct config_place *at)
{
	struct address address;
	struct network cidr;
	char key[128];

	if (p->listeners_count == 0)
		return config_refuse(at, "proxy.listeners", "is missing: expected a list of addresses, such as - address: \"0.0.0.0:443\"");
	for (unsigned i = 0; i < p->listeners_count; i++) {
		struct listener_settings *l = &p->listeners[i];
		snprintf(key, sizeof(key), "proxy.listeners[%u]", i);
		if (config_fill(l, listener_rows, key, at) < 0)
			return -1;
		if (address_parse(strv_from(l->address), &address) < 0)
			return config_refuse(at, key, "\"%s\" is no address: expected host:port or [v6]:port with a numeric host", l->address);
		for (unsigned k = 0; k < l->proxy_protocol_from_count; k++) {
			if (network_parse(&cidr, strv_from(l->proxy_protocol_from[k])) < 0)
				return config_refuse(at, key, "proxy_protocol_from: \"%s\" is no network: expected such as 10.0.0.0/8", l->proxy_protocol_from[k]);
		}
	}
	return 0;
}

static int find_policy(const struct proxy_settings *p, const char *name)
{
	for (unsigned i = 0; i < p->policies_count; i++) {
		if (strcmp(p->policies[i].name, name) == 0)
			return (int)i;
	}
	return -1;
}

static int find_upstream(const struct proxy_settings *p, const char *name)
{
	for (unsigned i = 0; i < p->upstreams_count; i++) {
		if (strcmp(p->upstreams[i].name, name) == 0)
			return (int)i;
	}
	return -1;
}

/* A DNS name, or "*." and one: a URL or a port would never be what a device calls. */
static bool is_host_name(struct strv name)
{
	if (name.n > 2 && name.p[0] == '*' && name.p[1] == '.')
		name = (struct strv){ name.p + 2, name.n - 2 };
	do {
		struct strv label = text_split(&name, '.');
		if (label.n == 0 || label.n > 63)
			return false;
		for (size_t i = 0; i < label.n; i++) {
			char c = text_lower_char(label.p[i]);
			if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
				return false;
		}
	} while (name.p != NULL);
	return true;
}

/* Whom nobody has verified gets no ticket, and no header says his name: only the mail server that verifies the token may be asked. */
static int check_unverified(const struct proxy_settings *p, const struct host_settings *h, const char *key, const struct config_place *at)
{
	const struct policy_settings *policy = &p->policies[h->policy_index];
	const struct upstream_settings *upstream = &p->upstreams[h->upstream_index];

	if (p->bearer == NULL || !p->bearer->passes || !settings_takes(policy, METHOD_BEARER) || upstream->credential_kind == CREDENTIAL_PASSTHROUGH)
		return 0;
	return config_refuse(at, key, "policy \"%s\" takes bearer tokens, which with proxy.bearer.mode pass only the mail server verifies: "
	    "upstream \"%s\" must have credential passthrough, not %s", policy->name, upstream->name, upstream->credential);
}

/* The first host with a name would hide the others. */
static int check_names(const struct proxy_settings *p, unsigned i, const char *key, const struct config_place *at)
{
	const struct host_settings *h = &p->hosts[i];

	for (unsigned k = 0; k < h->names_count; k++) {
		if (!is_host_name(strv_from(h->names[k])))
			return config_refuse(at, key, "names: \"%s\" is no name: expected a DNS name that devices use, such as mail.example.com", h->names[k]);
		for (unsigned j = 0; j <= i; j++) {
			const struct host_settings *other = &p->hosts[j];
			for (unsigned n = 0; n < (j < i ? other->names_count : k); n++) {
				if (text_eq_nocase(strv_from(other->names[n]), strv_from(h->names[k])))
					return config_refuse(at, key, "names: \"%s\" stands twice", h->names[k]);
			}
		}
	}
	return 0;
}

static int check_host(struct proxy_settings *p, unsigned i, const struct config_place *at)
{
	struct host_settings *h = &p->hosts[i];
	int policy, upstream;
	char key[128];

	snprintf(key, sizeof(key), "proxy.hosts[%u]", i);
	if (config_fill(h, host_rows, key, at) < 0)
		return -1;
	if (h->names_count == 0)
		return config_refuse(at, key, "names is missing: expected the DNS names that devices use");
	if (check_names(p, i, key, at) < 0)
		return -1;
	policy = find_policy(p, h->policy);
	upstream = find_upstream(p, h->upstream);
	if (policy < 0)
		return config_refuse(at, key, "policy \"%s\" is not in proxy.policies", h->policy);
	if (upstream < 0)
		return config_refuse(at, key, "upstream \"%s\" is not in proxy.upstreams", h->upstream);
	h->policy_index = (unsigned)policy;
	h->upstream_index = (unsigned)upstream;
	if (check_unverified(p, h, key, at) < 0)
		return -1;
	h->required = settings_demands_certificate(&p->policies[policy]);
	h->asks = settings_takes(&p->policies[policy], METHOD_CERTIFICATE);
	if (h->asks && h->client_ca_count == 0)
		return config_refuse(at, key, "client_ca is missing: expected the PEM files of the CAs that issue device certificates");
	return 0;
}

static int check_identity(struct proxy_settings *p, const struct config_place *at)
{
	const char *choices[CLAIM_USER];	/* what comes from a certificate: neither "none", the first, nor "user", the last */

	for (int kind = CLAIM_NONE + 1; kind < CLAIM_USER; kind++)
		choices[kind - 1] = claim_names[kind];
	choices[CLAIM_USER - 1] = NULL;
	if (p->identity_count == 0 || p->identity_count >= CLAIM_USER)
		return config_refuse(at, "proxy.identity", "expected a list of what in a certificate names its user, such as [sid, upn]");
	for (unsigned i = 0; i < p->identity_count; i++) {
		int kind = config_choice(p->identity[i], choices, "proxy.identity", at);
		if (kind < 0)
			return -1;
		p->claim_order[i] = (enum claim_kind)(kind + 1);
	}
	p->claim_count = p->identity_count;
	return 0;
}

/* "" is none, which may be. */
static bool is_web_url(const char *url)
{
	return url[0] == '\0' || text_starts_nocase(strv_from(url), STRV("http://")) || text_starts_nocase(strv_from(url), STRV("https://"));
}

static int check_revocation(struct settings *s, const struct config_place *at)
{
	static const char *const choices[] = { "refuse", "allow", NULL };
	struct revocation_settings *r = &s->proxy.revocation;
	int unknown;
	char key[128];

	if (config_fill(r, revocation_rows, "proxy.revocation", at) < 0)
		return -1;
	unknown = config_choice(r->unknown, choices, "proxy.revocation.unknown", at);
	if (unknown < 0)
		return -1;
	r->unknown_allows = unknown == 1;
	if (r->redis && s->common.redis == NULL)
		return config_refuse(at, "proxy.revocation.redis", "true needs the section redis:");
	if (r->local && r->crls_count == 0)
		return config_refuse(at, "proxy.revocation.local", "true needs crls: what enrolment says there ends by its list");
	if (!r->redis && r->crls_count == 0 && !r->unknown_allows)
		return config_refuse(at, "proxy.revocation", "names no source: give crls, or redis: true, or every certificate would be refused");
	for (unsigned i = 0; i < r->crls_count; i++) {
		snprintf(key, sizeof(key), "proxy.revocation.crls[%u]", i);
		if (config_fill(&r->crls[i], crl_rows, key, at) < 0)
			return -1;
		if ((r->crls[i].file[0] == '\0') == (r->crls[i].url[0] == '\0'))
			return config_refuse(at, key, "expected either file or url");
		if (!is_web_url(r->crls[i].url) || !is_web_url(r->crls[i].delta_url))
			return config_refuse(at, key, "expected an url that begins with http:// or https://");
		if (r->crls[i].delta_file[0] != '\0' && r->crls[i].delta_url[0] != '\0')
			return config_refuse(at, key, "expected at most one of delta_file and delta_url");
	}
	return 0;
}

static int check_policies(struct settings *s, const struct config_place *at)
{
	struct proxy_settings *p = &s->proxy;
	char key[128];

	if (p->policies_count == 0)
		return config_refuse(at, "proxy.policies", "is missing: expected a list with at least one policy");
	for (unsigned i = 0; i < p->policies_count; i++) {
		struct policy_settings *q = &p->policies[i];
		snprintf(key, sizeof(key), "proxy.policies[%u]", i);
		if (config_fill(q, policy_rows, key, at) < 0)
			return -1;
		if (find_policy(p, q->name) != (int)i)
			return config_refuse(at, key, "the name \"%s\" stands twice", q->name);
		if (settings_check_devices(s, q, key, at) < 0)
			return -1;
		q->user_must_match = q->user_must_match_given == NULL || *q->user_must_match_given;
	}
	return settings_check_methods(s, at);
}

/* Fields that frame or route a request, or that the proxy writes itself: a second one would be understood in two ways. */
static bool is_own_field(struct strv name)
{
	static const char *const own[] = { "Host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Upgrade", "Expect", "TE",
		"Trailer", "Authorization", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto" };

	for (size_t i = 0; i < ARRAY_LEN(own); i++) {
		if (text_eq_nocase(name, strv_from(own[i])))
			return true;
	}
	return false;
}

static int check_credential(struct settings *s, struct upstream_settings *u, const char *key, const struct config_place *at)
{
	static const char *const kinds[] = { "kerberos", "header", "passthrough", "none", NULL };
	static const char *const values[] = { "sam", "upn", "mail", NULL };
	int kind, value;
	char part[160];

	snprintf(part, sizeof(part), "%s.credential", key);
	kind = config_choice(u->credential, kinds, part, at);
	if (kind < 0)
		return -1;
	u->credential_kind = (enum credential_kind)(kind + 1);
	snprintf(part, sizeof(part), "%s.header_value", key);
	value = config_choice(u->header_value, values, part, at);
	if (value < 0)
		return -1;
	u->header_kind = (enum header_kind)value;
	if (u->credential_kind == CREDENTIAL_KERBEROS && (u->spn[0] == '\0' || s->proxy.kerberos == NULL))
		return config_refuse(at, key, "credential kerberos needs spn, such as HTTP/mail.corp.example, and the section proxy.kerberos");
	if (strlen(u->spn) >= SETTINGS_SPN_MAX)
		return config_refuse(at, key, "spn: expected at most %d bytes", SETTINGS_SPN_MAX - 1);
	if (u->credential_kind == CREDENTIAL_HEADER && u->header[0] == '\0')
		return config_refuse(at, key, "credential header needs header, the name of the field that the mail server trusts");
	if (u->credential_kind == CREDENTIAL_HEADER && !http_is_token(strv_from(u->header)))
		return config_refuse(at, key, "header: \"%s\" is no name of a field: expected such as X-EAS-User", u->header);
	if (u->credential_kind == CREDENTIAL_HEADER && is_own_field(strv_from(u->header)))
		return config_refuse(at, key, "header: %s has a meaning of its own: expected a field that only the proxy sets, such as X-EAS-User", u->header);
	return 0;
}

static int check_upstreams(struct settings *s, const struct config_place *at)
{
	struct proxy_settings *p = &s->proxy;
	char key[128];

	if (p->upstreams_count == 0)
		return config_refuse(at, "proxy.upstreams", "is missing: expected a list with at least one group of mail servers");
	for (unsigned i = 0; i < p->upstreams_count; i++) {
		struct upstream_settings *u = &p->upstreams[i];
		snprintf(key, sizeof(key), "proxy.upstreams[%u]", i);
		if (config_fill(u, upstream_rows, key, at) < 0)
			return -1;
		if (find_upstream(p, u->name) != (int)i)
			return config_refuse(at, key, "the name \"%s\" stands twice", u->name);
		if (u->servers_count == 0 || u->servers_count > 32)
			return config_refuse(at, key, "servers: expected 1 to 32 URLs such as https://mail.corp.example");
		for (unsigned k = 0; k < u->servers_count; k++) {
			struct server_url url;
			if (server_url_parse(strv_from(u->servers[k]), &url) < 0)
				return config_refuse(at, key, "servers: \"%s\": expected http://host[:port] or https://host[:port]", u->servers[k]);
			if (url.tls && u->ca[0] == '\0')
				return config_refuse(at, key, "ca is missing: expected the PEM file of the CA that issued the certificate of %s", u->servers[k]);
		}
		if (u->health_path[0] != '\0' && u->health_path[0] != '/')
			return config_refuse(at, key, "health_path: expected a path that begins with /");
		if (check_credential(s, u, key, at) < 0)
			return -1;
	}
	return 0;
}

static int check_kerberos(struct proxy_settings *p, const struct config_place *at)
{
	if (p->kerberos == NULL)
		return 0;
	if (config_fill(p->kerberos, kerberos_rows, "proxy.kerberos", at) < 0)
		return -1;
	if (strchr(p->kerberos->principal, '@') == NULL)
		return config_refuse(at, "proxy.kerberos.principal", "\"%s\": expected NAME@REALM", p->kerberos->principal);
	if (p->kerberos->kdcs_count == 0)
		return config_refuse(at, "proxy.kerberos.kdcs", "is missing: expected a list of host:port");
	return 0;
}

static int check_autodiscover(struct proxy_settings *p, const struct config_place *at)
{
	static const char *const modes[] = { "forward", "answer", NULL };
	const char *urls[3];
	int mode;

	if (config_fill(&p->autodiscover_urls, autodiscover_rows, "proxy.autodiscover_urls", at) < 0)
		return -1;
	mode = config_choice(p->autodiscover, modes, "proxy.autodiscover", at);
	if (mode < 0)
		return -1;
	p->autodiscover_answers = mode == 1;
	if (p->autodiscover_answers && !text_starts_nocase(strv_from(p->autodiscover_url), STRV("https://")))
		return config_refuse(at, "proxy.autodiscover_url", "expected the https:// URL that devices shall use");
	urls[0] = p->autodiscover_urls.certificate;
	urls[1] = p->autodiscover_urls.password;
	urls[2] = p->autodiscover_urls.bearer;
	for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
		if (urls[i][0] != '\0' && !text_starts_nocase(strv_from(urls[i]), STRV("https://")))
			return config_refuse(at, "proxy.autodiscover_urls", "\"%s\": expected a https:// URL", urls[i]);
	}
	return 0;
}

static int check_proxy(struct settings *s, const struct config_place *at)
{
	struct proxy_settings *p = &s->proxy;
	struct address address;

	if (config_fill(p, proxy_rows, "proxy", at) < 0 || config_fill(&p->limits, limit_rows, "proxy.limits", at) < 0 ||
	    config_fill(&p->admin, admin_rows, "proxy.admin", at) < 0 || check_listeners(p, at) < 0 ||
	    check_identity(p, at) < 0 || check_revocation(s, at) < 0 || check_kerberos(p, at) < 0 ||
	    check_policies(s, at) < 0 || check_upstreams(s, at) < 0)
		return -1;
	if (p->hosts_count == 0)
		return config_refuse(at, "proxy.hosts", "is missing: expected a list with at least one host");
	for (unsigned i = 0; i < p->hosts_count; i++) {
		if (check_host(p, i, at) < 0)
			return -1;
	}
	if (check_autodiscover(p, at) < 0)
		return -1;
	for (unsigned i = 0; i < p->paths_count; i++) {
		if (p->paths[i][0] != '/')
			return config_refuse(at, "proxy.paths", "\"%s\" does not begin with /", p->paths[i]);
	}
	if (p->admin.address[0] != '\0' && address_parse(strv_from(p->admin.address), &address) < 0)
		return config_refuse(at, "proxy.admin.address", "\"%s\" is no address: expected such as 127.0.0.1:9180", p->admin.address);
	return 0;
}

struct settings *settings_load(const char *name, struct strv text, struct config_error *error)
{
	cyaml_data_t *data = NULL;
	struct settings *s;
	struct config_place at = { name, text, error };

	if (config_load(name, text, &settings_schema, &data, error) < 0)
		return NULL;
	s = data;
	s->name = strdup(name);
	s->text = malloc(text.n + 1);
	if (s->name == NULL || s->text == NULL) {
		snprintf(error->text, sizeof(error->text), "%s: out of memory", name);
		goto failed;
	}
	memcpy(s->text, text.p, text.n);
	s->text[text.n] = '\0';
	s->text_n = text.n;
	at.text = (struct strv){ s->text, s->text_n };
	if (config_check_common(&s->common, name, at.text, error) < 0 || check_proxy(s, &at) < 0)
		goto failed;
	return s;
failed:
	settings_free(s);
	return NULL;
}

void settings_free(struct settings *s)
{
	if (s == NULL)
		return;
	free(s->text);
	free(s->name);
	s->text = s->name = NULL;
	config_release(&settings_schema, s);
}
