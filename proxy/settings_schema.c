/*
 * settings_schema: what easgate.yaml may say, as libcyaml sees it: one row a key. Defaults and limits are in settings.c.
 */
#include "proxy/settings_schema.h"

#include "common/config_fill.h"

#define STR(type, member) CYAML_FIELD_STRING_PTR(#member, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type, member, 0, CYAML_UNLIMITED)
#define U32(type, member) CYAML_FIELD_UINT(#member, CYAML_FLAG_OPTIONAL, type, member)
#define BOOL(type, member) CYAML_FIELD_BOOL(#member, CYAML_FLAG_OPTIONAL, type, member)
#define LIST(type, member) CYAML_FIELD_SEQUENCE(#member, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type, member, &string_entry, 0, 1024)
#define SEQ(type, member, entry) CYAML_FIELD_SEQUENCE(#member, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type, member, &(entry), 0, 1024)
#define MAP(type, member, fields) CYAML_FIELD_MAPPING(#member, CYAML_FLAG_OPTIONAL, type, member, fields)
#define END CYAML_FIELD_END

static const cyaml_schema_value_t string_entry = { CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED) };

static const cyaml_schema_field_t listener_fields[] = {
	STR(struct listener_settings, address),
	LIST(struct listener_settings, proxy_protocol_from),
	END,
};
static const cyaml_schema_value_t listener_entry = { CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct listener_settings, listener_fields) };

static const cyaml_schema_field_t host_fields[] = {
	LIST(struct host_settings, names),
	STR(struct host_settings, certificate),
	STR(struct host_settings, key),
	LIST(struct host_settings, client_ca),
	STR(struct host_settings, policy),
	STR(struct host_settings, upstream),
	END,
};
static const cyaml_schema_value_t host_entry = { CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct host_settings, host_fields) };

static const cyaml_schema_field_t crl_fields[] = {
	STR(struct crl_settings, issuer_ca),
	STR(struct crl_settings, file),
	STR(struct crl_settings, url),
	STR(struct crl_settings, delta_file),
	STR(struct crl_settings, delta_url),
	END,
};
static const cyaml_schema_value_t crl_entry = { CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct crl_settings, crl_fields) };

static const cyaml_schema_field_t revocation_fields[] = {
	SEQ(struct revocation_settings, crls, crl_entry),
	BOOL(struct revocation_settings, redis),
	BOOL(struct revocation_settings, local),
	U32(struct revocation_settings, max_age_seconds),
	U32(struct revocation_settings, refresh_seconds),
	STR(struct revocation_settings, unknown),
	END,
};

#define METHOD(name, method) \
	CYAML_FIELD_STRING_PTR(name, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct method_rule, text[method], 0, CYAML_UNLIMITED)
static const cyaml_schema_field_t method_fields[] = {
	STR(struct method_rule, user),
	STR(struct method_rule, group),
	METHOD("certificate", METHOD_CERTIFICATE),
	METHOD("password", METHOD_PASSWORD),
	METHOD("bearer", METHOD_BEARER),
	END,
};
static const cyaml_schema_value_t method_entry = { CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct method_rule, method_fields) };

static const cyaml_schema_field_t pattern_fields[] = {
	LIST(struct pattern_lists, allow),
	LIST(struct pattern_lists, deny),
	END,
};

static const cyaml_schema_field_t policy_fields[] = {
	STR(struct policy_settings, name),
	SEQ(struct policy_settings, methods, method_entry),
	STR(struct policy_settings, required_group),
	STR(struct policy_settings, device),
	STR(struct policy_settings, pin),
	STR(struct policy_settings, quarantine),
	U32(struct policy_settings, devices_per_user),
	MAP(struct policy_settings, device_types, pattern_fields),
	MAP(struct policy_settings, user_agents, pattern_fields),
	MAP(struct policy_settings, protocol_versions, pattern_fields),
	CYAML_FIELD_BOOL_PTR("user_must_match", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct policy_settings, user_must_match_given),
	END,
};
static const cyaml_schema_value_t policy_entry = { CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct policy_settings, policy_fields) };

static const cyaml_schema_field_t upstream_fields[] = {
	STR(struct upstream_settings, name),
	LIST(struct upstream_settings, servers),
	STR(struct upstream_settings, server_name),
	STR(struct upstream_settings, ca),
	STR(struct upstream_settings, credential),
	STR(struct upstream_settings, header),
	STR(struct upstream_settings, header_value),
	STR(struct upstream_settings, spn),
	STR(struct upstream_settings, health_path),
	U32(struct upstream_settings, health_status),
	U32(struct upstream_settings, health_seconds),
	U32(struct upstream_settings, connect_ms),
	U32(struct upstream_settings, response_ms),
	U32(struct upstream_settings, ping_seconds),
	U32(struct upstream_settings, idle_seconds),
	U32(struct upstream_settings, pool),
	END,
};
static const cyaml_schema_value_t upstream_entry = { CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct upstream_settings, upstream_fields) };

