/*
 * api_json: bodies and answers of the JSON API: read strictly, one form of error. Pure but for the answer. Worker of easenroll.
 */
#ifndef EASGATE_ENROLL_API_JSON_H
#define EASGATE_ENROLL_API_JSON_H

#include <jansson.h>

#include "enroll/worker/http_server.h"
#include "enroll/worker/registry.h"

#define API_BODY_MAX 65536

/* From now on what jansson frees is overwritten: passwords stand in its memory. Once per process. */
void api_json_wipe(void);
/* The body as an object (type application/json, no key twice). NULL: it has answered 400, 413 or 415. */
json_t *api_body(struct http_request *r);
/* The text of a key as a view; {NULL, 0}: not there or no text. Borrowed from object. */
struct strv api_text(const json_t *object, const char *key);
/* Answers with this object and drops the reference; NULL: 500. */
void api_reply(struct http_request *r, unsigned status, json_t *object);
/* {"error": word, "text": text}: words are part of the interface, texts are for people who read no portal. */
/* With 503 a Retry-After of API_RETRY_SECONDS, too. */
#define API_RETRY_SECONDS 10u
void api_error(struct http_request *r, unsigned status, const char *word, const char *text);
/* The answer for what the registry did not do. */
void api_registry_error(
    struct http_request *r, const struct registry *registry, enum registry_result result);
/* A text from us or the registry: always clean UTF-8. */
json_t *api_string(const char *text);
/* A moment as RFC 3339; JSON null for 0. */
json_t *api_time(int64_t at);

json_t *api_account(const struct account *a);
json_t *api_registry_account(const struct registry_account *a);
json_t *api_device(const struct registry_device *d);
json_t *api_certificate(const struct registry_certificate *c);

#endif
