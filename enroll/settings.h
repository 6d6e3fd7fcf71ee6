/*
 * settings: the configuration of easenroll as loaded: common sections and `enroll:`. docs/easgate.yaml shows every key.
 * Built and checked whole, then swapped in by pointer; nothing changes it afterwards. Texts are never NULL.
 */
#ifndef EASGATE_ENROLL_SETTINGS_H
#define EASGATE_ENROLL_SETTINGS_H

#include "common/config.h"

struct enroll_listener {
	char *address;			/* "host:port", port 0: the kernel's choice */
	bool plain;			/* no TLS: only SCEP, CRL, OCSP and issuer certificates are served */
	char *certificate, *key;	/* PEM files; "" for plain */
};

struct enroll_ca {
	char *folder;			/* filled: state_dir/ca */
	char *index;			/* not in the file; filled: its ca.json, which changes with every command `ca` */
	char *key_password_file;	/* "" : the key's file is not encrypted */
	char *pkcs11_module, *pin_file;	/* "" : keys in files */
	char *known_keys_file;		/* "" : none */
	uint32_t crl_seconds, crl_overlap_seconds, delta_seconds, ocsp_seconds, ocsp_signer_seconds;	/* delta_seconds 0: no delta CRLs */
};

enum enroll_key { ENROLL_KEY_ANY = 0, ENROLL_KEY_RSA, ENROLL_KEY_EC };

struct enroll_profile {
	char *name;			/* 1..31 bytes of a-z A-Z 0-9 - _ */
	uint32_t days, renew_days;
	char *subject;			/* "CN={display_name},UID={sam}" */
	bool *upn_given, *mail_given, *sid_given;	/* as in the file; NULL: left out */
	bool upn, mail, sid;		/* default true */
	char *key;
	enum enroll_key key_kind;
	bool approve;
	char *required_group;		/* a DN; "" : everybody */
	unsigned group_bit;		/* of account.groups; only when required_group != "" */
};

struct enroll_portal {
	char *title, *required_group, *admin_group;	/* groups are DNs; admin_group "": no admin pages */
	unsigned required_bit, admin_bit;		/* of account.groups; only where the group is not "" */
	uint32_t idle_seconds, session_seconds, devices_per_user;
};

struct enroll_secrets {
	uint32_t seconds;
};

enum enroll_challenge { CHALLENGE_ONE_TIME = 0, CHALLENGE_STATIC, CHALLENGE_NDES, CHALLENGE_WEBHOOK };

struct enroll_scep {
	bool *enabled_given, *des3_given;
	bool enabled, des3;		/* default true */
	char *profile;			/* the name of an entry of profiles; "": the first one, filled */
	unsigned profile_index;
	char *challenge, *static_file;
	char *webhook_url, *webhook_token_file, *webhook_ca;	/* webhook_ca "": the system's CAs */
	uint32_t webhook_seconds;
	bool webhook_notify;
	enum enroll_challenge challenge_kind;
	bool legacy_des, approve;
};

struct enroll_est {
	bool *enabled_given;
	bool enabled;			/* default true */
	char *profile;
	unsigned profile_index;
	bool require_pop_link;
	uint32_t retry_seconds;		/* for whom waits for approval */
};

struct enroll_ndes {
	bool enabled;
	char *group;
	unsigned group_bit;		/* only when group != "" */
	uint32_t seconds, cache;
};

struct enroll_mdm {
	bool enabled;
	char *secret_file;		/* one line, NAME:PASSWORD */
	char *action;
	bool hold;			/* parsed from it */
};

struct enroll_mail {
	char *host, *display_name, *organization;
	uint32_t past_days;
};

enum enroll_apple_mail { ENROLL_APPLE_EXCHANGE = 0, ENROLL_APPLE_ONLINE };

struct enroll_apple {
	char *device_cas_file;		/* PEM, the CAs of built-in device certificates; "": no over-the-air profile service */
	char *trust_file;		/* PEM, certificates that profiles bring along beside our root (the mail server's CA); "": none */
	bool removal_disallowed;
	char *mail;			/* "exchange": the account signs in with the certificate; "online": OAuth */
	enum enroll_apple_mail mail_kind;
	char *oauth_sign_in_url, *oauth_token_url;	/* "": the device finds them */
};

struct enroll_admin {
	char *address;			/* "": none */
};

/* A group of the migration: of the list in the file, or named by a policy of `proxy:` in the same file. */
struct enroll_group {
	char *dn;
	unsigned bit;			/* of account.groups */
	bool switchable;		/* a rule of methods is for it: a switch changes something */
};

struct enroll_migration {
	char **groups;			/* DNs, as in the file */
	unsigned groups_count;
	uint32_t days;
	/* not in the file: */
	struct enroll_group *all;	/* those, and the policies' */
	unsigned all_n;
};

struct enroll_limits {
	uint32_t head_bytes, headers, body_bytes, bodies_bytes, connections, connections_per_address;
	uint32_t handshake_seconds, head_seconds, body_idle_seconds, idle_seconds, drain_seconds;
};

struct enroll_section {
	uint32_t workers;		/* 1 */
	struct enroll_listener *listeners;
	unsigned listeners_count;
	char *public_url, *plain_url;	/* without a / at their end; plain_url "": public_url is used for CRL, OCSP and SCEP, filled */
	char *registry;			/* filled: state_dir/enroll/registry.db; nothing of others belongs into its folder */
	bool local_proxy;		/* easproxy on this machine is told of revocations over its socket in run_dir */
	struct enroll_ca ca;
	struct enroll_profile *profiles;
	unsigned profiles_count;
	struct enroll_portal portal;
	struct enroll_secrets secrets;
	struct enroll_scep scep;
	struct enroll_est est;
	struct enroll_ndes ndes;
	struct enroll_mdm mdm;
	struct enroll_mail mail;
	struct enroll_apple apple;
	struct enroll_migration migration;
	struct enroll_admin admin;
	struct enroll_limits limits;
};

struct enroll_settings {
	struct config_common common;
	struct enroll_section enroll;
	/* --- not from the file --- */
	char *text;			/* the file's contents as loaded */
	size_t text_n;
	char *name;			/* the file's name */
};

#define ENROLL_GROUPS_MAX 64
#define ENROLL_MIGRATION_GROUPS 48

/*
 * Loads and checks everything that can be checked without opening other files. NULL: error->text says
 * file, line, key, what was found and what was expected.
 */
struct enroll_settings *enroll_settings_load(const char *name, struct strv text, struct config_error *error);
void enroll_settings_free(struct enroll_settings *s);
/* The profile of that name, or NULL. Borrowed from s. */
const struct enroll_profile *enroll_profile_find(const struct enroll_settings *s, const char *name);
/*
 * The group DNs that account.groups bits stand for: bit i is the i-th distinct group that the settings name, in the order
 * portal.required_group, portal.admin_group, ndes.group, profiles, migration. Returns how many (> ENROLL_GROUPS_MAX: too many);
 * fills groups[] (at least ENROLL_GROUPS_MAX entries), borrowed from s.
 */
unsigned enroll_settings_groups(const struct enroll_settings *s, const char **groups);

#endif
