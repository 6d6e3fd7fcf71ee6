/*
 * settings_schema: what easgate.yaml may say of easenroll, as libcyaml sees it: one row a key. Defaults and limits are in
 * settings.c. Runs wherever a configuration is loaded.
 */
#include "enroll/settings_schema.h"

#include "common/config_fill.h"

#define STR(type, member) CYAML_FIELD_STRING_PTR(#member, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type, member, 0, CYAML_UNLIMITED)
#define U32(type, member) CYAML_FIELD_UINT(#member, CYAML_FLAG_OPTIONAL, type, member)
#define BOOL(type, member) CYAML_FIELD_BOOL(#member, CYAML_FLAG_OPTIONAL, type, member)
/* one whose default is true */
#define GIVEN(type, member) CYAML_FIELD_BOOL_PTR(#member, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type, member##_given)
#define SEQ(type, member, entry) CYAML_FIELD_SEQUENCE(#member, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type, member, &(entry), 0, 64)
#define LIST(type, member) CYAML_FIELD_SEQUENCE(#member, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type, member, &text_entry, 0, 64)
#define MAP(type, member, fields) CYAML_FIELD_MAPPING(#member, CYAML_FLAG_OPTIONAL, type, member, fields)
#define END CYAML_FIELD_END

static const cyaml_schema_value_t text_entry = { CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED) };

static const cyaml_schema_field_t listener_fields[] = {
	STR(struct enroll_listener, address),
	BOOL(struct enroll_listener, plain),
	STR(struct enroll_listener, certificate),
	STR(struct enroll_listener, key),
	END,
};
static const cyaml_schema_value_t listener_entry = { CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct enroll_listener, listener_fields) };

static const cyaml_schema_field_t ca_fields[] = {
	STR(struct enroll_ca, folder),
	STR(struct enroll_ca, key_password_file),
	STR(struct enroll_ca, pkcs11_module),
	STR(struct enroll_ca, pin_file),
	STR(struct enroll_ca, known_keys_file),
	U32(struct enroll_ca, crl_seconds),
	U32(struct enroll_ca, crl_overlap_seconds),
	U32(struct enroll_ca, delta_seconds),
	U32(struct enroll_ca, ocsp_seconds),
	U32(struct enroll_ca, ocsp_signer_seconds),
	END,
};

static const cyaml_schema_field_t profile_fields[] = {
	STR(struct enroll_profile, name),
	U32(struct enroll_profile, days),
	U32(struct enroll_profile, renew_days),
	STR(struct enroll_profile, subject),
	GIVEN(struct enroll_profile, upn),
	GIVEN(struct enroll_profile, mail),
	GIVEN(struct enroll_profile, sid),
	STR(struct enroll_profile, key),
	BOOL(struct enroll_profile, approve),
	STR(struct enroll_profile, required_group),
	END,
};
static const cyaml_schema_value_t profile_entry = { CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct enroll_profile, profile_fields) };

static const cyaml_schema_field_t portal_fields[] = {
	STR(struct enroll_portal, title),
	STR(struct enroll_portal, required_group),
	STR(struct enroll_portal, admin_group),
	U32(struct enroll_portal, idle_seconds),
	U32(struct enroll_portal, session_seconds),
	U32(struct enroll_portal, devices_per_user),
	END,
};

static const cyaml_schema_field_t secrets_fields[] = {
	U32(struct enroll_secrets, seconds),
	END,
};

static const cyaml_schema_field_t scep_fields[] = {
	GIVEN(struct enroll_scep, enabled),
	STR(struct enroll_scep, profile),
	STR(struct enroll_scep, challenge),
	STR(struct enroll_scep, static_file),
	STR(struct enroll_scep, webhook_url),
	STR(struct enroll_scep, webhook_token_file),
	STR(struct enroll_scep, webhook_ca),
	U32(struct enroll_scep, webhook_seconds),
	BOOL(struct enroll_scep, webhook_notify),
	GIVEN(struct enroll_scep, des3),
	BOOL(struct enroll_scep, legacy_des),
	BOOL(struct enroll_scep, approve),
	END,
};

static const cyaml_schema_field_t est_fields[] = {
	GIVEN(struct enroll_est, enabled),
	STR(struct enroll_est, profile),
	BOOL(struct enroll_est, require_pop_link),
	U32(struct enroll_est, retry_seconds),
	END,
};

