/*
 * kerberos_aging: the inside of the *kerberos* process without the process, so that a test can let
 * time pass: what the tickets say of their ends is moved back. Asks a real KDC. Commands on
 * standard input, one JSON line each: token SAM      age-own SECONDS      age-ticket SAM SECONDS
 * state
 */
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/bundle.h"
#include "common/log.h"
#include "proxy/kerberos/answer.h"
#include "proxy/kerberos/environment.h"
#include "proxy/settings.h"

NORETURN static void die(const char *what)
{
	fprintf(stderr, "kerberos_aging: %s\n", what);
	exit(2);
}

static void command_token(struct answerer *a, const char *sam)
{
	struct kerberos_ask ask;
	struct kerberos_token token;
	struct token bytes;

	memset(&ask, 0, sizeof(ask));
	snprintf(ask.spn, sizeof(ask.spn), "%s", a->services > 0 ? a->spn[0] : "");
	if (strlen(sam) >= sizeof(ask.sam))
		die("the name is too long");
	strcpy(ask.sam, sam);
	strcpy(ask.realm, a->has_service ? a->service.name.realm : "NONE");
	if (vouch_make(a->vouch, ask.sam, ask.realm, ask.certificate, time(NULL) + 60, ask.voucher) <
	    0)
		die("no voucher can be made");
	answerer_ask(a, &ask, time(NULL), &token, &bytes);
	printf("{\"result\": %u, \"cached\": %u, \"bytes\": %zu}\n", token.result, token.cached,
	    bytes.n);
	token_clear(&bytes);
}

static void age_ticket(struct answerer *a, const char *sam, long seconds)
{
	struct ticket_entry *e = ticket_cache_find(a->cache, sam, 0);

	if (e == NULL || e->ticket.end == 0)
		die("no such ticket");
	e->ticket.end -= seconds;
	e->ticket.renew -= seconds;
	printf("{\"left\": %lld}\n", (long long)(e->ticket.end - service_time(&a->service)));
}

static void obey(struct answerer *a, char **word, int n)
{
	if (strcmp(word[0], "token") == 0 && n == 2) {
		command_token(a, word[1]);
	} else if (strcmp(word[0], "age-own") == 0 && n == 2) {
		a->service.end -= atol(word[1]);
		a->service.renew -= atol(word[1]);
		printf(
		    "{\"left\": %lld}\n", (long long)(a->service.end - service_time(&a->service)));
	} else if (strcmp(word[0], "age-ticket") == 0 && n == 3) {
		age_ticket(a, word[1], atol(word[2]));
	} else if (strcmp(word[0], "state") == 0) {
		printf("{\"own_left\": %lld, \"exchanges\": %llu, \"entries\": %zu}\n",
		    (long long)(a->service.end - service_time(&a->service)),
		    (unsigned long long)transport_exchanges(a->transport),
		    ticket_cache_count(a->cache));
	} else {
		die("unknown command");
	}
}

int main(int argc, char **argv)
{
	static struct answerer a;
	struct config_error error;
	struct settings *s;
	struct krb_name own;
	uint8_t key[VOUCH_KEY_SIZE];
	struct bundle *disk = bundle_from_disk();
	struct strv keytab;
	char *text, line[512];
	size_t n;
	int fd;

	log_setup(LOG_DEBUG, "aging", -1);
	if (argc != 2 || disk == NULL || RAND_bytes(key, sizeof(key)) != 1)
		die("usage: kerberos_aging CONFIG");
	if (config_read_file(argv[1], &text, &n, &error) < 0 ||
	    (s = settings_load(argv[1], (struct strv){ text, n }, &error)) == NULL)
		die(error.text);
	free(text);
	if (krb_name_parse(&own, s->proxy.kerberos->principal) < 0 ||
	    (fd = environment_enter(own.realm)) < 0)
		die("no environment");
	if (!bundle_get(disk, s->proxy.kerberos->keytab, &keytab) ||
	    answerer_init(&a, s, keytab, key) < 0)
		die("no keytab, or no KDC's name resolves");
	while (fgets(line, sizeof(line), stdin) != NULL) {
		char *word[4] = { NULL }, *at = line;
		int words = 0;

		while (words < 3 &&
		    (word[words] = strtok_r(words == 0 ? at : NULL, " \n", &at)) != NULL)
			words++;
		if (words > 0)
			obey(&a, word, words);
		fflush(stdout);
	}
	answerer_clear(&a);
	environment_leave(fd);
	settings_free(s);
	bundle_free(disk);
	return 0;
}
