/*
 * settings: the configuration of easproxy as loaded: common sections and `proxy:`. docs/easgate.yaml shows every key.
 * Built and checked whole, then swapped in by pointer; nothing changes it afterwards.
 */
#ifndef EASGATE_PROXY_SETTINGS_H
#define EASGATE_PROXY_SETTINGS_H

#include "common/config.h"
#include "common/directory/claim_kind.h"

struct bundle;

struct listener_settings {
	char *address;				/* "host:port", port 0: the kernel's choice */
	char **proxy_protocol_from;
	unsigned proxy_protocol_from_count;
};

struct host_settings {
	char **names;
	unsigned names_count;
	char *certificate, *key;
	char **client_ca;
	unsigned client_ca_count;
	char *policy, *upstream;
	bool required;				/* TLS demands a certificate: each rule of the policy does */
	bool asks;				/* TLS asks for one: some rule takes it */
	unsigned policy_index, upstream_index;	/* resolved */
};

const char *claim_kind_name(enum claim_kind kind);

struct crl_settings {
	char *issuer_ca;	/* file with the CA certificate whose CRL this is */
	char *file, *url, *delta_file, *delta_url;
};

struct revocation_settings {
	struct crl_settings *crls;
	unsigned crls_count;
	bool redis, local;
	uint32_t max_age_seconds, refresh_seconds;
	char *unknown;
	bool unknown_allows;
};

/* What binds a certificate to a device, and how strictly that is held: docs/configuration.md, proxy.policies. */
enum device_rule { DEVICE_PIN = 0, DEVICE_REGISTERED, DEVICE_ANY };
enum pin_rule { PIN_OFF = 0, PIN_LOG, PIN_ENFORCE };

/* Patterns with * and ?, case does not matter. deny wins; an allow list that is not empty lets in only what is in it. */
struct pattern_lists {
	char **allow, **deny;
	unsigned allow_count, deny_count;
};
#define PATTERN_MAX  128	/* bytes */
#define PATTERNS_MAX 64		/* in a list */

/* How a device may say who it is. */
enum method { METHOD_CERTIFICATE = 0, METHOD_PASSWORD, METHOD_BEARER, METHODS };
extern const char *const method_names[];	/* NULL-terminated: "certificate", ... */
enum method_use { METHOD_OFF = 0, METHOD_ALLOWED, METHOD_REQUIRED };
extern const char *const method_use_names[];	/* NULL-terminated: "off", ... */

/* One line of a policy's table of methods. */
struct method_rule {
	char *user, *group;			/* "": anybody */
	char *text[METHODS];			/* as in the file */
	uint8_t use[METHODS];			/* enum method_use; parsed from it */
	unsigned group_bit;			/* of struct account.groups; resolved; only when group != "" */
};

struct policy_settings {
	char *name;
	struct method_rule *methods;		/* read from top to bottom, the first that matches decides */
	unsigned methods_count;			/* 0: a certificate is required */
	char *required_group;
	unsigned group_bit;			/* of struct account.groups; resolved; only when required_group != "" */
	char *device, *pin;
	enum device_rule device_rule;
	enum pin_rule pin_rule;			/* PIN_OFF with DEVICE_ANY */
	char *quarantine;			/* "off", "new" */
	bool quarantine_new;			/* parsed */
	uint32_t devices_per_user;
	struct pattern_lists device_types, user_agents, protocol_versions;
	bool *user_must_match_given;		/* as in the file; NULL: left out */
	bool user_must_match;			/* default true */
};

enum credential_kind { CREDENTIAL_REFUSED = 0, CREDENTIAL_KERBEROS, CREDENTIAL_HEADER, CREDENTIAL_PASSTHROUGH, CREDENTIAL_NONE };

struct upstream_settings {
	char *name;
	char **servers;				/* http:// or https:// */
	unsigned servers_count;
	char *server_name, *ca;
	char *credential, *header, *header_value, *spn;
	enum credential_kind credential_kind;
	enum header_kind { HEADER_SAM = 0, HEADER_UPN, HEADER_MAIL } header_kind;
	char *health_path;
	uint32_t health_status, health_seconds, connect_ms, response_ms, ping_seconds, idle_seconds, pool;
};

