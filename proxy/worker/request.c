/*
 * request: route, method, framing and ActiveSync query of one request. Decides only what needs no account. Worker process.
 */
#include "proxy/worker/request.h"

#include <stdio.h>

#include "common/text.h"

static enum route route_of(const struct proxy_settings *settings, struct strv path)
{
	if (text_eq_nocase(path, STRV("/Microsoft-Server-ActiveSync")))
		return ROUTE_EAS;
	if (text_eq_nocase(path, STRV("/Autodiscover/Autodiscover.xml")))
		return ROUTE_AUTODISCOVER;
	for (unsigned i = 0; i < settings->paths_count; i++) {
		if (strv_eq(path, strv_from(settings->paths[i])))
			return ROUTE_PATH;
	}
	return ROUTE_NONE;
}

void request_version_of_query(unsigned version, char out[PROTOCOL_VERSION_MAX])
{
	snprintf(out, PROTOCOL_VERSION_MAX, "%u.%u", version / 10, version % 10);
}

/* What a Connection field names does not go on to the mail server, and so says nothing here. */
static bool is_sent_on(const struct http_head *head, const struct http_field *f)
{
	return f != NULL && !http_is_connection_option(head, f->name);
}

static enum fact read_version(const struct http_head *head, struct eas_request *r, const char **detail)
{
	const struct http_field *f = http_find(head, HTTP_MS_ASPROTOCOLVERSION);

	if (r->query.version != 0)
		request_version_of_query(r->query.version, r->version);
	if (!is_sent_on(head, f))
		return FACT_NONE;
	for (size_t i = 0; i < head->fields; i++) {
		if (head->field[i].id == HTTP_MS_ASPROTOCOLVERSION && &head->field[i] != f) {
			*detail = "two MS-ASProtocolVersion fields";
			return FACT_MALFORMED;
		}
	}
	if (text_copy(r->version, sizeof(r->version), f->value) < 0) {
		*detail = "MS-ASProtocolVersion is no version";
		return FACT_MALFORMED;
	}
	return FACT_NONE;
}

static void read_user_agent(const struct http_head *head, struct eas_request *r)
{
	const struct http_field *f = http_find(head, HTTP_USER_AGENT);

	if (!is_sent_on(head, f))
		return;
	r->user_agent_odd = text_copy(r->user_agent, sizeof(r->user_agent), f->value) < 0;
	for (size_t i = 0; i < head->fields; i++)
		r->user_agent_odd |= head->field[i].id == HTTP_USER_AGENT && &head->field[i] != f;
}

static enum fact read_eas(const struct http_head *head, struct eas_request *r, const char **detail)
{
	enum eas_query_result rc;

	read_user_agent(head, r);
	if (head->query.p == NULL || head->query.n == 0) {
		if (r->is_options)
			return read_version(head, r, detail);	/* an iPhone's OPTIONS has none */
		*detail = "a POST without a query";
		return FACT_BAD_QUERY;
	}
	rc = eas_query_read(&r->query, head->query);
	if (rc != EAS_QUERY_OK) {
		*detail = eas_query_result_text(rc);
		return FACT_BAD_QUERY;
	}
	if (!r->is_options && (r->query.command == EAS_OPTIONS || r->query.command == EAS_NONE)) {
		*detail = "a POST without a command";
		return FACT_BAD_QUERY;
	}
	r->holds = r->query.command == EAS_PING || r->query.command == EAS_SYNC;
	return read_version(head, r, detail);
}

enum fact request_read(const struct proxy_settings *settings, const struct http_head *head, struct eas_request *out,
    const char **detail)
{
	struct eas_request *r = out;

	memset(r, 0, sizeof(*r));
	*detail = NULL;
	r->keep_alive = head->keep_alive;
	r->is_11 = head->minor == 1;
	r->expect_continue = head->expect_continue && r->is_11;
	r->body = head->body;
	r->length = head->length;
	r->route = route_of(settings, head->path);
	if (r->route == ROUTE_NONE)
		return FACT_NOT_OURS;
	if (head->has_upgrade) {
		*detail = "asks for an upgrade";
		return FACT_MALFORMED;
	}
	r->is_options = strv_eq(head->method, STRV("OPTIONS"));
	if (!r->is_options && !strv_eq(head->method, STRV("POST")))
		return FACT_METHOD;
	if (r->body == HTTP_BODY_LENGTH && r->length > settings->limits.body_bytes)
		return FACT_BODY_TOO_LARGE;
	return r->route == ROUTE_EAS ? read_eas(head, r, detail) : FACT_NONE;
}
