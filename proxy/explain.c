/*
 * explain: the command. Reads the certificate itself, asks the running program about the account, prints. Runs alone, may block.
 */
#include "proxy/explain.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/certificate.h"
#include "common/text.h"
#include "common/tls.h"
#include "proxy/local.h"
#include "proxy/program.h"
#include "proxy/worker/identity.h"

#define ANSWER_MAX (1u << 20)

/* --- the certificate --- */

/* Whom it names by the configuration's order. */
static int read_certificate(const struct settings *s, const char *path, struct claim *claim)
{
	struct config_error error = { "" };
	char *text, why[200] = "";
	STACK_OF(X509) *certs;
	enum claim_kind bad = CLAIM_NONE;
	enum cert_result rc;
	size_t n;

	if (config_read_file(path, &text, &n, &error) < 0) {
		fprintf(stderr, "%s\n", error.text);
		return -1;
	}
	certs = tls_certificates((struct strv){ text, n }, why, sizeof(why));
	free(text);
	if (certs == NULL) {
		fprintf(stderr, "%s: %s: expected a certificate as PEM\n", path, why);
		return -1;
	}
	rc = identity_from_certificate(sk_X509_value(certs, 0), s->proxy.claim_order, s->proxy.claim_count, claim, &bad);
	sk_X509_pop_free(certs, X509_free);
	if (rc != CERT_OK) {
		fprintf(stderr, "%s: names nobody by proxy.identity: %s%s%s\n", path, bad != CLAIM_NONE ? claim_kind_name(bad) : "",
		    bad != CLAIM_NONE ? ": " : "", cert_result_text(rc));
		return -1;
	}
	return 0;
}

/* --- the question --- */

static void encode(char *out, size_t size, const char *text)
{
	size_t n = 0;

	for (; *text != '\0' && n + 4 < size; text++)
		n += (size_t)snprintf(out + n, size - n, "%%%02X", (unsigned char)*text);
	out[n] = '\0';
}

static json_t *ask(const struct settings *s, enum claim_kind kind, const char *value, const char *sid)
{
	char path[6144], v[3 * CLAIM_VALUE_MAX + 4], i[3 * CERT_SID_MAX + 4];
	char *text = malloc(ANSWER_MAX);
	const char *body;
	unsigned code = 0;
	json_t *root = NULL;

	encode(v, sizeof(v), value);
	encode(i, sizeof(i), sid);
	snprintf(path, sizeof(path), "/explain?kind=%d&value=%s&sid=%s", (int)kind, v, i);
	body = text != NULL ? local_get(s, path, text, ANSWER_MAX, &code) : NULL;
	if (body != NULL && code == 200)
		root = json_loads(body, JSON_REJECT_DUPLICATES, NULL);
	if (body != NULL && root == NULL)
		fprintf(stderr, "easproxy says %u: %s\n", code, body[0] != '\0' ? body : "it cannot look that up");
	free(text);
	return root;
}

/* --- in words --- */

static const char *word(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text != NULL ? text : "";
}

static void print_verdict(const char *what, const json_t *v)
{
	const char *detail = word(v, "detail"), *by = word(v, "checked_by");

	if (strcmp(word(v, "answer"), "in") == 0)
		printf("    %-21s in%s%s%s\n", what, by[0] != '\0' ? ", if " : "", by, by[0] != '\0' ? " finds that right which it sends" : "");
	else
		printf("    %-21s %lld %s%s%s\n", what, (long long)json_integer_value(json_object_get(v, "status")), word(v, "answer"),
		    detail[0] != '\0' ? ": " : "", detail);
}

static void print_host(const json_t *h, const char *file, const struct explain_wish *wish)
{
	const json_t *rule = json_object_get(h, "rule"), *list = json_object_get(h, "methods");
	const char *mode = word(rule, "bearer_mode");
	size_t i;
	json_t *one;

	printf("%s: policy %s, TLS %s\n", word(h, "name"), word(h, "policy"), word(h, "tls"));
	printf("  %s:%lld: %s: %s\n", file, (long long)json_integer_value(json_object_get(rule, "line")), word(rule, "path"), word(rule, "for"));
	if (json_object_get(rule, "certificate") != NULL)
		printf("  certificate %s, password %s, bearer %s%s%s%s\n", word(rule, "certificate"), word(rule, "password"), word(rule, "bearer"),
		    mode[0] != '\0' ? " by proxy.bearer.mode " : "", mode, json_is_true(json_object_get(rule, "switched")) ? " (the group is switched to certificates)" : "");
	print_verdict("the account itself", json_object_get(h, "account"));
	json_array_foreach(list, i, one)
		print_verdict(word(one, "brings"), one);
	if (wish->device != NULL)
		printf("  device %s: device: %s\n", wish->device, word(h, "device"));
}

static void print_account(const json_t *a, const char *file, const struct explain_wish *wish)
{
	size_t i;
	json_t *one;

	if (word(a, "sid")[0] == '\0') {
		printf("the directory says: %s\n", word(a, "found"));
		return;
	}
	printf("%s (%s, %s): %s\n", word(a, "user"), word(a, "upn"), word(a, "sid"), json_is_true(json_object_get(a, "enabled")) ? "enabled" : "disabled");
	if (!json_is_true(json_object_get(a, "switches_known")))
		printf("Redis has not said yet which groups are switched: passwords and tokens are refused until it does\n");
	json_array_foreach(json_object_get(a, "hosts"), i, one)
		print_host(one, file, wish);
}

int explain_run(const char *config_file, const struct explain_wish *wish)
{
	struct config_error error = { "" };
	struct settings *s = program_settings(config_file, &error);
	json_t *user = NULL, *owner = NULL, *root = NULL;
	struct claim claim;
	int rc = 1;

	if (s == NULL) {
		fprintf(stderr, "%s\n", error.text);
		return 1;
	}
	if (wish->certificate != NULL) {
		if (read_certificate(s, wish->certificate, &claim) < 0 || (owner = ask(s, (enum claim_kind)claim.kind, claim.value, claim.sid)) == NULL)
			goto out;
		if (!wish->json)
			printf("%s names %s %s: %s\n", wish->certificate, claim_kind_name((enum claim_kind)claim.kind), claim.value,
			    word(owner, "sid")[0] != '\0' ? word(owner, "user") : word(owner, "found"));
	}
	if (wish->user != NULL && (user = ask(s, CLAIM_USER, wish->user, "")) == NULL)
		goto out;
	if (user != NULL && owner != NULL && !wish->json)
		printf("the certificate is %s\n", strcmp(word(user, "sid"), word(owner, "sid")) == 0 ? "this account's" : "another account's");
	if (wish->json) {
		root = json_pack("{s:O*, s:O*}", "user", user, "certificate", owner);
		if (root == NULL || json_dumpf(root, stdout, JSON_INDENT(2)) < 0)
			goto out;
		putchar('\n');
	} else {
		print_account(user != NULL ? user : owner, config_file, wish);
	}
	rc = word(user != NULL ? user : owner, "sid")[0] != '\0' ? 0 : 1;
out:
	json_decref(root);
	json_decref(user);
	json_decref(owner);
	settings_free(s);
	return rc;
}