static const cyaml_schema_field_t kerberos_fields[] = {
	STR(struct kerberos_settings, principal),
	STR(struct kerberos_settings, keytab),
	LIST(struct kerberos_settings, kdcs),
	U32(struct kerberos_settings, processes),
	LIST(struct kerberos_settings, refused_groups),
	U32(struct kerberos_settings, timeout_ms),
	U32(struct kerberos_settings, cache_entries),
	END,
};

static const cyaml_schema_field_t bearer_fields[] = {
	STR(struct bearer_settings, mode),
	STR(struct bearer_settings, keys_file),
	STR(struct bearer_settings, keys_url),
	STR(struct bearer_settings, keys_ca),
	U32(struct bearer_settings, keys_refresh_seconds),
	U32(struct bearer_settings, keys_max_age_seconds),
	STR(struct bearer_settings, issuer),
	STR(struct bearer_settings, audience),
	LIST(struct bearer_settings, algorithms),
	STR(struct bearer_settings, claim),
	STR(struct bearer_settings, account),
	U32(struct bearer_settings, leeway_seconds),
	STR(struct bearer_settings, authorization_uri),
	STR(struct bearer_settings, client_id),
	STR(struct bearer_settings, trusted_issuers),
	END,
};

static const cyaml_schema_field_t limit_fields[] = {
	U32(struct limit_settings, head_bytes),
	U32(struct limit_settings, headers),
	U32(struct limit_settings, body_bytes),
	U32(struct limit_settings, connections_per_address),
	U32(struct limit_settings, handshake_seconds),
	U32(struct limit_settings, head_seconds),
	U32(struct limit_settings, body_idle_seconds),
	U32(struct limit_settings, idle_seconds),
	U32(struct limit_settings, drain_seconds),
	U32(struct limit_settings, session_records),
	U32(struct limit_settings, session_seconds),
	U32(struct limit_settings, retry_after_seconds),
	U32(struct limit_settings, device_days),
	END,
};

static const cyaml_schema_field_t admin_fields[] = {
	STR(struct admin_settings, address),
	END,
};

static const cyaml_schema_field_t autodiscover_fields[] = {
	STR(struct autodiscover_urls, certificate),
	STR(struct autodiscover_urls, password),
	STR(struct autodiscover_urls, bearer),
	END,
};

static const cyaml_schema_field_t proxy_fields[] = {
	U32(struct proxy_settings, workers),
	U32(struct proxy_settings, sessions),
	SEQ(struct proxy_settings, listeners, listener_entry),
	SEQ(struct proxy_settings, hosts, host_entry),
	LIST(struct proxy_settings, identity),
	MAP(struct proxy_settings, revocation, revocation_fields),
	SEQ(struct proxy_settings, policies, policy_entry),
	SEQ(struct proxy_settings, upstreams, upstream_entry),
	CYAML_FIELD_MAPPING_PTR("kerberos", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct proxy_settings, kerberos, kerberos_fields),
	CYAML_FIELD_MAPPING_PTR("bearer", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct proxy_settings, bearer, bearer_fields),
	STR(struct proxy_settings, autodiscover),
	STR(struct proxy_settings, autodiscover_url),
	MAP(struct proxy_settings, autodiscover_urls, autodiscover_fields),
	LIST(struct proxy_settings, paths),
	MAP(struct proxy_settings, limits, limit_fields),
	MAP(struct proxy_settings, admin, admin_fields),
	END,
};

static const cyaml_schema_field_t top_fields[] = {
	CYAML_FIELD_STRING_PTR("user", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct settings, common.user, 0, CYAML_UNLIMITED),
	CYAML_FIELD_STRING_PTR("state_dir", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct settings, common.state_dir, 0, CYAML_UNLIMITED),
	CYAML_FIELD_STRING_PTR("run_dir", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct settings, common.run_dir, 0, CYAML_UNLIMITED),
	CYAML_FIELD_MAPPING("log", CYAML_FLAG_OPTIONAL, struct settings, common.log, config_log_fields),
	CYAML_FIELD_MAPPING_PTR("redis", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct settings, common.redis, config_redis_fields),
	CYAML_FIELD_MAPPING("directory", CYAML_FLAG_DEFAULT, struct settings, common.directory, config_directory_fields),
	CYAML_FIELD_MAPPING("lockout", CYAML_FLAG_OPTIONAL, struct settings, common.lockout, config_lockout_fields),
	CYAML_FIELD_MAPPING("proxy", CYAML_FLAG_DEFAULT, struct settings, proxy, proxy_fields),
	CYAML_FIELD_IGNORE("enroll", CYAML_FLAG_OPTIONAL),	/* the other program's section */
	END,
};

const cyaml_schema_value_t settings_schema = { CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct settings, top_fields) };