static const cyaml_schema_field_t ndes_fields[] = {
	BOOL(struct enroll_ndes, enabled),
	STR(struct enroll_ndes, group),
	U32(struct enroll_ndes, seconds),
	U32(struct enroll_ndes, cache),
	END,
};

static const cyaml_schema_field_t mdm_fields[] = {
	BOOL(struct enroll_mdm, enabled),
	STR(struct enroll_mdm, secret_file),
	STR(struct enroll_mdm, action),
	END,
};

static const cyaml_schema_field_t mail_fields[] = {
	STR(struct enroll_mail, host),
	STR(struct enroll_mail, display_name),
	STR(struct enroll_mail, organization),
	U32(struct enroll_mail, past_days),
	END,
};

static const cyaml_schema_field_t apple_fields[] = {
	STR(struct enroll_apple, device_cas_file),
	STR(struct enroll_apple, trust_file),
	BOOL(struct enroll_apple, removal_disallowed),
	STR(struct enroll_apple, mail),
	STR(struct enroll_apple, oauth_sign_in_url),
	STR(struct enroll_apple, oauth_token_url),
	END,
};

static const cyaml_schema_field_t migration_fields[] = {
	LIST(struct enroll_migration, groups),
	U32(struct enroll_migration, days),
	END,
};

static const cyaml_schema_field_t admin_fields[] = {
	STR(struct enroll_admin, address),
	END,
};

static const cyaml_schema_field_t limits_fields[] = {
	U32(struct enroll_limits, head_bytes),
	U32(struct enroll_limits, headers),
	U32(struct enroll_limits, body_bytes),
	U32(struct enroll_limits, bodies_bytes),
	U32(struct enroll_limits, connections),
	U32(struct enroll_limits, connections_per_address),
	U32(struct enroll_limits, handshake_seconds),
	U32(struct enroll_limits, head_seconds),
	U32(struct enroll_limits, body_idle_seconds),
	U32(struct enroll_limits, idle_seconds),
	U32(struct enroll_limits, drain_seconds),
	END,
};

static const cyaml_schema_field_t enroll_fields[] = {
	U32(struct enroll_section, workers),
	SEQ(struct enroll_section, listeners, listener_entry),
	STR(struct enroll_section, public_url),
	STR(struct enroll_section, plain_url),
	STR(struct enroll_section, registry),
	BOOL(struct enroll_section, local_proxy),
	MAP(struct enroll_section, ca, ca_fields),
	SEQ(struct enroll_section, profiles, profile_entry),
	MAP(struct enroll_section, portal, portal_fields),
	MAP(struct enroll_section, secrets, secrets_fields),
	MAP(struct enroll_section, scep, scep_fields),
	MAP(struct enroll_section, est, est_fields),
	MAP(struct enroll_section, ndes, ndes_fields),
	MAP(struct enroll_section, mdm, mdm_fields),
	MAP(struct enroll_section, mail, mail_fields),
	MAP(struct enroll_section, apple, apple_fields),
	MAP(struct enroll_section, migration, migration_fields),
	MAP(struct enroll_section, admin, admin_fields),
	MAP(struct enroll_section, limits, limits_fields),
	END,
};

static const cyaml_schema_field_t top_fields[] = {
	CYAML_FIELD_STRING_PTR("user", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct enroll_settings, common.user, 0, CYAML_UNLIMITED),
	CYAML_FIELD_STRING_PTR("state_dir", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct enroll_settings, common.state_dir, 0, CYAML_UNLIMITED),
	CYAML_FIELD_STRING_PTR("run_dir", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct enroll_settings, common.run_dir, 0, CYAML_UNLIMITED),
	CYAML_FIELD_MAPPING("log", CYAML_FLAG_OPTIONAL, struct enroll_settings, common.log, config_log_fields),
	CYAML_FIELD_MAPPING_PTR("redis", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct enroll_settings, common.redis, config_redis_fields),
	CYAML_FIELD_MAPPING("directory", CYAML_FLAG_DEFAULT, struct enroll_settings, common.directory, config_directory_fields),
	CYAML_FIELD_MAPPING("lockout", CYAML_FLAG_OPTIONAL, struct enroll_settings, common.lockout, config_lockout_fields),
	CYAML_FIELD_MAPPING("enroll", CYAML_FLAG_DEFAULT, struct enroll_settings, enroll, enroll_fields),
	CYAML_FIELD_IGNORE("proxy", CYAML_FLAG_OPTIONAL),	/* the other program's section */
	END,
};

const cyaml_schema_value_t enroll_settings_schema = { CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct enroll_settings, top_fields) };
