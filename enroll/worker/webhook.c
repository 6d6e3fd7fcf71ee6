/*
 * webhook: a transfer of libcurl's for each question. Texts that may hold a challenge or the token are overwritten when it ends.
 */
#include "enroll/worker/webhook.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/curl_loop.h"
#include "common/text.h"

struct webhook_call {
	struct webhook *webhook;
	struct webhook_call *next, **link;
	CURL *easy;
	struct curl_transfer transfer;
	struct curl_slist *headers;
	char *question;
	size_t got;
	char answer[WEBHOOK_ANSWER_MAX];
	bool too_long;
	char why[CURL_ERROR_SIZE];	/* curl's words */
	webhook_done_fn *done;
	void *arg;
};

struct webhook {
	struct webhook_config c;
	struct curl_loop *curl;
	struct webhook_call *calls;
	unsigned count;
};

struct webhook *webhook_new(const struct webhook_config *config)
{
	struct webhook *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	w->c = *config;
	w->curl = curl_loop_new(config->loop);
	if (w->curl == NULL) {
		free(w);
		return NULL;
	}
	return w;
}

static void wipe(char *text)
{
	if (text != NULL)
		OPENSSL_cleanse(text, strlen(text));
}

void webhook_cancel(struct webhook_call *c)
{
	if (c == NULL)
		return;
	curl_loop_remove(c->webhook->curl, c->easy);
	for (struct curl_slist *h = c->headers; h != NULL; h = h->next)
		wipe(h->data);
	curl_slist_free_all(c->headers);
	wipe(c->question);
	free(c->question);
	*c->link = c->next;
	if (c->next != NULL)
		c->next->link = c->link;
	c->webhook->count--;
	OPENSSL_cleanse(c, sizeof(*c));
	free(c);
}

void webhook_free(struct webhook *w)
{
	if (w == NULL)
		return;
	while (w->calls != NULL)
		webhook_cancel(w->calls);
	curl_loop_free(w->curl);
	free(w);
}

static size_t on_answer(char *p, size_t size, size_t n, void *arg)
{
	struct webhook_call *c = arg;

	(void)size;
	if (n > sizeof(c->answer) - c->got) {
		c->too_long = true;
		return 0;
	}
	memcpy(c->answer + c->got, p, n);
	c->got += n;
	return n;
}

static bool is_json(const char *type)
{
	struct strv rest = strv_from(type != NULL ? type : "");

	return text_eq_nocase(text_trim(text_split(&rest, ';')), STRV("application/json"));
}

/* NULL with *object, or why not. */
static const char *read_answer(struct webhook_call *c, CURLcode code, json_t **object)
{
	char *type = NULL, *elsewhere = NULL;
	json_error_t error;
	long status = 0;

	*object = NULL;
	if (c->too_long)
		return "its answer is too long";
	if (code != CURLE_OK)
		return c->why[0] != '\0' && text_is_clean(strv_from(c->why)) ? c->why : curl_easy_strerror(code);
	curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(c->easy, CURLINFO_CONTENT_TYPE, &type);
	curl_easy_getinfo(c->easy, CURLINFO_REDIRECT_URL, &elsewhere);
	if (elsewhere != NULL)
		return "it redirects, which is not followed: configure the URL itself";
	if (status != 200) {
		snprintf(c->why, sizeof(c->why), "it answers HTTP status %ld", status);
		return c->why;
	}
	if (!is_json(type))
		return "its answer is not of type application/json";
	*object = json_loadb(c->answer, c->got, JSON_REJECT_DUPLICATES, &error);
	if (json_is_object(*object))
		return NULL;
	json_decref(*object);
	*object = NULL;
	return "its answer is no JSON object";
}

static void on_done(void *arg, CURLcode code)
{
	struct webhook_call *c = arg;
	json_t *object;
	const char *why = read_answer(c, code, &object);

	c->done(c->arg, object, why);
	json_decref(object);
	webhook_cancel(c);
}

static int add_header(struct webhook_call *c, const char *line)
{
	struct curl_slist *longer = curl_slist_append(c->headers, line);

	if (longer == NULL)
		return -1;
	c->headers = longer;
	return 0;
}

static int add_headers(struct webhook_call *c)
{
	struct strv token = c->webhook->c.token;
	char *line = NULL;
	int rc = 0;

	if (add_header(c, "Content-Type: application/json") < 0 || add_header(c, "Accept: application/json") < 0 || add_header(c, "Expect:") < 0)
		return -1;
	if (token.n == 0)
		return 0;
	if (asprintf(&line, "Authorization: Bearer %.*s", (int)token.n, token.p) < 0)
		return -1;
	rc = add_header(c, line);
	wipe(line);
	free(line);
	return rc;
}

/* Only the configured CAs where there are any: libcurl would ask the system's folder as well. */
static int trust(struct webhook_call *c)
{
	struct curl_blob blob = { (void *)(uintptr_t)c->webhook->c.ca.p, c->webhook->c.ca.n, CURL_BLOB_NOCOPY };

	if (blob.len == 0)
		return 0;
	return curl_easy_setopt(c->easy, CURLOPT_CAINFO_BLOB, &blob) == CURLE_OK && curl_easy_setopt(c->easy, CURLOPT_CAPATH, NULL) == CURLE_OK ? 0 : -1;
}

static int configure(struct webhook_call *c)
{
	CURL *e = c->easy;

	return curl_loop_rules(e, c->webhook->c.url, "https", c->webhook->c.seconds, c->why) == 0 && add_headers(c) == 0 && trust(c) == 0 &&
	    curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_HTTPHEADER, c->headers) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_POSTFIELDS, c->question) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE, (long)strlen(c->question)) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_answer) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_WRITEDATA, c) == CURLE_OK ? 0 : -1;
}

static struct webhook_call *call_new(struct webhook *w, webhook_done_fn *done, void *arg)
{
	struct webhook_call *c = w->count < WEBHOOK_CALLS_MAX ? calloc(1, sizeof(*c)) : NULL;

	if (c == NULL)
		return NULL;
	c->webhook = w;
	c->done = done;
	c->arg = arg;
	c->transfer = (struct curl_transfer){ on_done, c };
	c->next = w->calls;
	c->link = &w->calls;
	if (w->calls != NULL)
		w->calls->link = &c->next;
	w->calls = c;
	w->count++;
	return c;
}

struct webhook_call *webhook_ask(struct webhook *w, json_t *question, webhook_done_fn *done, void *arg)
{
	struct webhook_call *c = question != NULL ? call_new(w, done, arg) : NULL;

	if (c != NULL) {
		c->question = json_dumps(question, JSON_COMPACT);
		c->easy = curl_easy_init();
	}
	json_decref(question);
	if (c == NULL)
		return NULL;
	if (c->question == NULL || c->easy == NULL || configure(c) < 0 || curl_loop_add(w->curl, c->easy, &c->transfer) < 0) {
		webhook_cancel(c);
		return NULL;
	}
	return c;
}