struct kerberos_settings {
	char *principal, *keytab;
	char **kdcs;				/* host:port */
	unsigned kdcs_count;
	uint32_t processes;
	char **refused_groups;			/* SIDs, or RIDs of the account's domain */
	unsigned refused_groups_count;
	uint32_t timeout_ms, cache_entries;
};

/* Bearer tokens: JWT (RFC 7519) that somebody else issues. */
#define BEARER_ALGORITHMS_MAX 9
#define BEARER_CHALLENGE_MAX 1536
struct bearer_settings {
	char *mode;				/* "check": by the keys; "pass": the mail server verifies it, and it is a claim until then */
	bool passes;				/* parsed */
	char *keys_file, *keys_url;		/* where their JWK Set (RFC 7517) is; one of them is "", with pass both */
	char *keys_ca;				/* of the URL's server; "": the system's CAs */
	uint32_t keys_refresh_seconds, keys_max_age_seconds;
	char *issuer, *audience;
	char **algorithms;			/* of jwt_algorithms[] */
	unsigned algorithms_count;
	char *claim;				/* the member that names the account */
	char *account;				/* what that is: "upn", "sid", "email" */
	enum claim_kind account_kind;		/* parsed from it */
	uint32_t leeway_seconds;
	/* What a 401 says of where tokens come from, as Exchange says it; "": nothing. Only what stands between quotes as it is. */
	char *authorization_uri, *client_id, *trusted_issuers;
	char challenge[BEARER_CHALLENGE_MAX];	/* made of them: what follows "Bearer " */
};
extern const char *const jwt_algorithms[];	/* NULL-terminated: those that may be configured, all asymmetric */

struct limit_settings {
	uint32_t head_bytes, headers;
	uint32_t body_bytes;
	uint32_t connections_per_address;	/* 0: any number */
	uint32_t handshake_seconds, head_seconds, body_idle_seconds, idle_seconds, drain_seconds;
	uint32_t session_records, session_seconds, retry_after_seconds, device_days;
};

struct admin_settings {
	char *address;				/* "": none */
};

/* Where a device is told to go that came by this method; "": proxy.autodiscover_url. */
struct autodiscover_urls {
	char *certificate, *password, *bearer;
};

struct proxy_settings {
	uint32_t workers, sessions;
	struct listener_settings *listeners;
	unsigned listeners_count;
	struct host_settings *hosts;
	unsigned hosts_count;
	char **identity;
	unsigned identity_count;
	enum claim_kind claim_order[CLAIM_KINDS];	/* parsed; claim_count of them */
	unsigned claim_count;
	struct revocation_settings revocation;
	struct policy_settings *policies;
	unsigned policies_count;
	struct upstream_settings *upstreams;
	unsigned upstreams_count;
	struct kerberos_settings *kerberos;		/* NULL unless there */
	struct bearer_settings *bearer;			/* NULL unless there */
	char *autodiscover, *autodiscover_url;
	struct autodiscover_urls autodiscover_urls;
	bool autodiscover_answers;
	char **paths;
	unsigned paths_count;
	struct limit_settings limits;
	struct admin_settings admin;
};

struct settings {
	struct config_common common;
	struct proxy_settings proxy;
	/* --- not from the file --- */
	char *text;			/* the file's contents as loaded */
	size_t text_n;
	char *name;			/* the file's name */
};

/*
 * Loads and checks everything that can be checked without opening other files. NULL: error->text says
 * file, line, key, what was found and what was expected.
 */
struct settings *settings_load(const char *name, struct strv text, struct config_error *error);
void settings_free(struct settings *s);
#define SETTINGS_SPN_MAX 256	/* with its NUL */
#define SETTINGS_GROUPS_MAX 64
/*
 * The group DNs that account.groups bits stand for: bit i is the i-th distinct one of the policies in file order, of each
 * its required_group and then those of its methods. Returns how many; fills groups[] (at least SETTINGS_GROUPS_MAX entries), borrowed from s.
 */
unsigned settings_groups(const struct settings *s, const char **groups);
/* What the table of a policy comes to for a host: does TLS demand a certificate, does it ask for one? */
bool settings_demands_certificate(const struct policy_settings *policy);
bool settings_takes(const struct policy_settings *policy, enum method method);
bool settings_takes_anywhere(const struct settings *s, enum method method);	/* some host's policy does */

#endif
