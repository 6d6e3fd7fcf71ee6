/*
 * Autodiscover: what was accepted is one clean address; what is printed for it, or for any other
 * text, is well-formed XML that holds that text and nothing more.
 */
#include "proxy/worker/autodiscover.h"

#include "common/text.h"
#include "fuzz.h"

#include <libxml/parser.h>
#include <libxml/tree.h>

/* The text of the first element of that name below `node`. */
static bool holds(const xmlNode *node, const char *name, struct strv text)
{
	for (; node != NULL; node = node->next) {
		if (node->type != XML_ELEMENT_NODE)
			continue;
		if (strcmp((const char *)node->name, name) == 0) {
			xmlChar *content = xmlNodeGetContent(node);
			bool same = strv_eq(strv_from((const char *)content), text);

			xmlFree(content);
			return same && xmlChildElementCount((xmlNode *)(uintptr_t)node) == 0;
		}
		if (holds(node->children, name, text))
			return true;
	}
	return false;
}

static void check_printed(struct strv name, struct strv address)
{
	struct autodiscover_answer answer = { STRV("en:us"), name, address,
		STRV("https://a.example/?x=1&y=2") };
	struct buffer out;
	xmlDoc *doc;

	buffer_init(&out, 1 << 20);
	if (autodiscover_print(&out, &answer) == 0) {
		doc = xmlReadMemory(buffer_data(&out), (int)buffer_len(&out), NULL, NULL,
		    XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
		/* clean text may hold a few code points that no XML may: U+FFFE and U+FFFF */
		if (doc != NULL) {
			FUZZ_CHECK(holds(xmlDocGetRootElement(doc), "EMailAddress", address));
			FUZZ_CHECK(holds(
			    xmlDocGetRootElement(doc), "DisplayName", name.n > 0 ? name : address));
			FUZZ_CHECK(holds(xmlDocGetRootElement(doc), "Url", answer.url));
		} else {
			FUZZ_CHECK(memmem(name.p, name.n, "\xef\xbf", 2) != NULL ||
			    memmem(address.p, address.n, "\xef\xbf", 2) != NULL);
		}
		xmlFreeDoc(doc);
	} else {
		FUZZ_CHECK(buffer_len(&out) == 0);
	}
	buffer_clear(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	char *p = fuzz_exact(bytes, n);
	struct autodiscover_request request;

	if (autodiscover_read(&request, (struct strv){ p, n }) == AUTODISCOVER_OK) {
		struct strv address = strv_from(request.address);
		const char *at = strchr(request.address, '@');

		FUZZ_CHECK(text_is_clean(address) && at != NULL && strchr(at + 1, '@') == NULL);
		FUZZ_CHECK(
		    memmem(p, n, "<!DOCTYPE", 9) == NULL && memmem(p, n, "<!ENTITY", 8) == NULL);
		check_printed((struct strv){ NULL, 0 }, address);
	}
	check_printed((struct strv){ p, n }, STRV("a@b"));
	free(p);
	return 0;
}
