/*
 * autodiscover: reads a mobilesync Autodiscover request and prints the answer.
 * Must not decide whose mailbox it is, fetch anything, or expand an entity. Pure; runs in the
 * worker process.
 */
#include "proxy/worker/autodiscover.h"

#include "common/text.h"

#include <libxml/parser.h>
#include <libxml/tree.h>

#define SCHEMAS "http://schemas.microsoft.com/exchange/autodiscover/"
#define RESPONSE_SPACE SCHEMAS "responseschema/2006"
#define ADDRESS_MAX 254 /* RFC 5321 section 4.5.3.1.3, without the angle brackets */

const char *autodiscover_result_text(enum autodiscover_result result)
{
	switch (result) {
	case AUTODISCOVER_OK: return "read";
	case AUTODISCOVER_BAD_XML: return "malformed XML in the Autodiscover request";
	case AUTODISCOVER_BAD_DOCTYPE:
		return "Autodiscover request with a document type or processing instruction";
	case AUTODISCOVER_BAD_REQUEST:
		return "not an Autodiscover request for one address and one schema";
	case AUTODISCOVER_BAD_ADDRESS: return "malformed address in the Autodiscover request";
	case AUTODISCOVER_NO_MEMORY: return "out of memory";
	}
	return "unknown result";
}

/* --- reading --- */

/*
 * Before the parser sees a byte. What begins with "<!" and is neither comment nor CDATA declares
 * something, and "<?" beyond the XML declaration instructs somebody.
 */
static enum autodiscover_result look_first(struct strv body)
{
	const char *p = body.p, *end = body.p + body.n;

	if (body.n == 0 || body.n > AUTODISCOVER_BODY_MAX || memchr(body.p, '\0', body.n) != NULL)
		return AUTODISCOVER_BAD_XML;
	while ((p = memchr(p, '<', (size_t)(end - p))) != NULL) {
		struct strv rest = { p, (size_t)(end - p) };

		if (text_starts_nocase(rest, STRV("<!")) &&
		    !text_starts_nocase(rest, STRV("<!--")) &&
		    !text_starts_nocase(rest, STRV("<![CDATA[")))
			return AUTODISCOVER_BAD_DOCTYPE;
		if (text_starts_nocase(rest, STRV("<?")) &&
		    (p != body.p || rest.n < 6 || memcmp(p, "<?xml", 5) != 0 ||
			memchr(" \t\r\n", p[5], 4) == NULL))
			return AUTODISCOVER_BAD_DOCTYPE;
		p++;
	}
	return AUTODISCOVER_OK;
}

static struct strv strip_mark(struct strv body)
{
	if (body.n >= 3 && memcmp(body.p, "\xef\xbb\xbf", 3) == 0)
		return (struct strv){ body.p + 3, body.n - 3 };
	return body;
}

static struct strv skip_space(struct strv text)
{
	while (text.n > 0 && memchr(" \t\r\n", text.p[0], 4) != NULL)
		text = (struct strv){ text.p + 1, text.n - 1 };
	return text;
}

/*
 * The encoding that the XML declaration names, if there is one, must be that in which the document
 * is read: the parser is told UTF-8 and does not tell what else it was promised. It has the syntax
 * checked.
 */
static bool encoding_is_ours(struct strv body)
{
	const char *end = memmem(body.p, body.n, "?>", 2);
	struct strv rest = { body.p, end != NULL ? (size_t)(end - body.p) : 0 }, name;
	const char *at;

	if (!text_starts_nocase(rest, STRV("<?xml")) ||
	    (at = memmem(rest.p, rest.n, "encoding", 8)) == NULL)
		return true;
	rest = skip_space((struct strv){ at + 8, (size_t)(end - at - 8) });
	if (rest.n < 2 || rest.p[0] != '=')
		return false;
	rest = skip_space((struct strv){ rest.p + 1, rest.n - 1 });
	if (rest.n == 0 || (rest.p[0] != '"' && rest.p[0] != '\''))
		return false;
	name = (struct strv){ rest.p + 1, rest.n - 1 };
	name = text_split(&name, rest.p[0]);
	return text_eq_nocase(name, STRV("utf-8")) || text_eq_nocase(name, STRV("us-ascii"));
}

