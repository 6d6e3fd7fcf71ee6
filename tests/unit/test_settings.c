/*
 * Settings: what easproxy's configuration may say. Each wrong one is refused with its line; and docs/configuration.md and
 * docs/easgate.yaml say what the program does: the same keys, types, defaults and limits.
 */
#include "proxy/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "common/text.h"
#include "proxy/settings_schema.h"

/* One of everything; #NAME marks where a key of that mapping can be put in. */
#define METHODS_HERE "      methods:\n        - certificate: required\n          #proxy.policies[].methods[]\n"

static const char base[] =
	"#top\n"
	"log:\n"
	"  #log\n"
	"  access: true\n"
	"redis:\n"
	"  #redis\n"
	"  servers: [\"127.0.0.1:6379\"]\n"
	"directory:\n"
	"  #directory\n"
	"  kind: ldap\n"
	"  ldap:\n"
	"    #directory.ldap\n"
	"    servers: [ldaps://dc]\n"
	"    base: DC=x\n"
	"    bind_name: me\n"
	"    bind_password_file: /p\n"
	"proxy:\n"
	"  #proxy\n"
	"  listeners:\n"
	"    - address: \"0.0.0.0:443\"\n"
	"      #proxy.listeners[]\n"
	"  hosts:\n"
	"    - names: [mail.example.com]\n"
	"      #proxy.hosts[]\n"
	"      certificate: /c\n"
	"      key: /k\n"
	"      client_ca: [/ca]\n"
	"      policy: staff\n"
	"      upstream: mail\n"
	"  identity: [sid, upn]\n"
	"  revocation:\n"
	"    #proxy.revocation\n"
	"    crls:\n"
	"      - issuer_ca: /ca\n"
	"        #proxy.revocation.crls[]\n"
	"        file: /crl\n"
	"  policies:\n"
	"    - name: staff\n"
	"      #proxy.policies[]\n"
	"      methods:\n"
	"        - certificate: required\n"
	"          #proxy.policies[].methods[]\n"
	"  bearer:\n"
	"    #proxy.bearer\n"
	"    keys_file: /jwks\n"
	"    issuer: https://issuer\n"
	"    audience: mail\n"
	"    algorithms: [RS256]\n"
	"  upstreams:\n"
	"    - name: mail\n"
	"      #proxy.upstreams[]\n"
	"      servers: [\"https://ex\"]\n"
	"      ca: /ca\n"
	"      credential: kerberos\n"
	"      spn: HTTP/ex\n"
	"  kerberos:\n"
	"    #proxy.kerberos\n"
	"    principal: svc@X\n"
	"    keytab: /t\n"
	"    kdcs: [\"dc:88\"]\n"
	"  limits:\n"
	"    #proxy.limits\n"
	"    headers: 100\n"
	"  admin:\n"
	"    #proxy.admin\n"
	"    address: \"127.0.0.1:9180\"\n"
	"lockout:\n"
	"  #lockout\n"
	"  mode: enforce\n";

/* base with the first `old` replaced; the caller frees. */
static char *with(const char *old, const char *new)
{
	const char *at = strstr(base, old);
	size_t size = sizeof(base) + strlen(new) + 1;
	char *text = malloc(size);

	if (at == NULL)
		fail_msg("the base has no \"%s\"", old);
	snprintf(text, size, "%.*s%s%s", (int)(at - base), base, new, at + strlen(old));
	return text;
}

static struct settings *load(const char *text, struct config_error *error)
{
	memset(error, 0, sizeof(*error));
	return settings_load("x.yaml", strv_from(text), error);
}

static void refused(const char *old, const char *new, const char *wanted)
{
	struct config_error error;
	char *text = with(old, new);
	struct settings *s = load(text, &error);

	if (s != NULL)
		fail_msg("taken: %s", new);
	if (strstr(error.text, wanted) == NULL)
		fail_msg("said \"%s\", expected \"%s\" for: %s", error.text, wanted, new);
	if (strncmp(error.text, "x.yaml:", 7) != 0 || strtoul(error.text + 7, NULL, 10) == 0 || strchr(error.text, '\n') != NULL)
		fail_msg("no line of the form FILE:LINE: %s", error.text);
	free(text);
}