static bool is_named(const xmlNode *node, const char *name, const xmlNs *space)
{
	return node->type == XML_ELEMENT_NODE && strcmp((const char *)node->name, name) == 0 &&
	    node->ns != NULL && node->ns->href != NULL &&
	    (space == NULL || strcmp((const char *)node->ns->href, (const char *)space->href) == 0);
}

/*
 * The namespace of a request: mobilesync's, or another client's (Outlook), which is told that we do
 * not serve it.
 */
static bool is_request_space(const xmlNs *space)
{
	struct strv href = strv_from((const char *)space->href), prefix = STRV(SCHEMAS);
	struct strv suffix = STRV("/requestschema/2006");

	return href.n > prefix.n + suffix.n && memcmp(href.p, prefix.p, prefix.n) == 0 &&
	    memcmp(href.p + href.n - suffix.n, suffix.p, suffix.n) == 0;
}

/* The text of an element that holds nothing else, trimmed, into a C string. */
static int read_element(char *out, size_t size, const xmlNode *element)
{
	char text[512];
	struct strv trimmed;
	size_t n = 0;

	for (const xmlNode *node = element->children; node != NULL; node = node->next) {
		struct strv part = strv_from((const char *)node->content);

		if (node->type == XML_COMMENT_NODE)
			continue;
		if ((node->type != XML_TEXT_NODE && node->type != XML_CDATA_SECTION_NODE) ||
		    part.n > sizeof(text) - n)
			return -1;
		if (part.n > 0)
			memcpy(text + n, part.p, part.n);
		n += part.n;
	}
	trimmed = skip_space((struct strv){ text, n });
	while (trimmed.n > 0 && memchr(" \t\r\n", trimmed.p[trimmed.n - 1], 4) != NULL)
		trimmed.n--;
	if (trimmed.n == 0 || !text_is_clean(trimmed))
		return -1;
	return text_copy(out, size, trimmed);
}

/*
 * name@domain with one '@', nothing that quotes, lists or routes: what such a text would mean
 * depends on the reader.
 */
static bool is_address(struct strv address)
{
	const char *at = memchr(address.p, '@', address.n);

	if (at == NULL || at == address.p || at == address.p + address.n - 1 ||
	    address.n > ADDRESS_MAX)
		return false;
	for (const char *p = address.p; p < address.p + address.n; p++) {
		if (memchr(" \"(),:;<>[\\]%", *p, 13) != NULL || (*p == '@' && p != at))
			return false;
	}
	return true;
}

static enum autodiscover_result read_request(
    struct autodiscover_request *out, const xmlNode *request)
{
	unsigned addresses = 0, schemas = 0;

	for (const xmlNode *node = request->children; node != NULL; node = node->next) {
		if (is_named(node, "EMailAddress", request->ns)) {
			addresses++;
			if (read_element(out->address, sizeof(out->address), node) < 0)
				return AUTODISCOVER_BAD_ADDRESS;
		} else if (is_named(node, "AcceptableResponseSchema", request->ns)) {
			schemas++;
			if (read_element(out->schema, sizeof(out->schema), node) < 0)
				return AUTODISCOVER_BAD_REQUEST;
		}
	}
	if (addresses != 1 || schemas != 1)
		return AUTODISCOVER_BAD_REQUEST;
	if (!is_address(strv_from(out->address)))
		return AUTODISCOVER_BAD_ADDRESS;
	out->mobilesync = strcmp(out->schema, AUTODISCOVER_MOBILESYNC) == 0;
	return AUTODISCOVER_OK;
}

static enum autodiscover_result read_document(struct autodiscover_request *out, xmlDoc *doc)
{
	const xmlNode *root = xmlDocGetRootElement(doc), *request = NULL;

	if (root == NULL || !is_named(root, "Autodiscover", NULL) || !is_request_space(root->ns))
		return AUTODISCOVER_BAD_REQUEST;
	for (const xmlNode *node = root->children; node != NULL; node = node->next) {
		if (node->type != XML_ELEMENT_NODE)
			continue;
		if (request != NULL || !is_named(node, "Request", root->ns))
			return AUTODISCOVER_BAD_REQUEST;
		request = node;
	}
	return request != NULL ? read_request(out, request) : AUTODISCOVER_BAD_REQUEST;
}

enum autodiscover_result autodiscover_read(struct autodiscover_request *out, struct strv body)
{
	struct autodiscover_request request = { 0 };
	enum autodiscover_result r;
	xmlParserCtxt *parser = NULL;
	xmlDoc *doc = NULL;