static struct settings *taken(const char *old, const char *new)
{
	struct config_error error;
	char *text = with(old, new);
	struct settings *s = load(text, &error);

	if (s == NULL)
		fail_msg("refused: %s", error.text);
	free(text);
	return s;
}

/* --- what is taken --- */

static void one_of_everything_is_taken_and_resolved(void **state)
{
	struct settings *s = taken("#top", "");
	const char *groups[SETTINGS_GROUPS_MAX + 1];

	(void)state;
	assert_string_equal(s->name, "x.yaml");
	assert_int_equal(s->text_n, strlen(s->text));
	assert_true(s->proxy.hosts[0].required);
	assert_int_equal(s->proxy.hosts[0].policy_index, 0);
	assert_int_equal(s->proxy.hosts[0].upstream_index, 0);
	assert_int_equal(s->proxy.claim_count, 2);
	assert_int_equal(s->proxy.claim_order[0], CLAIM_SID);
	assert_int_equal(s->proxy.claim_order[1], CLAIM_UPN);
	assert_false(s->proxy.revocation.unknown_allows);
	assert_int_equal(s->proxy.policies[0].device_rule, DEVICE_PIN);
	assert_true(s->proxy.policies[0].user_must_match);
	assert_int_equal(s->proxy.upstreams[0].credential_kind, CREDENTIAL_KERBEROS);
	assert_int_equal(settings_groups(s, groups), 0);
	settings_free(s);
	settings_free(NULL);
}

static void every_word_for_the_certificates_user_is_known(void **state)
{
	struct settings *s = taken("[sid, upn]", "[subject:UID, sid, upn, alt-issuer-serial, alt-ski, alt-sha1-public-key, "
		"weak-issuer-subject, weak-subject, weak-rfc822, email, subject:CN, subject:emailAddress]");

	(void)state;
	assert_int_equal(s->proxy.claim_count, 12);
	assert_int_equal(s->proxy.claim_order[0], CLAIM_SUBJECT_UID);
	assert_int_equal(s->proxy.claim_order[11], CLAIM_SUBJECT_EMAIL);
	for (unsigned i = 0; i < s->proxy.claim_count; i++)
		assert_string_equal(claim_kind_name(s->proxy.claim_order[i]), s->proxy.identity[i]);
	settings_free(s);
	refused("[sid, upn]", "[sid, UPN]", "x.yaml:30: proxy.identity: \"UPN\" is none of: sid, upn, alt-issuer-serial, alt-ski, alt-sha1-public-key, weak-issuer-subject, weak-subject, "
	    "weak-rfc822, email, subject:CN, subject:UID, subject:emailAddress");
	refused("[sid, upn]", "[none]", "proxy.identity: \"none\" is none of: sid, upn");
	refused("[sid, upn]", "[user]", "proxy.identity: \"user\" is none of: sid, upn");
	refused("[sid, upn]", "[]", "proxy.identity: expected a list of what in a certificate names its user");
}

static void equal_groups_of_several_policies_share_a_bit(void **state)
{
	struct settings *s = taken("    - name: staff\n      #proxy.policies[]\n" METHODS_HERE,
		"    - {name: a, required_group: CN=1}\n    - {name: b}\n    - {name: c, required_group: CN=2}\n"
		"    - {name: staff, required_group: CN=1, user_must_match: false, device: any}\n");
	const char *groups[SETTINGS_GROUPS_MAX + 1];

	(void)state;
	assert_int_equal(settings_groups(s, groups), 2);
	assert_string_equal(groups[0], "CN=1");
	assert_string_equal(groups[1], "CN=2");
	assert_int_equal(s->proxy.policies[0].group_bit, 0);
	assert_int_equal(s->proxy.policies[2].group_bit, 1);
	assert_int_equal(s->proxy.policies[3].group_bit, 0);
	assert_int_equal(s->proxy.hosts[0].policy_index, 3);
	assert_false(s->proxy.policies[3].user_must_match);
	settings_free(s);
}