	body = strip_mark(body);
	r = look_first(body);
	if (r != AUTODISCOVER_OK)
		return r;
	parser = xmlNewParserCtxt();
	if (parser == NULL)
		return AUTODISCOVER_NO_MEMORY;
	doc = xmlCtxtReadMemory(parser, body.p, (int)body.n, NULL, "UTF-8",
	    XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
	if (doc == NULL)
		r = parser->errNo == XML_ERR_NO_MEMORY ? AUTODISCOVER_NO_MEMORY :
							 AUTODISCOVER_BAD_XML;
	else if (doc->intSubset != NULL || doc->extSubset != NULL)
		r = AUTODISCOVER_BAD_DOCTYPE;
	else if (!parser->wellFormed || !encoding_is_ours(body))
		r = AUTODISCOVER_BAD_XML;
	else
		r = read_document(&request, doc);
	if (r == AUTODISCOVER_OK)
		*out = request;
	xmlFreeDoc(doc);
	xmlFreeParserCtxt(parser);
	return r;
}

/* --- printing --- */

static int add_escaped(struct buffer *out, struct strv text)
{
	if (!text_is_clean(text))
		return -1;
	for (size_t i = 0; i < text.n; i++) {
		struct strv as = { text.p + i, 1 };

		switch (text.p[i]) {
		case '&': as = STRV("&amp;"); break;
		case '<': as = STRV("&lt;"); break;
		case '>': as = STRV("&gt;"); break;
		case '"': as = STRV("&quot;"); break;
		case '\'': as = STRV("&apos;"); break;
		default: break;
		}
		if (buffer_addv(out, as) < 0)
			return -1;
	}
	return 0;
}

/* <name>text</name> */
static int add_element(struct buffer *out, const char *name, struct strv text)
{
	if (buffer_printf(out, "<%s>", name) < 0 || add_escaped(out, text) < 0)
		return -1;
	return buffer_printf(out, "</%s>", name);
}

static int add_answer(struct buffer *out, const struct autodiscover_answer *answer)
{
	struct strv name = answer->display_name.n > 0 ? answer->display_name : answer->address;

	if (buffer_addv(out,
		STRV("<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n<Autodiscover "
		     "xmlns=\"" RESPONSE_SPACE "\"><Response xmlns=\"" AUTODISCOVER_MOBILESYNC
		     "\">")) < 0)
		return -1;
	if (add_element(out, "Culture", answer->culture) < 0 ||
	    buffer_addv(out, STRV("<User>")) < 0 || add_element(out, "DisplayName", name) < 0 ||
	    add_element(out, "EMailAddress", answer->address) < 0 ||
	    buffer_addv(out, STRV("</User><Action><Settings><Server><Type>MobileSync</Type>")) <
		0 ||
	    add_element(out, "Url", answer->url) < 0 || add_element(out, "Name", answer->url) < 0)
		return -1;
	return buffer_addv(
	    out, STRV("</Server></Settings></Action></Response></Autodiscover>\r\n"));
}

int autodiscover_print(struct buffer *out, const struct autodiscover_answer *answer)
{
	struct buffer whole;
	int rc;

	buffer_init(&whole, AUTODISCOVER_BODY_MAX);
	rc = add_answer(&whole, answer);
	if (rc == 0)
		rc = buffer_addv(out, buffer_view(&whole));
	buffer_clear(&whole);
	return rc;
}

int autodiscover_print_error(
    struct buffer *out, enum autodiscover_error error, const struct timespec *now)
{
	unsigned long day = (unsigned long)(now->tv_sec % 86400);

	return buffer_printf(out,
	    "<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n<Autodiscover xmlns=\"%s\"><Response>"
	    "<Error Time=\"%02lu:%02lu:%02lu.%07lu\" "
	    "Id=\"0\"><ErrorCode>%d</ErrorCode><Message>%s</Message><DebugData />"
	    "</Error></Response></Autodiscover>\r\n",
	    RESPONSE_SPACE, day / 3600, day / 60 % 60, day % 60, (unsigned long)now->tv_nsec / 100,
	    (int)error,
	    error == AUTODISCOVER_NO_PROVIDER ? "Provider is not available" : "Invalid Request");
}