static void what_tls_asks_for_follows_from_the_table_of_methods(void **state)
{
	static const struct { const char *methods; bool required, asks; } cases[] = {
		{ "      methods: []\n", true, true },
		{ "      methods: [{certificate: required}]\n", true, true },
		{ "      methods: [{user: a, certificate: required, password: required}, {certificate: required}]\n", true, true },
		{ "      methods: [{user: a, certificate: required}]\n", true, true },
		{ "      methods: [{certificate: allowed}]\n", false, true },
		{ "      methods: [{user: a, password: allowed}, {certificate: required}]\n", false, true },
		{ "      methods: [{certificate: allowed, password: allowed}]\n", false, true },
		{ "      methods: [{group: CN=x}]\n", false, false },
		{ "      methods: [{password: required}]\n", false, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct settings *s = taken(METHODS_HERE, cases[i].methods);
		if (s->proxy.hosts[0].required != cases[i].required || s->proxy.hosts[0].asks != cases[i].asks)
			fail_msg("%s", cases[i].methods);
		settings_free(s);
	}
}

static void groups_of_methods_have_bits_too(void **state)
{
	struct settings *s = taken(METHODS_HERE,
	    "      required_group: CN=1\n      methods: [{group: CN=2, password: allowed}, {group: CN=1}, {user: a}, {group: CN=3, certificate: allowed}]\n");
	const char *groups[SETTINGS_GROUPS_MAX + 1];

	(void)state;
	assert_int_equal(settings_groups(s, groups), 3);
	assert_string_equal(groups[0], "CN=1");
	assert_string_equal(groups[2], "CN=3");
	assert_int_equal(s->proxy.policies[0].methods[0].group_bit, 1);
	assert_int_equal(s->proxy.policies[0].methods[1].group_bit, 0);
	assert_int_equal(s->proxy.policies[0].methods[3].group_bit, 2);
	assert_int_equal(s->proxy.policies[0].methods[0].use[METHOD_PASSWORD], METHOD_ALLOWED);
	assert_int_equal(s->proxy.policies[0].methods[0].use[METHOD_CERTIFICATE], METHOD_OFF);
	settings_free(s);
}

static void more_groups_than_bits_are_refused(void **state)
{
	char list[8192] = "", line[80];

	(void)state;
	for (int i = 0; i <= SETTINGS_GROUPS_MAX; i++) {
		snprintf(line, sizeof(line), "    - {name: p%d, required_group: CN=%d}\n", i, i);
		strcat(list, line);
	}
	strcat(list, "    - name: staff\n");
	refused("    - name: staff\n", list, "proxy.policies: more than 64 different groups");
	refused("    - name: staff\n", "    - name: staff\n      required_group: EAS-Users\n", "proxy.policies: group \"EAS-Users\" is no distinguished name");
}

/* --- what is refused --- */

static void references_to_nothing_are_refused(void **state)
{
	(void)state;
	refused("policy: staff", "policy: stuff", "x.yaml:23: proxy.hosts[0]: policy \"stuff\" is not in proxy.policies");
	refused("upstream: mail", "upstream: male", "x.yaml:23: proxy.hosts[0]: upstream \"male\" is not in proxy.upstreams");
	refused("mode: enforce", "mode: maybe", "lockout.mode: \"maybe\" is none of: enforce, log, off");
	refused("#lockout\n", "memory_mib: 12\n", "lockout.memory_mib: 12 is no power of two");
	refused("#proxy.revocation\n", "redis: true\n    unknown: maybe\n", "proxy.revocation.unknown: \"maybe\" is none of: refuse, allow");
	refused("redis:\n  #redis\n  servers: [\"127.0.0.1:6379\"]\ndirectory:\n  #directory\n", "directory:\n  ttl_seconds: 0\n",
	    "directory.ttl_seconds: 0 is out of range");
}

#define TEN "0123456789"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN

static void keys_that_need_each_other_are_refused_alone(void **state)
{
	(void)state;
	refused("      spn: HTTP/ex\n", "", "proxy.upstreams[0]: credential kerberos needs spn");
	refused("spn: HTTP/ex", "spn: HTTP/" TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN "x",
	    "proxy.upstreams[0]: spn: expected at most 255 bytes");
	refused("credential: kerberos", "credential: header", "proxy.upstreams[0]: credential header needs header");
	refused("credential: kerberos", "credential: header\n      header: \"a b\"", "header: \"a b\" is no name of a field");
	refused("credential: kerberos", "credential: magic", "proxy.upstreams[0].credential: \"magic\" is none of: kerberos, header, passthrough, none");
	refused("#proxy.upstreams[]", "header_value: name", "proxy.upstreams[0].header_value: \"name\" is none of: sam, upn, mail");
	refused(METHODS_HERE, "      methods: [{certificate: wanted}]\n", "proxy.policies[0].methods[0].certificate: \"wanted\" is none of: off, allowed, required");
	refused(METHODS_HERE, "      methods: [{user: a, group: CN=a}]\n", "proxy.policies[0].methods[0]: expected a user, a group or neither");
	refused(METHODS_HERE, "      methods: [{password: required, bearer: required}]\n", "methods[0]: password and bearer cannot both be required");
	refused(METHODS_HERE, "      methods: [{password: allowed}, {user: a, password: allowed}]\n", "methods[1]: is never reached");
	refused("    keys_file: /jwks\n", "", "proxy.bearer: expected keys_file or keys_url: one of them");
	refused("    keys_file: /jwks\n", "    mode: trust\n", "proxy.bearer.mode: \"trust\" is none of: check, pass");
	refused("#proxy.bearer\n", "mode: pass\n", "proxy.bearer: keys_file, keys_url and keys_ca are for mode check");
	refused("#proxy.bearer\n", "authorization_uri: http://login\n", "proxy.bearer.authorization_uri: \"http://login\": expected a https:// URL");
	refused("#proxy.bearer\n", "authorization_uri: https://\n", "proxy.bearer.authorization_uri: \"https://\": expected a https:// URL");
	refused("#proxy.bearer\n", "authorization_uri: https:///authorize\n", "expected a https:// URL");
	refused("#proxy.bearer\n", "authorization_uri: https://login/#x\n", "expected a https:// URL");
	refused("#proxy.bearer\n", "authorization_uri: 'https://login/\"x'\n", "proxy.bearer.authorization_uri: expected visible ASCII characters");
	refused("#proxy.bearer\n", "authorization_uri: 'https://login/\\x'\n", "proxy.bearer.authorization_uri: expected visible ASCII characters");
	refused("#proxy.bearer\n", "authorization_uri: 'https://login/ x'\n", "proxy.bearer.authorization_uri: expected visible ASCII characters");
	refused("#proxy.bearer\n", "authorization_uri: \"https://login/\\r\\nX: y\"\n", "proxy.bearer.authorization_uri: expected visible ASCII characters");
	refused("#proxy.bearer\n", "authorization_uri: \"https://login/\\u00e9\"\n", "proxy.bearer.authorization_uri: expected visible ASCII characters");
	refused("#proxy.bearer\n", "authorization_uri: https://login/" HUNDRED HUNDRED HUNDRED HUNDRED "\n", "proxy.bearer.authorization_uri: is longer than 384 bytes");
	refused("#proxy.bearer\n", "authorization_uri: https://login\n    client_id: 'a\"b'\n", "proxy.bearer.client_id: expected visible ASCII characters");
	refused("#proxy.bearer\n", "authorization_uri: https://login\n    trusted_issuers: \"a\\nb\"\n", "proxy.bearer.trusted_issuers: expected visible ASCII characters");
	refused("#proxy.bearer\n", "client_id: a\n", "proxy.bearer: client_id and trusted_issuers are told to devices with authorization_uri alone");
	refused("#proxy.bearer\n", "trusted_issuers: a\n", "proxy.bearer: client_id and trusted_issuers are told to devices with authorization_uri alone");
	refused("      client_ca: [/ca]\n", "", "proxy.hosts[0]: client_ca is missing");
	refused("#proxy\n", "autodiscover: answer\n", "proxy.autodiscover_url: expected the https:// URL");
	refused("#proxy\n", "autodiscover: answer\n  autodiscover_url: http://x\n", "proxy.autodiscover_url: expected the https:// URL");
	refused("#proxy\n", "autodiscover: maybe\n", "proxy.autodiscover: \"maybe\" is none of: forward, answer");
	refused("        file: /crl\n", "", "proxy.revocation.crls[0]: expected either file or url");
	refused("        file: /crl\n", "        file: /crl\n        url: http://x\n", "proxy.revocation.crls[0]: expected either file or url");
	refused("        file: /crl\n", "        url: ldap://dc/CN=CA\n", "proxy.revocation.crls[0]: expected an url that begins with http:// or https://");
	refused("        file: /crl\n", "        url: http://x\n        delta_url: x\n", "proxy.revocation.crls[0]: expected an url that begins with");
	refused("        file: /crl\n", "        file: /crl\n        delta_file: /d\n        delta_url: http://x\n",
	    "proxy.revocation.crls[0]: expected at most one of delta_file and delta_url");
	refused("    crls:\n      - issuer_ca: /ca\n        #proxy.revocation.crls[]\n        file: /crl\n", "    max_age_seconds: 60\n",
	    "proxy.revocation: names no source");
}

/* Each place of `change` is replaced by what stands behind it, up to NULL. The caller frees. */
static char *with_all(const char *const *change)
{
	char *text = strdup(base);

	for (; text != NULL && *change != NULL; change += 2) {
		const char *at = strstr(text, change[0]);
		size_t size = strlen(text) + strlen(change[1]) + 1;
		char *next = malloc(size);
		if (at == NULL || next == NULL)
			fail_msg("the base has no \"%s\"", change[0]);
		snprintf(next, size, "%.*s%s%s", (int)(at - text), text, change[1], at + strlen(change[0]));
		free(text);
		text = next;
	}
	return text;
}

static void devices_are_told_where_tokens_come_from(void **state)
{
	static const struct { const char *keys, *challenge; } cases[] = {
		{ "# nothing\n", "realm=\"mail\"" },
		{ "authorization_uri: https://login.example.com/common/oauth2/authorize\n",
		    "authorization_uri=\"https://login.example.com/common/oauth2/authorize\"" },
		{ "authorization_uri: https://login\n    trusted_issuers: i@*\n", "trusted_issuers=\"i@*\", authorization_uri=\"https://login\"" },
		{ "authorization_uri: https://login\n    client_id: c\n",
		    "client_id=\"c\", token_types=\"app_asserted_user_v1 service_asserted_app_v1\", authorization_uri=\"https://login\"" },
		{ "authorization_uri: https://login\n    client_id: c\n    trusted_issuers: i@*,k@corp\n",
		    "client_id=\"c\", trusted_issuers=\"i@*,k@corp\", token_types=\"app_asserted_user_v1 service_asserted_app_v1\", authorization_uri=\"https://login\"" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct settings *s = taken("#proxy.bearer\n", cases[i].keys);
		assert_string_equal(s->proxy.bearer->challenge, cases[i].challenge);
		settings_free(s);
	}
}

static void the_longest_challenge_is_whole(void **state)
{
	struct settings *s;
	char keys[2048], most[385], url[385];

	(void)state;
	memset(most, 'a', sizeof(most) - 1);
	most[384] = '\0';
	snprintf(url, sizeof(url), "https://%.376s", most);
	snprintf(keys, sizeof(keys), "authorization_uri: %s\n    client_id: %s\n    trusted_issuers: %s\n", url, most, most);
	s = taken("#proxy.bearer\n", keys);
	assert_int_equal(strlen(s->proxy.bearer->challenge), 3 * 384 + strlen("client_id=\"\", trusted_issuers=\"\", "
		"token_types=\"app_asserted_user_v1 service_asserted_app_v1\", authorization_uri=\"\""));
	settings_free(s);
}

static void tokens_that_nobody_here_verifies_reach_mail_servers_that_do_alone(void **state)
{
	static const struct { const char *bearer, *credential, *said; } rows[] = {
		{ "allowed", "kerberos", "proxy.hosts[0]: policy \"staff\" takes bearer tokens" },
		{ "required", "kerberos", "upstream \"mail\" must have credential passthrough, not kerberos" },
		{ "allowed", "header\n      header: X-User", "must have credential passthrough, not header" },
		{ "allowed", "none", "must have credential passthrough, not none" },
		{ "allowed", "passthrough", NULL },
		{ "\"off\"", "kerberos", NULL },
	};
	char methods[128], credential[64];
	struct config_error error;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const char *const change[] = { METHODS_HERE, methods, "credential: kerberos", credential, "    keys_file: /jwks\n", "    mode: pass\n", NULL };
		struct settings *s;
		char *text;
		snprintf(methods, sizeof(methods), "      methods: [{certificate: required, bearer: %s}]\n", rows[i].bearer);
		snprintf(credential, sizeof(credential), "credential: %s", rows[i].credential);
		text = with_all(change);
		s = load(text, &error);
		if (rows[i].said == NULL && (s == NULL || !s->proxy.bearer->passes))
			fail_msg("refused: %s", error.text);
		if (rows[i].said != NULL && (s != NULL || strstr(error.text, rows[i].said) == NULL))
			fail_msg("said \"%s\", expected \"%s\"", error.text, rows[i].said);
		settings_free(s);
		free(text);
	}
}

static void names_that_stand_twice_are_refused(void **state)
{
	(void)state;
	refused("    - name: staff\n", "    - name: staff\n    - name: staff\n", "proxy.policies[1]: the name \"staff\" stands twice");
	refused("    - name: mail\n", "    - {name: mail, servers: [\"http://a\"], credential: none}\n    - name: mail\n",
	    "proxy.upstreams[1]: the name \"mail\" stands twice");
	refused("[mail.example.com]", "[mail.example.com, MAIL.example.com]", "proxy.hosts[0]: names: \"MAIL.example.com\" stands twice");
	refused("    - names: [mail.example.com]\n",
	    "    - {names: [b, mail.example.com], certificate: /c, key: /k, client_ca: [/a], policy: staff, upstream: mail}\n    - names: [mail.example.com]\n",
	    "proxy.hosts[1]: names: \"mail.example.com\" stands twice");
	refused("[mail.example.com]", "[\"\"]", "proxy.hosts[0]: names: \"\" is no name");
	refused("[mail.example.com]", "[]", "proxy.hosts[0]: names is missing");
}

static void malformed_addresses_are_refused(void **state)
{
	(void)state;
	refused("\"0.0.0.0:443\"", "\"*:443\"", "x.yaml:20: proxy.listeners[0]: \"*:443\" is no address");
	refused("#proxy.listeners[]", "proxy_protocol_from: [\"10.0.0.0/8\", \"10.0.0.0/33\"]", "proxy_protocol_from: \"10.0.0.0/33\" is no network");
	refused("[\"https://ex\"]", "[\"https://ex\", \"ex\"]", "proxy.upstreams[0]: servers: \"ex\": expected http://host[:port]");
	refused("[\"https://ex\"]", "[]", "proxy.upstreams[0]: servers: expected 1 to 32 URLs");
	refused("\"127.0.0.1:9180\"", "\"localhost:9180\"", "proxy.admin.address: \"localhost:9180\" is no address");
	refused("principal: svc@X", "principal: svc", "proxy.kerberos.principal: \"svc\": expected NAME@REALM");
	refused("kdcs: [\"dc:88\"]", "kdcs: []", "proxy.kerberos.kdcs: is missing");
	refused("#proxy.upstreams[]", "health_path: healthy", "health_path: expected a path that begins with /");
	refused("#proxy\n", "paths: [\"/a\", \"b\"]\n", "proxy.paths: \"b\" does not begin with /");
}

static void sections_that_are_missing_are_named(void **state)
{
	(void)state;
	refused("  listeners:\n    - address: \"0.0.0.0:443\"\n", "", "proxy.listeners: is missing: expected a list of addresses");
	refused("    keys_file: /jwks\n", "", "proxy.bearer: expected keys_file or keys_url: one of them");
	refused("    keys_file: /jwks\n", "    mode: trust\n", "proxy.bearer.mode: \"trust\" is none of: check, pass");
	refused("#proxy.bearer\n", "mode: pass\n", "proxy.bearer: keys_file, keys_url and keys_ca are for mode check");
	refused("      client_ca: [/ca]\n", "", "proxy.hosts[0]: client_ca is missing");
	refused("      certificate: /c\n", "", "proxy.hosts[0].certificate: is missing: expected a PEM file, leaf first");
	refused("  identity: [sid, upn]\n", "", "proxy.identity: expected a list");
	refused("      credential: kerberos\n", "", "proxy.upstreams[0].credential: is missing: expected kerberos, header");
	refused("    principal: svc@X\n", "", "proxy.kerberos.principal: is missing");
	refused("    base: DC=x\n", "", "directory.ldap.base: is missing");
}

/* --- the documents --- */

static char *file(const char *path)
{
	const char *top = getenv("SOURCE") != NULL ? getenv("SOURCE") : ".";
	struct config_error error = { "" };
	char full[512], *text = NULL;
	size_t n;

	snprintf(full, sizeof(full), "%s/%s", top, path);
	if (config_read_file(full, &text, &n, &error) < 0)
		fail_msg("%s: start at the top of the tree, or name it in SOURCE", error.text);
	return text;
}

struct document_row {
	struct strv key, type, value, limits;
	bool seen;
};

static struct document_row document[256];
static size_t document_n;

/* Rows "| `key` | type | default | limits | ..." of the reference. */
static void read_document(char *text)
{
	struct strv rest = strv_from(text), line, cell;

	while (rest.p != NULL) {
		struct document_row *r = &document[document_n];

		line = text_split(&rest, '\n');
		if (!text_starts_nocase(line, STRV("| `")))
			continue;
		assert_true(document_n < ARRAY_LEN(document));
		line = (struct strv){ line.p + 2, line.n - 2 };
		cell = text_trim(text_split(&line, '|'));
		assert_true(cell.n > 2);
		*r = (struct document_row){ .key = { cell.p + 1, cell.n - 2 } };
		r->type = text_trim(text_split(&line, '|'));
		r->value = text_trim(text_split(&line, '|'));
		r->limits = text_trim(text_split(&line, '|'));
		document_n++;
	}
}

static const char *type_word(const cyaml_schema_value_t *v)
{
	switch (v->type) {
	case CYAML_STRING: return "text";
	case CYAML_UINT: return "number";
	case CYAML_BOOL: return "true/false";
	case CYAML_SEQUENCE: return v->sequence.entry->type == CYAML_STRING ? "texts" : "list";
	default: return "keys";
	}
}

static void want(const char *path, const char *what, struct strv have, const char *wanted)
{
	if (!strv_eq(have, strv_from(wanted)))
		fail_msg("docs/configuration.md: `%s`: %s is \"%.*s\", the program says \"%s\"", path, what, STRV_FMT(have), wanted);
}

/* "proxy.hosts[].key" to "proxy.hosts[0].key": for looking it up in a text. */
static bool text_names(const char *text, const char *path)
{
	char first[256];
	size_t n = 0;

	for (; *path != '\0' && n < sizeof(first) - 2; path++) {
		first[n++] = *path;
		if (*path == '[')
			first[n++] = '0';
	}
	first[n] = '\0';
	return config_names_key(strv_from(text), first);
}

static void check_number(const char *path, const struct document_row *row, uint32_t value)
{
	char parent[256], marker[300], line[400], number[32], *text;
	const char *dot = strrchr(path, '.'), *range;
	struct config_error error;

	snprintf(number, sizeof(number), "%u", value);
	want(path, "default", row->value, number);
	snprintf(parent, sizeof(parent), "%.*s", (int)(dot - path), path);
	snprintf(marker, sizeof(marker), "#%s\n", parent);
	/* what is no default and surely out of range makes the program say its limits */
	snprintf(line, sizeof(line), "%s: %s\n", dot + 1, value == 0 ? "4294967295" : "0");
	if (strcmp(path, "proxy.limits.headers") == 0)
		text = with("headers: 100", "headers: 0");
	else
		text = with(marker, line);
	assert_null(load(text, &error));
	free(text);
	range = strstr(error.text, "is out of range: expected ");
	if (range == NULL)
		fail_msg("%s: no limits in \"%s\"", path, error.text);
	want(path, "limits", row->limits, range + strlen("is out of range: expected "));
}

static void check_text(const char *path, const struct document_row *row, const char *value)
{
	char quoted[256];

	if (text_names(base, path))
		return;		/* given there: its default does not show */
	snprintf(quoted, sizeof(quoted), "`%s`", value);
	want(path, "default", row->value, value[0] != '\0' ? quoted : "none");
}

static void check_field(const char *path, const cyaml_schema_value_t *v, const void *at)
{
	struct document_row *row = NULL;

	for (size_t i = 0; i < document_n; i++) {
		if (!strv_eq(document[i].key, strv_from(path)))
			continue;
		if (row != NULL)
			fail_msg("docs/configuration.md: `%s` stands twice", path);
		row = &document[i];
	}
	if (row == NULL)
		fail_msg("docs/configuration.md does not name `%s`", path);
	row->seen = true;
	want(path, "type", row->type, type_word(v));
	if (v->type == CYAML_UINT)
		check_number(path, row, *(const uint32_t *)at);
	else if (v->type == CYAML_STRING)
		check_text(path, row, *(char *const *)at);
	else if (v->type == CYAML_BOOL)
		want(path, "default", row->value, v->flags & CYAML_FLAG_POINTER ? "true" : "false");
}

/* Every key below `fields`, with the loaded value of base. */
static void walk(const cyaml_schema_field_t *fields, const char *data, const char *path,
    void (*visit)(const char *path, const cyaml_schema_value_t *v, const void *at))
{
	char below[256];

	for (; fields->key != NULL; fields++) {
		const char *at = data + fields->data_offset;
		const cyaml_schema_value_t *v = &fields->value;

		snprintf(below, sizeof(below), "%s%s%s", path, path[0] != '\0' ? "." : "", fields->key);
		visit(below, v, at);
		if (v->type != CYAML_STRING && v->type != CYAML_BOOL && (v->flags & CYAML_FLAG_POINTER) != 0)
			at = *(const char *const *)(const void *)at;
		if (v->type == CYAML_MAPPING) {
			assert_non_null(at);
			walk(v->mapping.fields, at, below, visit);
		} else if (v->type == CYAML_SEQUENCE && v->sequence.entry->type == CYAML_MAPPING) {
			assert_non_null(at);
			strncat(below, "[]", sizeof(below) - strlen(below) - 1);
			walk(v->sequence.entry->mapping.fields, at, below, visit);
		}
	}
}

static void the_reference_names_every_key_with_its_type_default_and_limits(void **state)
{
	struct settings *s = taken("#top", "");
	char *text = file("docs/configuration.md");

	(void)state;
	read_document(text);
	walk(settings_schema.mapping.fields, (const char *)s, "", check_field);
	for (size_t i = 0; i < document_n; i++) {
		if (!document[i].seen)
			fail_msg("docs/configuration.md: there is no key `%.*s`", STRV_FMT(document[i].key));
	}
	free(text);
	settings_free(s);
}

static char *sample;

static void check_sample(const char *path, const cyaml_schema_value_t *v, const void *at)
{
	(void)at;
	if (v->type != CYAML_IGNORE && !text_names(sample, path))
		fail_msg("docs/easgate.yaml does not name %s", path);
}

static void the_sample_loads_and_names_every_key(void **state)
{
	struct config_error error = { "" };
	struct settings *s, *of_base = taken("#top", "");

	(void)state;
	sample = file("docs/easgate.yaml");
	s = settings_load("easgate.yaml", strv_from(sample), &error);
	if (s == NULL)
		fail_msg("%s", error.text);
	walk(settings_schema.mapping.fields, (const char *)of_base, "", check_sample);
	settings_free(s);
	settings_free(of_base);
	free(sample);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_of_everything_is_taken_and_resolved),
		cmocka_unit_test(every_word_for_the_certificates_user_is_known),
		cmocka_unit_test(equal_groups_of_several_policies_share_a_bit),
		cmocka_unit_test(what_tls_asks_for_follows_from_the_table_of_methods),
		cmocka_unit_test(groups_of_methods_have_bits_too),
		cmocka_unit_test(more_groups_than_bits_are_refused),
		cmocka_unit_test(references_to_nothing_are_refused),
		cmocka_unit_test(keys_that_need_each_other_are_refused_alone),
		cmocka_unit_test(devices_are_told_where_tokens_come_from),
		cmocka_unit_test(the_longest_challenge_is_whole),
		cmocka_unit_test(tokens_that_nobody_here_verifies_reach_mail_servers_that_do_alone),
		cmocka_unit_test(names_that_stand_twice_are_refused),
		cmocka_unit_test(malformed_addresses_are_refused),
		cmocka_unit_test(sections_that_are_missing_are_named),
		cmocka_unit_test(the_reference_names_every_key_with_its_type_default_and_limits),
		cmocka_unit_test(the_sample_loads_and_names_every_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
